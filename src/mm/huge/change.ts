// mprotect of a huge entry (mm/huge_memory.c change_huge_pmd): made invalid without a flush, then written with its new rights; the
// gather flushes at the end of the call. Unlike a small entry, one that loses A asks for a flush (huge_pmd_needs_flush). Until 6.1 no W
// is given back here (the next write faults and reuses); since then as for small entries. A part of a huge page is split first.

import { PMD_SIZE, VM_SHARED, VM_SOFTDIRTY } from '../../abi/mman.ts';
import {
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_P,
  PTE_PCD,
  PTE_PROTNONE,
  PTE_PS,
  PTE_PWT,
  PTE_RW,
  PTE_SOFT_DIRTY,
  PTE_UFFD_WP,
  PTE_US,
} from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CHANGED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE } from '../page/pages.ts';
import { readOnlyType, swapPfn, withSwapType } from '../page/pfn-swap.ts';
import { SWP_MIGRATION_WRITE, swapType } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';
import { MM_CP_PROT_NUMA, MM_CP_TRY_CHANGE_WRITABLE, MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE } from '../zap/cp-flags.ts';
import { CLEARED_PMDS, type MmuGather } from '../zap/mmu-gather.ts';
import { mkHugePmdHi, pmdFrame, pmdIsSwap, pmdIsTable, pmdModifyLo, pmdTransHuge } from './pmd.ts';
import { setPmd } from './pmd-flush.ts';
import { isHugeZero } from './zero-page.ts';

/** change_pmd_range for an entry that points to no table. Number of pages changed. */
export function* changePmd(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  end: number,
  cpFlags: number,
): KernelPath<number> {
  // uffd_wp_protect_file: a page of a file is marked by small entries, or by markers where the page itself is not mapped.
  const isFileMark = (cpFlags & MM_CP_UFFD_WP) !== 0 && vma.file !== null;
  if (end - start !== PMD_SIZE || isFileMark) {
    yield* k.fn.splitHugePmd(k, vma, start, false, 0);
    if (isFileMark && (yield* k.fn.pteAlloc(k, vma.mm, start)) === 0) return 0;
  } else {
    const changed = yield* k.fn.changeHugePmd(k, tlb, vma, word, start, cpFlags);
    if (changed > 0) return changed === HPAGE_PMD_NR ? changed : 0;
  }
  const lo = entryLo(k.memory, word);
  return pmdIsTable(lo) ? yield* k.fn.changePteRange(k, tlb, vma, lo >>> 12, start, end, cpFlags) : 0;
}

const FLUSH_ON_CHANGE = PTE_RW | PTE_US | PTE_PWT | PTE_PCD | PTE_PS | PTE_G;
const FLUSH_ON_CLEAR = PTE_D | PTE_P | PTE_A;

/** huge_pmd_needs_flush. */
function hugePmdNeedsFlush(oldLo: number, oldHi: number, newLo: number, newHi: number): boolean {
  if ((oldLo & PTE_P) === 0) return false;
  if (pmdFrame(oldLo) !== pmdFrame(newLo)) return true;
  const diff = oldLo ^ newLo;
  return (diff & FLUSH_ON_CHANGE) !== 0 || (diff & oldLo & FLUSH_ON_CLEAR) !== 0 || oldHi !== newHi;
}

function changedLo(vma: VmArea, lo: number, cpFlags: number): number {
  // A hint of NUMA balancing keeps RW in the entry (pmd_savedwrite).
  if ((cpFlags & MM_CP_PROT_NUMA) !== 0) return pmdModifyLo(lo, PTE_A | PTE_PROTNONE | (lo & PTE_RW));
  const newLo = pmdModifyLo(lo, vma.pageProtLo);
  if ((cpFlags & MM_CP_UFFD_WP) !== 0) return (newLo | PTE_UFFD_WP) & ~PTE_RW;
  return (cpFlags & MM_CP_UFFD_WP_RESOLVE) !== 0 ? newLo & ~PTE_UFFD_WP : newLo;
}

/** can_change_pmd_writable: may the entry become writable without a fault? */
function canChangePmdWritable(k: Kernel, vma: VmArea, lo: number): boolean {
  if ((lo & PTE_P) === 0 || (lo & PTE_UFFD_WP) !== 0) return false;
  if ((vma.flags & VM_SOFTDIRTY) === 0 && (lo & PTE_SOFT_DIRTY) === 0) return false;
  if ((vma.flags & VM_SHARED) !== 0) return (lo & PTE_D) !== 0;
  const exclusive = PG_ANON | PG_ANON_EXCLUSIVE;
  return (k.pages.flags[pmdFrame(lo)]! & exclusive) === exclusive;
}

/** 0: no huge entry; 1: nothing to change; 512: changed. */
export function* changeHugePmd(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  haddr: number,
  cpFlags: number,
): AtomicPath<number> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  let changed = 0;
  if (pmdIsSwap(lo, hi)) {
    changed = 1;
    if (swapType(hi) === SWP_MIGRATION_WRITE) {
      const isAnon = (k.pages.flags[swapPfn(lo)]! & PG_ANON) !== 0;
      setPmd(k, vma, word, lo, withSwapType(hi, readOnlyType(SWP_MIGRATION_WRITE, isAnon)), haddr);
    }
  } else if (pmdTransHuge(lo)) {
    const isNuma = (cpFlags & MM_CP_PROT_NUMA) !== 0;
    if (isNuma && (isHugeZero(k, pmdFrame(lo)) || (lo & PTE_P) === 0)) {
      k.ptl.unlock(ptl);
      return 1;
    }
    changed = HPAGE_PMD_NR;
    let newLo = changedLo(vma, lo, cpFlags);
    if (k.profile.writableAtOnce && (cpFlags & MM_CP_TRY_CHANGE_WRITABLE) !== 0 && canChangePmdWritable(k, vma, newLo))
      newLo |= PTE_RW;
    const newHi = (newLo & PTE_P) !== 0 ? vma.pageProtHi : mkHugePmdHi(0, isNuma ? 0 : vma.pageProtHi);
    if (newLo !== lo || newHi !== hi) setPmd(k, vma, word, newLo, newHi, haddr);
    if (hugePmdNeedsFlush(lo, hi, newLo, newHi)) tlb.addRange(haddr, haddr + PMD_SIZE, CLEARED_PMDS);
    if (k.sched.points) yield P_PTES_CHANGED;
  }
  k.ptl.unlock(ptl);
  return changed;
}
