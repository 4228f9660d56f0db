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

import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { intervalNext } from '../rmap/interval.ts';
import { getPage } from '../rmap/rmap.ts';
import type { AddressSpace, Inode } from '../types.ts';
import { eraseOnDisk } from './contents.ts';
import { getPageLocked, isCachedAt, isShmem, noteFile, setPageDirty } from './page-cache.ts';

/** Pages of a folio_batch. */
const PAGEVEC_SIZE = 15;

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
    yield* k.fn.zapPageRangeSingle(k, vma, from, to, evenCows);
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

/** truncate_inode_pages_range, shmem_undo_range: whole pages inside [start, end) leave the cache, then parts of pages become zeros. */
function* truncatePages(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  const first = Math.ceil(start / 4096);
  const last = Math.floor(end / 4096) - 1;
  noteFile(k, mapping, false);
  const batch: number[] = [];
  for (const index of indicesIn(mapping.pages, first, last)) {
    const pfn = yield* removeFromCache(k, mapping, index);
    if (pfn !== 0 && batch.push(pfn) === PAGEVEC_SIZE) releaseBatch(k, batch);
  }
  releaseBatch(k, batch);
  const head = Math.floor(start / 4096);
  const tail = Math.ceil(end / 4096) - 1;
  if (head < first) yield* truncatePart(k, mapping, head, start, end);
  if (tail > last && tail !== head) yield* truncatePart(k, mapping, tail, start, end);
  noteFile(k, mapping, mapping.swapped.size > 0);
  for (const index of indicesIn(mapping.swapped, first, last)) {
    k.fn.freeSwapAndCache(k, mapping.swapped.get(index)!);
    mapping.swapped.delete(index);
  }
}

/** folio_batch_release: a batch loses its references backwards (release_pages collects at the head of a list). */
function releaseBatch(k: Kernel, batch: number[]): void {
  for (let i = batch.length - 1; i >= 0; i--) k.fn.putPage(k, batch[i]!);
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
    // unmap_mapping_folio: somebody mapped it after the round of unmapping.
    if (k.pages.mapcount[pfn]! > 0) yield* unmapMappingPages(k, mapping, index, index, false);
    k.fn.deleteFromPageCache(k, pfn);
  }
  unlockPage(k, pfn);
  return pfn;
}

/** truncate_inode_partial_folio: the part of page `index` inside [start, end) becomes zeros. */
function* truncatePart(k: Kernel, mapping: AddressSpace, index: number, start: number, end: number): KernelPath<void> {
  noteFile(k, mapping, false);
  const pfn = mapping.pages.get(index);
  if (pfn === undefined) return;
  getPage(k, pfn);
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if (isCachedAt(k, mapping, index, pfn)) {
    zeroPart(k, pfn, start - index * 4096, end - index * 4096);
    setPageDirty(k, pfn);
  }
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
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
  const hole = Math.ceil(size / 4096) * 4096;
  // Shared memory looks first whether a whole page goes; ext4 does both rounds always, also for a file that grows or stays.
  const rounds = !shmem || old > hole;
  if (rounds) yield* k.fn.unmapMappingRange(k, mapping, hole, Number.POSITIVE_INFINITY, true);
  yield* truncatePages(k, mapping, size, Number.POSITIVE_INFINITY);
  if (!shmem) eraseOnDisk(mapping, size, Number.POSITIVE_INFINITY);
  if (rounds) yield* k.fn.unmapMappingRange(k, mapping, hole, Number.POSITIVE_INFINITY, true);
}

export function* punchHole(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number> {
  const mapping = inode.mapping;
  if (isShmem(mapping)) return yield* invalidating(k, mapping, punchShmem(k, mapping, start, end));
  // ext4_punch_hole: the range is written back first, which cleans its shared mappings; nothing is punched beyond the end of
  // the file, or beyond the page that contains it.
  yield* k.fn.filemapWriteAndWaitRange(k, mapping, start, end);
  noteFile(k, mapping, false);
  if (start >= inode.size) return 0;
  const stop = end > inode.size ? Math.floor(inode.size / 4096) * 4096 + 4096 : end;
  return yield* invalidating(k, mapping, eraseRange(k, mapping, start, stop));
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
  yield* truncatePages(k, inode.mapping, 0, Number.POSITIVE_INFINITY);
  inode.mapping.disk.clear();
  k.inodes.delete(inode.id);
}
