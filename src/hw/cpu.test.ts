// translate() with its hints against a naive twin: a plain walk of the page table, and a set of what the TLB may still hold.
import { describe, expect, it } from 'vitest';
import { PTE_A, PTE_D, PTE_HI_NX, PTE_P, PTE_RW, PTE_US } from '../abi/pte.ts';
import { Footprint, OBJ_TLB } from '../base/footprint.ts';
import { Rng } from '../base/rng.ts';
import { Cpu } from './cpu.ts';
import { PhysMemory } from './phys.ts';
import { entryWord, writeEntry } from './pte.ts';
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE } from './walker.ts';

const seed = Number(process.env['SEED'] ?? 4096);
const LEAF = PTE_P | PTE_US | PTE_A;

/** Two address spaces over one memory; each maps any page anywhere. */
class Tables {
  readonly memory = new PhysMemory(2048);
  #nextTable = 3;

  /** Word of the leaf entry for the page. Root of ASID 1 is frame 1, of ASID 2 frame 2. */
  leaf(root: number, va: number): number {
    let table = root;
    for (let span = 2 ** 39; span > 4096; span /= 512) {
      const word = entryWord(table, Math.floor(va / span) % 512);
      if (this.memory.words[word] === 0)
        writeEntry(this.memory, word, (this.#nextTable++ << 12) | LEAF | PTE_RW, 0, root, va, 1);
      table = this.memory.words[word]! >>> 12;
    }
    return entryWord(table, Math.floor(va / 4096) % 512);
  }
}

/** What the page table says now: physical address or -1. */
function naive(tables: Tables, root: number, va: number, access: number): number {
  const word = tables.leaf(root, va);
  const lo = tables.memory.words[word]!;
  if (access === ACCESS_EXEC && (tables.memory.words[word + 1]! & PTE_HI_NX) !== 0) return -1;
  if ((lo & PTE_P) === 0 || (access === ACCESS_WRITE && (lo & PTE_RW) === 0)) return -1;
  return (lo >>> 12) * 4096 + (va % 4096);
}

describe('Cpu.translate', () => {
  it(`answers what the page table says, with hints that entries confirm (SEED=${seed})`, () => {
    const rng = new Rng(seed);
    const tables = new Tables();
    const cpu = new Cpu(0, tables.memory, 4, 2);
    const pages = [0x7f00_0000_0000, 0x5555_5555_4000, 0x40_0000, 0x7fff_ffff_e000, 0x8000_0000].flatMap((base) =>
      [0, 1, 2, 4, 8].map((i) => base + i * 4096),
    );
    cpu.load(1, 1);
    for (let step = 0; step < 60_000; step++) {
      const root = cpu.root;
      const va = pages[rng.below(pages.length)]! + rng.below(4096);
      const page = va - (va % 4096);
      switch (rng.below(12)) {
        case 0: {
          // Another entry; the kernel flushes before anyone relies on it.
          const lo = rng.chance(3, 4) ? ((1024 + rng.below(1000)) << 12) | LEAF | (rng.chance(1, 2) ? PTE_RW : 0) : 0;
          writeEntry(tables.memory, tables.leaf(root, va), lo, rng.chance(1, 2) ? PTE_HI_NX : 0, root, page, 0);
          cpu.invalidateRange(cpu.asid, page, page + 4096);
          break;
        }
        case 1:
          if (rng.chance(1, 20)) cpu.invalidateAll(rng.below(2) + 1);
          else if (rng.chance(1, 3)) cpu.load(3 - cpu.asid, 3 - root);
          break;
        default: {
          const access = [ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC][rng.below(3)]!;
          const at = cpu.translate(va, access);
          if (at !== naive(tables, root, va, access)) throw new Error(`step ${step}: ${va.toString(16)} -> ${at}`);
          if (at >= 0 && access === ACCESS_WRITE)
            expect(tables.memory.words[tables.leaf(root, va)]! & PTE_D).toBe(PTE_D);
        }
      }
      cpu.tlb.checkHints(cpu.asid);
    }
    expect(cpu.misses).toBeGreaterThan(1000);
  });

  it('forgets the hint of an entry whose flags change', () => {
    const tables = new Tables();
    const cpu = new Cpu(0, tables.memory);
    cpu.load(1, 1);
    writeEntry(tables.memory, tables.leaf(1, 0x5000), (1024 << 12) | LEAF, 0, 1, 0x5000, 0);
    expect(cpu.translate(0x5123, ACCESS_READ)).toBe(1024 * 4096 + 0x123);
    expect(cpu.translate(0x5123, ACCESS_WRITE)).toBe(-1);
    cpu.tlb.addFlags(cpu.tlb.find(1, 0, 5), PTE_RW | PTE_D);
    cpu.tlb.checkHints(1);
    expect(cpu.translate(0x5123, ACCESS_WRITE)).toBe(1024 * 4096 + 0x123);
  });

  it('takes no short cut while look-ups are recorded', () => {
    const tables = new Tables();
    const cpu = new Cpu(0, tables.memory);
    cpu.load(1, 1);
    writeEntry(tables.memory, tables.leaf(1, 0x5000), (1024 << 12) | LEAF, 0, 1, 0x5000, 0);
    cpu.translate(0x5000, ACCESS_READ);
    const recorder = new Footprint();
    cpu.tlb.footprint = recorder;
    for (let i = 1; i <= 3; i++) {
      cpu.translate(0x5000, ACCESS_READ);
      expect(recorder.length).toBe(i);
      expect(recorder.object(i - 1)).toBe(OBJ_TLB * 2 ** 32 + 5);
    }
  });
});
