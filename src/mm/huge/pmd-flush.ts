// Functions that replace a huge entry and flush (mm/pgtable-generic.c, arch/x86/mm/pgtable.c). On x86 each flush is one of 512
// small pages with "tables freed", so the CPUs drop everything. ptl of the PMD table held.

import { E_PMD_FLUSH, PMD_COLLAPSE_FLUSH, PMD_HUGE_CLEAR_FLUSH, PMD_INVALIDATE } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import { LEVEL_PMD } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { pmdMkinvalidHi, pmdMkinvalidLo } from './pmd.ts';

/** set_pmd_at. */
export function setPmd(k: Kernel, vma: VmArea, word: number, lo: number, hi: number, haddr: number): void {
  writeEntry(k.memory, word, lo, hi, vma.mm.id, haddr, LEVEL_PMD);
}

function* flushPmd(k: Kernel, vma: VmArea, haddr: number, site: number): AtomicPath<void> {
  if (k.sched.points) yield P_PTES_CLEARED;
  yield* k.fn.flushTlbMmRange(k, vma.mm, haddr, haddr + PMD_SIZE, 12, true, site);
}

function announce(k: Kernel, vma: VmArea, haddr: number, how: number): void {
  const { log } = k.memory;
  if (log.on) log.emit(E_PMD_FLUSH, vma.mm.id, haddr, haddr + PMD_SIZE, 0, 0, how, 0, 0, 0);
}

/** pmdp_invalidate: the leaf stays for Linux, the hardware cannot use it any more. Returns the low word that it had just before
 *  (A and D may have come since the caller looked). */
export function* pmdpInvalidate(k: Kernel, vma: VmArea, word: number, haddr: number, site: number): AtomicPath<number> {
  announce(k, vma, haddr, PMD_INVALIDATE);
  const lo = entryLo(k.memory, word);
  setPmd(k, vma, word, pmdMkinvalidLo(lo), pmdMkinvalidHi(entryHi(k.memory, word)), haddr);
  yield* flushPmd(k, vma, haddr, site);
  return lo;
}

/** pmdp_huge_clear_flush. Returns the old low word. */
export function* pmdpHugeClearFlush(
  k: Kernel,
  vma: VmArea,
  word: number,
  haddr: number,
  site: number,
): AtomicPath<number> {
  announce(k, vma, haddr, PMD_HUGE_CLEAR_FLUSH);
  const lo = entryLo(k.memory, word);
  setPmd(k, vma, word, 0, 0, haddr);
  yield* flushPmd(k, vma, haddr, site);
  return lo;
}

/** pmdp_collapse_flush: takes the page table at `word` out of the tree. Returns the old low word. */
export function* pmdpCollapseFlush(
  k: Kernel,
  vma: VmArea,
  word: number,
  haddr: number,
  site: number,
): AtomicPath<number> {
  announce(k, vma, haddr, PMD_COLLAPSE_FLUSH);
  const lo = entryLo(k.memory, word);
  setPmd(k, vma, word, 0, 0, haddr);
  yield* flushPmd(k, vma, haddr, site);
  return lo;
}
