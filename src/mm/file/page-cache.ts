// The page cache of one inode (mm/filemap.c) and shared memory (mm/shmem.c): page index -> frame, with one reference for the
// cache. A huge page (shmem-huge.ts) stands at each of its 512 indices with the frame that belongs there. A page is put in locked,
// filled, then unlocked; who finds it waits for the lock. Shared memory has no disk: a page
// that is missing is new and zero, or in the swap area.
//
// invalidateLock keeps a page that was read, or is being read, from coming into the cache behind a truncation or a hole punch:
//
//   fault: no page in the cache
//                                              punch: removes the pages of the hole from the cache
//   reads the old contents from the disk
//                                              punch: erases them on the disk
//   maps a page of the hole with its old contents
//
// In Linux shared memory has its own means for this (shmem_falloc, the check of i_size after insertion); here the lock serves both.

import { EFAULT, ENOMEM } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_IO } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { allocFilePage, allocFilePageSlow } from '../numa/alloc.ts';
import { announceDirty } from '../page/announce.ts';
import { compoundHead } from '../page/compound.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_DIRTY, PG_REFERENCED, PG_SWAPBACKED, PG_SWAPCACHE, PG_UPTODATE } from '../page/pages.ts';
import { commitCharge } from '../reclaim/mem-cgroup.ts';
import { workingsetRefault } from '../reclaim/workingset.ts';
import { getPage } from '../rmap/rmap.ts';
import { lookupSwapCache } from '../swap/readahead.ts';
import type { AddressSpace, VmArea } from '../types.ts';
import { readFromDisk } from './contents.ts';
import { filePages, isCachedAt, isShmem, isUptodate, noteFile } from './mapping.ts';
import { completeReads } from './reads.ts';
import { makeHugePage, mayBeHuge, removeHugeIndices } from './shmem-huge.ts';

export { filePages, isCachedAt, isShmem, isUptodate, noteFile };

export function findGetPage(k: Kernel, mapping: AddressSpace, index: number): number {
  noteFile(k, mapping, false);
  const pfn = mapping.pages.get(index);
  if (pfn === undefined) return 0;
  getPage(k, pfn);
  return pfn;
}

/** set_page_dirty. */
export function setPageDirty(k: Kernel, page: number): void {
  const pfn = compoundHead(k.pages, page);
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_DIRTY;
  announceDirty(k, pfn);
  // Who marks a part of a large page marks the whole, and expects the part to be marked.
  if (page !== pfn) announceDirty(k, page);
}

/** filemap_add_folio: a new, locked page. */
export function addToPageCache(k: Kernel, mapping: AddressSpace, index: number, pfn: number): void {
  const pages = k.pages;
  noteFile(k, mapping, true);
  tryLockPage(k, pfn);
  getPage(k, pfn);
  pages.mapping[pfn] = mapping;
  pages.index[pfn] = index;
  mapping.pages.set(index, pfn);
  const { activeGroup, groups } = k.reclaim;
  if (activeGroup !== 0) {
    commitCharge(k, groups[activeGroup]!, pfn);
    // NR_FILE_PAGES.
    k.reclaim.stats.updated(1);
  }
  const shadow = mapping.shadows.get(index);
  if (shadow === undefined) return;
  mapping.shadows.delete(index);
  workingsetRefault(k, pfn, shadow);
}

export function* filemapGetPage(
  k: Kernel,
  mapping: AddressSpace,
  index: number,
  vma: VmArea | null = null,
): KernelPath<number> {
  noteFile(k, mapping, false);
  const cached = mapping.pages.get(index);
  if (cached !== undefined && isUptodate(k, cached) && index < filePages(mapping)) {
    getPage(k, cached);
    return cached;
  }
  const lock = mapping.invalidateLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const pfn = yield* getPageLocked(k, mapping, index, vma);
  lock.readUnlock();
  return pfn;
}

/** The same with invalidateLock held (filemap_create_folio). */
export function* getPageLocked(
  k: Kernel,
  mapping: AddressSpace,
  index: number,
  vma: VmArea | null = null,
): KernelPath<number> {
  for (;;) {
    noteFile(k, mapping, false);
    if (index >= filePages(mapping)) return -EFAULT;
    const pfn = findGetPage(k, mapping, index);
    if (pfn !== 0) {
      if (k.readsInFlight.length > 0) completeReads(k);
      if (isUptodate(k, pfn)) return pfn;
      // Being read by somebody else: the lock is dropped when it is up to date, or gone.
      yield* lockPage(k, pfn);
      const ok = isCachedAt(k, mapping, index, pfn) && isUptodate(k, pfn);
      unlockPage(k, pfn);
      if (ok) return pfn;
      k.fn.putPage(k, pfn);
      continue;
    }
    const entry = mapping.swapped.get(index);
    if (entry !== undefined) {
      const swappedIn = yield* shmemSwapin(k, mapping, index, entry);
      if (swappedIn !== 0) return swappedIn;
      continue;
    }
    if (mayBeHuge(k, mapping, index, vma)) {
      const huge = yield* makeHugePage(k, mapping, index, vma);
      if (huge !== 0) return huge;
    }
    const made = yield* readPage(k, mapping, index);
    if (made !== 0) return made;
  }
}

/** Reads or makes a page that is not in the cache. Frame (referenced), 0 when somebody was faster, or -ENOMEM. */
function* readPage(k: Kernel, mapping: AddressSpace, index: number): KernelPath<number> {
  let pfn = allocFilePage(k, mapping, index);
  if (pfn === 0) pfn = yield* allocFilePageSlow(k, mapping, index);
  if (pfn === 0) return -ENOMEM;
  noteFile(k, mapping, false);
  if (mapping.pages.has(index) || mapping.swapped.has(index)) {
    k.fn.putPage(k, pfn);
    return 0;
  }
  const shmem = isShmem(mapping);
  if (shmem) {
    k.memory.zero(pfn);
    k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_SWAPBACKED | PG_UPTODATE;
  }
  addToPageCache(k, mapping, index, pfn);
  k.fn.lruAdd(k, pfn);
  if (!shmem) {
    if (k.sched.points) yield P_IO;
    readFromDisk(k.memory, mapping, index, pfn);
    k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_UPTODATE;
    k.stats.fileReads++;
  }
  const cut = !isCachedAt(k, mapping, index, pfn);
  unlockPage(k, pfn);
  if (!cut) return pfn;
  k.fn.putPage(k, pfn);
  return 0;
}

/** shmem_swapin_folio: the page goes from the swap cache back into the page cache. Frame, 0 to look again, or -ENOMEM. */
function* shmemSwapin(k: Kernel, mapping: AddressSpace, index: number, entry: number): KernelPath<number> {
  const cached = lookupSwapCache(k, entry, null, 0);
  const pfn = cached !== 0 ? cached : yield* k.fn.swapinReadahead(k, entry, null, 0);
  noteFile(k, mapping, false);
  if (pfn === 0) return mapping.swapped.get(index) === entry ? -ENOMEM : 0;
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  const pages = k.pages;
  noteFile(k, mapping, false);
  if (
    mapping.swapped.get(index) !== entry ||
    (pages.flags[pfn]! & PG_SWAPCACHE) === 0 ||
    pages.private[pfn] !== entry
  ) {
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return 0;
  }
  noteFile(k, mapping, true);
  mapping.swapped.delete(index);
  k.fn.deleteFromSwapCache(k, pfn);
  k.fn.swapFree(k, entry);
  getPage(k, pfn);
  pages.mapping[pfn] = mapping;
  pages.index[pfn] = index;
  pages.flags[pfn] = (pages.flags[pfn]! & ~PG_ANON) | PG_SWAPBACKED | PG_DIRTY;
  mapping.pages.set(index, pfn);
  unlockPage(k, pfn);
  return pfn;
}

/** `pfn`: a head. */
export function deleteFromPageCache(k: Kernel, pfn: number, shadow = 0): void {
  const mapping = k.pages.mapping[pfn] as AddressSpace;
  noteFile(k, mapping, true);
  if (k.pages.order[pfn] !== 0) removeHugeIndices(k, mapping, pfn);
  else mapping.pages.delete(k.pages.index[pfn]!);
  if (shadow !== 0) mapping.shadows.set(k.pages.index[pfn]!, shadow);
  k.pages.mapping[pfn] = null;
  k.pages.flags[pfn] = k.pages.flags[pfn]! & ~(PG_DIRTY | PG_REFERENCED);
  k.fn.putPage(k, pfn);
}
