// hugetlbfs (fs/hugetlbfs/inode.c): files whose pages are huge. Names of their own ("/mnt/huge/x"), memfds, and the nameless files of
// MAP_ANONYMOUS | MAP_HUGETLB. Pages live in the page cache only, under the index of their first small page, until a truncation, a
// hole or the end of the file. A size is always a multiple of 2 MiB.
//
// Locks: i_mmap_rwsem write while mappings are cut; fault mutex and page lock for each page that goes. Kernel names:
// hugetlb_file_setup, hugetlbfs_file_mmap, hugetlb_vmtruncate, hugetlbfs_punch_hole, hugetlbfs_fallocate, remove_inode_hugepages.

import { EINVAL, ENOMEM, ENOSPC, EPERM } from '../../abi/errno.ts';
import { PMD_SIZE, VM_DONTEXPAND, VM_HUGETLB, VM_NORESERVE, VM_WRITE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { noteFile } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { PG_UPTODATE } from '../page/pages.ts';
import { getPage } from '../rmap/rmap.ts';
import type { AddressSpace, Inode, OpenFile, VmArea } from '../types.ts';
import { openInode } from '../vma/shmem-file.ts';
import { hugetlbAddToPageCache } from './fault.ts';
import { clearHugePage } from './huge-page.ts';
import { dequeueHugePage } from './pool.ts';
import { hugetlbReservePages, hugetlbUnreservePages } from './reserve.ts';
import { ReserveMap } from './reserve-map.ts';
import { HugetlbFile } from './state.ts';

const F_SEAL_GROW = 0x4;

/** hstate_sizelog: is there a pool of this size (log2; 0 = the default)? That of 1 GiB pages is always empty. */
export function isHugePageSize(log2: number): boolean {
  return log2 === 0 || log2 === 21 || log2 === 30;
}

/** hugetlbfs_get_inode: an empty file of the file system mounted for 2 MiB pages. */
export function newHugetlbfsInode(k: Kernel, path: string): Inode {
  const inode = k.newInode('hugetlbfs', path, 0);
  inode.major = 0;
  inode.minor = 0xf;
  inode.hugetlb = new HugetlbFile(k.sched, inode.id, new ReserveMap());
  return inode;
}

/** hugetlb_file_setup: a nameless file of `size` bytes. `vmFlags` without VM_NORESERVE: all of it is reserved at once (SysV). Null: the
 *  pool is too small. */
export function hugetlbFileSetup(k: Kernel, path: string, size: number, vmFlags: number): OpenFile | null {
  const inode = newHugetlbfsInode(k, path);
  inode.linkCount = 0;
  inode.isDeleted = true;
  inode.size = size;
  if (hugetlbReservePages(k, inode, 0, size / PMD_SIZE, null, vmFlags) < 0) {
    k.inodes.delete(inode.id);
    return null;
  }
  return openInode(inode, true, true);
}

/** hugetlbfs_file_mmap: flags and reservations of a new VMA. 0, -EINVAL (offset) or -ENOMEM (pool). */
export function hugetlbfsMmap(k: Kernel, vma: VmArea): number {
  const { inode } = vma.file!;
  vma.flags |= VM_HUGETLB | VM_DONTEXPAND;
  if (vma.pgoff % HPAGE_PMD_NR !== 0) return -EINVAL;
  const first = vma.pgoff / HPAGE_PMD_NR;
  const end = first + (vma.end - vma.start) / PMD_SIZE;
  // A SysV segment has reserved everything when it was made.
  const vmFlags = inode.isSysv ? vma.flags | VM_NORESERVE : vma.flags;
  if (hugetlbReservePages(k, inode, first, end, vma, vmFlags) < 0) return -ENOMEM;
  noteFile(k, inode.mapping, true);
  if ((vma.flags & VM_WRITE) !== 0) inode.size = Math.max(inode.size, end * PMD_SIZE);
  return 0;
}

/** hugetlb_vmtruncate. 0 or -EINVAL (not a multiple of 2 MiB). */
export function* hugetlbTruncate(k: Kernel, inode: Inode, size: number): KernelPath<number> {
  if (size % PMD_SIZE !== 0) return -EINVAL;
  const { mapping } = inode;
  noteFile(k, mapping, true);
  inode.size = size;
  const first = size / PMD_SIZE;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (mapping.iMmap.length > 0) yield* k.fn.hugetlbVmdeleteList(k, mapping, first, Number.POSITIVE_INFINITY);
  lock.writeUnlock();
  yield* removeInodeHugepages(k, inode, first, Number.POSITIVE_INFINITY);
  return 0;
}

/** hugetlbfs_punch_hole: whole pages of [start, end) go, parts become zeros. */
export function* hugetlbPunchHole(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number> {
  const { mapping } = inode;
  const first = Math.ceil(start / PMD_SIZE);
  const stop = Math.floor(end / PMD_SIZE);
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (start < first * PMD_SIZE) yield* zeroPart(k, mapping, start, Math.min(end, first * PMD_SIZE));
  if (stop > first && mapping.iMmap.length > 0) yield* k.fn.hugetlbVmdeleteList(k, mapping, first, stop);
  if (end > stop * PMD_SIZE && end > first * PMD_SIZE) yield* zeroPart(k, mapping, stop * PMD_SIZE, end);
  lock.writeUnlock();
  if (stop > first) yield* removeInodeHugepages(k, inode, first, stop);
  return 0;
}

/** hugetlbfs_zero_partial_page: [from, to) inside one page. */
function* zeroPart(k: Kernel, mapping: AddressSpace, from: number, to: number): KernelPath<void> {
  const index = Math.floor(from / PMD_SIZE);
  const head = mapping.pages.get(index * HPAGE_PMD_NR) ?? 0;
  if (head === 0) return;
  getPage(k, head);
  if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
  const base = head * 4096 - index * PMD_SIZE;
  for (let at = from; at < to; at += 4096 - (at % 4096)) k.memory.touch(Math.floor((base + at) / 4096), true);
  k.memory.bytes.fill(0, base + from, base + to);
  unlockPage(k, head);
  k.fn.putPage(k, head);
}

/** remove_inode_hugepages: huge pages [first, end) leave the file; with `end` Infinity their reservations too. */
function* removeInodeHugepages(k: Kernel, inode: Inode, first: number, end: number): KernelPath<void> {
  const { mapping } = inode;
  const isTruncate = end === Number.POSITIVE_INFINITY;
  let freed = 0;
  noteFile(k, mapping, false);
  const cached = [...mapping.pages.keys()].filter((i) => i >= first * HPAGE_PMD_NR && i < end * HPAGE_PMD_NR);
  for (const small of cached.sort((a, b) => a - b)) {
    const index = small / HPAGE_PMD_NR;
    const mutex = inode.hugetlb!.faultMutex(index);
    yield* mutex.lock();
    const head = mapping.pages.get(small) ?? 0;
    if (head !== 0) {
      if (k.pages.compoundMapcount[head]! > 0) yield* unmapFilePage(k, mapping, index);
      getPage(k, head);
      if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
      deleteFromPageCache(k, mapping, small, head);
      freed++;
      if (!isTruncate) hugetlbUnreservePages(k, inode, index, index + 1, 1);
      unlockPage(k, head);
      k.fn.putPage(k, head);
    }
    mutex.unlock();
  }
  if (isTruncate) hugetlbUnreservePages(k, inode, first, Number.POSITIVE_INFINITY, freed);
}

/** hugetlb_unmap_file_folio: somebody mapped the page after the mappings had been cut. */
function* unmapFilePage(k: Kernel, mapping: AddressSpace, index: number): KernelPath<void> {
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  yield* k.fn.hugetlbVmdeleteList(k, mapping, index, index + 1);
  lock.writeUnlock();
}

/** hugetlb_delete_from_page_cache. Page lock held. */
function deleteFromPageCache(k: Kernel, mapping: AddressSpace, index: number, head: number): void {
  noteFile(k, mapping, true);
  mapping.pages.delete(index);
  k.pages.mapping[head] = null;
  k.fn.putPage(k, head);
}

/** hugetlbfs_fallocate without a hole: pages for [start, end). 0, -EPERM (sealed) or -ENOSPC. */
export function* hugetlbFallocate(
  k: Kernel,
  inode: Inode,
  start: number,
  end: number,
  keepSize: boolean,
): KernelPath<number> {
  const { mapping } = inode;
  const last = Math.ceil(end / PMD_SIZE);
  if ((inode.seals & F_SEAL_GROW) !== 0 && end > inode.size) return -EPERM;
  for (let index = Math.floor(start / PMD_SIZE); index < last; index++) {
    const mutex = inode.hugetlb!.faultMutex(index);
    yield* mutex.lock();
    if (!mapping.pages.has(index * HPAGE_PMD_NR)) {
      const { reserve } = inode.hugetlb!;
      const head = dequeueHugePage(k, reserve.missing(index, index + 1) === 0);
      if (head === 0) {
        mutex.unlock();
        return -ENOSPC;
      }
      reserve.add(index, index + 1);
      clearHugePage(k, head);
      k.pages.flags[head] = k.pages.flags[head]! | PG_UPTODATE;
      hugetlbAddToPageCache(k, mapping, index, head);
      unlockPage(k, head);
      k.fn.putPage(k, head);
    }
    mutex.unlock();
  }
  noteFile(k, mapping, true);
  if (!keepSize && end > inode.size) inode.size = end;
  return 0;
}

/** hugetlbfs_evict_inode. */
export function* hugetlbEvictInode(k: Kernel, inode: Inode): KernelPath<void> {
  yield* removeInodeHugepages(k, inode, 0, Number.POSITIVE_INFINITY);
  k.inodes.delete(inode.id);
}
