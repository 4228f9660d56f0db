// migrate_pages: moves isolated pages to frames that a callback gives, one page after the other (mm/migrate.c, until 6.2 in this
// simple form; migrate-batch.ts is what came then). A page that is busy is tried again, ten times at most (KernelConfig.migrateAttempts), and from the fourth time on with patience for its lock.
//
//   lock old, new; migration entries for every mapping; move; the new page to the LRU; its entries; unlock; put the old page
//
// Each old page is freed before the next one is looked at. Pages that stayed are left in the list; the caller puts them back.
//
// Locks: page locks; rmap locks and ptl below. Kernel names: unmap_and_move, __unmap_and_move, putback_movable_pages.

import { EAGAIN, EBUSY, ENOMEM } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ACTIVE, PG_HUGETLB, PG_UNEVICTABLE, PG_WRITEBACK } from '../page/pages.ts';
import { putbackLruPage } from '../reclaim/lru.ts';
import { isMapped } from './folio.ts';
import { unmapAndMoveHugetlb } from './hugetlb.ts';
import { migrateInBatches } from './migrate-batch.ts';
import { MIGRATE_ASYNC, MIGRATE_SYNC, MR_MEMORY_FAILURE } from './mode.ts';
import { moveToNewFolio } from './move-folio.ts';

/** Attempts that only try the page lock; the last attempt always waits. */
const ATTEMPTS_LIGHT = 3;

/** new_page_t: a page of the order of `src` with refcount 1, or 0. */
export type NewPage = (k: Kernel, src: number) => KernelPath<number>;

/** free_page_t: takes back a page of NewPage that was not used; null: it is freed. */
export type PutNewPage = ((k: Kernel, pfn: number) => void) | null;

export function* migratePages(
  k: Kernel,
  from: number[],
  newPage: NewPage,
  putNewPage: PutNewPage,
  mode: number,
  reason: number,
): KernelPath<number> {
  if (k.profile.batchedMigration) return yield* migrateInBatches(k, from, { newPage, putNewPage, mode, reason });
  const attempts = k.config.migrateAttempts;
  const stayed: number[] = [];
  let failed = 0;
  let retry = from.length;
  let outOfMemory = false;
  for (let pass = 0; pass < attempts && retry > 0 && !outOfMemory; pass++) {
    retry = 0;
    for (let i = 0; i < from.length; ) {
      const pfn = from[i]!;
      if (k.sched.points) yield P_RECLAIM;
      const force = pass >= Math.min(ATTEMPTS_LIGHT, attempts - 1);
      const result =
        (k.pages.flags[pfn]! & PG_HUGETLB) !== 0
          ? yield* unmapAndMoveHugetlb(k, pfn, newPage, putNewPage, force, mode)
          : yield* k.fn.unmapAndMove(k, pfn, newPage, putNewPage, force, mode, reason);
      if (result === -EAGAIN) {
        retry++;
        i++;
        continue;
      }
      if (result === -ENOMEM) {
        outOfMemory = true;
        break;
      }
      from.splice(i, 1);
      if (result < 0) {
        stayed.push(pfn);
        failed++;
      }
    }
  }
  from.unshift(...stayed);
  return outOfMemory ? -ENOMEM : failed + retry;
}

/** 0, -EAGAIN (busy), -EBUSY (writeback, and mode is not MIGRATE_SYNC) or -ENOMEM. After 0 the isolation's reference is gone, unless
 *  the reason is MR_MEMORY_FAILURE. */
export function* unmapAndMove(
  k: Kernel,
  pfn: number,
  newPage: NewPage,
  putNewPage: PutNewPage,
  force: boolean,
  mode: number,
  reason: number,
): KernelPath<number> {
  const { flags, refcount } = k.pages;
  if (refcount[pfn] === 1) {
    // Freed while it was isolated: nothing is left to move.
    flags[pfn] = flags[pfn]! & ~(PG_ACTIVE | PG_UNEVICTABLE);
    if (reason !== MR_MEMORY_FAILURE) k.fn.putPage(k, pfn);
    return 0;
  }
  const dst = yield* newPage(k, pfn);
  if (dst === 0) return -ENOMEM;
  const result = yield* moveOne(k, pfn, dst, force, mode);
  if (result < 0) {
    if (putNewPage !== null) putNewPage(k, dst);
    else k.fn.putPage(k, dst);
  } else if (reason !== MR_MEMORY_FAILURE) k.fn.putPage(k, pfn);
  return result;
}

/** __unmap_and_move. */
function* moveOne(k: Kernel, src: number, dst: number, force: boolean, mode: number): KernelPath<number> {
  const { pages } = k;
  if (!tryLockPage(k, src)) {
    if (!force || mode === MIGRATE_ASYNC || k.reclaim.isReclaiming(k.sched.current)) return -EAGAIN;
    yield* lockPage(k, src);
  }
  if ((pages.flags[src]! & PG_WRITEBACK) !== 0) {
    // Writeback ends in the step that began it: there is nothing to wait for.
    unlockPage(k, src);
    return mode === MIGRATE_SYNC ? -EAGAIN : -EBUSY;
  }
  let result = -EAGAIN;
  if (tryLockPage(k, dst)) {
    const wasMapped = pages.mapping[src] !== null && isMapped(pages, src);
    if (wasMapped) yield* k.fn.tryToMigrate(k, src, 0);
    if (!isMapped(pages, src)) result = moveToNewFolio(k, dst, src);
    if (result === 0) k.fn.lruAdd(k, dst);
    if (wasMapped) yield* k.fn.removeMigrationPtes(k, src, result === 0 ? dst : src, false);
    unlockPage(k, dst);
  }
  unlockPage(k, src);
  if (result === 0) k.fn.putPage(k, dst);
  return result;
}

/** putback_movable_pages. */
export function putbackMovablePages(k: Kernel, pages: readonly number[]): void {
  for (let i = 0; i < pages.length; i++) {
    if ((k.pages.flags[pages[i]!]! & PG_HUGETLB) !== 0) k.fn.putPage(k, pages[i]!);
    else putbackLruPage(k, pages[i]!);
  }
}
