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
  VM_SHARED,
  VM_UFFD_MINOR,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
} from '../../abi/mman.ts';
import { SITE_UPGRADE } from '../../abi/notifier.ts';
import { PTE_A, PTE_RW, PTE_UFFD_WP } from '../../abi/pte.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import { filePages, isCachedAt, isShmem, isUptodate, noteFile, setPageDirty } from '../file/page-cache.ts';
import { asyncMmapReadahead, syncMmapReadahead } from '../file/readahead.ts';
import type { Kernel } from '../kernel.ts';
import { vmaAllocPage, vmaAllocPageSlow } from '../numa/alloc.ts';
import { compoundHead } from '../page/compound.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { PG_COMPOUND, PG_DIRTY, PG_LOCKED, PG_READAHEAD, PG_UPTODATE } from '../page/pages.ts';
import { isPteMarker, mkPteHi, mkPteLo, pteMaybeMkwrite, pteMkdirty, pteNoneMostly } from '../page/swapops.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage, linearPageIndex, mmCounterFile } from '../rmap/rmap.ts';
import type { AddressSpace, OpenFile, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { fput } from '../vma/adjust.ts';
import { faultWrite } from './fault-write.ts';
import { pmdAlloc, pteOffset, pteTable, withoutTable } from './page-tables.ts';
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
export function* filemapFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
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
    if (!isUnlocked && (now === 0 || !isUptodate(k, now))) isUnlocked = maybeUnlockMmapForIo(vma, file, flags);
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
    if ((vma.flags & (VM_UFFD_MISSING | VM_UFFD_MINOR)) !== 0) {
      const reason = shmemUserfault(vma, mapping, index);
      if (reason !== 0) return -(yield* k.fn.handleUserfault(k, vma, address, flags, reason));
    }
    const pfn = yield* k.fn.filemapGetPage(k, mapping, index, vma);
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

/** shmem_get_folio_gfp: what the monitor is asked about page `index`; 0 = nothing. */
function shmemUserfault(vma: VmArea, mapping: AddressSpace, index: number): number {
  const isThere = mapping.pages.has(index);
  if (isThere) return vma.flags & VM_UFFD_MINOR;
  return mapping.swapped.has(index) ? 0 : vma.flags & VM_UFFD_MISSING;
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
    const pfn = mapping.pages.get(index);
    if (pfn === undefined) continue;
    let pageFlags = k.pages.flags[pfn]!;
    if ((pageFlags & PG_COMPOUND) !== 0) pageFlags = k.pages.flags[compoundHead(k.pages, pfn)]!;
    if (m.footprint !== null) m.footprint.note(OBJ_PAGE, compoundHead(k.pages, pfn), false);
    if ((pageFlags & (PG_UPTODATE | PG_LOCKED | PG_READAHEAD)) !== PG_UPTODATE) continue;
    if (ra.mmapMiss > 0) ra.mmapMiss--;
    const word = pteOffset(table, at);
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
  if (isPteMarker(entryLo(k.memory, word), entryHi(k.memory, word))) lo = (lo & ~PTE_RW) | PTE_UFFD_WP;
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
  const isNone = pteNoneMostly(entryLo(k.memory, word), entryHi(k.memory, word));
  const result = vma.mm.isUnstable && (vma.flags & VM_SHARED) === 0 ? VM_FAULT_SIGBUS : isNone ? 0 : VM_FAULT_NOPAGE;
  if (result === 0) setFileEntry(k, vma, address, word, pfn, write);
  k.ptl.unlock(table);
  return result;
}

/** The missing page table for the fault, or the negative of VM_FAULT_* bits. A fault beyond the end of the file makes the upper tables only:
 *  the last one is put in its place with the page (prealloc_pte). */
function* makeFileFaultTable(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const mapping = vma.file!.inode.mapping;
  noteFile(k, mapping, false);
  if (linearPageIndex(vma, address) >= filePages(mapping)) {
    yield* pmdAlloc(k, vma.mm, address);
    return -VM_FAULT_SIGBUS;
  }
  const made = yield* k.fn.pteAlloc(k, vma.mm, address);
  return made !== 0 ? made : -withoutTable(k, vma.mm, address);
}

export function* doReadFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const known = pteTable(k, vma.mm, address);
  const table = known !== 0 ? known : yield* makeFileFaultTable(k, vma, address);
  if (table <= 0) return -table;
  // should_fault_around: a page that is mapped along would not ask the monitor.
  const around = k.config.faultAroundPages > 1 && (vma.flags & (VM_UFFD_WP | VM_UFFD_MINOR)) === 0;
  if (around && (yield* faultAround(k, vma, address, table))) return VM_FAULT_NOPAGE;
  const found = yield* filemapFault(k, vma, address, flags);
  if (found < 0) return -found;
  const pfn = found >>> 1;
  const result = yield* finishFileFault(k, vma, address, table, pfn, false);
  unlockPage(k, pfn);
  if (result !== 0) k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  return VM_FAULT_LOCKED | ((found & 1) !== 0 ? VM_FAULT_MAJOR : 0) | result;
}

export function* doCowFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const mm = vma.mm;
  const m = k.memory;
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return VM_FAULT_OOM;
  const known = pteTable(k, vma.mm, address);
  const table = known !== 0 ? known : yield* makeFileFaultTable(k, vma, address);
  if (table <= 0) return -table;
  let page = vmaAllocPage(k, vma, address, FRAME_ANON);
  if (page === 0) page = yield* vmaAllocPageSlow(k, vma, address, FRAME_ANON);
  if (page !== 0 && mm.memcg !== 0) page = yield* memCgroupCharge(k, mm.memcg, page);
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
  else if (pteNoneMostly(entryLo(m, word), entryHi(m, word))) {
    mm.rss[MM_ANONPAGES]!++;
    k.fn.pageAddNewAnonRmap(k, page, vma, address);
    k.fn.lruAdd(k, page);
    let lo = pteMaybeMkwrite(pteMkdirty(mkPteLo(page, vma.pageProtLo)), vma.flags);
    if (isPteMarker(entryLo(m, word), entryHi(m, word))) lo = (lo & ~PTE_RW) | PTE_UFFD_WP;
    writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), mm.id, address, 0);
    result = 0;
  }
  k.ptl.unlock(table);
  unlockPage(k, cached);
  k.fn.putPage(k, cached);
  if (result !== 0) k.fn.putPage(k, page);
  if (k.sched.points) yield P_PTE_SET;
  return VM_FAULT_LOCKED | ((found & 1) !== 0 ? VM_FAULT_MAJOR : 0) | result;
}

export function* doSharedFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const known = pteTable(k, vma.mm, address);
  const table = known !== 0 ? known : yield* makeFileFaultTable(k, vma, address);
  if (table <= 0) return -table;
  const found = yield* filemapFault(k, vma, address, flags);
  if (found < 0) return -found;
  const pfn = found >>> 1;
  // page_mkwrite: the file system hears of the write before the entry can be written; the page stays locked.
  const hasMkwrite = !isShmem(vma.file!.inode.mapping);
  if (hasMkwrite) setPageDirty(k, pfn);
  const result = yield* finishFileFault(k, vma, address, table, pfn, true);
  const bits = VM_FAULT_LOCKED | ((found & 1) !== 0 ? VM_FAULT_MAJOR : 0) | result;
  if (result !== 0) {
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return bits;
  }
  const completed = faultDirtySharedPage(k, vma, pfn, hasMkwrite, flags);
  if (k.sched.points) yield P_PTE_SET;
  return bits | completed;
}

/** fault_dirty_shared_page: unlocks the page. A task that dirties file pages may be made to wait for write-back (balance_dirty_pages),
 *  without mmapLock where the fault may drop it: then VM_FAULT_COMPLETED. */
export function faultDirtySharedPage(k: Kernel, vma: VmArea, pfn: number, hasMkwrite: boolean, flags: number): number {
  const isDirtied = (k.pages.flags[compoundHead(k.pages, pfn)]! & PG_DIRTY) === 0;
  setPageDirty(k, pfn);
  unlockPage(k, pfn);
  const file = vma.file!;
  if ((!isDirtied && !hasMkwrite) || !maybeUnlockMmapForIo(vma, file, flags)) return 0;
  fput(k, file);
  return VM_FAULT_COMPLETED;
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
  const hasMkwrite = !isShmem(mapping);
  let isSame = false;
  if (isCachedAt(k, mapping, linearPageIndex(vma, address), pfn)) {
    if (hasMkwrite) setPageDirty(k, pfn);
    const table = pteTable(k, vma.mm, address);
    if (table !== 0) {
      const word = pteOffset(table, address);
      if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
      if (entryLo(m, word) === origLo) {
        const lo = pteMaybeMkwrite(pteMkdirty(origLo | PTE_A), vma.flags);
        writeEntry(m, word, lo, entryHi(m, word), vma.mm.id, address, 0);
        k.stats.cowReuses++;
        if (k.config.flushOnUpgrade) yield* k.fn.flushTlbPage(k, vma, address, SITE_UPGRADE);
        isSame = true;
      }
      k.ptl.unlock(table);
    }
  }
  let result = 0;
  if (isSame) result = faultWrite(k) | faultDirtySharedPage(k, vma, pfn, hasMkwrite, flags);
  else unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  return result;
}
