// Cutting a file short and punching holes (mm/truncate.c, mm/memory.c unmap_mapping_range, mm/shmem.c).
//
// A fault that found its page before the size changed may map it after the first round of unmapping; the page is removed under
// its lock, so a second round finds every such entry:
//
//   fault: finds page, size is fine
//                                              truncate: size = 0; unmaps (nothing there yet)
//   locks page, maps it, unlocks
//                                              locks page, removes it from the cache; unmaps again: the entry goes
//
// Zapping is done VMA by VMA in file-offset order, each one complete with its flush and frees. i_mmap lock held for read.
// invalidateLock is held for write throughout, so that no page comes into the cache meanwhile.

import { EINVAL } from '../../abi/errno.ts';
import { SITE_TRUNCATE } from '../../abi/notifier.ts';
import type { KernelPath } from '../../sched/path.ts';
import { hugetlbEvictInode, hugetlbPunchHole, hugetlbTruncate } from '../hugetlb/file.ts';
import type { Kernel } from '../kernel.ts';
import { isMapped } from '../migrate/folio.ts';
import { putPages } from '../page/allocator.ts';
import { compoundHead, compoundNr } from '../page/compound.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { intervalNext } from '../rmap/interval.ts';
import { getPage } from '../rmap/rmap.ts';
import type { AddressSpace, Inode } from '../types.ts';
import { eraseOnDisk, shiftOnDisk } from './contents.ts';
import { getPageLocked, isCachedAt, isShmem, noteFile, setPageDirty } from './page-cache.ts';

/** unmap_mapping_pages over page indices [first, last]. */
function* unmapMappingPages(
  k: Kernel,
  mapping: AddressSpace,
  first: number,
  last: number,
  evenCows: boolean,
): KernelPath<void> {
  if (mapping.iMmap.length === 0) return;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  for (
    let i = intervalNext(mapping.iMmap, 0, first, last);
    i >= 0;
    i = intervalNext(mapping.iMmap, i + 1, first, last)
  ) {
    const vma = mapping.iMmap[i]!;
    const from = vma.start + Math.max(0, first - vma.pgoff) * 4096;
    const to = Math.min(vma.end, vma.start + (last - vma.pgoff + 1) * 4096);
    yield* k.fn.zapPageRangeSingle(k, vma, from, to, evenCows, SITE_TRUNCATE);
  }
  lock.readUnlock();
}

export function unmapMappingRange(
  k: Kernel,
  mapping: AddressSpace,
  start: number,
  end: number,
  evenCows: boolean,
): KernelPath<void> {
  return unmapMappingPages(k, mapping, Math.floor(start / 4096), Math.ceil(end / 4096) - 1, evenCows);
}

/** Indices of the mapping's pages (cached or swapped out) within [first, last], ascending. */
export function indicesIn(pages: ReadonlyMap<number, number>, first: number, last: number): number[] {
  const out: number[] = [];
  if (last - first < pages.size) {
    for (let i = first; i <= last; i++) if (pages.has(i)) out.push(i);
    return out;
  }
  for (const i of pages.keys()) if (i >= first && i <= last) out.push(i);
  return out.sort((a, b) => a - b);
}

/** truncate_inode_pages_range, shmem_undo_range: whole pages inside [start, end) leave the cache, then parts of pages become zeros. A
 *  huge page of which only a part goes is split, and its small pages inside are then removed. */
function* truncatePages(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  const first = Math.ceil(start / 4096);
  const last = Math.floor(end / 4096) - 1;
  noteFile(k, mapping, false);
  yield* removePages(k, mapping, first, last);
  if (mapping.hugePages > 0) yield* truncateHugeParts(k, mapping, start, end);
  else {
    const head = Math.floor(start / 4096);
    const tail = Math.ceil(end / 4096) - 1;
    const isHeadCut = head < first;
    if (isHeadCut) yield* truncatePart(k, mapping, head, start, end);
    if (tail > last && !(isHeadCut && tail === head)) yield* truncatePart(k, mapping, tail, start, end);
  }
  for (const index of mapping.shadows.keys()) if (index >= first && index <= last) mapping.shadows.delete(index);
  noteFile(k, mapping, mapping.swapped.size > 0);
  for (const index of indicesIn(mapping.swapped, first, last)) {
    k.fn.freeSwapAndCache(k, mapping.swapped.get(index)!);
    mapping.swapped.delete(index);
  }
}

/** Pages that lie whole in [first, last] leave the cache. */
function* removePages(k: Kernel, mapping: AddressSpace, first: number, last: number): KernelPath<void> {
  const batch: number[] = [];
  for (const index of indicesIn(mapping.pages, first, last)) {
    if (mapping.hugePages > 0 && isCutHuge(k, mapping, index, first, last)) continue;
    const pfn = yield* removeFromCache(k, mapping, index);
    if (pfn !== 0 && batch.push(pfn) === k.profile.folioBatch) releaseBatch(k, batch);
  }
  releaseBatch(k, batch);
}

/** Does page `index` belong to a huge one that does not lie whole in [first, last]? */
function isCutHuge(k: Kernel, mapping: AddressSpace, index: number, first: number, last: number): boolean {
  const page = mapping.pages.get(index);
  if (page === undefined) return false;
  const head = compoundHead(k.pages, page);
  const from = k.pages.index[head]!;
  return from < first || from + compoundNr(k.pages, head) - 1 > last;
}

/** The pages at both ends of the range: small ones as ever. Of a huge one the part becomes zeros and the page is split; what then lies
 *  whole in the range is removed, unless the split failed. */
function* truncateHugeParts(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  let first = Math.ceil(start / 4096);
  let last = Math.floor(end / 4096) - 1;
  const head = yield* truncatePart(k, mapping, Math.floor(start / 4096), start, end);
  if (!head.isDone) first = head.end;
  const tail = Math.ceil(end / 4096) - 1;
  if (head.end <= tail && Number.isFinite(tail)) {
    const part = yield* truncatePart(k, mapping, tail, start, end);
    if (!part.isDone) last = part.index - 1;
  } else if (!head.isDone) last = head.index - 1;
  yield* removePages(k, mapping, first, last);
}

/** What truncatePart met: the page's indices [index, end), and whether nothing of it is left to be removed or kept whole. */
interface Part {
  index: number;
  end: number;
  isDone: boolean;
}

/** folio_batch_release: a batch loses its references. */
function releaseBatch(k: Kernel, batch: number[]): void {
  putPages(k, batch);
  batch.length = 0;
}

/** truncate_inode_folio: the page, with a reference for the caller, or 0 when it has left the cache already. */
function* removeFromCache(k: Kernel, mapping: AddressSpace, index: number): KernelPath<number> {
  noteFile(k, mapping, false);
  const pfn = mapping.pages.get(index);
  if (pfn === undefined) return 0;
  getPage(k, pfn);
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if (isCachedAt(k, mapping, index, pfn)) {
    const head = compoundHead(k.pages, pfn);
    const from = k.pages.index[head]!;
    // unmap_mapping_folio: somebody mapped it after the round of unmapping.
    if (isMapped(k.pages, head))
      yield* unmapMappingPages(k, mapping, from, from + compoundNr(k.pages, head) - 1, false);
    k.fn.deleteFromPageCache(k, head);
  }
  unlockPage(k, pfn);
  return pfn;
}

/** truncate_inode_partial_folio: the part of page `index` inside [start, end) becomes zeros; a huge page is split. */
function* truncatePart(k: Kernel, mapping: AddressSpace, index: number, start: number, end: number): KernelPath<Part> {
  noteFile(k, mapping, false);
  const part: Part = { index, end: index + 1, isDone: true };
  const pfn = mapping.pages.get(index);
  if (pfn === undefined) return part;
  getPage(k, pfn);
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if (isCachedAt(k, mapping, index, pfn)) {
    const head = compoundHead(k.pages, pfn);
    const nr = compoundNr(k.pages, head);
    part.index = k.pages.index[head]!;
    part.end = part.index + nr;
    for (let i = 0; i < nr; i++) {
      const from = (part.index + i) * 4096;
      if (start < from + 4096 && end > from) zeroPart(k, head + i, start - from, end - from);
    }
    if (cutsBlock(mapping, index, start, end)) setPageDirty(k, head);
    if (nr > 1) part.isDone = (yield* k.fn.splitHugePage(k, pfn, null)) === 0;
  }
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
  return part;
}

/** Does [start, end) cut a block of the page: is there anything to write? Blocks that it covers are given back as they are. */
function cutsBlock(mapping: AddressSpace, index: number, start: number, end: number): boolean {
  if (isShmem(mapping)) return true;
  const { blockSize } = mapping.inode;
  const from = index * 4096;
  return (start > from && start % blockSize !== 0) || (end < from + 4096 && end % blockSize !== 0);
}

function zeroPart(k: Kernel, pfn: number, from: number, to: number): void {
  k.memory.touch(pfn, true);
  k.memory.bytes.fill(0, pfn * 4096 + Math.max(0, from), pfn * 4096 + Math.min(4096, to));
}

/** A page of shared memory that is cut in part must be in memory for it (shmem_get_partial_folio). 0 or -errno. */
function* bringInPart(k: Kernel, mapping: AddressSpace, offset: number): KernelPath<void> {
  const index = Math.floor(offset / 4096);
  if (offset % 4096 === 0 || !mapping.swapped.has(index)) return;
  const pfn = yield* getPageLocked(k, mapping, index);
  if (pfn > 0) k.fn.putPage(k, pfn);
}

/** filemap_invalidate_lock around `body`. */
function* invalidating(k: Kernel, mapping: AddressSpace, body: KernelPath<void>): KernelPath<number> {
  const lock = mapping.invalidateLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  yield* body;
  lock.writeUnlock();
  return 0;
}

export function truncate(k: Kernel, inode: Inode, size: number): KernelPath<number> {
  if (inode.kind === 'hugetlbfs') return hugetlbTruncate(k, inode, size);
  return invalidating(k, inode.mapping, setSize(k, inode, size));
}

function* setSize(k: Kernel, inode: Inode, size: number): KernelPath<void> {
  const old = inode.size;
  const mapping = inode.mapping;
  const shmem = isShmem(mapping);
  noteFile(k, mapping, true);
  if (shmem && size >= old) {
    inode.size = size;
    return;
  }
  if (shmem) yield* bringInPart(k, mapping, size);
  noteFile(k, mapping, true);
  inode.size = size;
  if (size > old) yield* pagecacheIsizeExtended(k, inode, old, size);
  const hole = Math.ceil(size / 4096) * 4096;
  // Shared memory looks first whether a whole page goes; ext4 does both rounds always, also for a file that grows or stays.
  const rounds = !shmem || old > hole;
  if (rounds) yield* k.fn.unmapMappingRange(k, mapping, hole, Number.POSITIVE_INFINITY, true);
  yield* truncatePages(k, mapping, size, Number.POSITIVE_INFINITY);
  if (!shmem) eraseOnDisk(mapping, size, Number.POSITIVE_INFINITY);
  if (rounds) yield* k.fn.unmapMappingRange(k, mapping, hole, Number.POSITIVE_INFINITY, true);
}

/** pagecache_isize_extended: the file grew from the middle of a page, beyond the block that `from` is in. That page's entries are
 *  made read-only, so that a store to the new blocks is heard of. */
function* pagecacheIsizeExtended(k: Kernel, inode: Inode, from: number, to: number): KernelPath<void> {
  const { mapping, blockSize } = inode;
  const rounded = Math.ceil(from / blockSize) * blockSize;
  if (blockSize === 4096 || to <= rounded || rounded % 4096 === 0) return;
  const index = Math.floor(from / 4096);
  const pfn = k.fn.findGetPage(k, mapping, index);
  if (pfn === 0) return;
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if (isCachedAt(k, mapping, index, pfn) && (yield* k.fn.pageMkclean(k, pfn)) > 0) setPageDirty(k, pfn);
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
}

/** ext4_collapse_range (`isInsert`: ext4_insert_range) of [start, end): the rest of the file moves down (up). What moves is written
 *  back first, then everything from `start` on leaves the cache as in a truncation. 0 or -EINVAL. */
export function* shiftRange(
  k: Kernel,
  inode: Inode,
  start: number,
  end: number,
  isInsert: boolean,
): KernelPath<number> {
  const { mapping, blockSize } = inode;
  if (start % blockSize !== 0 || end % blockSize !== 0) return -EINVAL;
  if (isInsert ? start >= inode.size : end >= inode.size) return -EINVAL;
  return yield* invalidating(k, mapping, shiftPages(k, inode, start, end, isInsert));
}

function* shiftPages(k: Kernel, inode: Inode, start: number, end: number, isInsert: boolean): KernelPath<void> {
  const { mapping } = inode;
  const from = Math.floor(start / 4096) * 4096;
  if (isInsert) yield* k.fn.filemapWriteAndWaitRange(k, mapping, from, Number.POSITIVE_INFINITY);
  else {
    // The page that `start` lies in goes out too, whole or in part.
    yield* k.fn.filemapWriteAndWaitRange(k, mapping, from, start + 1);
    yield* k.fn.filemapWriteAndWaitRange(k, mapping, end, Number.POSITIVE_INFINITY);
  }
  // truncate_pagecache.
  yield* k.fn.unmapMappingRange(k, mapping, from, Number.POSITIVE_INFINITY, true);
  yield* truncatePages(k, mapping, from, Number.POSITIVE_INFINITY);
  yield* k.fn.unmapMappingRange(k, mapping, from, Number.POSITIVE_INFINITY, true);
  noteFile(k, mapping, true);
  const old = inode.size;
  if (isInsert) inode.size = old + (end - start);
  shiftOnDisk(mapping, start, end, old, isInsert);
  if (!isInsert) inode.size = old - (end - start);
}

export function* punchHole(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number> {
  const mapping = inode.mapping;
  if (inode.kind === 'hugetlbfs') return yield* hugetlbPunchHole(k, inode, start, end);
  if (isShmem(mapping)) return yield* invalidating(k, mapping, punchShmem(k, mapping, start, end));
  if (k.profile.punchCleansParts) return yield* punchBlocks(k, inode, start, end);
  // ext4_punch_hole: the range is written back first, which cleans its shared mappings; nothing is punched beyond the end of
  // the file, or beyond the page that contains it.
  yield* k.fn.filemapWriteAndWaitRange(k, mapping, start, end);
  noteFile(k, mapping, false);
  if (start >= inode.size) return 0;
  const stop = end > inode.size ? Math.floor(inode.size / 4096) * 4096 + 4096 : end;
  return yield* invalidating(k, mapping, eraseRange(k, mapping, start, stop));
}

/** ext4_punch_hole as reworked, with ext4_truncate_page_cache_block_range. */
function* punchBlocks(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number> {
  const { mapping } = inode;
  noteFile(k, mapping, false);
  if (start >= inode.size) return 0;
  const stop = end >= inode.size ? Math.ceil(inode.size / 4096) * 4096 : end;
  return yield* invalidating(k, mapping, cleanAndErase(k, inode, start, stop));
}

function* cleanAndErase(k: Kernel, inode: Inode, start: number, end: number): KernelPath<void> {
  const from = Math.ceil(start / inode.blockSize) * inode.blockSize;
  const to = Math.floor(end / inode.blockSize) * inode.blockSize;
  if (from < to && (from % 4096 !== 0 || to % 4096 !== 0)) {
    const boundary = Math.ceil(from / 4096) * 4096;
    yield* cleanPart(k, inode.mapping, from, Math.min(boundary, to));
    if (to > boundary) yield* cleanPart(k, inode.mapping, Math.floor(to / 4096) * 4096, to);
  }
  yield* eraseRange(k, inode.mapping, start, end);
}

/** ext4_truncate_folio: the page of `start` loses its writable mappings; its contents stay to be written. */
function* cleanPart(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  noteFile(k, mapping, false);
  const pfn = start < end ? mapping.pages.get(Math.floor(start / 4096)) : undefined;
  if (pfn === undefined) return;
  getPage(k, pfn);
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if ((yield* k.fn.pageMkclean(k, pfn)) > 0) setPageDirty(k, pfn);
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
}

export function zeroRange(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number> {
  return invalidating(k, inode.mapping, eraseRange(k, inode.mapping, start, end));
}

function* punchShmem(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  yield* bringInPart(k, mapping, start);
  yield* bringInPart(k, mapping, end);
  yield* truncatePagecacheRange(k, mapping, start, end);
}

function* eraseRange(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  yield* truncatePagecacheRange(k, mapping, start, end);
  eraseOnDisk(mapping, start, end);
}

/** Whole pages inside [start, end) are unmapped and leave the cache, parts of pages become zeros. Private copies stay. */
function* truncatePagecacheRange(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  const first = Math.ceil(start / 4096) * 4096;
  const last = Math.floor(end / 4096) * 4096;
  if (last > first) yield* k.fn.unmapMappingRange(k, mapping, first, last, false);
  yield* truncatePages(k, mapping, start, end);
}

export function* evictInode(k: Kernel, inode: Inode): KernelPath<void> {
  if (inode.kind === 'hugetlbfs') {
    yield* hugetlbEvictInode(k, inode);
    return;
  }
  yield* truncatePages(k, inode.mapping, 0, Number.POSITIVE_INFINITY);
  inode.mapping.disk.clear();
  k.inodes.delete(inode.id);
}
