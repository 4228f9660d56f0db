// mmu_gather (mm/mmu_gather.c, include/asm-generic/tlb.h): what an unmapping has cleared and not yet flushed, and the pages
// that wait for that flush before they may be freed.
//
//   range     union of [address, +size) of entries cleared since the last flush. A freed table adds only [its base, +PAGE),
//             not its span: what Linux tells secondary MMUs, and what a TLB that keeps upper-level entries must know.
//   pages     8 in the gather itself, then batches of 510, each in one page taken with GFP_NOWAIT, 19 batches at most. When
//             no batch can be had the gather must be flushed.
//
// The batch frames are really taken from the allocator (so they can run out, and do). The page numbers themselves stand in a
// typed array beside them, not in the frames: a device that writes through a stale translation then corrupts simulated
// memory, never the simulator.
//
// Gathers are reused: tlbFinishMmu puts one back into k.gathers. Nothing here takes a lock; a gather belongs to one thread.

import { int32s } from '../../base/arena.ts';
import type { MmStruct } from '../types.ts';

// What the gather cleared since the last flush: decides the stride of the CPU flush.
export const CLEARED_PTES = 1;
export const CLEARED_PMDS = 2;
export const CLEARED_PUDS = 4;
export const CLEARED_P4DS = 8;

export class MmuGather {
  mm: MmStruct;
  /** The whole address space goes (exit): no per-range flush. */
  fullMm = false;
  /** Range cleared since the last flush; start > end: empty. */
  start = Number.POSITIVE_INFINITY;
  end = 0;
  freedTables = false;
  /** A shared PMD table was unlinked (hugetlb). */
  unsharedTables = false;
  /** CLEARED_* */
  cleared = 0;
  /** SITE_* of the operation, for the moments. */
  site = 0;
  /** Set by a chunk: a dirty file page was unmapped, so flush before ptl is dropped. */
  forceFlush = false;
  /** Dirty pages whose rmap stays until the flush (Profile.delayedRmap): pfn and address of each. */
  readonly delayed: number[] = [];
  /** ZAP_FLAG_DROP_MARKER: the VMAs go, and PTE markers with them. */
  dropMarkers = false;
  /** Set by a chunk: no more pages fit. */
  isFull = false;
  /** Queued pages: pfn << 1, bit 0 for a page-table page. */
  pages = int32s(64);
  count = 0;
  /** Number of queued pages at which the current batch is full. */
  limit = 0;
  /** Frames held as batches, and how many of them are in use. */
  readonly batches: number[] = [];
  active = 0;

  constructor(mm: MmStruct) {
    this.mm = mm;
  }

  /** __tlb_gather_mmu. */
  begin(mm: MmStruct, fullMm: boolean, bundle: number): void {
    this.mm = mm;
    this.fullMm = fullMm;
    this.site = 0;
    this.forceFlush = false;
    this.isFull = false;
    this.dropMarkers = false;
    this.resetRange();
    this.resetPages(bundle);
  }

  /** __tlb_reset_range. */
  resetRange(): void {
    this.start = Number.POSITIVE_INFINITY;
    this.end = this.fullMm ? Number.POSITIVE_INFINITY : 0;
    this.freedTables = false;
    this.unsharedTables = false;
    this.cleared = 0;
  }

  resetPages(bundle: number): void {
    this.count = 0;
    this.active = 0;
    this.limit = bundle;
  }

  /** tlb_flush_pte_range and its likes: `level` is a CLEARED_* bit. */
  addRange(start: number, end: number, level: number): void {
    if (start < this.start) this.start = start;
    if (end > this.end) this.end = end;
    this.cleared |= level;
  }

  /** tlb_get_unmap_shift: log2 of the smallest piece that was cleared. */
  get strideShift(): number {
    const c = this.cleared;
    if ((c & CLEARED_PTES) !== 0 || c === 0) return 12;
    return (c & CLEARED_PMDS) !== 0 ? 21 : (c & CLEARED_PUDS) !== 0 ? 30 : 39;
  }

  reserve(count: number): void {
    if (count <= this.pages.length) return;
    const larger = int32s(Math.max(count, this.pages.length * 2));
    larger.set(this.pages);
    this.pages = larger;
  }
}
