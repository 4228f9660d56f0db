// Write to a page mapped read-only (mm/memory.c do_wp_page, wp_page_reuse, wp_page_copy, wp_page_shared), and the same for
// a read-only pin that must own its page (FAULT_FLAG_UNSHARE).
//
// Reuse changes rights upward and tells no notifier, unless the architecture flushes for it (flushOnUpgrade). Copy replaces the frame behind an address, so every secondary MMU must
// let go of the old one before the new one is mapped:
//
//   copy; S(CLEAR); ptl; same entry?; PT−; CPU flush; invalidate under ptl; change_pte; PT+; old rmap−; unlock; only_end; put
//
// Between the copy and the recheck another thread may write the old page only through an entry that the recheck sees.

import { FRAME_ANON } from '../../abi/events.ts';
import { FAULT_FLAG_UNSHARE, MM_ANONPAGES, VM_FAULT_OOM, VM_SHARED, VM_UFFD_WP, VM_WRITE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_COW, SITE_MPROTECT, SITE_UPGRADE } from '../../abi/notifier.ts';
import { PTE_A, PTE_RW, PTE_SOFT_DIRTY, PTE_SPECIAL, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_COPY, P_PTE_SET } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { vmaAllocPage, vmaAllocPageSlow } from '../numa/alloc.ts';
import { compoundHead } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_KSM, PG_SWAPCACHE } from '../page/pages.ts';
import { mkPteHi, mkPteLo, pteFrame, pteMaybeMkwrite, pteMkdirty, ptePresent } from '../page/swapops.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage, mmCounterFile, pageMoveAnonRmap } from '../rmap/rmap.ts';
import { freeSwapCache } from '../swap/swap-cache.ts';
import type { VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';
import { faultWrite } from './fault-write.ts';
import { wpPageShared } from './file-fault.ts';
import { pteOffset, pteTable } from './page-tables.ts';

/** The COW reuse test on an anonymous page that is not marked exclusive. ptl held. */
function mayReuseAnonPage(k: Kernel, page: number, vma: VmArea): boolean {
  const pages = k.pages;
  const pfn = compoundHead(pages, page);
  if ((pages.flags[pfn]! & PG_KSM) !== 0 || pages.refcount[pfn]! > 3) return false;
  const inSwapCache = (pages.flags[pfn]! & PG_SWAPCACHE) !== 0;
  if (pages.refcount[pfn]! > (inSwapCache ? 2 : 1)) return false;
  if (!tryLockPage(k, pfn)) return false;
  if (inSwapCache) k.fn.folioFreeSwap(k, pfn);
  const reuse = pages.refcount[pfn] === 1;
  if (reuse) pageMoveAnonRmap(k, page, vma);
  unlockPage(k, pfn);
  return reuse;
}

export function* doWpPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const m = k.memory;
  const table = pteTable(k, vma.mm, address);
  if (table === 0) return 0;
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const lo = entryLo(m, word);
  if (!ptePresent(lo) || (lo & PTE_RW) !== 0) {
    // The entry changed since the dispatcher looked: the access is tried again.
    k.ptl.unlock(table);
    return 0;
  }
  const unshare = (flags & FAULT_FLAG_UNSHARE) !== 0;
  if ((vma.flags & VM_UFFD_WP) !== 0 && !unshare) {
    if ((lo & PTE_UFFD_WP) !== 0) {
      k.ptl.unlock(table);
      return yield* k.fn.handleUserfault(k, vma, address, flags, VM_UFFD_WP);
    }
    // A write-protection under mmapLock R may have changed the entry and not flushed yet: another CPU could write the page
    // while it is copied.
    if (k.fn.mmTlbFlushPending(k, vma.mm)) yield* k.fn.flushTlbPage(k, vma, address, SITE_MPROTECT);
  }
  const isNormal = (lo & PTE_SPECIAL) === 0;
  const pfn = isNormal ? pteFrame(lo) : 0;
  const isAnon = isNormal && (k.pages.flags[compoundHead(k.pages, pfn)]! & PG_ANON) !== 0;
  if (isAnon && ((k.pages.flags[pfn]! & PG_ANON_EXCLUSIVE) !== 0 || mayReuseAnonPage(k, pfn, vma))) {
    if (!unshare) {
      wpPageReuse(k, vma, address, word);
      if (k.config.flushOnUpgrade) yield* k.fn.flushTlbPage(k, vma, address, SITE_UPGRADE);
    }
    k.ptl.unlock(table);
    if (!unshare && vma.mm.notifiers !== null) yield* k.fn.mmuNotifierPageReused(k, vma.mm, address);
    return unshare ? 0 : faultWrite(k);
  }
  if (unshare && !isAnon) {
    k.ptl.unlock(table);
    return 0;
  }
  if (isNormal) getPage(k, pfn);
  k.ptl.unlock(table);
  if (isNormal && !isAnon && (vma.flags & (VM_WRITE | VM_SHARED)) === (VM_WRITE | VM_SHARED))
    return yield* wpPageShared(k, vma, address, pfn, lo, flags);
  return yield* k.fn.wpPageCopy(k, vma, address, pfn, lo, flags);
}

/** wp_page_reuse: the entry becomes writable in place. ptl held. */
function wpPageReuse(k: Kernel, vma: VmArea, address: number, word: number): void {
  const m = k.memory;
  const lo = pteMaybeMkwrite(pteMkdirty(entryLo(m, word) | PTE_A), vma.flags);
  writeEntry(m, word, lo, entryHi(m, word), vma.mm.id, address, 0);
  k.stats.cowReuses++;
}

export function* wpPageCopy(
  k: Kernel,
  vma: VmArea,
  address: number,
  oldPfn: number,
  origLo: number,
  flags: number,
): KernelPath<number> {
  const mm = vma.mm;
  const m = k.memory;
  let pfn = 0;
  if (!needsAnonVma(k, vma) || (yield* k.fn.anonVmaPrepare(k, vma)) === 0) {
    pfn = vmaAllocPage(k, vma, address, FRAME_ANON);
    if (pfn === 0) pfn = yield* vmaAllocPageSlow(k, vma, address, FRAME_ANON);
    if (pfn !== 0 && mm.memcg !== 0) pfn = yield* memCgroupCharge(k, mm.memcg, pfn);
  }
  if (pfn === 0) {
    if (oldPfn !== 0) k.fn.putPage(k, oldPfn);
    return VM_FAULT_OOM;
  }
  if (oldPfn === 0) m.zero(pfn);
  else m.copy(pfn, oldPfn);
  k.stats.cowCopies++;
  if (k.sched.points) yield P_COPY;

  const range = mm.notifiers === null ? null : k.range(mm, address, address + 4096, MMU_NOTIFY_CLEAR, SITE_COW);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  // The table cannot have gone: mmapLock is held, and the VMA holds its tables.
  const table = pteTable(k, mm, address);
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const replaced = entryLo(m, word) === origLo;
  if (replaced) {
    const lo = entryOfCopy(vma, pfn, origLo, flags);
    const hi = mkPteHi(vma.pageProtLo, vma.pageProtHi);
    if (oldPfn === 0 || (k.pages.flags[compoundHead(k.pages, oldPfn)]! & PG_ANON) === 0) {
      if (oldPfn !== 0) mm.rss[mmCounterFile(k.pages, oldPfn)]!--;
      mm.rss[MM_ANONPAGES]!++;
    }
    yield* ptepClearFlush(k, vma, address, word, SITE_COW);
    if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_COW, false);
    k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
    k.fn.lruAdd(k, pfn);
    if (mm.notifiers !== null && k.profile.changePte) yield* k.fn.mmuNotifierChangePte(k, mm, address, lo, hi);
    writeEntry(m, word, lo, hi, mm.id, address, 0);
    if (oldPfn !== 0) {
      k.fn.pageRemoveRmap(k, oldPfn, vma, address);
      // The entry's reference; the caller's own keeps the page until the section has ended.
      k.fn.putPage(k, oldPfn);
    }
  }
  k.ptl.unlock(table);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, true);
  if (!replaced) k.fn.putPage(k, pfn);
  if (oldPfn !== 0) {
    if (replaced) freeSwapCache(k, compoundHead(k.pages, oldPfn));
    k.fn.putPage(k, oldPfn);
  }
  if (k.sched.points) yield P_PTE_SET;
  return replaced && (flags & FAULT_FLAG_UNSHARE) === 0 ? faultWrite(k) : 0;
}

/** Low word of the entry that maps the copy: writable and dirty, or (unshare) with the old entry's rights. */
function entryOfCopy(vma: VmArea, pfn: number, origLo: number, flags: number): number {
  const lo = mkPteLo(pfn, vma.pageProtLo);
  if ((flags & FAULT_FLAG_UNSHARE) !== 0) return lo | (origLo & (PTE_SOFT_DIRTY | PTE_UFFD_WP));
  return pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
}
