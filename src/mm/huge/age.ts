// MADV_FREE, MADV_COLD and MADV_PAGEOUT of a huge entry (mm/huge_memory.c madvise_free_huge_pmd, mm/madvise.c
// madvise_cold_or_pageout_pte_range). A whole page is aged whole; for a part of it the page itself is split first, and the small
// entries are then handled one by one. Pages that others map too are left alone.

import { PMD_SIZE } from '../../abi/mman.ts';
import { SITE_MADV_COLD, SITE_MADV_FREE } from '../../abi/notifier.ts';
import { PTE_A, PTE_D } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { announceLazyfree } from '../page/announce.ts';
import { compoundHead, folioLikelyMappedShared, pageMapcount, totalMapcount } from '../page/compound.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_DIRTY, PG_REFERENCED } from '../page/pages.ts';
import { isolateLruPage, markPageLazyfree } from '../reclaim/lru.ts';
import { getPage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { CLEARED_PMDS, type MmuGather } from '../zap/mmu-gather.ts';
import { pmdFrame, pmdIsTable, pmdTransHuge } from './pmd.ts';
import { pmdpInvalidate, setPmd } from './pmd-flush.ts';
import { isHugeZero } from './zero-page.ts';

/** Do others map the page of the frame too? */
export function isMappedShared(k: Kernel, pfn: number): boolean {
  return k.profile.guessesSharing
    ? folioLikelyMappedShared(k.pages, compoundHead(k.pages, pfn))
    : pageMapcount(k.pages, pfn) > 1;
}

/** madvise_free_huge_pmd: true when the piece is done; else its small entries, if it has any now, are to be freed. */
export function* madviseFreeHugePmd(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  end: number,
): KernelPath<boolean> {
  const { flags } = k.pages;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const head = pmdFrame(lo);
  const isOurs = pmdTransHuge(lo) && !isHugeZero(k, head) && totalMapcount(k.pages, head) === 1;
  if (!isOurs || !tryLockPage(k, head)) {
    k.ptl.unlock(ptl);
    return !pmdIsTable(lo);
  }
  if (end - start !== PMD_SIZE) {
    getPage(k, head);
    k.ptl.unlock(ptl);
    yield* k.fn.splitHugePage(k, head, null);
    unlockPage(k, head);
    k.fn.putPage(k, head);
    return !pmdIsTable(entryLo(k.memory, word));
  }
  flags[head] = flags[head]! & ~PG_DIRTY;
  unlockPage(k, head);
  if ((lo & (PTE_A | PTE_D)) !== 0) yield* replaceAged(k, tlb, vma, word, start, PTE_A | PTE_D, SITE_MADV_FREE);
  markPageLazyfree(k, head);
  announceLazyfree(k, head);
  k.ptl.unlock(ptl);
  return true;
}

/** The entry again without these bits; 2 MiB for the gather's flush. ptl held. */
function* replaceAged(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  haddr: number,
  bits: number,
  site: number,
): KernelPath<void> {
  const hi = entryHi(k.memory, word);
  const old = yield* pmdpInvalidate(k, vma, word, haddr, site);
  setPmd(k, vma, word, old & ~bits, hi, haddr);
  tlb.addRange(haddr, haddr + PMD_SIZE, CLEARED_PMDS);
}

/** MADV_COLD (isolated null) and MADV_PAGEOUT of a piece below a huge entry. True: done, with the page in `isolated` if it is to be
 *  reclaimed; false: the page was split, its small entries are to be aged. */
export function* coldHugePmd(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  end: number,
  isolated: number[] | null,
): KernelPath<boolean> {
  const { flags } = k.pages;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const head = pmdFrame(lo);
  if (!pmdTransHuge(lo) || isHugeZero(k, head) || isMappedShared(k, head)) {
    k.ptl.unlock(ptl);
    return !pmdIsTable(lo);
  }
  if (end - start !== PMD_SIZE) {
    getPage(k, head);
    k.ptl.unlock(ptl);
    if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
    const failed = yield* k.fn.splitHugePage(k, head, null);
    unlockPage(k, head);
    k.fn.putPage(k, head);
    return failed !== 0 || !pmdIsTable(entryLo(k.memory, word));
  }
  const makesOld = isolated === null || k.profile.pageoutAgesAndFlushes;
  if (makesOld && (lo & PTE_A) !== 0) yield* replaceAged(k, tlb, vma, word, start, PTE_A, SITE_MADV_COLD);
  flags[head] = flags[head]! & ~PG_REFERENCED;
  if (isolated === null) k.fn.lruDeactivate(k, head);
  else if (isolateLruPage(k, head)) isolated.push(head);
  k.ptl.unlock(ptl);
  return true;
}

/** Splits the huge page of which `pfn` is a part that only this address space maps, so that the part can be aged by itself. The ptl
 *  is dropped by the caller. True when it is small now. */
export function* splitForAging(k: Kernel, pfn: number): KernelPath<boolean> {
  const head = compoundHead(k.pages, pfn);
  getPage(k, head);
  if (!tryLockPage(k, head)) {
    k.fn.putPage(k, head);
    return false;
  }
  // The lock and the reference go to the page that is named: the head (split_folio), until 6.1 the part.
  const named = k.profile.guessesSharing ? head : pfn;
  const failed = yield* k.fn.splitHugePage(k, named, null);
  const ours = failed === 0 ? named : head;
  unlockPage(k, ours);
  k.fn.putPage(k, ours);
  return failed === 0;
}
