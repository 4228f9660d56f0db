// Taking a huge entry away (mm/huge_memory.c zap_huge_pmd): cleared under the ptl of the PMD table, 2 MiB added to the gather's
// range, its deposited table freed at once (no walker ever saw it), the page queued in one slot of the gather. A part of a huge page is
// split first and zapped entry by entry; of a file's page nothing is left then.
//
// Linux 6.1 drops D of a file's huge entry here: what was stored through an entry that a read made is lost when the page, clean
// for all that the kernel knows, is reclaimed before anybody dirties it otherwise. Here D goes to the page, as with small entries.

import { MM_ANONPAGES, PMD_SIZE } from '../../abi/mman.ts';
import { PTE_D } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import { setPageDirty } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON } from '../page/pages.ts';
import { swapPfn } from '../page/pfn-swap.ts';
import { mmCounterFile, updateHiwaterRss } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { CLEARED_PMDS, type MmuGather } from '../zap/mmu-gather.ts';
import { zapDepositedTable } from './deposit.ts';
import { pmdFrame, pmdIsSwap, pmdIsTable, pmdTransHuge } from './pmd.ts';
import { setPmd } from './pmd-flush.ts';
import { pageRemoveHugeRmap } from './rmap.ts';
import { isHugeZero } from './zero-page.ts';

/** zap_pmd_range for an entry that points to no table: [start, end) inside its 2 MiB. */
export function* zapPmd(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  end: number,
  evenCows: boolean,
): KernelPath<void> {
  if (end - start !== PMD_SIZE) yield* k.fn.splitHugePmd(k, vma, start, false, 0);
  else yield* k.fn.zapHugePmd(k, tlb, vma, word, start);
  // Split by us, or by somebody else meanwhile: the entries are small now.
  if (pmdIsTable(entryLo(k.memory, word))) yield* k.fn.zapPteRange(k, tlb, vma, word, start, end, evenCows);
}

export function* zapHugePmd(k: Kernel, tlb: MmuGather, vma: VmArea, word: number, haddr: number): KernelPath<boolean> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const isSwap = pmdIsSwap(lo, hi);
  if (!pmdTransHuge(lo) && !isSwap) {
    k.ptl.unlock(ptl);
    return false;
  }
  const { mm } = tlb;
  setPmd(k, vma, word, 0, 0, haddr);
  if (k.sched.points) yield P_PTES_CLEARED;
  tlb.addRange(haddr, haddr + PMD_SIZE, CLEARED_PMDS);
  const head = isSwap ? swapPfn(lo) : pmdFrame(lo);
  if (isHugeZero(k, head)) {
    zapDepositedTable(k, mm, ptl);
    k.ptl.unlock(ptl);
    return true;
  }
  updateHiwaterRss(mm);
  const isAnon = (k.pages.flags[head]! & PG_ANON) !== 0;
  if (!isSwap && !isAnon && (lo & PTE_D) !== 0) setPageDirty(k, head);
  if (!isSwap) pageRemoveHugeRmap(k, head, vma, haddr);
  if (isAnon) zapDepositedTable(k, mm, ptl);
  mm.rss[isAnon ? MM_ANONPAGES : mmCounterFile(k.pages, head)]! -= HPAGE_PMD_NR;
  k.ptl.unlock(ptl);
  if (isSwap || !k.fn.tlbRemovePage(k, tlb, head, haddr, false, PMD_SIZE)) return true;
  yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
  yield* k.fn.tlbFlushMmuFree(k, tlb);
  return true;
}
