// The page walker that CPUs and IOMMUs share. One step reads one level and sets A there, as the hardware does; the last
// step sets D for a store. Rights are the AND of RW and US over the levels, NX the OR. A non-present entry, or rights that
// do not allow the access, end the walk as a fault: nothing is set on that entry.
//
// The walker re-reads the entry it updates (atomic compare and set): P must still be set, and RW for D.

import { E_WALK } from '../abi/events.ts';
import { LEVEL_PGD, LEVEL_PTE, PTE_A, PTE_D, PTE_HI_NX, PTE_P, PTE_PS, PTE_RW, PTE_US } from '../abi/pte.ts';
import type { PhysMemory } from './phys.ts';
import { entryHi, entryLo, entryWord, orEntry } from './pte.ts';
import { TLB_1G, TLB_2M, TLB_4K, TLB_NX } from './tlb.ts';

export const WALK_MORE = 0;
export const WALK_DONE = 1;
/** No present entry. */
export const WALK_NOT_PRESENT = 2;
/** Present, but RW, US or NX forbids the access (or PS stands in a PGD entry, where it is reserved). */
export const WALK_DENIED = 3;

export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_EXEC = 2;

/** State of one walk; reused, so that a walk allocates nothing. */
export class Walk {
  readonly memory: PhysMemory;
  mm = 0;
  hi = 0;
  lo = 0;
  access = ACCESS_READ;
  level = LEVEL_PGD;
  /** Table that the next step reads, and its generation when the pointer to it was read. */
  table = 0;
  tableGeneration = 0;
  rights = PTE_RW | PTE_US;
  nx = 0;
  /** Result: frame, low 12 flag bits of the leaf (RW and US already ANDed), size, generation of the frame. */
  pfn = 0;
  flags = 0;
  size = TLB_4K;
  generation = 0;

  constructor(memory: PhysMemory) {
    this.memory = memory;
  }

  /** Begins at the root table. `hi`, `lo`: halves of the virtual page number. */
  begin(mm: number, root: number, hi: number, lo: number, access: number): void {
    this.mm = mm;
    this.hi = hi;
    this.lo = lo;
    this.access = access;
    this.level = LEVEL_PGD;
    this.table = root;
    this.tableGeneration = this.memory.generation[root]!;
    this.rights = PTE_RW | PTE_US;
    this.nx = 0;
  }

  /** Begins at a page table found in a walk cache; `rights` is what rightsSoFar said there. */
  beginAtPageTable(
    mm: number,
    table: number,
    generation: number,
    rights: number,
    hi: number,
    lo: number,
    access: number,
  ): void {
    this.mm = mm;
    this.hi = hi;
    this.lo = lo;
    this.access = access;
    this.level = LEVEL_PTE;
    this.table = table;
    this.tableGeneration = generation;
    this.rights = rights & (PTE_RW | PTE_US);
    this.nx = rights & TLB_NX;
  }

  /** What a walk cache remembers with the table that the next step reads: RW and US ANDed, TLB_NX if a level had NX. */
  get rightsSoFar(): number {
    return this.rights | (this.nx !== 0 ? TLB_NX : 0);
  }

  /** Reads one level; WALK_MORE until the walk has ended. */
  step(): number {
    const m = this.memory;
    const level = this.level;
    const index =
      level === 3 ? this.hi >>> 9 : level === 2 ? this.hi & 511 : level === 1 ? this.lo >>> 9 : this.lo & 511;
    const word = entryWord(this.table, index);
    if (m.log.on)
      m.log.emit(
        E_WALK,
        this.mm,
        this.address(),
        this.address() + 4096,
        this.table,
        this.tableGeneration,
        m.generation[this.table]!,
        level,
        0,
        0,
      );
    const lo = entryLo(m, word);
    if ((lo & PTE_P) === 0) return WALK_NOT_PRESENT;
    this.rights &= lo;
    this.nx |= entryHi(m, word) & PTE_HI_NX;
    const isLeaf = level === LEVEL_PTE || (lo & PTE_PS) !== 0;
    if (!isLeaf) {
      if ((lo & PTE_A) === 0) orEntry(m, word, PTE_A, this.mm, this.spanStart(level), level);
      this.table = lo >>> 12;
      this.tableGeneration = m.generation[this.table]!;
      this.level = level - 1;
      return WALK_MORE;
    }
    return this.#leaf(word, lo, level);
  }

  #leaf(word: number, lo: number, level: number): number {
    if (level === LEVEL_PGD) return WALK_DENIED;
    const write = this.access === ACCESS_WRITE;
    if ((this.rights & PTE_US) === 0 || (write && (this.rights & PTE_RW) === 0)) return WALK_DENIED;
    if (this.access === ACCESS_EXEC && this.nx !== 0) return WALK_DENIED;
    const set = write ? PTE_A | PTE_D : PTE_A;
    if ((lo & set) !== set) orEntry(this.memory, word, set, this.mm, this.spanStart(level), level);
    const size = level === 0 ? TLB_4K : level === 1 ? TLB_2M : TLB_1G;
    this.size = size;
    this.pfn =
      size === TLB_4K
        ? lo >>> 12
        : size === TLB_2M
          ? ((lo >>> 12) & ~511) | (this.lo & 511)
          : ((lo >>> 12) & ~0x3ffff) | this.lo;
    const rights = (this.rights & (PTE_RW | PTE_US)) | (this.nx !== 0 ? TLB_NX : 0);
    this.flags = ((lo | set) & 0xfff & ~(PTE_RW | PTE_US | TLB_NX)) | rights;
    this.generation = this.memory.generation[this.pfn]!;
    return WALK_DONE;
  }

  /** Runs to the end. */
  run(): number {
    let r = WALK_MORE;
    while (r === WALK_MORE) r = this.step();
    return r;
  }

  address(): number {
    return this.hi * 0x40000000 + this.lo * 4096;
  }

  spanStart(level: number): number {
    const va = this.address();
    return level === 0
      ? va
      : level === 1
        ? va - (va & 0x1fffff)
        : level === 2
          ? va - (va & 0x3fffffff)
          : Math.floor(va / 0x8000000000) * 0x8000000000;
  }
}
