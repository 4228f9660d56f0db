// Faults of file mappings and shared memory (mm/memory.c do_read_fault, do_cow_fault, do_shared_fault, do_fault_around,
// finish_fault, wp_page_shared; mm/filemap.c filemap_fault, filemap_map_pages). No notifier: entries were none, or gain
// rights. A page is mapped with its lock held and while it is in the cache, so that truncation either removes the page
// before, or finds the entry in its second round.

import { EFAULT } from '../../abi/errno.ts';
import { FRAME_ANON } from '../../abi/events.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_TRIED,
  MM_ANONPAGES,
  VM_FAULT_COMPLETED,
  VM_FAULT_LOCKED,
  VM_FAULT_MAJOR,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_FAULT_WRITE,
  VM_SHARED,
} from '../../abi/mman.ts';
import { PTE_A } from '../../abi/pte.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import { filePages, isCachedAt, isShmem, noteFile, setPageDirty } from '../file/page-cache.ts';
import { asyncMmapReadahead, syncMmapReadahead } from '../file/readahead.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { GFP_KERNEL, PG_DIRTY, PG_LOCKED, PG_READAHEAD, PG_UPTODATE } from '../page/pages.ts';
import { mkPteHi, mkPteLo, pteMaybeMkwrite, pteMkdirty } from '../page/swapops.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage, linearPageIndex, mmCounterFile } from '../rmap/rmap.ts';
import type { AddressSpace, OpenFile, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { fput } from '../vma/adjust.ts';
import { pteOffset, pteTable } from './page-tables.ts';
import { lockPageOrRetry } from './swap-fault.ts';

/** maybe_unlock_mmap_for_io: in the first try of a fault mmapLock is dropped, and the file held instead. True when it was. */
function maybeUnlockMmapForIo(vma: VmArea, file: OpenFile, flags: number): boolean {
  if ((flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) !== FAULT_FLAG_ALLOW_RETRY) return false;
  file.refcount++;
  vma.mm.mmapLock.readUnlock();
  return true;
}

/** The read-ahead that a fault starts: around a page that missed, or from a marked one that it met. True when mmapLock was
 *  dropped for it. */
function* readAhead(
  k: Kernel,
  vma: VmArea,
  file: OpenFile,
  index: number,
  cached: number,
  flags: number,
): KernelPath<boolean> {
  const window =
    cached === 0
      ? syncMmapReadahead(k, file, vma.flags, index)
      : (flags & FAULT_FLAG_TRIED) === 0
        ? asyncMmapReadahead(k, file, vma.flags, index, cached)
        : null;
  if (window === null) return false;
  const isUnlocked = maybeUnlockMmapForIo(vma, file, flags);
  yield* window;
  return isUnlocked;
}

/** filemap_fault: the page, locked and referenced, as 2 * pfn, plus 1 when it had to be read (major fault); or the negative of
 *  VM_FAULT_* bits. With VM_FAULT_RETRY mmapLock was dropped. */
function* filemapFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const file = vma.file!;
  const mapping = file.inode.mapping;
  if (isShmem(mapping)) return yield* shmemFault(k, vma, address, flags);
  const index = linearPageIndex(vma, address);
  noteFile(k, mapping, false);
  if (index >= filePages(mapping)) return -VM_FAULT_SIGBUS;
  const cached = mapping.pages.get(index) ?? 0;
  const major = cached === 0 ? VM_FAULT_MAJOR : 0;
  let isUnlocked = yield* readAhead(k, vma, file, index, cached, flags);
  for (;;) {
    noteFile(k, mapping, false);
    const now = mapping.pages.get(index) ?? 0;
    // To be read here after all (page_not_uptodate).
    if (!isUnlocked && (now === 0 || (k.pages.flags[now]! & PG_UPTODATE) === 0))
      isUnlocked = maybeUnlockMmapForIo(vma, file, flags);
    const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
    if (isUnlocked) {
      if (pfn > 0) k.fn.putPage(k, pfn);
      fput(k, file);
      return -(VM_FAULT_RETRY | major);
    }
    if (pfn < 0) return pfn === -EFAULT ? -VM_FAULT_SIGBUS : -VM_FAULT_OOM;
    if (!(yield* lockPageOrRetry(k, vma, pfn, flags))) {
      k.fn.putPage(k, pfn);
      return -(VM_FAULT_RETRY | major);
    }
    if (isCachedAt(k, mapping, index, pfn)) {
      noteFile(k, mapping, false);
      if (index < filePages(mapping)) return pfn * 2 + (major === 0 ? 0 : 1);
      unlockPage(k, pfn);
      k.fn.putPage(k, pfn);
      return -VM_FAULT_SIGBUS;
    }
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
}

/** shmem_fault, with filemapFault's result: major when the page comes back from swap. */
function* shmemFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const mapping = vma.file!.inode.mapping;
  const index = linearPageIndex(vma, address);
  let major = 0;
  for (;;) {
    noteFile(k, mapping, false);
    if (index >= filePages(mapping)) return -VM_FAULT_SIGBUS;
    if (mapping.swapped.has(index)) major = 1;
    const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
    if (pfn < 0) return pfn === -EFAULT ? -VM_FAULT_SIGBUS : -VM_FAULT_OOM;
    if (!(yield* lockPageOrRetry(k, vma, pfn, flags))) {
      k.fn.putPage(k, pfn);
      return -VM_FAULT_RETRY;
    }
    if (isCachedAt(k, mapping, index, pfn)) {
      noteFile(k, mapping, false);
      if (index < filePages(mapping)) return pfn * 2 + major;
      unlockPage(k, pfn);
      k.fn.putPage(k, pfn);
      return -VM_FAULT_SIGBUS;
    }
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
}

/** VM_FAULT_* bits of a page that filemapFault found. */
function foundBits(found: number): number {
  return (found & 1) !== 0 ? VM_FAULT_MAJOR | VM_FAULT_LOCKED : VM_FAULT_LOCKED;
}

/** fault_dirty_shared_page: the page, locked, has been made writable in an entry. A write that dirtied it, or asked the file
 *  system, gives other writers a turn (balance_dirty_pages), without mmapLock where that may be dropped: VM_FAULT_COMPLETED. */
function faultDirtySharedPage(k: Kernel, vma: VmArea, pfn: number, flags: number, isNewlyDirty: boolean): number {
  const file = vma.file!;
  setPageDirty(k, pfn);
  unlockPage(k, pfn);
  if (!isNewlyDirty || !maybeUnlockMmapForIo(vma, file, flags)) return 0;
  fput(k, file);
  return VM_FAULT_COMPLETED;
}

/** Does a write to the page count as new: the file system is asked about each (page_mkwrite), or the page was clean? */
function isDirtying(k: Kernel, mapping: AddressSpace, pfn: number): boolean {
  return !isShmem(mapping) || (k.pages.flags[pfn]! & PG_DIRTY) === 0;
}

/** do_fault_around: maps cached pages of the aligned window into none entries. True when the faulting one got mapped. */
function* faultAround(k: Kernel, vma: VmArea, address: number, table: number): KernelPath<boolean> {
  const mapping = vma.file!.inode.mapping;
  const span = k.config.faultAroundPages * 4096;
  const tableStart = address - modPower(address, 0x200000);
  const first = Math.max(address - (address % span), vma.start, tableStart);
  const last = Math.min(first + span, vma.end, tableStart + 0x200000);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const mapped = mapCachedPages(k, vma, mapping, table, first, last);
  const word = pteOffset(table, address);
  const done = (entryLo(k.memory, word) | entryHi(k.memory, word)) !== 0;
  k.ptl.unlock(table);
  if (mapped > 0 && k.sched.points) yield P_PTE_SET;
  return done;
}

/** filemap_map_pages: pages that are up to date, not marked by read-ahead, and whose lock is free. Each counts as a hit of the file's
 *  read-around. ptl held. Number mapped. */
function mapCachedPages(
  k: Kernel,
  vma: VmArea,
  mapping: AddressSpace,
  table: number,
  first: number,
  last: number,
): number {
  const m = k.memory;
  noteFile(k, mapping, false);
  const end = filePages(mapping);
  const { ra } = vma.file!;
  let mapped = 0;
  for (let at = first; at < last; at += 4096) {
    const index = linearPageIndex(vma, at);
    if (index >= end) break;
    const word = pteOffset(table, at);
    const pfn = mapping.pages.get(index);
    if (pfn === undefined) continue;
    if (m.footprint !== null) m.footprint.note(OBJ_PAGE, pfn, false);
    if ((k.pages.flags[pfn]! & (PG_UPTODATE | PG_LOCKED | PG_READAHEAD)) !== PG_UPTODATE) continue;
    if (ra.mmapMiss > 0) ra.mmapMiss--;
    if ((entryLo(m, word) | entryHi(m, word)) !== 0) continue;
    getPage(k, pfn);
    setFileEntry(k, vma, at, word, pfn, false);
    mapped++;
  }
  return mapped;
}

/** do_set_pte for a page of the cache: takes over a reference. ptl held. */
function setFileEntry(k: Kernel, vma: VmArea, address: number, word: number, pfn: number, write: boolean): void {
  const mm = vma.mm;
  let lo = mkPteLo(pfn, vma.pageProtLo);
  if (write) lo = pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
  mm.rss[mmCounterFile(k.pages, pfn)]!++;
  k.fn.pageAddFileRmap(k, pfn, vma, address);
  writeEntry(k.memory, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), mm.id, address, 0);
}

/** finish_fault for a locked cache page, whose reference goes to the entry when the result is 0. The table was made before the
 *  page lock was taken: an allocation under it may wait for reclaim, and reclaim for the page. */
function* finishFileFault(
  k: Kernel,
  vma: VmArea,
  address: number,
  table: number,
  pfn: number,
  write: boolean,
): KernelPath<number> {
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const isNone = (entryLo(k.memory, word) | entryHi(k.memory, word)) === 0;
  const result = vma.mm.isUnstable && (vma.flags & VM_SHARED) === 0 ? VM_FAULT_SIGBUS : isNone ? 0 : VM_FAULT_NOPAGE;
  if (result === 0) setFileEntry(k, vma, address, word, pfn, write);
  k.ptl.unlock(table);
  return result;
}

export function* doReadFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  let table = pteTable(k, vma.mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, vma.mm, address);
  if (table === 0) return VM_FAULT_OOM;
  if (k.config.faultAroundPages > 1 && (yield* faultAround(k, vma, address, table)))
    return VM_FAULT_NOPAGE;
  const found = yield* filemapFault(k, vma, address, flags);
  if (found < 0) return -found;
  const pfn = found >>> 1;
  const result = yield* finishFileFault(k, vma, address, table, pfn, false);
  unlockPage(k, pfn);
  if (result !== 0) k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  return foundBits(found) | result;
}

export function* doCowFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const mm = vma.mm;
  const m = k.memory;
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return VM_FAULT_OOM;
  let table = pteTable(k, mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, mm, address);
  if (table === 0) return VM_FAULT_OOM;
  let page = k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON);
  if (page === 0) page = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON);
  if (page === 0) return VM_FAULT_OOM;
  const found = yield* filemapFault(k, vma, address, flags);
  if (found < 0) {
    k.fn.putPage(k, page);
    return -found;
  }
  const cached = found >>> 1;
  m.copy(page, cached);
  if (k.sched.points) yield P_FAULT_PAGE_READY;
  let result = VM_FAULT_NOPAGE;
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if (mm.isUnstable) result = VM_FAULT_SIGBUS;
  else if ((entryLo(m, word) | entryHi(m, word)) === 0) {
    mm.rss[MM_ANONPAGES]!++;
    k.fn.pageAddNewAnonRmap(k, page, vma, address);
    k.fn.lruAdd(k, page);
    const lo = pteMaybeMkwrite(pteMkdirty(mkPteLo(page, vma.pageProtLo)), vma.flags);
    writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), mm.id, address, 0);
    result = 0;
  }
  k.ptl.unlock(table);
  unlockPage(k, cached);
  k.fn.putPage(k, cached);
  if (result !== 0) k.fn.putPage(k, page);
  if (k.sched.points) yield P_PTE_SET;
  return foundBits(found) | result;
}

export function* doSharedFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  let table = pteTable(k, vma.mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, vma.mm, address);
  if (table === 0) return VM_FAULT_OOM;
  const found = yield* filemapFault(k, vma, address, flags);
  if (found < 0) return -found;
  const pfn = found >>> 1;
  // page_mkwrite: the file system hears of the write before the entry can be written; the page stays locked.
  const isNewlyDirty = isDirtying(k, vma.file!.inode.mapping, pfn);
  if (!isShmem(vma.file!.inode.mapping)) setPageDirty(k, pfn);
  const result = yield* finishFileFault(k, vma, address, table, pfn, true);
  if (result !== 0) {
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return foundBits(found) | result;
  }
  if (k.sched.points) yield P_PTE_SET;
  return foundBits(found) | faultDirtySharedPage(k, vma, pfn, flags, isNewlyDirty);
}

/** wp_page_shared: first write through an entry that was mapped read-only to learn of it. `pfn` is referenced. */
export function* wpPageShared(
  k: Kernel,
  vma: VmArea,
  address: number,
  pfn: number,
  origLo: number,
  flags: number,
): KernelPath<number> {
  const m = k.memory;
  const mapping = vma.file!.inode.mapping;
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  const isCached = isCachedAt(k, mapping, linearPageIndex(vma, address), pfn);
  const table = pteTable(k, vma.mm, address);
  if (!isCached || table === 0) {
    // Truncated meanwhile: the access is tried again.
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return 0;
  }
  const isNewlyDirty = isDirtying(k, mapping, pfn);
  setPageDirty(k, pfn);
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const isSame = entryLo(m, word) === origLo;
  if (isSame) {
    const lo = pteMaybeMkwrite(pteMkdirty(origLo | PTE_A), vma.flags);
    writeEntry(m, word, lo, entryHi(m, word), vma.mm.id, address, 0);
    k.stats.cowReuses++;
  }
  k.ptl.unlock(table);
  if (!isSame) {
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return VM_FAULT_NOPAGE;
  }
  if (k.sched.points) yield P_PTE_SET;
  const completed = faultDirtySharedPage(k, vma, pfn, flags, isNewlyDirty);
  k.fn.putPage(k, pfn);
  return VM_FAULT_WRITE | completed;
}
