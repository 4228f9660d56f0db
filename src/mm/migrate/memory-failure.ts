// A frame is broken (mm/memory-failure.c). The page is taken out of every address space: an access meets an entry that says so and gets
// SIGBUS (BUS_MCEERR_AR). Memory of files that is clean, or in swap, can be had again from where it is kept: no such entry there.
// The frame itself is kept for good, so that nobody gets it.
//
// Soft offline is for a frame that will break: the page is invalidated or migrated first, nobody loses anything.
//
// Here on one page at a time (mf_mutex), from the caller's context; the reference of whoever found the page is taken over.
//
// Kernel names: memory_failure, hwpoison_user_mappings, me_pagecache_clean, me_swapcache_dirty, soft_offline_page,
// soft_offline_in_use_page, page_handle_poison, madvise_inject_error.

import { EBUSY, EHWPOISON, EPERM } from '../../abi/errno.ts';
import { MADV_SOFT_OFFLINE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead, isCompound } from '../page/compound.ts';
import { pageToNid } from '../page/nodes.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import {
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_HUGETLB,
  PG_HWPOISON,
  PG_LRU,
  PG_RESERVED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
} from '../page/pages.ts';
import { notePage } from '../rmap/rmap.ts';
import { TTU_IGNORE_HWPOISON, TTU_IGNORE_MLOCK, TTU_SYNC } from '../rmap/unmap.ts';
import type { MmStruct } from '../types.ts';
import { isMapped } from './folio.ts';
import { isolateForMigration } from './isolate.ts';
import { putbackMovablePages } from './migrate-pages.ts';
import { MIGRATE_SYNC, MR_MEMORY_FAILURE } from './mode.ts';
import { targetNear } from './targets.ts';

/** memory_failure of a frame that the caller refers to (MF_COUNT_INCREASED). 0; -EBUSY the page is in use and could not be dealt
 *  with; -EHWPOISON it was known. The reference is taken over. `address`: where the current task has used it (MF_ACTION_REQUIRED), or -1. */
export function* memoryFailure(k: Kernel, pfn: number, address = -1): KernelPath<number> {
  const { flags } = k.pages;
  notePage(k, pfn);
  if ((flags[pfn]! & PG_HWPOISON) !== 0) {
    k.fn.putPage(k, pfn);
    return -EHWPOISON;
  }
  flags[pfn] = flags[pfn]! | PG_HWPOISON;
  if (isCompound(k.pages, pfn) && !(yield* trySplit(k, pfn))) return -EBUSY;
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  const result = (flags[pfn]! & PG_LRU) === 0 ? -EBUSY : yield* handleLruPage(k, pfn, address);
  unlockPage(k, pfn);
  return result;
}

/** try_to_split_thp_page: a huge page cannot be dealt with whole. False: it stays whole (the pool's always do), and the reference is gone. */
function* trySplit(k: Kernel, pfn: number): KernelPath<boolean> {
  const head = compoundHead(k.pages, pfn);
  if ((k.pages.flags[head]! & PG_HUGETLB) === 0) {
    if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
    const isSplit = (yield* k.fn.splitHugePage(k, pfn, null)) === 0;
    // A page of its own now, and locked as such.
    unlockPage(k, compoundHead(k.pages, pfn));
    if (isSplit) return true;
  }
  k.fn.putPage(k, pfn);
  return false;
}

/** hwpoison_user_mappings and page_action of a page on the lists. Page lock held. */
function* handleLruPage(k: Kernel, pfn: number, address: number): KernelPath<number> {
  const { flags, mapping } = k.pages;
  if (isMapped(k.pages, pfn)) {
    let unmap = TTU_IGNORE_MLOCK | TTU_SYNC;
    const f = flags[pfn]!;
    if ((f & PG_SWAPCACHE) !== 0) unmap |= TTU_IGNORE_HWPOISON;
    else if ((f & (PG_ANON | PG_DIRTY | PG_SWAPBACKED)) === 0 && mapping[pfn] !== null) {
      // The entries know whether it is dirty. When none says so it is on disk.
      if ((yield* k.fn.pageMkclean(k, pfn)) > 0) flags[pfn] = flags[pfn]! | PG_DIRTY;
      else unmap |= TTU_IGNORE_HWPOISON;
    }
    yield* k.fn.tryToUnmap(k, pfn, unmap);
    // kill_procs: what it held is lost to its user.
    if (address >= 0 && (isMapped(k.pages, pfn) || (flags[pfn]! & PG_DIRTY) !== 0)) k.memoryErrorAt = address;
    if (isMapped(k.pages, pfn)) return -EBUSY;
  }
  if (!takeOffList(k, pfn)) return -EBUSY;
  const f = flags[pfn]!;
  if ((f & PG_SWAPCACHE) !== 0) {
    // A dirty one must stay in the cache, so that whoever wants it is told (me_swapcache_dirty).
    if ((f & PG_DIRTY) === 0) k.fn.deleteFromSwapCache(k, pfn);
  } else if ((f & (PG_ANON | PG_SWAPBACKED)) === 0 && mapping[pfn] !== null) k.fn.deleteFromPageCache(k, pfn);
  return 0;
}

/** delete_from_lru_cache. */
function takeOffList(k: Kernel, pfn: number): boolean {
  if (!isolateForMigration(k, pfn)) return false;
  k.pages.flags[pfn] = k.pages.flags[pfn]! & ~(PG_ACTIVE | PG_UNEVICTABLE);
  k.fn.putPage(k, pfn);
  return true;
}

/** soft_offline_page of a frame that the caller refers to. 0 (also when it is broken already) or -EBUSY. */
export function* softOfflinePage(k: Kernel, pfn: number): KernelPath<number> {
  const { flags } = k.pages;
  notePage(k, pfn);
  if ((flags[pfn]! & PG_HWPOISON) !== 0) {
    k.fn.putPage(k, pfn);
    return 0;
  }
  if ((flags[pfn]! & PG_RESERVED) !== 0) {
    k.fn.putPage(k, pfn);
    return -EBUSY;
  }
  if (isCompound(k.pages, pfn) && !(yield* trySplit(k, pfn))) return -EBUSY;
  const head = compoundHead(k.pages, pfn);
  if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
  const invalidated = invalidateInodePage(k, pfn);
  unlockPage(k, head);
  if (invalidated) {
    handlePoison(k, pfn);
    return 0;
  }
  const isolated = isolateForMigration(k, head);
  // The isolation has a reference of its own.
  k.fn.putPage(k, pfn);
  if (!isolated) return -EBUSY;
  const list = [head];
  const failed = yield* k.fn.migratePages(
    k,
    list,
    targetNear(pageToNid(k, pfn)),
    null,
    MIGRATE_SYNC,
    MR_MEMORY_FAILURE,
  );
  if (failed !== 0) {
    putbackMovablePages(k, list);
    return failed > 0 ? -EBUSY : failed;
  }
  handlePoison(k, pfn);
  return 0;
}

/** invalidate_inode_page: a clean page of a file that nobody maps leaves the cache. Page lock held. */
function invalidateInodePage(k: Kernel, pfn: number): boolean {
  const { flags, mapping, refcount } = k.pages;
  if ((flags[pfn]! & (PG_ANON | PG_SWAPCACHE | PG_DIRTY | PG_SWAPBACKED)) !== 0 || mapping[pfn] === null) return false;
  if (isMapped(k.pages, pfn) || refcount[pfn] !== 2) return false;
  k.fn.deleteFromPageCache(k, pfn);
  return true;
}

/** page_handle_poison: the last reference goes, and the frame is kept. */
function handlePoison(k: Kernel, pfn: number): void {
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_HWPOISON;
  k.fn.putPage(k, pfn);
  k.pages.refcount[pfn] = k.pages.refcount[pfn]! + 1;
}

const onePage = new Int32Array(1);

/** madvise_inject_error (MADV_HWPOISON, MADV_SOFT_OFFLINE) over [start, end): page by page, each faulted in first. -EPERM, -EFAULT,
 *  -EBUSY, -EHWPOISON. */
export function* madviseInjectError(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  advice: number,
): KernelPath<number> {
  if (!mm.limits.capSysAdmin) return -EPERM;
  for (let at = start; at < end; ) {
    const got = yield* k.fn.getUserPagesFast(k, mm, at, 1, 0, onePage);
    if (got !== 1) return got;
    const pfn = onePage[0]!;
    const usedAt = k.profile.hwpoisonInjectKills ? at : -1;
    at += 4096 * (1 << k.pages.order[compoundHead(k.pages, pfn)]!);
    const result =
      advice === MADV_SOFT_OFFLINE ? yield* k.fn.softOfflinePage(k, pfn) : yield* k.fn.memoryFailure(k, pfn, usedAt);
    if (result < 0) return result;
  }
  return 0;
}
