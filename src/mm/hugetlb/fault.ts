// Faults on huge pages (mm/hugetlb.c hugetlb_fault, hugetlb_no_page, hugetlb_wp). The fault mutex of the page keeps two faults from
// taking two pages of a pool that has one left; the VMA lock keeps the table from being unshared meanwhile. A pool that is empty is a
// SIGBUS, unless a reservation stands: then the process that reserved takes the page away from its children.
//
// Copy on write, as recorded: S(CLEAR 2M), PT−, CPU flush of one small page, R(2M), rmap, PT+, E with its own R.
//
// Locks: mmapLock read; fault mutex; VMA lock read; page lock; ptl of the PMD table.

import { E_PTE_CLEAR_FLUSH } from '../../abi/events.ts';
import {
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  PMD_SIZE,
  VM_FAULT_HWPOISON_LARGE,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
  VM_MAYSHARE,
  VM_SHARED,
  VM_WRITE,
} from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_HUGETLB } from '../../abi/notifier.ts';
import { LEVEL_PMD, PTE_A, PTE_PS, PTE_RW } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_COPY, P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import { noteFile, setPageDirty } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_HUGETLB_RESTORE, PG_UPTODATE } from '../page/pages.ts';
import {
  mkPteHi,
  mkPteLo,
  pteFrame,
  pteMkdirty,
  pteNone,
  ptePresent,
  SWP_HWPOISON,
  SWP_MIGRATION_READ,
  SWP_MIGRATION_WRITE,
  swapOffset,
  swapType,
} from '../page/swapops.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage, pageMoveAnonRmap } from '../rmap/rmap.ts';
import type { AddressSpace, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { clearHugePage, copyHugePage } from './huge-page.ts';
import { hugePteAlloc, hugePteOffset } from './pmd.ts';
import { allocHugePage, hugeIndex, restoreReserveOnError } from './reserve.ts';
import { hugepageAddNewAnonRmap, hugepageDupRmap, hugepageRemoveRmap } from './rmap.ts';

/** hugetlb_fault. VM_FAULT_* bits. */
export function* hugetlbFault(k: Kernel, vma: VmArea, at: number, flags: number): KernelPath<number> {
  const address = at - modPower(at, PMD_SIZE);
  const index = hugeIndex(vma, address);
  const mutex = vma.file!.inode.hugetlb!.faultMutex(index);
  yield* mutex.lock();
  const { lock } = vma.hugetlb!;
  if (lock !== null && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
  const word = yield* hugePteAlloc(k, vma, address);
  let result = VM_FAULT_OOM;
  if (word >= 0) {
    const lo = entryLo(k.memory, word);
    if (pteNone(lo, entryHi(k.memory, word))) result = yield* k.fn.hugetlbNoPage(k, vma, address, word, flags);
    else if (ptePresent(lo)) result = yield* presentFault(k, vma, address, word, lo, flags);
    else {
      lock?.readUnlock();
      mutex.unlock();
      return yield* hugetlbNonPresentFault(k, word);
    }
  }
  lock?.readUnlock();
  mutex.unlock();
  return result;
}

/** Offsets of migration entries have A and D above the PFN. */
const PFN_LIMIT = 1 << 20;

/** An entry that is neither none nor a page (migration_entry_wait_huge): waits until the page has moved. */
export function* hugetlbNonPresentFault(k: Kernel, word: number): KernelPath<number> {
  const hi = entryHi(k.memory, word);
  const type = swapType(hi);
  if (type === SWP_HWPOISON) return VM_FAULT_HWPOISON_LARGE;
  if (type < SWP_MIGRATION_READ || type > SWP_MIGRATION_WRITE) return VM_FAULT_SIGBUS;
  const head = swapOffset(entryLo(k.memory, word), hi) % PFN_LIMIT;
  getPage(k, head);
  if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
  unlockPage(k, head);
  k.fn.putPage(k, head);
  return 0;
}

/** The entry has a page: a write to a read-only one, or A and D to be set. */
function* presentFault(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  orig: number,
  flags: number,
): KernelPath<number> {
  const m = k.memory;
  const ptl = word >>> 10;
  const isWrite = (flags & FAULT_FLAG_WRITE) !== 0;
  const needsOwn = (flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)) !== 0 && (orig & PTE_RW) === 0;
  // The page of the file, if there is one: a copy of it uses the reservation, a copy of an anonymous page must not.
  const cached = needsOwn && (vma.flags & VM_MAYSHARE) === 0 ? yield* findLockPage(k, vma, address) : 0;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  let result = 0;
  let mustWait = 0;
  const lo = entryLo(m, word);
  if (lo === orig) {
    const head = pteFrame(lo);
    if (head !== cached && !tryLockPage(k, head)) mustWait = head;
    else {
      getPage(k, head);
      if (needsOwn) result = yield* k.fn.hugetlbWp(k, vma, address, word, flags, cached);
      else {
        const now = isWrite ? pteMkdirty(lo) | PTE_A : lo | PTE_A;
        if (now !== lo) writeEntry(m, word, now, entryHi(m, word), vma.mm.id, address, LEVEL_PMD);
        k.ptl.unlock(ptl);
      }
      if (head !== cached) unlockPage(k, head);
      k.fn.putPage(k, head);
      dropCached(k, cached);
      return result;
    }
  }
  if (mustWait !== 0) getPage(k, mustWait);
  k.ptl.unlock(ptl);
  dropCached(k, cached);
  if (mustWait !== 0) {
    // Another fault has the page locked: the access is tried again once it is done.
    if (k.sched.points || !lockPageFast(k, mustWait)) yield* lockPage(k, mustWait);
    unlockPage(k, mustWait);
    k.fn.putPage(k, mustWait);
  }
  return result;
}

function dropCached(k: Kernel, cached: number): void {
  if (cached === 0) return;
  unlockPage(k, cached);
  k.fn.putPage(k, cached);
}

/** find_lock_page: the file's page at the address, locked and referenced, or 0. */
function* findLockPage(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const { mapping } = vma.file!.inode;
  const index = hugeIndex(vma, address) * HPAGE_PMD_NR;
  for (;;) {
    noteFile(k, mapping, false);
    const head = mapping.pages.get(index) ?? 0;
    if (head === 0) return 0;
    getPage(k, head);
    if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
    if (k.pages.mapping[head] === mapping) return head;
    unlockPage(k, head);
    k.fn.putPage(k, head);
  }
}

/** hugetlb_add_to_page_cache: a new page, locked. It has used its reservation. */
export function hugetlbAddToPageCache(k: Kernel, mapping: AddressSpace, index: number, head: number): void {
  const { pages } = k;
  noteFile(k, mapping, true);
  tryLockPage(k, head);
  getPage(k, head);
  pages.mapping[head] = mapping;
  pages.index[head] = index * HPAGE_PMD_NR;
  pages.flags[head] = pages.flags[head]! & ~PG_HUGETLB_RESTORE;
  mapping.pages.set(index * HPAGE_PMD_NR, head);
  setPageDirty(k, head);
}

/** hugetlb_no_page: the entry at `word` is none. */
export function* hugetlbNoPage(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  flags: number,
): KernelPath<number> {
  const m = k.memory;
  const { inode } = vma.file!;
  const index = hugeIndex(vma, address);
  const ptl = word >>> 10;
  if (vma.hugetlb!.isUnmapped) return VM_FAULT_SIGBUS;
  let head = yield* findLockPage(k, vma, address);
  let isAnon = false;
  if (head === 0) {
    noteFile(k, inode.mapping, false);
    if (index >= Math.floor(inode.size / PMD_SIZE)) return VM_FAULT_SIGBUS;
    isAnon = (vma.flags & VM_MAYSHARE) === 0;
    head = allocHugePage(k, vma, address, false);
    if (head < 0) return (entryLo(m, word) | entryHi(m, word)) === 0 ? VM_FAULT_SIGBUS : 0;
    clearHugePage(k, head);
    k.pages.flags[head] = k.pages.flags[head]! | PG_UPTODATE;
    if (isAnon) {
      tryLockPage(k, head);
      if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) {
        backOut(k, vma, address, head);
        return VM_FAULT_OOM;
      }
    } else hugetlbAddToPageCache(k, inode.mapping, index, head);
  }
  if (k.sched.points) yield P_FAULT_PAGE_READY;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  if ((entryLo(m, word) | entryHi(m, word)) !== 0) {
    k.ptl.unlock(ptl);
    if (isAnon) backOut(k, vma, address, head);
    else dropCached(k, head);
    return 0;
  }
  if (isAnon) hugepageAddNewAnonRmap(k, head, vma, address);
  else hugepageDupRmap(k, head, vma, address);
  writeEntry(m, word, hugeEntryLo(vma, head, isSharedWritable(vma)), entryHiOf(vma), vma.mm.id, address, LEVEL_PMD);
  let result = 0;
  // The copy at once, without a second fault.
  if ((flags & FAULT_FLAG_WRITE) !== 0 && (vma.flags & VM_SHARED) === 0)
    result = yield* k.fn.hugetlbWp(k, vma, address, word, flags, head);
  else k.ptl.unlock(ptl);
  unlockPage(k, head);
  if (k.sched.points) yield P_PTE_SET;
  return result;
}

/** A page that was to be mapped goes back. */
function backOut(k: Kernel, vma: VmArea, address: number, head: number): void {
  unlockPage(k, head);
  restoreReserveOnError(k, vma, address, head);
  k.fn.putPage(k, head);
}

function isSharedWritable(vma: VmArea): boolean {
  return (vma.flags & (VM_WRITE | VM_SHARED)) === (VM_WRITE | VM_SHARED);
}

/** make_huge_pte, low word. */
export function hugeEntryLo(vma: VmArea, head: number, isWritable: boolean): number {
  const lo = mkPteLo(head, vma.pageProtLo) | PTE_A | PTE_PS;
  return isWritable ? pteMkdirty(lo) | PTE_RW : lo & ~PTE_RW;
}

export function entryHiOf(vma: VmArea): number {
  return mkPteHi(vma.pageProtLo, vma.pageProtHi);
}

/** set_huge_ptep_writable. ptl held. */
function setWritable(k: Kernel, vma: VmArea, address: number, word: number): void {
  const m = k.memory;
  const lo = pteMkdirty(entryLo(m, word)) | PTE_RW | PTE_A;
  writeEntry(m, word, lo, entryHi(m, word), vma.mm.id, address, LEVEL_PMD);
}

/** hugetlb_wp: a write to a read-only entry, or a read that must own its page. Called with the ptl held and returns without it.
 *  `cached`: the file's page there (locked), 0 when there is none. */
export function* hugetlbWp(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  flags: number,
  cached: number,
): KernelPath<number> {
  const { pages } = k;
  const ptl = word >>> 10;
  const unshare = (flags & FAULT_FLAG_UNSHARE) !== 0;
  let result = 0;
  for (;;) {
    const orig = entryLo(k.memory, word);
    const old = pteFrame(orig);
    const isAnon = (pages.flags[old]! & PG_ANON) !== 0;
    const isOwner = isAnon && pages.compoundMapcount[old] === 1;
    const isForbidden = !unshare && (vma.flags & VM_WRITE) === 0;
    if (isForbidden || isOwner || (vma.flags & VM_MAYSHARE) !== 0) {
      if (isForbidden) result = VM_FAULT_SIGSEGV;
      else {
        if (isOwner && (pages.flags[old]! & PG_ANON_EXCLUSIVE) === 0) pageMoveAnonRmap(k, old, vma);
        if (!unshare) setWritable(k, vma, address, word);
      }
      k.ptl.unlock(ptl);
      return result;
    }
    const avoidReserve = vma.hugetlb!.reserve !== null && old !== cached;
    getPage(k, old);
    k.ptl.unlock(ptl);
    const head = allocHugePage(k, vma, address, avoidReserve);
    if (head >= 0) return yield* replaceHugePage(k, vma, address, orig, old, head, unshare);
    k.fn.putPage(k, old);
    if (!avoidReserve) return VM_FAULT_SIGBUS;
    yield* takeFromChildren(k, vma, old, address);
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    if (hugePteOffset(k, vma.mm, address) !== word || entryLo(k.memory, word) !== orig) {
      k.ptl.unlock(ptl);
      return 0;
    }
  }
}

/** unmap_ref_private, with the locks dropped that come before i_mmap_rwsem. */
function* takeFromChildren(k: Kernel, vma: VmArea, head: number, address: number): KernelPath<void> {
  const mutex = vma.file!.inode.hugetlb!.faultMutex(hugeIndex(vma, address));
  const { lock } = vma.hugetlb!;
  lock?.readUnlock();
  mutex.unlock();
  yield* k.fn.unmapRefPrivate(k, vma, head, address);
  yield* mutex.lock();
  if (lock !== null && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
}

/** The second half of hugetlb_wp: `head` takes the place of `old`, of which a reference is held. */
function* replaceHugePage(
  k: Kernel,
  vma: VmArea,
  address: number,
  orig: number,
  old: number,
  head: number,
  unshare: boolean,
): KernelPath<number> {
  const m = k.memory;
  const { mm } = vma;
  const end = address + PMD_SIZE;
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) {
    restoreReserveOnError(k, vma, address, head);
    k.fn.putPage(k, head);
    k.fn.putPage(k, old);
    return VM_FAULT_OOM;
  }
  copyHugePage(k, head, old);
  k.stats.cowCopies++;
  if (k.sched.points) yield P_COPY;
  const range = mm.notifiers === null ? null : k.range(mm, address, end, MMU_NOTIFY_CLEAR, SITE_HUGETLB);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  const word = hugePteOffset(k, mm, address);
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isSame = entryLo(m, word) === orig;
  if (isSame) {
    if (m.log.on) m.log.emit(E_PTE_CLEAR_FLUSH, mm.id, address, end, 0, 0, 0, 0, 0, 0);
    writeEntry(m, word, 0, 0, mm.id, address, LEVEL_PMD);
    yield* k.fn.flushTlbPage(k, vma, address, SITE_HUGETLB);
    if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, address, end, SITE_HUGETLB, false);
    hugepageRemoveRmap(k, old, vma, address);
    hugepageAddNewAnonRmap(k, head, vma, address);
    writeEntry(m, word, hugeEntryLo(vma, head, !unshare), entryHiOf(vma), mm.id, address, LEVEL_PMD);
  }
  k.ptl.unlock(ptl);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  if (!isSame) restoreReserveOnError(k, vma, address, head);
  k.fn.putPage(k, isSame ? old : head);
  k.fn.putPage(k, old);
  return 0;
}
