// migrate_pages since 6.3 (mm/migrate.c migrate_pages_batch): up to 512 pages at a time are all unmapped, then the CPUs are flushed
// once, then all are moved:
//
//   each    lock old, new; migration entries for every mapping        one section a mapping, as ever
//   once    the CPUs' flushes that were put off (try_to_unmap_flush)
//   each    move; the new page to the LRU; its entries; unlock; put the old page
//
// A caller who may wait has the pages tried together without waiting first (three passes); those that stayed are then moved one by
// one with patience for their locks (seven passes): nobody waits for a page lock while holding others. Pages that stay are left in the
// list; the caller puts them back. Pages of hugetlb are moved one by one before the others.
//
// Locks: page locks of the whole batch; rmap locks and ptl below. Kernel names: migrate_pages_sync, migrate_folio_unmap,
// migrate_folio_move, migrate_hugetlbs, migrate_folio_undo_src.

import { EAGAIN, EBUSY, ENOMEM } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ACTIVE, PG_HUGETLB, PG_UNEVICTABLE, PG_WRITEBACK } from '../page/pages.ts';
import { TTU_BATCH_FLUSH } from '../rmap/flush-batch.ts';
import { isMapped } from './folio.ts';
import { unmapAndMoveHugetlb } from './hugetlb.ts';
import type { NewPage, PutNewPage } from './migrate-pages.ts';
import { MIGRATE_ASYNC, MIGRATE_SYNC, MR_MEMORY_FAILURE } from './mode.ts';
import { moveToNewFolio } from './move-folio.ts';

/** NR_MAX_BATCHED_MIGRATION. */
const BATCH_MAX = 512;
/** NR_MAX_MIGRATE_ASYNC_RETRY and NR_MAX_MIGRATE_SYNC_RETRY; both together without a sync mode. */
const PASSES_ASYNC = 3;
const PASSES_SYNC = 7;
/** Attempts that only try the page lock. */
const ATTEMPTS_LIGHT = 3;

/** What the caller of migrate_pages wants. */
export interface Migration {
  readonly newPage: NewPage;
  readonly putNewPage: PutNewPage;
  readonly mode: number;
  readonly reason: number;
}

/** A page that nothing maps any more, locked as its target is. */
interface Unmapped {
  readonly src: number;
  readonly dst: number;
  readonly wasMapped: boolean;
}

/** Number of pages that stayed (they are in `from`), or -ENOMEM. */
export function* migrateInBatches(k: Kernel, from: number[], how: Migration): KernelPath<number> {
  // The caller's list keeps its length until the end: compaction looks for as many targets.
  const queue = [...from];
  const stayed: number[] = [];
  let failed = yield* migrateHugetlbs(k, queue, how, stayed);
  while (failed >= 0 && queue.length > 0) {
    const batch = takeBatch(k, queue);
    const result =
      how.mode === MIGRATE_ASYNC
        ? yield* migrateBatch(k, batch, how, how.mode, PASSES_ASYNC + PASSES_SYNC)
        : yield* migrateSync(k, batch, how);
    stayed.push(...batch);
    failed = result < 0 ? result : failed + result;
  }
  from.splice(0, from.length, ...stayed, ...queue);
  return failed;
}

/** The first pages of the list, as many as a batch has room for. */
function takeBatch(k: Kernel, from: number[]): number[] {
  let pages = 0;
  let count = 0;
  while (count < from.length && pages < BATCH_MAX) pages += 1 << k.pages.order[from[count++]!]!;
  return from.splice(0, count);
}

/** migrate_pages_sync: together without waiting, then the rest one by one. */
function* migrateSync(k: Kernel, batch: number[], how: Migration): KernelPath<number> {
  const tried = yield* migrateBatch(k, batch, how, MIGRATE_ASYNC, PASSES_ASYNC);
  if (tried < 0) return tried;
  const rest = batch.splice(0);
  let failed = 0;
  while (rest.length > 0) {
    const one = [rest.shift()!];
    const result = yield* migrateBatch(k, one, how, how.mode, PASSES_SYNC);
    batch.push(...one);
    if (result < 0) {
      batch.push(...rest);
      return result;
    }
    failed += result;
  }
  return failed;
}

/** migrate_pages_batch. Number of pages that stayed (they are in `batch`), or -ENOMEM. */
function* migrateBatch(k: Kernel, batch: number[], how: Migration, mode: number, passes: number): KernelPath<number> {
  const unmapped: Unmapped[] = [];
  const failed: number[] = [];
  const attempts = Math.min(passes, k.config.migrateAttempts);
  let retry = batch.length;
  let outOfMemory = false;
  for (let pass = 0; pass < attempts && retry > 0 && !outOfMemory; pass++) {
    retry = 0;
    const force = pass >= Math.min(ATTEMPTS_LIGHT, attempts - 1);
    for (let i = 0; i < batch.length; ) {
      const pfn = batch[i]!;
      if (k.sched.points) yield P_RECLAIM;
      const result = yield* unmapFolio(k, pfn, how, mode, force, unmapped);
      if (result === -EAGAIN) {
        retry++;
        i++;
        continue;
      }
      if (result === -ENOMEM) {
        outOfMemory = true;
        break;
      }
      batch.splice(i, 1);
      if (result < 0) failed.push(pfn);
    }
  }
  yield* k.fn.tryToUnmapFlush(k);
  yield* moveAll(k, unmapped, how, attempts, failed);
  batch.push(...failed);
  return outOfMemory ? -ENOMEM : batch.length;
}

/** migrate_folio_unmap: 0 (the page is among `unmapped`, or was free already), -EAGAIN (busy), -EBUSY or -ENOMEM. */
function* unmapFolio(
  k: Kernel,
  src: number,
  how: Migration,
  mode: number,
  force: boolean,
  unmapped: Unmapped[],
): KernelPath<number> {
  const { flags, refcount, mapping } = k.pages;
  if (refcount[src] === 1) {
    // Freed while it was isolated: nothing is left to move.
    flags[src] = flags[src]! & ~(PG_ACTIVE | PG_UNEVICTABLE);
    if (how.reason !== MR_MEMORY_FAILURE) k.fn.putPage(k, src);
    return 0;
  }
  const dst = yield* how.newPage(k, src);
  if (dst === 0) return -ENOMEM;
  let result = -EAGAIN;
  if (yield* lockSource(k, src, mode, force)) {
    // Writeback ends in the step that began it: there is nothing to wait for.
    if ((flags[src]! & PG_WRITEBACK) !== 0) result = mode === MIGRATE_SYNC ? -EAGAIN : -EBUSY;
    else if (tryLockPage(k, dst)) {
      const wasMapped = mapping[src] !== null && isMapped(k.pages, src);
      if (wasMapped) yield* k.fn.tryToMigrate(k, src, mode === MIGRATE_ASYNC ? TTU_BATCH_FLUSH : 0);
      if (!isMapped(k.pages, src)) {
        unmapped.push({ src, dst, wasMapped });
        return 0;
      }
      if (wasMapped) yield* k.fn.removeMigrationPtes(k, src, src, false);
      unlockPage(k, dst);
    }
    unlockPage(k, src);
  }
  giveBack(k, dst, how);
  return result;
}

function* lockSource(k: Kernel, src: number, mode: number, force: boolean): KernelPath<boolean> {
  if (tryLockPage(k, src)) return true;
  if (!force || mode === MIGRATE_ASYNC || k.reclaim.isReclaiming(k.sched.current)) return false;
  yield* lockPage(k, src);
  return true;
}

function giveBack(k: Kernel, dst: number, how: Migration): void {
  if (how.putNewPage !== null) how.putNewPage(k, dst);
  else k.fn.putPage(k, dst);
}

/** migrate_folios_move and migrate_folios_undo: pages that cannot be moved go to `failed`, mapped as before. */
function* moveAll(
  k: Kernel,
  unmapped: Unmapped[],
  how: Migration,
  attempts: number,
  failed: number[],
): KernelPath<void> {
  let left = unmapped;
  for (let pass = 0; pass < attempts && left.length > 0; pass++) {
    const again: Unmapped[] = [];
    for (const page of left) {
      if (k.sched.points) yield P_RECLAIM;
      const result = moveToNewFolio(k, page.dst, page.src);
      if (result === 0) yield* finishMove(k, page, how);
      else if (result === -EAGAIN && pass < attempts - 1) again.push(page);
      else {
        yield* undo(k, page, how);
        failed.push(page.src);
      }
    }
    left = again;
  }
}

function* finishMove(k: Kernel, { src, dst, wasMapped }: Unmapped, how: Migration): KernelPath<void> {
  k.fn.lruAdd(k, dst);
  if (wasMapped) yield* k.fn.removeMigrationPtes(k, src, dst, false);
  unlockPage(k, dst);
  unlockPage(k, src);
  k.fn.putPage(k, dst);
  if (how.reason !== MR_MEMORY_FAILURE) k.fn.putPage(k, src);
}

function* undo(k: Kernel, { src, dst, wasMapped }: Unmapped, how: Migration): KernelPath<void> {
  if (wasMapped) yield* k.fn.removeMigrationPtes(k, src, src, false);
  unlockPage(k, dst);
  unlockPage(k, src);
  giveBack(k, dst, how);
}

/** migrate_hugetlbs. Number of those that stayed (in `stayed`), or -ENOMEM. */
function* migrateHugetlbs(k: Kernel, from: number[], how: Migration, stayed: number[]): KernelPath<number> {
  const huge = from.filter((pfn) => (k.pages.flags[pfn]! & PG_HUGETLB) !== 0);
  if (huge.length === 0) return 0;
  from.splice(0, from.length, ...from.filter((pfn) => (k.pages.flags[pfn]! & PG_HUGETLB) === 0));
  const attempts = k.config.migrateAttempts;
  let left = huge;
  for (let pass = 0; pass < attempts && left.length > 0; pass++) {
    const force = pass >= Math.min(ATTEMPTS_LIGHT, attempts - 1);
    const again: number[] = [];
    for (const [i, pfn] of left.entries()) {
      if (k.sched.points) yield P_RECLAIM;
      const result = yield* unmapAndMoveHugetlb(k, pfn, how.newPage, how.putNewPage, force, how.mode);
      if (result === -ENOMEM) {
        stayed.push(...again, ...left.slice(i));
        return -ENOMEM;
      }
      if (result === -EAGAIN) again.push(pfn);
      else if (result < 0) stayed.push(pfn);
    }
    left = again;
  }
  stayed.push(...left);
  return stayed.length;
}
