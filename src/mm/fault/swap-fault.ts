// Swap-in by a fault (mm/memory.c do_swap_page). The page comes from the swap cache or from the swap area; under the ptl
// the entry is compared, its use of the slot is given up, and the page is mapped. No notifier: the entry was not present.
//
// The fault's reference on the page becomes the entry's. A write that may not have the page for itself maps it read-only and
// goes on to doWpPage.

import { E_SWAP_IN } from '../../abi/events.ts';
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
} from '../../abi/mman.ts';
import { PTE_RW, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { migrationEntryWait } from '../migrate/wait.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_KSM, PG_MLOCKED, PG_SWAPCACHE } from '../page/pages.ts';
import { isMigration } from '../page/pfn-swap.ts';
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
import { needsAnonVma } from '../rmap/anon-vma.ts';
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
  // Ours and the swap cache's: a write will want the page alone.
  return (flags & FAULT_FLAG_WRITE) !== 0 && k.pages.refcount[pfn] === 2;
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
    if (swapType(hi) === SWP_PTE_MARKER) return yield* k.fn.handlePteMarker(k, vma, address, flags);
    return swapType(hi) === SWP_HWPOISON ? VM_FAULT_HWPOISON : VM_FAULT_SIGBUS;
  }
  const entry = swapOffset(lo, hi);
  const major = k.swap.cached(entry) === 0 ? VM_FAULT_MAJOR : 0;
  const pfn = yield* k.fn.swapinReadahead(k, entry);
  if (pfn === 0) return entryLo(m, word) === lo ? VM_FAULT_OOM : 0;
  if (!(yield* lockPageOrRetry(k, vma, pfn, flags))) {
    k.fn.putPage(k, pfn);
    return VM_FAULT_RETRY | major;
  }
  if ((k.pages.flags[pfn]! & PG_SWAPCACHE) === 0 || k.pages.private[pfn] !== entry) {
    // Somebody freed the slot meanwhile, so the entry changed too.
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return major;
  }
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) {
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return VM_FAULT_OOM;
  }
  const page = yield* k.fn.ksmMightNeedToCopy(k, pfn, vma, address);
  if (page < 0) {
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    return VM_FAULT_OOM;
  }
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if (entryLo(m, word) !== lo || entryHi(m, word) !== hi) {
    k.ptl.unlock(table);
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    if (page !== pfn) k.fn.putPage(k, page);
    return major;
  }
  const isWrite = (flags & FAULT_FLAG_WRITE) !== 0;
  const stillWrite = mapSwapPage(k, vma, address, word, pfn, page, flags);
  k.ptl.unlock(table);
  unlockPage(k, pfn);
  // A copy took the place of the swap cache's page, whose reference is left over.
  if (page !== pfn) k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  if (!stillWrite) return isWrite ? major | faultWrite(k) : major;
  return major | (yield* k.fn.doWpPage(k, vma, address, flags));
}

/** Maps the swap-cache page `pfn`, or the copy of it that `page` is, in place of the entry. True when a write fault still needs doWpPage. ptl and page lock held. */
function mapSwapPage(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  pfn: number,
  page: number,
  flags: number,
): boolean {
  const m = k.memory;
  const mm = vma.mm;
  const old = entryLo(m, word);
  const entry = swapOffset(old, entryHi(m, word));
  const wasExclusive = (old & SWP_EXCLUSIVE) !== 0;
  k.fn.swapFree(k, entry);
  if (shouldTryToFreeSwap(k, pfn, vma, flags)) k.fn.folioFreeSwap(k, pfn);
  mm.rss[MM_ANONPAGES]!++;
  mm.rss[MM_SWAPENTS]!--;
  let write = (flags & FAULT_FLAG_WRITE) !== 0;
  let lo = mkPteLo(page, vma.pageProtLo);
  const isKsm = (k.pages.flags[pfn]! & PG_KSM) !== 0;
  const exclusive = page !== pfn || (!isKsm && (wasExclusive || k.pages.refcount[pfn] === 1));
  if (exclusive && write) {
    lo = pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
    write = false;
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
