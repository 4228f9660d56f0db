// Splitting a huge page into 512 small ones (mm/huge_memory.c split_huge_page_to_list). For a moment nobody maps it: anonymous
// memory leaves migration entries, whose faults wait for the page lock; pages of files are simply unmapped and faulted in again. When
// the count then shows no reference but the caller's (and the caches'), the block is taken apart and the entries come back.
//
// Call with the page locked and one reference of one's own; both then belong to the small page that was named. The others are
// unlocked, and freed if nobody maps them.
//
// Locks: page lock; anon_vma lock for write (i_mmap for read) during the unmapping. Kernel names: can_split_folio, unmap_folio,
// __split_huge_page, __split_huge_page_tail, remap_page, lru_add_page_tail, deferred_split_scan.

import { EAGAIN, EBUSY } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import { filePages, noteFile } from '../file/page-cache.ts';
import { hugePageGone } from '../file/shmem-huge.ts';
import type { Kernel } from '../kernel.ts';
import { clearCompound, compoundHead, compoundNr, totalMapcount } from '../page/compound.ts';
import { tryLockPage, unlockPage, unlockTail } from '../page/page-lock.ts';
import {
  PG_ACTIVE,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_HWPOISON,
  PG_LOCKED,
  PG_LRU,
  PG_MLOCKED,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_UPTODATE,
  PG_WORKINGSET,
  PG_WRITEBACK,
} from '../page/pages.ts';
import { getPage, notePage } from '../rmap/rmap.ts';
import { TTU_IGNORE_MLOCK, TTU_RMAP_LOCKED, TTU_SPLIT_HUGE_PMD, TTU_SYNC } from '../rmap/unmap.ts';
import { freeSwapCache } from '../swap/swap-cache.ts';
import type { AddressSpace, AnonVma } from '../types.ts';
import { isHugeZero } from './zero-page.ts';

/** What a tail takes over from its head. */
const INHERITED =
  PG_LOCKED |
  PG_REFERENCED |
  PG_UPTODATE |
  PG_DIRTY |
  PG_ACTIVE |
  PG_WORKINGSET |
  PG_UNEVICTABLE |
  PG_MLOCKED |
  PG_SWAPBACKED |
  PG_SWAPCACHE |
  PG_ANON;

/** References of the caches: one for each small page. */
function cacheReferences(k: Kernel, head: number): number {
  const f = k.pages.flags[head]!;
  return (f & (PG_ANON | PG_SWAPCACHE)) === PG_ANON ? 0 : compoundNr(k.pages, head);
}

/** can_split_folio: nobody but the entries, the caches and the caller refers to the page. */
export function canSplitFolio(k: Kernel, head: number): boolean {
  notePage(k, head);
  return totalMapcount(k.pages, head) === k.pages.refcount[head]! - cacheReferences(k, head) - 1;
}

/** `page`: any frame of the block. The tails go to `list` when there is one (their isolation's reference with them), else next to the
 *  head on its LRU list. 0, -EBUSY or -EAGAIN (somebody refers to the page; it is whole and mapped as before, but by small entries). */
export function* splitHugePage(k: Kernel, page: number, list: number[] | null): KernelPath<number> {
  const { flags, mapping, refcount } = k.pages;
  const head = compoundHead(k.pages, page);
  if (isHugeZero(k, head) || (flags[head]! & PG_WRITEBACK) !== 0 || mapping[head] === null) return -EBUSY;
  const isAnon = (flags[head]! & PG_ANON) !== 0;
  const lock = isAnon ? (mapping[head] as AnonVma).root.lock : (mapping[head] as AddressSpace).iMmapRwsem;
  if (isAnon) {
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  } else if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let result = -EAGAIN;
  if (canSplitFolio(k, head)) {
    if (isAnon) yield* k.fn.tryToMigrate(k, head, TTU_RMAP_LOCKED | TTU_SPLIT_HUGE_PMD | TTU_SYNC);
    else yield* k.fn.tryToUnmap(k, head, TTU_RMAP_LOCKED | TTU_SPLIT_HUGE_PMD | TTU_SYNC | TTU_IGNORE_MLOCK);
    if (refcount[head] === 1 + cacheReferences(k, head)) {
      const nr = compoundNr(k.pages, head);
      takeApart(k, head, nr, list);
      const toZero = k.profile.splitMapsZeroPage;
      if (isAnon) for (let i = 0; i < nr; i++) yield* k.fn.removeMigrationPtes(k, head + i, head + i, true, toZero);
      if (isAnon) lock.writeUnlock();
      else lock.readUnlock();
      releaseOthers(k, head, nr, page);
      return 0;
    }
    if (isAnon) yield* k.fn.removeMigrationPtes(k, head, head, true);
  } else result = -EAGAIN;
  if (isAnon) lock.writeUnlock();
  else lock.readUnlock();
  return result;
}

/** __split_huge_page: the counts are the caller's and the caches'. */
function takeApart(k: Kernel, head: number, nr: number, list: number[] | null): void {
  const pages = k.pages;
  const { flags, refcount } = pages;
  k.huge.splitQueue.delete(head);
  let end = Number.POSITIVE_INFINITY;
  if ((flags[head]! & PG_ANON) === 0) {
    const mapping = pages.mapping[head] as AddressSpace;
    noteFile(k, mapping, true);
    hugePageGone(k, mapping);
    end = filePages(mapping);
  }
  const cached = (flags[head]! & (PG_ANON | PG_SWAPCACHE)) === PG_ANON ? 0 : 1;
  const onLru = (flags[head]! & PG_LRU) !== 0;
  clearCompound(pages, head);
  for (let i = nr - 1; i >= 1; i--) {
    const tail = head + i;
    notePage(k, tail);
    flags[tail] = (flags[tail]! & (PG_ANON_EXCLUSIVE | PG_HWPOISON)) | (flags[head]! & INHERITED);
    pages.mapping[tail] = pages.mapping[head]!;
    pages.index[tail] = pages.index[head]! + i;
    pages.purpose[tail] = pages.purpose[head]!;
    refcount[tail] = 1 + cached;
    if (pages.index[tail]! >= end) {
      // Of a file: the part beyond its end leaves the cache.
      (pages.mapping[head] as AddressSpace).pages.delete(pages.index[tail]!);
      pages.mapping[tail] = null;
      flags[tail] = flags[tail]! & ~PG_DIRTY;
      refcount[tail]!--;
    }
    if (list !== null) {
      refcount[tail]!++;
      list.push(tail);
    } else if (onLru) k.reclaim.addBefore(tail, head);
  }
  refcount[head] = 1 + cached;
}

/** Everything but `page` is unlocked and loses the reference of the split. */
function releaseOthers(k: Kernel, head: number, nr: number, page: number): void {
  for (let i = 0; i < nr; i++) {
    const sub = head + i;
    if (sub === page) continue;
    if (sub === head) unlockPage(k, sub);
    else unlockTail(k, sub);
    freeSwapCache(k, sub);
    k.fn.putPage(k, sub);
  }
}

/** deferred_split_scan: splits up to `want` pages of which a part is unmapped. Number of pages split. */
export function* deferredSplitScan(k: Kernel, want: number): KernelPath<number> {
  let split = 0;
  for (const head of [...k.huge.splitQueue].slice(0, want)) {
    if (!k.huge.splitQueue.has(head) || k.pages.refcount[head] === 0) continue;
    getPage(k, head);
    if (tryLockPage(k, head)) {
      if ((yield* k.fn.splitHugePage(k, head, null)) === 0) split++;
      else k.huge.splitQueue.delete(head);
      unlockPage(k, head);
    }
    k.fn.putPage(k, head);
  }
  return split;
}
