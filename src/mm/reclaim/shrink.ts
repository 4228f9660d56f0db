// Reclaim over the LRU lists (mm/vmscan.c): from the tails, with rising pressure. Priority 12 looks at 1/4096 of each list,
// priority 0 at all of it; a run stops when enough was freed and ends after priority 0 whatever happened, so it cannot spin.
//
//   inactive lists   shrinkFolioList
//   active lists     moved to the inactive ones when those are short (inactive * ratio < active); only executable file pages
//                    that were used stay. A used page gets its second chance on the inactive list.
//
// Balance: anonymous : file = swappiness : 200 - swappiness (60 : 140), as Linux does when both cost the same. No anonymous
// pages without free swap; file pages alone while there are plenty of inactive ones; both in full at priority 0. Linux also
// weighs refaults and I/O cost, which this model leaves out.
//
// When every file page of a batch was dirty, the flusher threads write them back (wakeup_flusher_threads; here in line).
//
// Kernel names: shrink_lruvec, get_scan_count, inactive_is_low, shrink_inactive_list, shrink_active_list,
// do_try_to_free_pages, balance_pgdat, kswapd, reclaim_pages.

import { VM_EXEC } from '../../abi/mman.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import { shrinkHugeZeroPage } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import {
  LIST_FREE,
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_MLOCKED,
  PG_RECLAIM,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
  PG_WORKINGSET,
} from '../page/pages.ts';
import { lruDel, noteLruScan, putbackLruPage, rotateReclaimable } from './lru.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, LRU_UNEVICTABLE } from './state.ts';

const DEF_PRIORITY = 12;
const SWAP_CLUSTER_MAX = 32;
const SWAPPINESS = 60;
const PAGES_PER_GIB_SHIFT = 18;

/** isolate_lru_folios: up to `want` pages from the tail of a list, each with a reference. */
function isolate(k: Kernel, list: number, want: number): number[] {
  const { refcount } = k.pages;
  const out: number[] = [];
  noteLruScan(k);
  while (out.length < want) {
    const pfn = k.reclaim.tail[list]!;
    if (pfn === 0) break;
    lruDel(k, pfn);
    refcount[pfn] = refcount[pfn]! + 1;
    out.push(pfn);
  }
  return out;
}

function* shrinkInactiveList(k: Kernel, isFile: boolean, want: number, isKswapd: boolean): KernelPath<number> {
  const taken = isolate(k, isFile ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON, want);
  if (taken.length === 0) return 0;
  const dirty: number[] = [];
  if (isFile) for (const pfn of taken) if ((k.pages.flags[pfn]! & PG_DIRTY) !== 0) dirty.push(pfn);
  if (isFile) k.reclaim.manyDirty = dirty.length === taken.length;
  const { refcount } = k.pages;
  // The flusher will want them again: keep them alive until it has been here.
  const flush = dirty.length === taken.length;
  if (flush) for (const pfn of dirty) refcount[pfn] = refcount[pfn]! + 1;
  const freed = yield* k.fn.shrinkFolioList(k, taken, isKswapd, false);
  if (flush) yield* writeBack(k, dirty);
  return freed;
}

/** The flusher's turn: writes the pages (each with a reference) that are still dirty. */
function* writeBack(k: Kernel, pages: number[]): KernelPath<void> {
  const { flags, mapping } = k.pages;
  for (const pfn of pages) {
    if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
    const isFilePage = mapping[pfn] !== null && (flags[pfn]! & (PG_ANON | PG_SWAPBACKED)) === 0;
    if (isFilePage && (flags[pfn]! & PG_DIRTY) !== 0) yield* k.fn.writepage(k, pfn);
    unlockPage(k, pfn);
    if ((flags[pfn]! & PG_RECLAIM) !== 0 && (flags[pfn]! & PG_DIRTY) === 0) rotateReclaimable(k, pfn);
    k.fn.putPage(k, pfn);
  }
}

export function* shrinkActiveList(k: Kernel, isFile: boolean, want: number): KernelPath<void> {
  const { flags } = k.pages;
  const taken = isolate(k, isFile ? LRU_ACTIVE_FILE : LRU_ACTIVE_ANON, want);
  for (const pfn of taken) {
    if (k.sched.points) yield P_RECLAIM;
    if ((flags[pfn]! & (PG_UNEVICTABLE | PG_MLOCKED)) === 0) {
      const referenced = yield* k.fn.folioReferenced(k, pfn, false);
      const staysActive = referenced !== 0 && isFile && (k.referencedVmFlags & VM_EXEC) !== 0;
      if (!staysActive) flags[pfn] = (flags[pfn]! & ~PG_ACTIVE) | PG_WORKINGSET;
    }
    putbackLruPage(k, pfn);
  }
}

/** inactive_is_low. */
export function inactiveIsLow(k: Kernel, isFile: boolean): boolean {
  noteLruScan(k);
  const count = k.reclaim.count;
  const inactive = count[isFile ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON]!;
  const active = count[isFile ? LRU_ACTIVE_FILE : LRU_ACTIVE_ANON]!;
  const gib = (inactive + active) >> PAGES_PER_GIB_SHIFT;
  const ratio = gib === 0 ? 1 : Math.floor(Math.sqrt(10 * gib));
  return inactive * ratio < active;
}

/** get_scan_count: pages of the list to look at. */
function scanCount(k: Kernel, list: number, priority: number): number {
  noteLruScan(k);
  const count = k.reclaim.count;
  const size = count[list]!;
  const isAnon = list === LRU_INACTIVE_ANON || list === LRU_ACTIVE_ANON;
  if (isAnon && k.swap.free === 0) return 0;
  if (priority === 0) return size;
  const plentyOfFile = count[LRU_INACTIVE_FILE]! >> priority > 0 && !inactiveIsLow(k, true);
  if (plentyOfFile && k.swap.free > 0) return isAnon ? 0 : size >> priority;
  if (k.swap.free === 0) return size >> priority;
  return Math.floor(((size >> priority) * (isAnon ? SWAPPINESS : 200 - SWAPPINESS)) / 200);
}

/** shrink_lruvec at one priority: pages freed. */
function* shrinkLists(k: Kernel, priority: number, want: number, isKswapd: boolean): KernelPath<number> {
  const left = [0, 0, 0, 0];
  const mayDeactivate = [inactiveIsLow(k, false), inactiveIsLow(k, true)];
  for (let list = 0; list < LRU_UNEVICTABLE; list++) left[list] = scanCount(k, list, priority);
  let freed = 0;
  // Active anonymous pages alone do not keep it going.
  while (left[LRU_INACTIVE_ANON]! + left[LRU_INACTIVE_FILE]! + left[LRU_ACTIVE_FILE]! > 0) {
    for (let list = 0; list < LRU_UNEVICTABLE; list++) {
      const now = Math.min(left[list]!, SWAP_CLUSTER_MAX);
      if (now === 0) continue;
      left[list] = left[list]! - now;
      const isFile = list >= LRU_INACTIVE_FILE;
      const isActive = list === LRU_ACTIVE_ANON || list === LRU_ACTIVE_FILE;
      if (!isActive) freed += yield* shrinkInactiveList(k, isFile, now, isKswapd);
      else if (mayDeactivate[isFile ? 1 : 0]) yield* k.fn.shrinkActiveList(k, isFile, now);
    }
    if (freed >= want) break;
  }
  // Even a run that did not touch anonymous pages keeps their two lists in balance.
  if (k.swap.pages > 0 && inactiveIsLow(k, false)) yield* k.fn.shrinkActiveList(k, false, SWAP_CLUSTER_MAX);
  return freed;
}

/** shrink_slab, of which huge pages are one part: those partly unmapped give that part back. Frames freed. */
function* splitPartlyMapped(k: Kernel): KernelPath<number> {
  const before = k.pages.free;
  yield* k.fn.deferredSplitScan(k, SWAP_CLUSTER_MAX);
  return Math.max(0, k.pages.free - before) + shrinkHugeZeroPage(k);
}

export function* tryToFreePages(k: Kernel, want: number): KernelPath<number> {
  const thread = k.sched.current;
  if (k.reclaim.isReclaiming(thread)) return 0;
  k.reclaim.enterReclaim(thread);
  let freed = 0;
  for (let priority = DEF_PRIORITY; priority >= 0 && freed < want; priority--) {
    freed += yield* shrinkLists(k, priority, want - freed, false);
    if (freed < want && k.huge.splitQueue.size > 0) freed += yield* splitPartlyMapped(k);
  }
  k.reclaim.leaveReclaim(thread);
  return freed;
}

/** kswapd: sleeps until woken below the low watermark, reclaims until the high one or until a whole run gained nothing. */
export function* kswapd(k: Kernel): KernelPath<void> {
  const r = k.reclaim;
  const isWanted = (): boolean => {
    if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_FREE, true);
    return r.kswapdWanted;
  };
  for (;;) {
    yield* k.sched.waitUntil(isWanted, r.kswapdWait, 'kswapd: work');
    yield* balancePgdat(k);
    r.kswapdWanted = false;
  }
}

/** balance_pgdat. */
function* balancePgdat(k: Kernel): KernelPath<void> {
  const thread = k.sched.current;
  k.reclaim.enterReclaim(thread);
  for (let gained = 1; gained > 0 && k.pages.free < k.watermarks.high; ) {
    gained = 0;
    for (let priority = DEF_PRIORITY; priority >= 0 && k.pages.free < k.watermarks.high; priority--) {
      gained += yield* shrinkLists(k, priority, k.watermarks.high - k.pages.free, true);
    }
  }
  k.reclaim.leaveReclaim(thread);
}

/** reclaim_pages (MADV_PAGEOUT): isolated pages, in this order. */
export function* reclaimPages(k: Kernel, pages: number[]): KernelPath<number> {
  const thread = k.sched.current;
  const nested = k.reclaim.isReclaiming(thread);
  if (!nested) k.reclaim.enterReclaim(thread);
  const freed = yield* k.fn.shrinkFolioList(k, pages, false, !k.profile.pageoutAgesAndFlushes);
  if (!nested) k.reclaim.leaveReclaim(thread);
  return freed;
}
