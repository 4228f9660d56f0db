// One look at the tail of a list (mm/vmscan.c): up to 32 pages are taken off it and judged.
//
//   inactive   shrinkFolioList; what it keeps comes back at the head
//   active     to the inactive list, except executable file pages that were used. A used page gets its second chance there.
//
// When every file page of a batch was dirty, the flusher threads write them back (wakeup_flusher_threads; here in line).
//
// Kernel names: isolate_lru_folios, shrink_inactive_list, shrink_active_list, move_folios_to_lru.

import { VM_EXEC } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import {
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_MLOCKED,
  PG_RECLAIM,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
  PG_WORKINGSET,
} from '../page/pages.ts';
import { lruIsolate, moveFolioToLru, noteLruScan, putbackLruPage, rotateReclaimable } from './lru.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, type Lruvec } from './lruvec.ts';
import type { MemCgroup } from './mem-cgroup.ts';

/** isolate_lru_folios: up to `want` pages from the tail of a list, each with a reference. */
function isolate(k: Kernel, lruvec: Lruvec, list: number, want: number): number[] {
  const { refcount } = k.pages;
  const out: number[] = [];
  k.reclaim.drainJoining();
  noteLruScan(k);
  while (out.length < want) {
    const pfn = lruvec.tail[list]!;
    if (pfn === 0) break;
    lruIsolate(k, pfn);
    refcount[pfn] = refcount[pfn]! + 1;
    out.push(pfn);
  }
  // The length of the list, and PGSCAN_DIRECT or PGREFILL.
  if (k.reclaim.hasGroups) for (let counter = 0; counter < 2; counter++) k.reclaim.stats.updated(out.length);
  return out;
}

/** Reclaim on behalf of `target` (null: of everybody). Pages freed. */
export function* shrinkInactiveList(
  k: Kernel,
  lruvec: Lruvec,
  isFile: boolean,
  want: number,
  isKswapd: boolean,
  target: MemCgroup | null,
): KernelPath<number> {
  const taken = isolate(k, lruvec, isFile ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON, want);
  if (taken.length === 0) return 0;
  const dirty: number[] = [];
  if (isFile) for (const pfn of taken) if ((k.pages.flags[pfn]! & PG_DIRTY) !== 0) dirty.push(pfn);
  if (isFile) k.reclaim.manyDirty = dirty.length === taken.length;
  const { refcount } = k.pages;
  // The flusher will want them again: keep them alive until it has been here.
  const flush = dirty.length === taken.length;
  if (flush) for (const pfn of dirty) refcount[pfn] = refcount[pfn]! + 1;
  const before = k.reclaim.pageouts;
  const freed = yield* k.fn.shrinkFolioList(k, taken, isKswapd, false, target);
  if (k.reclaim.hasGroups) k.reclaim.stats.updated(freed);
  lruvec.noteCost(isFile, k.reclaim.pageouts - before);
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

export function* shrinkActiveList(
  k: Kernel,
  lruvec: Lruvec,
  isFile: boolean,
  want: number,
  target: MemCgroup | null,
): KernelPath<void> {
  const { flags } = k.pages;
  const taken = isolate(k, lruvec, isFile ? LRU_ACTIVE_FILE : LRU_ACTIVE_ANON, want);
  const stay: number[] = [];
  const leave: number[] = [];
  for (const pfn of taken) {
    if (k.sched.points) yield P_RECLAIM;
    if ((flags[pfn]! & (PG_UNEVICTABLE | PG_MLOCKED)) !== 0) {
      putbackLruPage(k, pfn);
      continue;
    }
    const referenced = yield* k.fn.folioReferenced(k, pfn, false, target);
    const staysActive = referenced !== 0 && isFile && (k.referencedVmFlags & VM_EXEC) !== 0;
    if (!staysActive) flags[pfn] = (flags[pfn]! & ~PG_ACTIVE) | PG_WORKINGSET;
    (staysActive ? stay : leave).push(pfn);
  }
  for (const pfn of stay) moveFolioToLru(k, pfn);
  for (const pfn of leave) moveFolioToLru(k, pfn);
  if (k.reclaim.hasGroups) k.reclaim.stats.updated(leave.length);
}
