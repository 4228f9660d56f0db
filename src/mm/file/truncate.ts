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
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { intervalNext } from '../rmap/interval.ts';
import { getPage } from '../rmap/rmap.ts';
import type { AddressSpace, Inode } from '../types.ts';
import { eraseOnDisk } from './contents.ts';
import { getPageLocked, isCachedAt, isShmem, setPageDirty } from './page-cache.ts';

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

/** truncate_inode_pages_range: whole pages inside [start, end) leave the cache, parts of pages become zeros. */
function* truncatePages(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void> {
  const first = Math.ceil(start / 4096);
  const last = Math.floor(end / 4096) - 1;
  for (const index of indicesIn(mapping.pages, Math.floor(start / 4096), Math.ceil(end / 4096) - 1)) {
    const pfn = mapping.pages.get(index);
    if (pfn === undefined) continue;
    getPage(k, pfn);
    if (k.sched.points || !tryLockPage(k, pfn)) yield* lockPage(k, pfn);
    if (isCachedAt(k, mapping, index, pfn)) {
      if (index >= first && index <= last) {
        // unmap_mapping_folio: somebody mapped it after the round of unmapping.
        if (k.pages.mapcount[pfn]! > 0) yield* unmapMappingPages(k, mapping, index, index, false);
        k.fn.deleteFromPageCache(k, pfn);
      } else {
        zeroPart(k, pfn, start - index * 4096, end - index * 4096);
        setPageDirty(k, pfn);
      }
    }
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
  for (const index of indicesIn(mapping.swapped, first, last)) {
    k.fn.freeSwapAndCache(k, mapping.swapped.get(index)!);
    mapping.swapped.delete(index);
  }
}

function zeroPart(k: Kernel, pfn: number, from: number, to: number): void {
  k.memory.bytes.fill(0, pfn * 4096 + Math.max(0, from), pfn * 4096 + Math.min(4096, to));
}

/** A page of shared memory that is cut in part must be in memory for it (shmem_get_partial_folio). 0 or -errno. */
function* bringInPart(k: Kernel, mapping: AddressSpace, offset: number): KernelPath<void> {
  const index = Math.floor(offset / 4096);
  if (offset % 4096 === 0 || !mapping.swapped.has(index)) return;
  const pfn = yield* getPageLocked(k, mapping, index);
  if (pfn > 0) k.fn.putPage(k, pfn);
}

export function* truncate(k: Kernel, inode: Inode, size: number): KernelPath<number> {
  const old = inode.size;
  if (size >= old) {
    inode.size = size;
    return 0;
  }
  const mapping = inode.mapping;
  const shmem = isShmem(mapping);
  const lock = mapping.invalidateLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (shmem) yield* bringInPart(k, mapping, size);
  inode.size = size;
  const hole = Math.ceil(size / 4096) * 4096;
  // Shared memory looks first whether a whole page goes; file systems do both rounds always.
  const rounds = !shmem || old > hole;
  if (rounds) yield* k.fn.unmapMappingRange(k, mapping, hole, Number.POSITIVE_INFINITY, true);
  yield* truncatePages(k, mapping, size, Number.POSITIVE_INFINITY);
  if (!shmem) eraseOnDisk(mapping, size, Number.POSITIVE_INFINITY);
  if (rounds) yield* k.fn.unmapMappingRange(k, mapping, hole, Number.POSITIVE_INFINITY, true);
  lock.writeUnlock();
  return 0;
}

export function* punchHole(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number> {
  const mapping = inode.mapping;
  const shmem = isShmem(mapping);
  // ext4 writes the range back first, which cleans its shared mappings.
  if (!shmem) yield* k.fn.filemapWriteAndWaitRange(k, mapping, start, end);
  const first = Math.ceil(start / 4096) * 4096;
  const last = Math.floor(end / 4096) * 4096;
  const lock = mapping.invalidateLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (shmem) {
    yield* bringInPart(k, mapping, start);
    yield* bringInPart(k, mapping, end);
  }
  if (last > first) yield* k.fn.unmapMappingRange(k, mapping, first, last, false);
  yield* truncatePages(k, mapping, start, end);
  if (!shmem) eraseOnDisk(mapping, start, end);
  lock.writeUnlock();
  return 0;
}

export function* evictInode(k: Kernel, inode: Inode): KernelPath<void> {
  yield* truncatePages(k, inode.mapping, 0, Number.POSITIVE_INFINITY);
  inode.mapping.disk.clear();
  k.inodes.delete(inode.id);
}
