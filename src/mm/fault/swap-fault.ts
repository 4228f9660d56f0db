// Swap-in by a fault (mm/memory.c do_swap_page). The page comes from the swap cache or from the swap area; under the ptl
// the entry is compared, its use of the slot is given up, and the page is mapped. No notifier: the entry was not present.
//
// The fault's reference on the page becomes the entry's. A write that may not have the page for itself maps it read-only and
// goes on to doWpPage.

import { E_SWAP_IN, FRAME_ANON } from '../../abi/events.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_WRITE,
  MM_ANONPAGES,
  MM_SWAPENTS,
  VM_FAULT_HWPOISON,
  VM_FAULT_MAJOR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_LOCKED,
  VM_SOFTDIRTY,
} from '../../abi/mman.ts';
import { PTE_RW, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_IO, P_PTE_SET } from '../../sched/points.ts';
import { pagemapOf } from '../hmm/device-memory.ts';
import type { Kernel } from '../kernel.ts';
import { migrationEntryWait } from '../migrate/wait.ts';
import { vmaAllocPage, vmaAllocPageSlow } from '../numa/alloc.ts';
import { compoundHead, compoundNr } from '../page/compound.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_KSM, PG_MLOCKED, PG_SWAPBACKED, PG_SWAPCACHE } from '../page/pages.ts';
import { isDeviceExclusive, isDevicePrivate, isMigration, swapPfn } from '../page/pfn-swap.ts';
import {
  isRealSwap,
  mkPteHi,
  mkPteLo,
  pteIsSwap,
  pteMaybeMkwrite,
  pteMkdirty,
  SWP_EXCLUSIVE,
  SWP_HWPOISON,
  SWP_PTE_MARKER,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapOffset,
  swapType,
} from '../page/swapops.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { workingsetRefault } from '../reclaim/workingset.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage } from '../rmap/rmap.ts';
import { lookupSwapCache } from '../swap/readahead.ts';
import { swapReadpage } from '../swap/swap-cache.ts';
import type { VmArea } from '../types.ts';
import { faultWrite } from './fault-write.ts';
import { pteOffset, pteTable } from './page-tables.ts';

/** lock_page_or_retry: true with the lock; false when mmapLock was dropped to wait, and the fault starts over. */
export function* lockPageOrRetry(k: Kernel, vma: VmArea, pfn: number, flags: number): KernelPath<boolean> {
  if (k.sched.points ? false : lockPageFast(k, pfn)) return true;
  if ((flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) !== FAULT_FLAG_ALLOW_RETRY) {
    yield* lockPage(k, pfn);
    return true;
  }
  if (tryLockPage(k, pfn)) return true;
  vma.mm.mmapLock.readUnlock();
  yield* lockPage(k, pfn);
  unlockPage(k, pfn);
  return false;
}

/** should_try_to_free_swap: is the slot better given up now? */
function shouldTryToFreeSwap(k: Kernel, pfn: number, vma: VmArea, flags: number): boolean {
  const pageFlags = k.pages.flags[pfn]!;
  if ((pageFlags & PG_SWAPCACHE) === 0) return false;
  if ((vma.flags & VM_LOCKED) !== 0 || (pageFlags & PG_MLOCKED) !== 0) return true;
  if (k.swap.isNearlyFull) return true;
  // Ours and the swap cache's: a write will want the page alone.
  return (flags & FAULT_FLAG_WRITE) !== 0 && k.pages.refcount[pfn] === 1 + compoundNr(k.pages, pfn);
}

/** The page is in memory of a device: its driver brings it back. */
function* faultToRam(k: Kernel, vma: VmArea, address: number, word: number, flags: number): KernelPath<number> {
  const m = k.memory;
  const ptl = word >>> 10;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  if (entryLo(m, word) !== lo || entryHi(m, word) !== hi || !isDevicePrivate(hi)) {
    k.ptl.unlock(ptl);
    return 0;
  }
  const pfn = swapPfn(lo);
  getPage(k, pfn);
  k.ptl.unlock(ptl);
  const result = yield* pagemapOf(k, pfn).ops.migrateToRam(k, vma, address, pfn, flags);
  k.fn.putPage(k, pfn);
  return result;
}

export function* doSwapPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const m = k.memory;
  const table = pteTable(k, vma.mm, address);
  if (table === 0) return 0;
  const word = pteOffset(table, address);
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  if (!pteIsSwap(lo, hi)) return 0;
  if (!isRealSwap(hi)) {
    if (isMigration(hi)) {
      yield* migrationEntryWait(k, word);
      return 0;
    }
    if (isDeviceExclusive(hi)) return yield* k.fn.removeDeviceExclusiveEntry(k, vma, address, word, flags);
    if (isDevicePrivate(hi)) return yield* faultToRam(k, vma, address, word, flags);
    if (swapType(hi) === SWP_PTE_MARKER) return yield* k.fn.handlePteMarker(k, vma, address, flags);
    return swapType(hi) === SWP_HWPOISON ? VM_FAULT_HWPOISON : VM_FAULT_SIGBUS;
  }
  const entry = swapOffset(lo, hi);
  let pfn = lookupSwapCache(k, entry, vma, address);
  const major = pfn === 0 ? VM_FAULT_MAJOR : 0;
  const isFresh = pfn === 0 && k.swap.isSynchronous && k.swap.users(entry) === 1;
  if (isFresh) {
    // swapcache_prepare: nobody else reads the slot, or gives it to somebody else, meanwhile.
    if (k.swap.hasCache(entry)) {
      yield P_IO;
      return 0;
    }
    k.swap.addCacheCount(entry);
    pfn = yield* readPastCache(k, vma, address, entry);
  } else if (pfn === 0) pfn = yield* k.fn.swapinReadahead(k, entry, vma, address);
  if (pfn === 0) {
    if (isFresh) k.swap.dropCacheCount(entry);
    return entryLo(m, word) === lo ? VM_FAULT_OOM : 0;
  }
  const result = yield* mapSwapIn(k, vma, address, word, lo, hi, pfn, flags, isFresh);
  if (isFresh) k.swap.dropCacheCount(entry);
  if (result !== STILL_WRITE) return result | major;
  return major | (yield* k.fn.doWpPage(k, vma, address, flags));
}

/** The page of a slot that only this entry needs, read past the swap cache from a device that answers at once: locked, with the
 *  fault's reference. 0 when memory is short. */
function* readPastCache(k: Kernel, vma: VmArea, address: number, entry: number): KernelPath<number> {
  const { mm } = vma;
  let pfn = vmaAllocPage(k, vma, address, FRAME_ANON);
  if (pfn === 0) pfn = yield* vmaAllocPageSlow(k, vma, address, FRAME_ANON);
  if (pfn !== 0 && mm.memcg !== 0) pfn = yield* memCgroupCharge(k, mm.memcg, pfn);
  if (pfn === 0) return 0;
  tryLockPage(k, pfn);
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_SWAPBACKED;
  workingsetRefault(k, pfn, k.swap.shadow(entry));
  k.fn.lruAdd(k, pfn);
  // PGMAJFAULT.
  if (mm.memcg !== 0) k.reclaim.stats.updated(1);
  if (k.sched.points) yield P_IO;
  swapReadpage(k, pfn, entry);
  return pfn;
}

/** Not a VM_FAULT_* bit: the page is mapped, and a write has still to get it for itself. */
const STILL_WRITE = -1;

/** The second half of do_swap_page: locks the page (a fresh one is locked) and maps it when the entry is still the same. VM_FAULT_*
 *  bits or STILL_WRITE. */
function* mapSwapIn(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  lo: number,
  hi: number,
  pfn: number,
  flags: number,
  isFresh: boolean,
): KernelPath<number> {
  const m = k.memory;
  // A part of a huge page is locked by its head; our reference keeps it whole.
  const head = compoundHead(k.pages, pfn);
  if (!isFresh) {
    if (!(yield* lockPageOrRetry(k, vma, head, flags))) {
      k.fn.putPage(k, pfn);
      return VM_FAULT_RETRY;
    }
    if ((k.pages.flags[head]! & PG_SWAPCACHE) === 0 || k.pages.private[pfn] !== swapOffset(lo, hi)) {
      // Somebody freed the slot meanwhile, so the entry changed too.
      unlockPage(k, head);
      k.fn.putPage(k, pfn);
      return 0;
    }
  }
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) {
    unlockPage(k, head);
    k.fn.putPage(k, pfn);
    return VM_FAULT_OOM;
  }
  const page = isFresh ? pfn : yield* k.fn.ksmMightNeedToCopy(k, pfn, vma, address);
  if (page < 0) {
    unlockPage(k, head);
    k.fn.putPage(k, pfn);
    return VM_FAULT_OOM;
  }
  const table = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if (entryLo(m, word) !== lo || entryHi(m, word) !== hi) {
    k.ptl.unlock(table);
    unlockPage(k, head);
    k.fn.putPage(k, pfn);
    if (page !== pfn) k.fn.putPage(k, page);
    return 0;
  }
  const stillWrite = mapSwapPage(k, vma, address, word, pfn, page, flags, isFresh);
  k.ptl.unlock(table);
  unlockPage(k, head);
  // A copy took the place of the swap cache's page, whose reference is left over.
  if (page !== pfn) k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  if (stillWrite) return STILL_WRITE;
  return (flags & FAULT_FLAG_WRITE) !== 0 ? faultWrite(k) : 0;
}

/** Maps the page `pfn`, or the copy of it that `page` is, in place of the entry. One that was read past the cache is ours alone.
 *  True when a write fault still needs doWpPage. ptl and page lock held. */
function mapSwapPage(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  pfn: number,
  page: number,
  flags: number,
  isFresh: boolean,
): boolean {
  const m = k.memory;
  const mm = vma.mm;
  const old = entryLo(m, word);
  const entry = swapOffset(old, entryHi(m, word));
  const wasExclusive = isFresh || (old & SWP_EXCLUSIVE) !== 0;
  k.fn.swapFree(k, entry);
  const head = compoundHead(k.pages, pfn);
  if (shouldTryToFreeSwap(k, head, vma, flags)) k.fn.folioFreeSwap(k, head);
  mm.rss[MM_ANONPAGES]!++;
  mm.rss[MM_SWAPENTS]!--;
  let write = (flags & FAULT_FLAG_WRITE) !== 0;
  let lo = mkPteLo(page, vma.pageProtLo);
  const isKsm = (k.pages.flags[pfn]! & PG_KSM) !== 0;
  const exclusive = page !== pfn || (!isKsm && (wasExclusive || k.pages.refcount[head] === 1));
  if (exclusive && write) {
    lo = pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
    write = false;
  } else if (exclusive && k.profile.swapinWritable && (old & SWP_UFFD_WP) === 0) {
    const isTracked = (vma.flags & VM_SOFTDIRTY) === 0 && (old & SWP_SOFT_DIRTY) === 0;
    if (!isTracked) lo = pteMaybeMkwrite(lo, vma.flags);
  }
  if ((old & SWP_SOFT_DIRTY) !== 0) lo |= PTE_SOFT_DIRTY;
  if ((old & SWP_UFFD_WP) !== 0) lo = (lo & ~PTE_RW) | PTE_UFFD_WP;
  if (page === pfn) k.fn.pageAddAnonRmap(k, pfn, vma, address, exclusive);
  else {
    k.fn.pageAddNewAnonRmap(k, page, vma, address);
    k.fn.lruAdd(k, page);
  }
  writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), mm.id, address, 0);
  if (m.log.on) m.log.emit(E_SWAP_IN, mm.id, address, address + 4096, page, m.generation[page]!, entry, 0, 0, 0);
  return write;
}
