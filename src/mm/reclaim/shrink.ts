// Reclaim over the LRU lists (mm/vmscan.c): from the tails, with rising pressure. Priority 12 looks at 1/4096 of each list,
// priority 0 at all of it; a run stops when enough was freed and ends after priority 0 whatever happened, so it cannot spin.
//
//   whose lists      of one memory cgroup (its limit, memory.reclaim), or of all (direct reclaim, kswapd)
//   inactive lists   shrinkInactiveList
//   active lists     only when those are short (inactive * ratio < active), or pages come back that were evicted before. A run
//                    that freed nothing and left active pages alone for that reason starts over and takes them.
//
// Balance of anonymous and file pages: swappiness : 200 - swappiness (60 : 140), shifted towards the kind that was written out
// less of late. No anonymous pages without free swap; file pages alone while there are plenty of inactive ones; both in full at
// priority 0.
//
// Kernel names: struct scan_control, prepare_scan_count, get_scan_count, inactive_is_low, shrink_lruvec, shrink_node,
// do_try_to_free_pages, snapshot_refaults, balance_pgdat, kswapd, reclaim_pages.

import { OBJ_LIST } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { shrinkHugeZeroPage } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { LIST_FREE } from '../page/pages.ts';
import { shrinkInactiveList } from './lists.ts';
import { noteLruScan } from './lru.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, LRU_UNEVICTABLE } from './lruvec.ts';
import type { MemCgroup } from './mem-cgroup.ts';
import { lruGenShrinkLruvec } from './mglru.ts';

const DEF_PRIORITY = 12;
export const SWAP_CLUSTER_MAX = 32;
const SWAPPINESS = 60;
const PAGES_PER_GIB_SHIFT = 18;

/** struct scan_control: one run of reclaim. */
export class ScanControl {
  readonly want: number;
  /** Whose pages; null: everybody's. */
  readonly target: MemCgroup | null;
  readonly isKswapd: boolean;
  priority = DEF_PRIORITY;
  freed = 0;
  /** Whether active pages may go to the inactive list: anonymous ones, file pages. */
  readonly mayDeactivate = [false, false];
  forceDeactivate = false;
  /** Active pages were left alone. */
  skippedDeactivate = false;
  /** File pages only: there are plenty of inactive ones. */
  trimsCache = false;
  /** Anonymous pages only: hardly any file page is left. */
  fileIsTiny = false;
  cost = [0, 0];

  constructor(want: number, target: MemCgroup | null, isKswapd = false) {
    this.want = Math.max(want, SWAP_CLUSTER_MAX);
    this.target = target;
    this.isKswapd = isKswapd;
  }
}

/** lruvec_page_state: pages on one list of the target, or of all groups, at the last flush of the statistics. */
function pagesOn(k: Kernel, target: MemCgroup | null, list: number): number {
  if (target !== null) return target.lruvec.stats[list]!;
  let n = 0;
  for (const group of k.reclaim.groups) n += group.lruvec.stats[list]!;
  return n;
}

/** inactive_is_low. */
function inactiveIsLow(k: Kernel, target: MemCgroup | null, isFile: boolean): boolean {
  noteLruScan(k);
  const inactive = pagesOn(k, target, isFile ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON);
  const active = pagesOn(k, target, isFile ? LRU_ACTIVE_FILE : LRU_ACTIVE_ANON);
  const gib = (inactive + active) >> PAGES_PER_GIB_SHIFT;
  const ratio = gib === 0 ? 1 : Math.floor(Math.sqrt(10 * gib));
  return inactive * ratio < active;
}

/** prepare_scan_count: what one look at the target's lists is to be like. */
function prepareScanCount(k: Kernel, sc: ScanControl): void {
  k.reclaim.flushStats();
  const lruvec = (sc.target ?? k.reclaim.groups[0]!).lruvec;
  sc.cost = [...lruvec.cost];
  for (const isFile of [false, true]) {
    const kind = isFile ? 1 : 0;
    const cameBack = lruvec.activatedStats[kind] !== lruvec.refaults[kind];
    sc.mayDeactivate[kind] = sc.forceDeactivate || cameBack || inactiveIsLow(k, sc.target, isFile);
  }
  const inactiveFile = pagesOn(k, sc.target, LRU_INACTIVE_FILE);
  sc.trimsCache = inactiveFile >> sc.priority > 0 && !sc.mayDeactivate[1];
  if (sc.target !== null) return;
  const file = inactiveFile + pagesOn(k, null, LRU_ACTIVE_FILE);
  const anon = pagesOn(k, null, LRU_INACTIVE_ANON);
  sc.fileIsTiny = file + k.pages.free <= k.watermarks.high && !sc.mayDeactivate[0] && anon >> sc.priority > 0;
}

/** get_scan_count: pages to look at on each evictable list. */
function getScanCount(k: Kernel, group: MemCgroup, sc: ScanControl): number[] {
  const { lruvec } = group;
  noteLruScan(k);
  const [anonCost, fileCost] = [sc.cost[0]!, sc.cost[1]!];
  const total = anonCost + fileCost;
  const twice = 3 * total + 1;
  const anonShare = Math.floor((SWAPPINESS * twice) / (total + anonCost + 1));
  const fileShare = Math.floor(((200 - SWAPPINESS) * twice) / (total + fileCost + 1));
  const out: number[] = [];
  for (let list = 0; list < LRU_UNEVICTABLE; list++) {
    const isFile = list >= LRU_INACTIVE_FILE;
    const size = lruvec.count[list]! - (k.reclaim.hasGroups ? k.reclaim.joining(group, list) : 0);
    const scan = size >> sc.priority;
    if (k.swap.free === 0) out.push(isFile ? scan : 0);
    else if (sc.priority === 0) out.push(scan);
    else if (sc.fileIsTiny) out.push(isFile ? 0 : scan);
    else if (sc.trimsCache) out.push(isFile ? scan : 0);
    else out.push(Math.floor((scan * (isFile ? fileShare : anonShare)) / (anonShare + fileShare)));
  }
  return out;
}

/** Once enough is freed, the kind with less left to scan is dropped and the other goes on until both have had the same share of
 *  what was planned. False: one kind is done, stop. */
function evenOut(left: number[], planned: readonly number[]): boolean {
  const anon = left[LRU_INACTIVE_ANON]! + left[LRU_ACTIVE_ANON]!;
  const file = left[LRU_INACTIVE_FILE]! + left[LRU_ACTIVE_FILE]!;
  if (file === 0 || anon === 0) return false;
  const drop = file > anon ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
  const go = drop === LRU_INACTIVE_ANON ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON;
  const percentage = Math.floor((Math.min(anon, file) * 100) / (planned[drop]! + planned[drop + 1]! + 1));
  left[drop] = left[drop + 1] = 0;
  for (let list = go; list <= go + 1; list++) {
    const scanned = planned[list]! - left[list]!;
    const share = Math.floor((planned[list]! * (100 - percentage)) / 100);
    left[list] = share - Math.min(share, scanned);
  }
  return true;
}

/** shrink_lruvec. */
function* shrinkLruvec(k: Kernel, group: MemCgroup, sc: ScanControl): KernelPath<void> {
  if (group.lruvec.gen !== null) {
    yield* lruGenShrinkLruvec(k, group, sc);
    return;
  }
  const { lruvec } = group;
  const left = getScanCount(k, group, sc);
  const planned = [...left];
  // Direct reclaim's first look takes its whole share: kswapd does not keep up.
  const isWhole = sc.target === null && !sc.isKswapd && sc.priority === DEF_PRIORITY;
  let freed = 0;
  // Active anonymous pages alone do not keep it going.
  while (left[LRU_INACTIVE_ANON]! + left[LRU_INACTIVE_FILE]! + left[LRU_ACTIVE_FILE]! > 0) {
    for (let list = 0; list < LRU_UNEVICTABLE; list++) {
      const now = Math.min(left[list]!, SWAP_CLUSTER_MAX);
      if (now === 0) continue;
      left[list] = left[list]! - now;
      const isFile = list >= LRU_INACTIVE_FILE;
      const isActive = list === LRU_ACTIVE_ANON || list === LRU_ACTIVE_FILE;
      if (!isActive) freed += yield* shrinkInactiveList(k, lruvec, isFile, now, sc.isKswapd, sc.target);
      else if (sc.mayDeactivate[isFile ? 1 : 0]) yield* k.fn.shrinkActiveList(k, lruvec, isFile, now, sc.target);
      else sc.skippedDeactivate = true;
    }
    if (freed < sc.want || isWhole) continue;
    if (!evenOut(left, planned)) break;
  }
  sc.freed += freed;
  // Even a run that did not touch anonymous pages keeps their two lists in balance.
  const isLow = lruvec.stats[LRU_INACTIVE_ANON]! < lruvec.stats[LRU_ACTIVE_ANON]!;
  if (k.swap.pages > 0 && isLow) yield* k.fn.shrinkActiveList(k, lruvec, false, SWAP_CLUSTER_MAX, sc.target);
}

/** shrink_node: one look at every group of the target. */
function* shrinkNode(k: Kernel, sc: ScanControl): KernelPath<void> {
  if (k.reclaim.lruGen === null) prepareScanCount(k, sc);
  if (sc.target !== null) {
    yield* shrinkLruvec(k, sc.target, sc);
    // The look at the group's lists on the next node begins with a flush too.
    if (k.reclaim.lruGen === null && k.config.numaNodes > 1) k.reclaim.flushStats();
    return;
  }
  for (const group of k.reclaim.groups) yield* shrinkLruvec(k, group, sc);
}

/** do_try_to_free_pages: pages freed; the caller is marked as reclaiming. */
export function* doTryToFreePages(k: Kernel, sc: ScanControl): KernelPath<number> {
  for (;;) {
    for (sc.priority = DEF_PRIORITY; sc.priority >= 0 && sc.freed < sc.want; sc.priority--) {
      yield* shrinkNode(k, sc);
      if (sc.freed < sc.want && k.huge.splitQueue.size > 0) sc.freed += yield* splitPartlyMapped(k);
    }
    // snapshot_refaults.
    const { lruvec } = sc.target ?? k.reclaim.groups[0]!;
    lruvec.refaults[0] = lruvec.activatedStats[0]!;
    lruvec.refaults[1] = lruvec.activatedStats[1]!;
    if (sc.freed > 0 || !sc.skippedDeactivate || sc.forceDeactivate) return sc.freed;
    sc.forceDeactivate = true;
    sc.skippedDeactivate = false;
  }
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
  const freed = yield* doTryToFreePages(k, new ScanControl(want, null));
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
    const sc = new ScanControl(k.watermarks.high - k.pages.free, null, true);
    for (sc.priority = DEF_PRIORITY; sc.priority >= 0 && k.pages.free < k.watermarks.high; sc.priority--)
      yield* shrinkNode(k, sc);
    gained = sc.freed;
  }
  k.reclaim.leaveReclaim(thread);
}

/** reclaim_pages (MADV_PAGEOUT): isolated pages, in this order. */
export function* reclaimPages(k: Kernel, pages: number[]): KernelPath<number> {
  const thread = k.sched.current;
  const nested = k.reclaim.isReclaiming(thread);
  if (!nested) k.reclaim.enterReclaim(thread);
  const freed = yield* k.fn.shrinkFolioList(k, pages, false, !k.profile.pageoutAgesAndFlushes, null);
  if (!nested) k.reclaim.leaveReclaim(thread);
  return freed;
}
