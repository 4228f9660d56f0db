// Fork's copy of a huge entry (mm/huge_memory.c copy_huge_pmd): parent and child map the page whole and read-only, and it is no longer
// exclusive. A pinned page is split instead, so that the pinned frames can be copied one by one. Pages of files are left to faults.

import { EAGAIN, ENOMEM } from '../../abi/errno.ts';
import { RMAP_DUP } from '../../abi/events.ts';
import { MM_ANONPAGES, VM_UFFD_WP } from '../../abi/mman.ts';
import { PTE_A, PTE_RW, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_COPIED } from '../../sched/points.ts';
import { pmdAlloc } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON_EXCLUSIVE } from '../page/pages.ts';
import { readOnlyType, withSwapType } from '../page/pfn-swap.ts';
import { SWP_UFFD_WP, swapType } from '../page/swapops.ts';
import { notePage, pageMaybeDmaPinned } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { deposit, pteAllocOne, pteFree } from './deposit.ts';
import { pmdFrame, pmdIsSwap, pmdTransHuge } from './pmd.ts';
import { setPmd } from './pmd-flush.ts';
import { pageAddHugeRmap } from './rmap.ts';
import { isHugeZero, mmGetHugeZeroPage } from './zero-page.ts';

/** copy_huge_pmd: 0, -ENOMEM, or -EAGAIN when the entry is not huge (any more). */
export function* copyHugePmd(k: Kernel, dst: VmArea, src: VmArea, srcWord: number, haddr: number): KernelPath<number> {
  if (src.file !== null) return 0;
  const pgtable = yield* pteAllocOne(k);
  if (pgtable === 0) return -ENOMEM;
  let dstWord = pmdWord(k.memory, dst.mm.pgd, vpnHi(haddr), vpnLo(haddr));
  if (dstWord < 0) {
    const table = yield* pmdAlloc(k, dst.mm, haddr);
    if (table === 0) {
      pteFree(k, pgtable);
      return -ENOMEM;
    }
    dstWord = entryWord(table, vpnLo(haddr) >>> 9);
  }
  const dstPtl = dstWord >>> 10;
  const srcPtl = srcWord >>> 10;
  if (k.sched.points || !k.ptl.tryLock(dstPtl)) yield* k.ptl.lock(dstPtl);
  if (k.sched.points || !k.ptl.tryLock(srcPtl)) yield* k.ptl.lock(srcPtl);
  const result = copyLocked(k, dst, src, dstWord, srcWord, haddr);
  if (result === 0) deposit(k, dst.mm, dstPtl, pgtable);
  if (k.sched.points) yield P_PTES_COPIED;
  k.ptl.unlock(srcPtl);
  k.ptl.unlock(dstPtl);
  if (result === 0) return 0;
  pteFree(k, pgtable);
  if (result === PINNED) yield* k.fn.splitHugePmd(k, src, haddr, false, 0);
  return -EAGAIN;
}

const PINNED = 1;
const NOT_HUGE = 2;

/** Both ptls held. 0: copied. */
function copyLocked(k: Kernel, dst: VmArea, src: VmArea, dstWord: number, srcWord: number, haddr: number): number {
  const { flags, refcount } = k.pages;
  let lo = entryLo(k.memory, srcWord);
  let hi = entryHi(k.memory, srcWord);
  const isWatched = (dst.flags & VM_UFFD_WP) !== 0;
  if (pmdIsSwap(lo, hi)) {
    const readOnly = withSwapType(hi, readOnlyType(swapType(hi), false));
    if (readOnly !== hi) {
      hi = readOnly;
      setPmd(k, src, srcWord, lo, hi, haddr);
    }
    dst.mm.rss[MM_ANONPAGES]! += HPAGE_PMD_NR;
    setPmd(k, dst, dstWord, isWatched ? lo : lo & ~SWP_UFFD_WP, hi, haddr);
    return 0;
  }
  if (!pmdTransHuge(lo)) return NOT_HUGE;
  const head = pmdFrame(lo);
  if (isHugeZero(k, head)) {
    mmGetHugeZeroPage(k, dst.mm);
  } else {
    notePage(k, head);
    if ((flags[head]! & PG_ANON_EXCLUSIVE) !== 0) {
      if (src.mm.hasPinned && pageMaybeDmaPinned(k.pages, head)) return PINNED;
      flags[head] = flags[head]! & ~PG_ANON_EXCLUSIVE;
    }
    refcount[head]!++;
    pageAddHugeRmap(k, head, dst, haddr, RMAP_DUP);
    dst.mm.rss[MM_ANONPAGES]! += HPAGE_PMD_NR;
  }
  if ((lo & PTE_RW) !== 0) {
    lo &= ~PTE_RW;
    setPmd(k, src, srcWord, lo, hi, haddr);
  }
  setPmd(k, dst, dstWord, lo & ~(isWatched ? PTE_A : PTE_A | PTE_UFFD_WP), hi, haddr);
  return 0;
}
