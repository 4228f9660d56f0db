// A CPU's view of memory: loads and stores through its TLB and walk cache. A hit is a plain function; a translation that
// fails answers -1, and the kernel's page-fault path runs. A store through an entry whose D is clear walks again to set D.

import { E_CPU_ACCESS, E_CPU_FILL, E_CPU_INVAL } from '../abi/events.ts';
import { PTE_D, PTE_PS, PTE_RW } from '../abi/pte.ts';
import type { PhysMemory } from './phys.ts';
import { TLB_4K, TLB_SIZE_BYTES, Tlb, WalkCache } from './tlb.ts';
import { ACCESS_WRITE, WALK_DONE, WALK_MORE, Walk } from './walker.ts';

export class Cpu {
  readonly id: number;
  readonly memory: PhysMemory;
  readonly tlb: Tlb;
  readonly walkCache = new WalkCache(16);
  readonly #walk: Walk;
  /** Address space loaded (CR3): ASID, root table; 0 when none. */
  asid = 0;
  root = 0;
  /** Why the last translation failed: WALK_NOT_PRESENT or WALK_DENIED. */
  faultCause = 0;
  hits = 0;
  misses = 0;

  constructor(id: number, memory: PhysMemory, sets = 128, ways = 8) {
    this.id = id;
    this.memory = memory;
    this.tlb = new Tlb(sets, ways, id);
    this.#walk = new Walk(memory);
  }

  /** Switches address space; with ASIDs nothing is flushed. */
  load(asid: number, root: number): void {
    this.asid = asid;
    this.root = root;
  }

  /** Physical byte address of `va` for the access, or -1 for a page fault. Sets A and D. */
  translate(va: number, access: number): number {
    // No % on doubles here: it costs 15 ns, a multiplication and a subtraction cost 1.
    const hi = (va / 0x40000000) | 0;
    const rest = (va - hi * 0x40000000) | 0;
    const at = this.tlb.find(this.asid, hi, rest >>> 12);
    if (at >= 0) {
      const data = this.tlb.entries[at + 2]!;
      if (access !== ACCESS_WRITE || (data & (PTE_RW | PTE_D)) === (PTE_RW | PTE_D)) {
        if (this.memory.log.on) this.#logAccess(at, va, access);
        return (data & PTE_PS) === 0 ? (data >>> 12) * 4096 + (rest & 4095) : this.#physical(at, va, data);
      }
    }
    return this.#translateSlow(va, hi, rest >>> 12, access);
  }

  #physical(at: number, va: number, data: number): number {
    const size = this.tlb.entries[at + 1]! >>> 18;
    if (size === TLB_4K) return (data >>> 12) * 4096 + (va % 4096);
    const pages = TLB_SIZE_BYTES[size]! / 4096;
    const pfn = data >>> 12;
    return (pfn - (pfn % pages)) * 4096 + (va % TLB_SIZE_BYTES[size]!);
  }

  #translateSlow(va: number, hi: number, lo: number, access: number): number {
    const w = this.#walk;
    this.misses++;
    const slot = this.walkCache.find(this.asid, hi, lo);
    if (slot >= 0) {
      w.beginAtPageTable(
        this.asid,
        this.walkCache.table[slot]!,
        this.walkCache.gen[slot]!,
        this.walkCache.rights[slot]!,
        hi,
        lo,
        access,
      );
    } else {
      w.begin(this.asid, this.root, hi, lo, access);
    }
    let r = WALK_MORE;
    while (r === WALK_MORE) {
      r = w.step();
      if (r === WALK_MORE && w.level === 0)
        this.walkCache.insert(this.asid, hi, lo, w.table, w.tableGeneration, w.rights);
    }
    if (r !== WALK_DONE) {
      this.faultCause = r;
      return -1;
    }
    const at = this.tlb.insert(this.asid, hi, lo, w.size, w.pfn, w.flags, w.generation);
    if (this.memory.log.on) {
      const start = this.tlb.address(at);
      this.memory.log.emit(
        E_CPU_FILL,
        this.asid,
        start,
        start + TLB_SIZE_BYTES[w.size]!,
        w.pfn,
        w.generation,
        w.flags & PTE_RW ? 1 : 0,
        w.size,
        0,
        this.id,
      );
      this.#logAccess(at, va, access);
    }
    return this.#physical(at, va, this.tlb.entries[at + 2]!);
  }

  #logAccess(at: number, va: number, access: number): void {
    const m = this.memory;
    const pfn = Math.floor(this.#physical(at, va, this.tlb.entries[at + 2]!) / 4096);
    m.log.emit(
      E_CPU_ACCESS,
      this.asid,
      va,
      va + 1,
      pfn,
      this.tlb.generation(at),
      m.generation[this.tlb.pfn(at)]!,
      access === ACCESS_WRITE ? 1 : 0,
      0,
      this.id,
    );
  }

  /** Drops [start, end) of an address space, and its walk cache (INVLPG drops all paging-structure entries of the PCID). */
  invalidateRange(asid: number, start: number, end: number): void {
    this.tlb.invalidateRange(asid, start, end);
    this.walkCache.invalidateAsid(asid);
    if (this.memory.log.on) this.memory.log.emit(E_CPU_INVAL, asid, start, end, 0, 0, 0, 0, 0, this.id);
  }

  invalidateAll(asid: number): void {
    this.tlb.invalidateAsid(asid);
    this.walkCache.invalidateAsid(asid);
    if (this.memory.log.on)
      this.memory.log.emit(E_CPU_INVAL, asid, 0, Number.POSITIVE_INFINITY, 0, 0, 0, 0, 0, this.id);
  }
}
