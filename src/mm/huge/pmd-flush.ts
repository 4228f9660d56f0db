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

function announce(k: Kernel, vma: VmArea, haddr: number, how: number): void {
  const { log } = k.memory;
  if (log.on) log.emit(E_PMD_FLUSH, vma.mm.id, haddr, haddr + PMD_SIZE, 0, 0, how, 0, 0, 0);
}

/** pmdp_invalidate: the leaf stays for Linux, the hardware cannot use it any more. Returns the low word that it had just before
 *  (A and D may have come since the caller looked). */
export function pmdpInvalidate(k: Kernel, vma: VmArea, word: number, haddr: number, site: number): AtomicPath<number> {
  return replaceAndFlush(k, vma, word, haddr, site, PMD_INVALIDATE);
}

/** pmdp_huge_clear_flush. Returns the old low word. */
export function pmdpHugeClearFlush(
  k: Kernel,
  vma: VmArea,
  word: number,
  haddr: number,
  site: number,
): AtomicPath<number> {
  return replaceAndFlush(k, vma, word, haddr, site, PMD_HUGE_CLEAR_FLUSH);
}

/** pmdp_collapse_flush: takes the page table at `word` out of the tree. Returns the old low word. */
export function pmdpCollapseFlush(
  k: Kernel,
  vma: VmArea,
  word: number,
  haddr: number,
  site: number,
): AtomicPath<number> {
  return replaceAndFlush(k, vma, word, haddr, site, PMD_COLLAPSE_FLUSH);
}

/** Clears the entry, or only hides it from the hardware (PMD_INVALIDATE), and flushes. `how`: PMD_*. Returns the old low word. */
function* replaceAndFlush(
  k: Kernel,
  vma: VmArea,
  word: number,
  haddr: number,
  site: number,
  how: number,
): AtomicPath<number> {
  announce(k, vma, haddr, how);
  const lo = entryLo(k.memory, word);
  const isKept = how === PMD_INVALIDATE;
  const newHi = isKept ? pmdMkinvalidHi(entryHi(k.memory, word)) : 0;
  setPmd(k, vma, word, isKept ? pmdMkinvalidLo(lo) : 0, newHi, haddr);
  if (k.sched.points) yield P_PTES_CLEARED;
  yield* k.fn.flushTlbMmRange(k, vma.mm, haddr, haddr + PMD_SIZE, 12, true, site);
  return lo;
}
