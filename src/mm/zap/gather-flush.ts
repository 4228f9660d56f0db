// The life of a gather: begin, queue, flush, free, finish (mm/mmu_gather.c, mm/swap_state.c).
//
// Order of every flush: CPU TLBs of the gather range, then the design's moment (R in the recordings), then the queued pages
// lose the reference that their mapping had. Each batch is freed backwards (release_pages collects at the head of a list), or in
// its order (Profile.freesInOrder).
//
// Two gathers on one mm at a time: the other one may have cleared entries that this one then skipped, and not flushed them
// yet. tlb_finish_mmu therefore flushes the whole mm; the range that its R carries is then empty ([~0, ~0), recorded).
//
// Kernel names: tlb_gather_mmu, __tlb_remove_page_size, tlb_next_batch, tlb_flush_mmu_tlbonly, tlb_batch_pages_flush,
// free_pages_and_swap_cache, release_pages, tlb_finish_mmu, mm_tlb_flush_nested.

import { E_GATHER, FRAME_GATHER } from '../../abi/events.ts';
import { ULONG_MAX } from '../../abi/mman.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_MM, OBJ_PAGE } from '../../base/footprint.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_FLUSHED, P_FREE, P_FREED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { GFP_NOWAIT, PG_COMPOUND, PG_LRU, PG_SWAPCACHE } from '../page/pages.ts';
import { lruDel } from '../reclaim/lru.ts';
import { freeSwapCache } from '../swap/swap-cache.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { MmuGather } from './mmu-gather.ts';
import { FLUSH_OF_GATHER, isFullFlush } from './tlb-flush.ts';

/** Pages that a batch of `entries` takes. */
function room(k: Kernel, entries: number): number {
  return k.profile.gatherKeepsRoom && entries > 1 ? entries - 1 : entries;
}

export function tlbGatherMmu(k: Kernel, mm: MmStruct, fullMm: boolean, site: number): MmuGather {
  const tlb = k.gathers.pop() ?? new MmuGather(mm);
  tlb.begin(mm, fullMm, room(k, k.config.gatherBundle));
  tlb.site = site;
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  mm.tlbFlushPending++;
  return tlb;
}

export function mmTlbFlushPending(k: Kernel, mm: MmStruct): boolean {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, false);
  return mm.tlbFlushPending > 0;
}

function announceGather(
  memory: PhysMemory,
  mm: number,
  pfn: number,
  address: number,
  isTable: boolean,
  size: number,
): void {
  const end = isTable ? address : address + size;
  memory.log.emit(E_GATHER, mm, address, end, pfn, memory.generation[pfn]!, isTable ? 1 : 0, size, 0, 0);
}

export function tlbRemovePage(
  k: Kernel,
  tlb: MmuGather,
  pfn: number,
  address: number,
  isTable: boolean,
  size = 4096,
): boolean {
  const at = tlb.count;
  tlb.pages[at] = isTable ? (pfn << 1) | 1 : pfn << 1;
  tlb.count = at + 1;
  const { memory } = k;
  if (memory.log.on) announceGather(memory, tlb.mm.id, pfn, address, isTable, size);
  return at + 1 === tlb.limit && !nextBatch(k, tlb);
}

/** tlb_next_batch: room for more pages; false = none. */
function nextBatch(k: Kernel, tlb: MmuGather): boolean {
  if (tlb.active === tlb.batches.length) {
    if (tlb.batches.length >= k.config.gatherBatchesMax) return false;
    const frame = k.fn.allocPage(k, GFP_NOWAIT, FRAME_GATHER);
    if (frame === 0) {
      k.stats.gatherBatchFailures++;
      return false;
    }
    tlb.batches.push(frame);
  }
  tlb.active++;
  tlb.limit += room(k, k.config.gatherBatchEntries);
  tlb.reserve(tlb.limit);
  return true;
}

export function* tlbFlushMmuTlbonly(k: Kernel, tlb: MmuGather): AtomicPath<void> {
  if (tlb.cleared === 0 && !tlb.freedTables) return;
  const mm = tlb.mm;
  const stride = tlb.strideShift;
  const from = tlb.fullMm ? 0 : tlb.start;
  const to = tlb.fullMm ? ULONG_MAX : tlb.end;
  yield* k.fn.flushTlbMmRange(k, mm, from, to, stride, tlb.freedTables, FLUSH_OF_GATHER);
  if (mm.notifiers !== null) {
    // The architecture's flush function announces what it flushed, tlb_flush_mmu_tlbonly what was gathered.
    const asFlushed = k.profile.archInvalidateSecondaryTlbs;
    const isFull = asFlushed && isFullFlush(k, from, to, stride);
    const start = isFull ? 0 : asFlushed ? from : tlb.start;
    const end = isFull ? ULONG_MAX : asFlushed ? to : tlb.end;
    yield* k.fn.mmuNotifierGatherFlushed(k, mm, start, end, tlb.freedTables, tlb.site);
  }
  tlb.resetRange();
  if (k.sched.points) yield P_FLUSHED;
}

export function* tlbFlushMmuFree(k: Kernel, tlb: MmuGather): KernelPath<void> {
  const count = tlb.count;
  if (count === 0) return;
  if (k.sched.points) yield P_FREE;
  let from = 0;
  let to = Math.min(room(k, k.config.gatherBundle), count);
  while (from < count) {
    // 512 at a time with a chance for others between (cond_resched).
    for (let at = from; at < to; at += 512) {
      if (at > from && k.sched.points) yield P_FREE;
      releasePages(k, tlb.pages, at, Math.min(at + 512, to));
    }
    from = to;
    to = Math.min(to + room(k, k.config.gatherBatchEntries), count);
  }
  tlb.resetPages(room(k, k.config.gatherBundle));
  if (k.sched.points) yield P_FREED;
}

/** free_pages_and_swap_cache, release_pages: drops one reference of each; those that were the last free their page. */
function releasePages(k: Kernel, queued: Int32Array, from: number, to: number): void {
  const { pages } = k;
  const { refcount, flags } = pages;
  const footprint = k.memory.footprint;
  // Without groups, and with nobody who records: the lists themselves.
  const lru = footprint === null && !k.reclaim.hasGroups && k.fn.lruDel === lruDel ? k.reclaim.root : null;
  for (let i = from; i < to; i++) {
    let pfn = queued[i]! >>> 1;
    if ((flags[pfn]! & (PG_COMPOUND | PG_SWAPCACHE)) !== 0) {
      if (releaseSpecial(k, pfn)) {
        queued[i] = 0;
        continue;
      }
      pfn = compoundHead(k.pages, pfn);
      queued[i] = pfn << 1;
    }
    if (footprint !== null) footprint.note(OBJ_PAGE, pfn, true);
    const refs = refcount[pfn]! - 1;
    assert(refs >= 0, 'releasePages: the queued page had a reference');
    refcount[pfn] = refs;
    if (refs > 0) queued[i] = 0;
    else if ((flags[pfn]! & PG_LRU) === 0) continue;
    else if (lru !== null) lru.remove(pages, pfn);
    else k.fn.lruDel(k, pfn);
  }
  k.fn.freePageList(k, queued, from, to);
}

/** Takes the page out of the swap cache if nobody else needs it there. True: it was a large page and has lost its reference, before
 *  the small ones (kernels that free backwards). */
function releaseSpecial(k: Kernel, page: number): boolean {
  const pfn = compoundHead(k.pages, page);
  const f = k.pages.flags[pfn]!;
  if ((f & PG_SWAPCACHE) !== 0) freeSwapCache(k, pfn);
  if ((f & PG_COMPOUND) === 0 || k.profile.freesInOrder) return false;
  k.fn.putPage(k, pfn);
  return true;
}

/** tlb_flush_rmaps: the CPUs were flushed, so nobody writes to the pages through the entries that went. ptl held. */
export function tlbFlushRmaps(k: Kernel, tlb: MmuGather, vma: VmArea): void {
  const { delayed } = tlb;
  for (let i = 0; i < delayed.length; i += 2) k.fn.pageRemoveRmap(k, delayed[i]!, vma, delayed[i + 1]!);
  delayed.length = 0;
}

export function* tlbFinishMmu(k: Kernel, tlb: MmuGather): KernelPath<void> {
  const mm = tlb.mm;
  const footprint = k.memory.footprint;
  if (footprint !== null) footprint.note(OBJ_MM, mm.id, false);
  if (mm.tlbFlushPending > 1) {
    tlb.fullMm = true;
    tlb.resetRange();
    tlb.freedTables = true;
  }
  if (tlb.cleared !== 0 || tlb.freedTables) yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
  if (tlb.count > 0) yield* k.fn.tlbFlushMmuFree(k, tlb);
  for (let i = 0; i < tlb.batches.length; i++) k.fn.putPage(k, tlb.batches[i]!);
  tlb.batches.length = 0;
  if (footprint !== null) footprint.note(OBJ_MM, mm.id, true);
  mm.tlbFlushPending--;
  k.gathers.push(tlb);
}
