// A CPU's view of memory: loads and stores through its TLB and walk cache. A hit is a plain function; a translation that
// fails answers -1, and the kernel's page-fault path runs. A store through an entry whose D is clear walks again to set D.

import { E_CPU_ACCESS, E_CPU_FILL, E_CPU_INVAL } from '../abi/events.ts';
import { PTE_D, PTE_PS, PTE_RW } from '../abi/pte.ts';
import type { RecordLog } from '../base/record-log.ts';
import type { PhysMemory } from './phys.ts';
import { TLB_NX, TLB_SIZE_BYTES, Tlb, WalkCache } from './tlb.ts';
import { ACCESS_READ, ACCESS_WRITE, WALK_DONE, WALK_MORE, Walk } from './walker.ts';

const WRITABLE = PTE_RW | PTE_D;

/** Memory references in flat arrays, as importers deliver them. */
export interface References {
  readonly kind: Uint8Array;
  /** Page number, upper and lower 18 bits. */
  readonly vpnHi: Int32Array;
  readonly vpnLo: Int32Array;
  readonly offset: Uint16Array;
}

export class Cpu {
  readonly id: number;
  readonly memory: PhysMemory;
  readonly tlb: Tlb;
  readonly walkCache: WalkCache;
  readonly #walk: Walk;
  readonly #log: RecordLog;
  /** Address space loaded (CR3): ASID, root table; 0 when none. Only load() changes them. */
  asid = 0;
  root = 0;
  /** It idles with an address space still loaded (lazy TLB mode): nobody runs there. */
  isLazy = false;
  /** Why the last translation failed: WALK_NOT_PRESENT or WALK_DENIED. */
  faultCause = 0;
  misses = 0;
  /** Sum over translateRun, for those who check it. */
  physicalSum = 0;

  constructor(id: number, memory: PhysMemory, sets = 128, ways = 8) {
    this.id = id;
    this.memory = memory;
    this.tlb = new Tlb(sets, ways, id);
    this.walkCache = new WalkCache(16, 0x4000 + id);
    this.#walk = new Walk(memory);
    this.#log = memory.log;
  }

  /** Switches address space; with ASIDs nothing is flushed. */
  load(asid: number, root: number): void {
    if (asid !== this.asid) this.tlb.forgetHints();
    this.asid = asid;
    this.root = root;
  }

  /** Physical byte address of `va` for the access, or -1 for a page fault. Sets A and D. */
  translate(va: number, access: number): number {
    // What hit last in the set comes first, and without its tags: some 3 ns an access, where a search of the ways costs 10. One
    // double is compared instead of two words of tag, and adding a difference needs no frame number. 2048 stands here as a
    // literal because an imported constant is a load and a conversion, and the + tells V8 that both results are doubles.
    const tlb = this.tlb;
    const hint = (((va | 0) >>> 9) & tlb.hintMask) + (access << 1);
    if (Math.abs(va - tlb.hints[hint]!) < 2048 && !this.#log.on) return va + tlb.hints[hint + 1]!;
    return +this.#translateTagged(va, access);
  }

  /** The longest run of references from `at` on, below `count`, that hit: returns where it ends (there, call translate).
   *  Reference i is at vpnHi[i] * 2^30 + vpnLo[i] * 4096 + offset[i]; its access is accessOf[kind[i]]. The physical addresses
   *  are added to `physicalSum`. With everything in locals a hit costs 2 ns, through translate() 3 to 5. */
  translateRun(refs: References, accessOf: Uint8Array, at: number, count: number): number {
    if (this.#log.on) return at;
    const { kind, vpnHi, vpnLo, offset } = refs;
    const { hints } = this.tlb;
    const setMask = this.tlb.sets - 1;
    let sum = 0;
    for (; at < count; at++) {
      const lo = vpnLo[at]!;
      const hint = ((lo & setMask) << 3) + (accessOf[kind[at]!]! << 1);
      const va = vpnHi[at]! * 0x40000000 + (lo << 12) + offset[at]!;
      if (!(Math.abs(va - hints[hint]!) < 2048)) break;
      sum += va + hints[hint + 1]!;
    }
    this.physicalSum += sum;
    return at;
  }

  // One function, too large to be inlined: it would take the registers of the loop around a hit.
  #translateTagged(va: number, access: number): number {
    // No % on doubles here: it costs 15 ns, a multiplication 1.
    const hi = (va / 0x40000000) | 0;
    const lo = ((va | 0) >>> 12) & 0x3ffff;
    const tlb = this.tlb;
    const found = tlb.find(this.asid, hi, lo);
    if (found >= 0) {
      const data = tlb.entries[found | 2]!;
      if (
        access === ACCESS_READ ||
        (access === ACCESS_WRITE ? (data & WRITABLE) === WRITABLE : (data & TLB_NX) === 0)
      ) {
        tlb.remember(found, va - (va & 4095));
        if (this.#log.on) this.#logAccess(found, va, access);
        return this.#physical(found, va, data);
      }
    }
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
        this.walkCache.insert(this.asid, hi, lo, w.table, w.tableGeneration, w.rightsSoFar);
    }
    if (r !== WALK_DONE) {
      this.faultCause = r;
      return -1;
    }
    const at = this.tlb.insert(this.asid, hi, lo, w.size, w.pfn, w.flags, w.generation);
    this.tlb.remember(at, va - (va & 4095));
    if (this.#log.on) this.#logFill(at, va, access);
    return this.#physical(at, va, this.tlb.entries[at + 2]!);
  }

  #physical(at: number, va: number, data: number): number {
    const pfn = data >>> 12;
    // The low 32 bits of the address hold every offset up to 1 GiB.
    if ((data & PTE_PS) === 0) return pfn * 4096 + (va & 4095);
    const size = this.tlb.size(at);
    const pages = TLB_SIZE_BYTES[size]! / 4096;
    return (pfn - (pfn % pages)) * 4096 + (va & (TLB_SIZE_BYTES[size]! - 1));
  }

  #logFill(at: number, va: number, access: number): void {
    const w = this.#walk;
    const start = this.tlb.address(at);
    const end = start + TLB_SIZE_BYTES[w.size]!;
    const isWritable = (w.flags & PTE_RW) !== 0 ? 1 : 0;
    this.#log.emit(E_CPU_FILL, this.asid, start, end, w.pfn, w.generation, isWritable, w.size, 0, this.id);
    this.#logAccess(at, va, access);
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
