// The walker against a naive one written from the AMD64 manual (APM vol. 2, 5.3-5.6) on 64-bit integers: random tables with
// leaves of every size, every bit that matters drawn at every level.
import { describe, expect, it } from 'vitest';
import { E_PTE_AD, E_WALK, EV_A, EV_B, EV_GEN, EV_PFN, EV_TYPE } from '../abi/events.ts';
import { PTE_A, PTE_HI_NX, PTE_P, PTE_PS, PTE_RW, PTE_TABLE, PTE_US } from '../abi/pte.ts';
import { Rng } from '../base/rng.ts';
import { Cpu } from './cpu.ts';
import { PhysMemory } from './phys.ts';
import { entryWord } from './pte.ts';
import {
  ACCESS_EXEC,
  ACCESS_READ,
  ACCESS_WRITE,
  WALK_DENIED,
  WALK_DONE,
  WALK_MORE,
  WALK_NOT_PRESENT,
  Walk,
} from './walker.ts';

const seed = Number(process.env['SEED'] ?? 1);
const ROOT = 1;
/** Tables stand in frames 1 to 15: the root, two of level PUD, four of PMD, eight of PTE. */
const FIRST_TABLE = [8, 4, 2, 1];
const TABLES_END = 16;
/** Indices in use at each level, the ends of the table among them. */
const INDICES = [0, 1, 255, 511];
const FRAMES = 1 << 19;

/** Fills all tables anew: entries are mostly present and mostly permissive, so that walks of every depth occur. */
function randomTables(m: PhysMemory, rng: Rng): void {
  m.words.fill(0, ROOT << 10, TABLES_END << 10);
  for (let level = 3; level >= 0; level--) {
    for (let table = FIRST_TABLE[level]!; table < TABLES_END && table < FIRST_TABLE[level]! << 1; table++) {
      for (const index of INDICES) {
        let pfn = level === 0 ? rng.below(FRAMES) : FIRST_TABLE[level - 1]! + rng.below(FIRST_TABLE[level - 1]!);
        let flags = rng.u32() & 0xf68;
        if (rng.chance(9, 10)) flags |= PTE_P;
        if (rng.chance(5, 6)) flags |= PTE_RW;
        if (rng.chance(7, 8)) flags |= PTE_US;
        if (rng.chance(1, level === 3 ? 30 : 4)) {
          flags |= PTE_PS;
          if (level === 1) pfn = rng.below(FRAMES >>> 9) << 9;
          if (level === 2) pfn = rng.below(FRAMES >>> 18) << 18;
        }
        const word = entryWord(table, index);
        m.words[word] = (pfn << 12) | flags;
        m.words[word + 1] = rng.chance(1, 6) ? PTE_HI_NX : 0;
      }
    }
  }
}

interface Outcome {
  result: number;
  pfn: number;
  flags: number;
  size: number;
  /** Entries that the hardware updates: physical byte address and the new value. */
  updates: [bigint, bigint][];
}

function naiveWalk(m: PhysMemory, va: bigint, access: number): Outcome {
  const out: Outcome = { result: WALK_NOT_PRESENT, pfn: 0, flags: 0, size: 0, updates: [] };
  const bytes = new DataView(m.bytes.buffer);
  let table = BigInt(ROOT) << 12n;
  let canWrite = true;
  let isUser = true;
  let noExecute = false;
  for (let shift = 39n; ; shift -= 9n) {
    const at = table + 8n * ((va >> shift) & 0x1ffn);
    const entry = bytes.getBigUint64(Number(at), true);
    if ((entry & 1n) === 0n) return out;
    canWrite &&= (entry & 2n) !== 0n;
    isUser &&= (entry & 4n) !== 0n;
    noExecute ||= entry >> 63n === 1n;
    const hasPs = (entry & 0x80n) !== 0n;
    const base = entry & 0x000f_ffff_ffff_f000n;
    if (shift === 12n || hasPs) {
      out.result = WALK_DENIED;
      if (shift === 39n || !isUser) return out;
      if ((access === ACCESS_WRITE && !canWrite) || (access === ACCESS_EXEC && noExecute)) return out;
      const updated = entry | (access === ACCESS_WRITE ? 0x60n : 0x20n);
      if (updated !== entry) out.updates.push([at, updated]);
      out.result = WALK_DONE;
      out.pfn = Number((base + (va & ((1n << shift) - 1n))) >> 12n);
      out.size = Number((shift - 12n) / 9n);
      out.flags = Number(updated & 0xff1n) | (canWrite ? 2 : 0) | (isUser ? 4 : 0) | (noExecute ? 8 : 0);
      return out;
    }
    if ((entry & 0x20n) === 0n) out.updates.push([at, entry | 0x20n]);
    table = base;
  }
}

function randomVa(rng: Rng): number {
  const index = (): number => INDICES[rng.below(INDICES.length)]!;
  return ((index() * 512 + index()) * 512 + index()) * 0x200000 + index() * 4096;
}

const hiOf = (va: number): number => Math.floor(va / 2 ** 30);
const loOf = (va: number): number => Math.floor(va / 4096) % 2 ** 18;

function outcome(w: Walk, result: number): Partial<Outcome> & { result: number } {
  return result === WALK_DONE ? { result, pfn: w.pfn, flags: w.flags, size: w.size } : { result };
}

describe(`Walk (SEED=${seed})`, () => {
  it('translates, refuses and sets A and D as the naive walker says', () => {
    const rng = new Rng(seed);
    const m = new PhysMemory(FRAMES);
    for (let i = 0; i < 2000; i++) m.generation[rng.below(FRAMES)] = rng.u32();
    const tables = m.bytes.subarray(ROOT << 12, TABLES_END << 12);
    const w = new Walk(m);
    const seen = new Map<string, number>();
    for (let round = 0; round < 60; round++) {
      randomTables(m, rng);
      for (let i = 0; i < 60; i++) {
        const va = randomVa(rng);
        const access = rng.below(3);
        const naive = naiveWalk(m, BigInt(va), access);
        const expected = new DataView(m.bytes.buffer.slice(0, TABLES_END << 12));
        for (const [at, entry] of naive.updates) expected.setBigUint64(Number(at), entry, true);

        w.begin(1, ROOT, hiOf(va), loOf(va), access);
        const result = w.run();

        const claim = `round ${round} va ${va.toString(16)} access ${access}`;
        const { updates: _, ...rest } = naive;
        expect(outcome(w, result), claim).toEqual(result === WALK_DONE ? rest : { result: naive.result });
        const bytes = new Uint8Array(expected.buffer, ROOT << 12);
        if (Buffer.compare(tables, bytes) !== 0) throw new Error(`${claim}: A or D set wrongly`);
        if (result === WALK_DONE) expect(w.generation, claim).toBe(m.generation[w.pfn]);
        const kind = `${result} ${result === WALK_DONE ? w.size : ''} ${access}`;
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }
    }
    // Every size was reached with every access, and every kind of fault.
    expect(seen.size).toBe(3 * 3 + 2 * 3);
  });

  it('updates one entry per event, and ends alike when walked level by level or from a cached page table', () => {
    const rng = new Rng(seed + 1);
    const m = new PhysMemory(FRAMES);
    m.log.keep(true);
    const full = new Walk(m);
    const stepped = new Walk(m);
    const cached = new Walk(m);
    let fromCache = 0;
    for (let round = 0; round < 100; round++) {
      randomTables(m, rng);
      const before = m.words.slice(0, TABLES_END << 10);
      for (let i = 0; i < 20; i++) {
        const va = randomVa(rng);
        const access = rng.below(3);
        const naive = naiveWalk(m, BigInt(va), access);
        let count = m.log.count;
        full.begin(1, ROOT, hiOf(va), loOf(va), access);
        const result = full.run();
        const events = m.log.last(m.log.count - count).filter((r) => r[EV_TYPE] === E_PTE_AD);
        expect(events.length).toBe(naive.updates.length);
        for (const [k, r] of events.entries()) {
          const [at, entry] = naive.updates[k]!;
          expect(r[EV_PFN]).toBe(Number(at >> 12n));
          expect(BigInt.asUintN(32, BigInt(r[EV_A]!)) | (BigInt.asUintN(32, BigInt(r[EV_B]!)) << 32n)).toBe(entry);
        }

        m.words.set(before, 0);
        stepped.begin(1, ROOT, hiOf(va), loOf(va), access);
        count = m.log.count;
        let steps = 1;
        let r = stepped.step();
        for (; r === WALK_MORE; steps++) {
          if (stepped.level === 0) {
            const { table, tableGeneration, rightsSoFar } = stepped;
            cached.beginAtPageTable(1, table, tableGeneration, rightsSoFar, hiOf(va), loOf(va), access);
            const again = m.words.slice(0, TABLES_END << 10);
            expect(outcome(cached, cached.run())).toEqual(outcome(full, result));
            m.words.set(again, 0);
            fromCache++;
          }
          r = stepped.step();
        }
        expect(outcome(stepped, r)).toEqual(outcome(full, result));
        expect(steps).toBeLessThanOrEqual(4);
        m.words.set(before, 0);
      }
    }
    expect(fromCache).toBeGreaterThan(200);
  });

  it('shows a table freed between two steps under its old generation', () => {
    const m = new PhysMemory(64);
    m.log.keep(true);
    const tables = [5, 4, 3, ROOT];
    for (let level = 3; level > 0; level--)
      m.words[entryWord(tables[level]!, 0)] = (tables[level - 1]! << 12) | PTE_TABLE;
    m.words[entryWord(5, 7)] = (9 << 12) | PTE_P | PTE_US;
    const w = new Walk(m);
    for (const victim of [4, 3, 5]) {
      const old = m.generation[victim]!;
      const count = m.log.count;
      w.begin(1, ROOT, 0, 7, ACCESS_READ);
      for (let r = WALK_MORE; r === WALK_MORE; r = w.step()) if (w.table === victim) m.generation[victim]!++;
      const walks = m.log.last(m.log.count - count).filter((r) => r[EV_TYPE] === E_WALK);
      expect(walks.map((r) => [r[EV_PFN], r[EV_B]])).toEqual([
        [ROOT, 3],
        [3, 2],
        [4, 1],
        [5, 0],
      ]);
      for (const r of walks) {
        const isVictim = r[EV_PFN] === victim;
        if (isVictim) expect([r[EV_GEN], r[EV_A]]).toEqual([old, old + 1]);
        else expect(r[EV_GEN]).toBe(r[EV_A]);
      }
    }
  });

  it('a fetch through a cached page table below a no-execute entry is refused', () => {
    for (const level of [1, 2, 3]) {
      const m = new PhysMemory(64);
      const tables = [5, 4, 3, ROOT];
      for (let l = 3; l > 0; l--) m.words[entryWord(tables[l]!, 0)] = (tables[l - 1]! << 12) | PTE_TABLE;
      m.words[entryWord(tables[level]!, 0) + 1] = PTE_HI_NX;
      for (const i of [7, 8]) m.words[entryWord(5, i)] = ((9 + i) << 12) | PTE_P | PTE_US | PTE_A;
      const cpu = new Cpu(0, m);
      cpu.load(1, ROOT);
      expect(cpu.translate(0x7000, ACCESS_READ)).toBe(16 * 4096);
      expect(cpu.walkCache.count).toBe(1);
      expect(cpu.translate(0x8000, ACCESS_EXEC)).toBe(-1);
      expect(cpu.faultCause).toBe(WALK_DENIED);
    }
  });
});
