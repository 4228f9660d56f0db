// Pages that a device has for itself for a while, so that it can do atomic operations on them (mm/rmap.c make_device_exclusive_range).
// The page stays where it is; in the place of each mapping stands an entry that keeps its reference. A CPU that touches the page gets it
// back, after the device was told to let go (a section EXCLUSIVE):
//
//   take:  GUP for writing; lock the page; for each VMA  S(EXCLUSIVE, owner) PT−F PT=exclusive entry, rmap− E
//   fault: lock the page; S(EXCLUSIVE, no owner); same entry? rmap+, PT=present; unlock the page; E
//
// The device holds the page lock while it programs the translation. Kernel names: page_make_device_exclusive_one,
// folio_make_device_exclusive, remove_device_exclusive_entry, restore_exclusive_pte, try_restore_exclusive_pte.

import { VM_FAULT_RETRY } from '../../abi/mman.ts';
import { MMU_NOTIFY_EXCLUSIVE, SITE_EXCLUSIVE } from '../../abi/notifier.ts';
import { PTE_A, PTE_D, PTE_RW, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { lockPageOrRetry } from '../fault/swap-fault.ts';
import { FOLL_GET, FOLL_WRITE } from '../gup/flags.ts';
import type { Kernel } from '../kernel.ts';
import { announceDirty } from '../page/announce.ts';
import { isCompound } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_DIRTY } from '../page/pages.ts';
import { isDeviceExclusive, mkPfnSwapHi, mkPfnSwapLo, swapPfn } from '../page/pfn-swap.ts';
import {
  mkPteHi,
  mkPteLo,
  pteIsSwap,
  pteMaybeMkwrite,
  pteMkdirty,
  SWP_DEVICE_EXCLUSIVE_READ,
  SWP_DEVICE_EXCLUSIVE_WRITE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapType,
} from '../page/swapops.ts';
import { getPage, vmaAddress } from '../rmap/rmap.ts';
import { mappedWord, rmapLockOf, rmapNext, rmapVma, setEntry } from '../rmap/walk.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';

/** make_device_exclusive_range: `pages` gets each page, locked and referenced, or 0 where it could not be had. mmapLock held for read.
 *  Number of pages looked at, or -errno (-EFAULT). */
export function* makeDeviceExclusiveRange(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  pages: Int32Array,
  owner: object | null,
): KernelPath<number> {
  const got = yield* k.fn.getUserPages(k, mm, start, (end - start) / 4096, FOLL_GET | FOLL_WRITE, pages);
  for (let i = 0; i < got; i++) {
    const pfn = pages[i]!;
    pages[i] = 0;
    if (isCompound(k.pages, pfn) || !tryLockPage(k, pfn)) k.fn.putPage(k, pfn);
    else if (yield* k.fn.pageMakeDeviceExclusive(k, pfn, mm, start + i * 4096, owner)) pages[i] = pfn;
    else {
      unlockPage(k, pfn);
      k.fn.putPage(k, pfn);
    }
  }
  return got;
}

/** folio_make_device_exclusive: true when the page was mapped writable at `address` and nobody maps it any more. Page lock held. */
export function* pageMakeDeviceExclusive(
  k: Kernel,
  pfn: number,
  mm: MmStruct,
  address: number,
  owner: object | null,
): KernelPath<boolean> {
  const lock = rmapLockOf(k, pfn);
  if (lock === null || (k.pages.flags[pfn]! & PG_ANON) === 0) return false;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let isValid = false;
  for (let at = rmapNext(k, pfn, 0); at >= 0; at = rmapNext(k, pfn, at + 1)) {
    const vma = rmapVma(k, pfn, at);
    const where = vmaAddress(vma, k.pages.index[pfn]!);
    const wasWritable = yield* takeOne(k, pfn, vma, where, owner);
    if (wasWritable && vma.mm === mm && where === address) isValid = true;
    if (k.pages.mapcount[pfn] === 0) break;
  }
  lock.readUnlock();
  return isValid && k.pages.mapcount[pfn] === 0;
}

/** page_make_device_exclusive_one: true when the entry was writable. */
function* takeOne(k: Kernel, pfn: number, vma: VmArea, address: number, owner: object | null): KernelPath<boolean> {
  const { mm } = vma;
  const range =
    mm.notifiers === null ? null : k.range(mm, address, address + 4096, MMU_NOTIFY_EXCLUSIVE, SITE_EXCLUSIVE);
  if (range !== null) {
    range.owner = owner;
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  let wasWritable = false;
  let word = mappedWord(k, mm, address, pfn);
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappedWord(k, mm, address, pfn);
    if (word >= 0) {
      const lo = entryLo(k.memory, word);
      wasWritable = (lo & PTE_RW) !== 0;
      yield* ptepClearFlush(k, vma, address, word, SITE_EXCLUSIVE);
      if ((lo & PTE_D) !== 0) {
        k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_DIRTY;
        announceDirty(k, pfn);
      }
      let swap = mkPfnSwapLo(pfn);
      if ((lo & PTE_SOFT_DIRTY) !== 0) swap |= SWP_SOFT_DIRTY;
      if ((lo & PTE_UFFD_WP) !== 0) swap |= SWP_UFFD_WP;
      const type = wasWritable ? SWP_DEVICE_EXCLUSIVE_WRITE : SWP_DEVICE_EXCLUSIVE_READ;
      setEntry(k, mm, word, swap, mkPfnSwapHi(type), address);
      // The entry's reference stays with it.
      k.fn.pageRemoveRmap(k, pfn, vma, address);
    }
    k.ptl.unlock(ptl);
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return wasWritable;
}

/** restore_exclusive_pte. ptl and page lock held. */
function restoreExclusivePte(k: Kernel, vma: VmArea, address: number, word: number): void {
  const old = entryLo(k.memory, word);
  const type = swapType(entryHi(k.memory, word));
  const pfn = swapPfn(old);
  let lo = mkPteLo(pfn, vma.pageProtLo) & ~PTE_A;
  if ((old & SWP_SOFT_DIRTY) !== 0) lo |= PTE_SOFT_DIRTY;
  if ((old & SWP_UFFD_WP) !== 0) lo |= PTE_UFFD_WP;
  else if (type === SWP_DEVICE_EXCLUSIVE_WRITE) lo = pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
  k.fn.pageAddAnonRmap(k, pfn, vma, address, false);
  setEntry(k, vma.mm, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), address);
}

/** try_restore_exclusive_pte (fork): false when the page is locked. ptl held. */
export function tryRestoreExclusivePte(k: Kernel, vma: VmArea, address: number, word: number): boolean {
  const pfn = swapPfn(entryLo(k.memory, word));
  if (!tryLockPage(k, pfn)) return false;
  restoreExclusivePte(k, vma, address, word);
  unlockPage(k, pfn);
  return true;
}

/** remove_device_exclusive_entry: the fault that gives the page back to the CPUs. VM_FAULT_*. */
export function* removeDeviceExclusiveEntry(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  flags: number,
): KernelPath<number> {
  const { mm } = vma;
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const pfn = swapPfn(lo);
  if (k.pages.refcount[pfn] === 0) return 0;
  getPage(k, pfn);
  if (!(yield* lockPageOrRetry(k, vma, pfn, flags))) {
    k.fn.putPage(k, pfn);
    return VM_FAULT_RETRY;
  }
  const range =
    mm.notifiers === null ? null : k.range(mm, address, address + 4096, MMU_NOTIFY_EXCLUSIVE, SITE_EXCLUSIVE);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isSame = entryLo(k.memory, word) === lo && entryHi(k.memory, word) === hi;
  if (isSame && pteIsSwap(lo, hi) && isDeviceExclusive(hi)) restoreExclusivePte(k, vma, address, word);
  k.ptl.unlock(ptl);
  if (k.sched.points) yield P_PTE_SET;
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return 0;
}
