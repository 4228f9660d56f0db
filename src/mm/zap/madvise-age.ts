// MADV_FREE, MADV_COLD and MADV_PAGEOUT for one VMA (mm/madvise.c). All three make entries old and put them in the gather's
// range; no entry goes away.
//
//   FREE      one section; swapped pages are dropped; entries old and clean, pages lazyfree (discarded when reclaim comes
//             first, kept when written first)
//   COLD      no section; entries old, pages to the inactive list; flush at the end
//   PAGEOUT   no section; as COLD, but each page table's pages are reclaimed at once, before that flush. By 6.12 the entries
//             are not made old, and reclaim does not ask who used the pages.
//
// Locks: mmapLock for read; ptl inside, dropped before reclaim. Kernel names: madvise_free_pte_range,
// madvise_cold_or_pageout_pte_range, can_madv_lru_vma, can_do_file_pageout.

import { EINVAL } from '../../abi/errno.ts';
import { MM_SWAPENTS, VM_HUGETLB, VM_LOCKED, VM_MAYSHARE, VM_PFNMAP } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_MADV_COLD, SITE_MADV_FREE } from '../../abi/notifier.ts';
import { LEVEL_PTE, PTE_A, PTE_D } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_CHANGED } from '../../sched/points.ts';
import { isMappedShared, splitForAging } from '../huge/age.ts';
import { pmdIsTable } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { announceLazyfree } from '../page/announce.ts';
import { isCompound } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_DIRTY, PG_LRU, PG_SWAPCACHE } from '../page/pages.ts';
import { isRealSwap, pteFrame, pteNone, ptePresent, pteSpecial, swapOffset } from '../page/swapops.ts';
import { isolateLruPage, markPageLazyfree } from '../reclaim/lru.ts';
import { updateHiwaterRss } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { CLEARED_PTES, type MmuGather } from './mmu-gather.ts';
import { nextPopulatedPmd, pmdEnd } from './walk-range.ts';

const ADVICE_FREE = 0;
const ADVICE_COLD = 1;
const ADVICE_PAGEOUT = 2;

export function* madviseFree(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if (vma.file !== null) return -EINVAL;
  const mm = vma.mm;
  const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_CLEAR, SITE_MADV_FREE);
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_MADV_FREE);
  updateHiwaterRss(mm);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  yield* ageRange(k, tlb, vma, start, end, ADVICE_FREE);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
  return 0;
}

export function* madviseCold(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if ((vma.flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB)) !== 0) return -EINVAL;
  const tlb = k.fn.tlbGatherMmu(k, vma.mm, false, SITE_MADV_COLD);
  yield* ageRange(k, tlb, vma, start, end, ADVICE_COLD);
  yield* k.fn.tlbFinishMmu(k, tlb);
  return 0;
}

export function* madvisePageout(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if ((vma.flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB)) !== 0) return -EINVAL;
  // can_do_file_pageout: the owner of the file, or one who may write it.
  const mayPageout = vma.file === null || vma.file.isWritable || k.config.capSysAdmin;
  if (!mayPageout && (vma.flags & VM_MAYSHARE) !== 0) return 0;
  const tlb = k.fn.tlbGatherMmu(k, vma.mm, false, SITE_MADV_COLD);
  yield* ageRange(k, tlb, vma, start, end, ADVICE_PAGEOUT);
  yield* k.fn.tlbFinishMmu(k, tlb);
  return 0;
}

/** walk_page_range over [start, end). */
function* ageRange(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
  advice: number,
): KernelPath<void> {
  const m = k.memory;
  const root = vma.mm.pgd;
  for (let at = nextPopulatedPmd(m, root, start, end); at < end; ) {
    const next = pmdEnd(at, end);
    const pmd = pmdWord(m, root, vpnHi(at), vpnLo(at));
    const isolated: number[] = [];
    const isDone = pmdIsTable(entryLo(m, pmd))
      ? false
      : advice === ADVICE_FREE
        ? yield* k.fn.madviseFreeHugePmd(k, tlb, vma, pmd, at, next)
        : yield* k.fn.coldHugePmd(k, tlb, vma, pmd, at, next, advice === ADVICE_COLD ? null : isolated);
    if (!isDone) yield* agePteRange(k, tlb, vma, entryLo(m, pmd) >>> 12, at, next, advice, isolated);
    if (isolated.length > 0) yield* k.fn.reclaimPages(k, isolated);
    at = nextPopulatedPmd(m, root, next, end);
  }
}

function* agePteRange(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  table: number,
  start: number,
  end: number,
  advice: number,
  isolated: number[],
): KernelPath<void> {
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if (vma.mm.tlbFlushBatched) yield* k.fn.flushTlbBatchedPending(k, vma.mm);
  let word = entryWord(table, vpnLo(start) & 511);
  for (let address = start; address < end; ) {
    const left = (end - address) / 4096;
    const count = left < k.stride ? left : k.stride;
    const done =
      advice === ADVICE_FREE
        ? freeEntries(k, tlb, word, address, count)
        : coldEntries(k, tlb, word, address, count, advice, isolated);
    word += done * 2;
    address += done * 4096;
    if (k.sched.points) yield P_PTES_CHANGED;
    if (done === count) continue;
    // A part of a huge page: the page is split if nobody else maps the part; else the rest of the table is left as it is.
    const pfn = pteFrame(entryLo(k.memory, word));
    if (isMappedShared(k, pfn)) break;
    k.ptl.unlock(table);
    const isSplit = yield* splitForAging(k, pfn);
    if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
    if (!isSplit) break;
  }
  k.ptl.unlock(table);
}

/** Number of entries done: less than `count` where a part of a huge page stands. */
function freeEntries(k: Kernel, tlb: MmuGather, word: number, address: number, count: number): number {
  const m = k.memory;
  const mm = tlb.mm;
  for (let i = 0; i < count; i++, word += 2, address += 4096) {
    const lo = entryLo(m, word);
    if (!ptePresent(lo)) {
      const hi = entryHi(m, word);
      if (pteNone(lo, hi) || !isRealSwap(hi)) continue;
      writeEntry(m, word, 0, 0, mm.id, address, LEVEL_PTE);
      mm.rss[MM_SWAPENTS] = mm.rss[MM_SWAPENTS]! - 1;
      k.fn.freeSwapAndCache(k, swapOffset(lo, hi));
      continue;
    }
    if (pteSpecial(lo)) continue;
    const pfn = pteFrame(lo);
    if (isCompound(k.pages, pfn)) return i;
    if (!forgetContents(k, pfn)) continue;
    if ((lo & (PTE_A | PTE_D)) !== 0) {
      writeEntry(m, word, lo & ~(PTE_A | PTE_D), entryHi(m, word), mm.id, address, LEVEL_PTE);
      tlb.addRange(address, address + 4096, CLEARED_PTES);
    }
    markPageLazyfree(k, pfn);
    announceLazyfree(k, pfn);
  }
  return count;
}

/** The page's contents need not be kept: no dirty flag, no copy in swap. False when somebody else needs them. */
function forgetContents(k: Kernel, pfn: number): boolean {
  const flags = k.pages.flags;
  if ((flags[pfn]! & (PG_SWAPCACHE | PG_DIRTY)) === 0) return true;
  if (!tryLockPage(k, pfn)) return false;
  const alone = k.pages.mapcount[pfn] === 1;
  const forgotten = alone && ((flags[pfn]! & PG_SWAPCACHE) === 0 || k.fn.folioFreeSwap(k, pfn));
  if (forgotten) flags[pfn] = flags[pfn]! & ~PG_DIRTY;
  unlockPage(k, pfn);
  return forgotten;
}

function coldEntries(
  k: Kernel,
  tlb: MmuGather,
  word: number,
  address: number,
  count: number,
  advice: number,
  isolated: number[],
): number {
  const m = k.memory;
  const makesOld = advice === ADVICE_COLD || k.profile.pageoutAgesAndFlushes;
  for (let i = 0; i < count; i++, word += 2, address += 4096) {
    const lo = entryLo(m, word);
    if (!ptePresent(lo) || pteSpecial(lo)) continue;
    const pfn = pteFrame(lo);
    if (isCompound(k.pages, pfn)) return i;
    // Pages that others map too, or that are being worked on, are left alone.
    if ((k.pages.flags[pfn]! & PG_LRU) === 0 || k.pages.mapcount[pfn] !== 1) continue;
    if (makesOld && (lo & PTE_A) !== 0) {
      writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), tlb.mm.id, address, LEVEL_PTE);
      tlb.addRange(address, address + 4096, CLEARED_PTES);
    }
    if (advice === ADVICE_COLD) k.fn.lruDeactivate(k, pfn);
    else if (isolateLruPage(k, pfn)) isolated.push(pfn);
  }
  return count;
}
