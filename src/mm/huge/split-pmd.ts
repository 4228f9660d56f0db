// Splitting the mapping of a huge page (mm/huge_memory.c __split_huge_pmd): the 2 MiB entry becomes a page table of 512 entries
// that map the same frames. The page itself stays whole. One section CLEAR over the block, whether or not a huge page is mapped
// there; no invalidate_range inside for anonymous memory, as what a secondary TLB holds stays true, with no more rights.
//
//   anonymous   PMD made invalid, CPU flush; the deposited table filled; PMD points to it
//   zero page   PMD cleared, CPU flush; 512 entries of the small zero page
//   file        PMD cleared, CPU flush, invalidate_range; nothing left: faults map it again
//
// Between "invalid, flushed" and "filled" no CPU can hold the 2 MiB and a 4 KiB translation of one address at a time.
//
// With `freeze` (a page locked, to be split or migrated) the entries become migration entries and the page loses its mappings.
//
// Locks: mmapLock or the rmap lock; ptl of the PMD table. Kernel names: __split_huge_pmd_locked, __split_huge_zero_page_pmd,
// split_huge_pmd_address, vma_adjust_trans_huge.

import { E_RMAP_ADD, RMAP_ANON } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_SPLIT_PMD } from '../../abi/notifier.ts';
import { LEVEL_PTE, PTE_A, PTE_D, PTE_RW, PTE_SOFT_DIRTY, PTE_SPECIAL, PTE_TABLE, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { setPageDirty } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON_EXCLUSIVE, PG_REFERENCED } from '../page/pages.ts';
import { migrationType, mkMigrationHi, mkPfnSwapLo, swapPfn } from '../page/pfn-swap.ts';
import { mkPteHi, mkPteLo, pteMaybeMkwrite, pteMkdirty, SWP_SOFT_DIRTY, SWP_UFFD_WP } from '../page/swapops.ts';
import { announceRmap, mmCounterFile, notePage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { withdraw } from './deposit.ts';
import { pmdFrame, pmdIsSwap, pmdTransHuge } from './pmd.ts';
import { pmdpHugeClearFlush, pmdpInvalidate, setPmd } from './pmd-flush.ts';
import { pageRemoveHugeRmap } from './rmap.ts';
import { isHugeZero } from './zero-page.ts';

/** split_huge_pmd: `address` anywhere in the block. `freeze` and `folio` (a head, locked; 0 for any) as in Linux: with a folio
 *  only its own mapping is split. */
export function* splitHugePmd(
  k: Kernel,
  vma: VmArea,
  address: number,
  freeze: boolean,
  folio: number,
): KernelPath<void> {
  const haddr = address - modPower(address, PMD_SIZE);
  const range =
    vma.mm.notifiers === null ? null : k.range(vma.mm, haddr, haddr + PMD_SIZE, MMU_NOTIFY_CLEAR, SITE_SPLIT_PMD);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  yield* splitInSection(k, vma, haddr, freeze, folio);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, true);
}

/** split_huge_pmd_locked: the same inside a section of the caller that covers the block. */
export function* splitInSection(
  k: Kernel,
  vma: VmArea,
  haddr: number,
  freeze: boolean,
  folio: number,
): KernelPath<void> {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(haddr), vpnLo(haddr));
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    const lo = entryLo(k.memory, word);
    const isLeaf = pmdTransHuge(lo) || pmdIsSwap(lo, entryHi(k.memory, word));
    if (isLeaf && (folio === 0 || (pmdTransHuge(lo) && pmdFrame(lo) === folio)))
      yield* splitLocked(k, vma, word, haddr, freeze);
    k.ptl.unlock(ptl);
  }
}

/** split_huge_pmd_address: nothing, not even a section, where the 1 GiB has no PMD table. */
export function* splitHugePmdAddress(
  k: Kernel,
  vma: VmArea,
  address: number,
  freeze: boolean,
  folio: number,
): KernelPath<void> {
  if (pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address)) < 0) return;
  yield* k.fn.splitHugePmd(k, vma, address, freeze, folio);
}

/** __split_huge_pmd_locked. */
function* splitLocked(k: Kernel, vma: VmArea, word: number, haddr: number, freeze: boolean): AtomicPath<void> {
  const lo = entryLo(k.memory, word);
  if (vma.file !== null) {
    yield* splitFilePmd(k, vma, word, haddr);
  } else if (pmdTransHuge(lo) && isHugeZero(k, pmdFrame(lo))) {
    yield* splitZeroPmd(k, vma, word, haddr);
  } else if (pmdTransHuge(lo)) {
    yield* splitAnonPmd(k, vma, word, haddr, freeze);
  } else {
    yield* splitMigrationPmd(k, vma, word, haddr);
  }
  if (k.sched.points) yield P_PTE_SET;
}

function* splitFilePmd(k: Kernel, vma: VmArea, word: number, haddr: number): AtomicPath<void> {
  const { mm } = vma;
  const lo = yield* pmdpHugeClearFlush(k, vma, word, haddr, SITE_SPLIT_PMD);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, haddr, haddr + PMD_SIZE, SITE_SPLIT_PMD, false);
  if (!pmdTransHuge(lo)) return;
  const head = pmdFrame(lo);
  const { flags } = k.pages;
  if ((lo & PTE_D) !== 0) setPageDirty(k, head);
  if ((lo & PTE_A) !== 0) flags[head] = flags[head]! | PG_REFERENCED;
  mm.rss[mmCounterFile(k.pages, head)]! -= HPAGE_PMD_NR;
  pageRemoveHugeRmap(k, head, vma, haddr);
  k.fn.putPage(k, head);
}

/** __split_huge_zero_page_pmd. */
function* splitZeroPmd(k: Kernel, vma: VmArea, word: number, haddr: number): AtomicPath<void> {
  const old = yield* pmdpHugeClearFlush(k, vma, word, haddr, SITE_SPLIT_PMD);
  const table = withdraw(k, word >>> 10);
  const uffdWp = old & PTE_UFFD_WP;
  const lo = mkPteLo(k.zeroPfn, vma.pageProtLo) | PTE_SPECIAL | uffdWp;
  const hi = mkPteHi(vma.pageProtLo, vma.pageProtHi);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    writeEntry(k.memory, entryWord(table, i), lo, hi, vma.mm.id, haddr + i * 4096, LEVEL_PTE);
  }
  setPmd(k, vma, word, (table << 12) | PTE_TABLE, 0, haddr);
}

function* splitAnonPmd(k: Kernel, vma: VmArea, word: number, haddr: number, freeze: boolean): AtomicPath<void> {
  const pages = k.pages;
  const old = yield* pmdpInvalidate(k, vma, word, haddr, SITE_SPLIT_PMD);
  const head = pmdFrame(old);
  notePage(k, head);
  if ((old & PTE_D) !== 0) setPageDirty(k, head);
  const isExclusive = (pages.flags[head]! & PG_ANON_EXCLUSIVE) !== 0;
  if (freeze && isExclusive && !k.fn.pageTryShareAnonRmap(k, head)) freeze = false;
  if (!freeze) pages.refcount[head]! += HPAGE_PMD_NR - 1;
  const table = withdraw(k, word >>> 10);
  if (freeze) fillFrozen(k, vma, table, haddr, head, old, isExclusive);
  else fillPresent(k, vma, table, haddr, head, old, isExclusive);
  if (!k.profile.splitRemovesHugeRmap) pages.compoundMapcount[head]!--;
  setPmd(k, vma, word, (table << 12) | PTE_TABLE, 0, haddr);
  if (k.profile.splitRemovesHugeRmap) pageRemoveHugeRmap(k, head, vma, haddr);
  if (!freeze) return;
  if (!k.profile.splitRemovesHugeRmap)
    for (let i = 0; i < HPAGE_PMD_NR; i++) k.fn.pageRemoveRmap(k, head + i, vma, haddr + i * 4096);
  // The reference of the 2 MiB mapping; the caller holds another.
  pages.refcount[head]!--;
}

/** The table maps the frames one by one, with the rights of the huge entry. */
function fillPresent(
  k: Kernel,
  vma: VmArea,
  table: number,
  haddr: number,
  head: number,
  old: number,
  isExclusive: boolean,
): void {
  const { flags, mapcount } = k.pages;
  const hi = mkPteHi(vma.pageProtLo, vma.pageProtHi);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    let lo = pteMaybeMkwrite(mkPteLo(head + i, vma.pageProtLo), vma.flags);
    if (isExclusive) flags[head + i] = flags[head + i]! | PG_ANON_EXCLUSIVE;
    if ((old & PTE_A) === 0) lo &= ~PTE_A;
    if ((old & PTE_D) !== 0 && k.profile.splitKeepsDirty) lo = pteMkdirty(lo);
    if ((old & PTE_RW) === 0) lo &= ~PTE_RW;
    lo |= old & (PTE_SOFT_DIRTY | PTE_UFFD_WP);
    writeEntry(k.memory, entryWord(table, i), lo, hi, vma.mm.id, haddr + i * 4096, LEVEL_PTE);
    mapcount[head + i] = mapcount[head + i]! + 1;
  }
  if (!k.profile.splitRemovesHugeRmap || !k.memory.log.on) return;
  for (let i = 0; i < HPAGE_PMD_NR; i++) announceRmap(k, E_RMAP_ADD, head + i, vma, haddr + i * 4096, RMAP_ANON);
}

/** The table holds migration entries. */
function fillFrozen(
  k: Kernel,
  vma: VmArea,
  table: number,
  haddr: number,
  head: number,
  old: number,
  isExclusive: boolean,
): void {
  const { mapcount } = k.pages;
  const type = migrationType((old & PTE_RW) !== 0, isExclusive);
  const hi = mkMigrationHi(type, (old & PTE_A) !== 0, (old & PTE_D) !== 0);
  let soft = (old & PTE_SOFT_DIRTY) !== 0 ? SWP_SOFT_DIRTY : 0;
  if ((old & PTE_UFFD_WP) !== 0) soft |= SWP_UFFD_WP;
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const lo = mkPfnSwapLo(head + i) | soft;
    writeEntry(k.memory, entryWord(table, i), lo, hi, vma.mm.id, haddr + i * 4096, LEVEL_PTE);
    if (!k.profile.splitRemovesHugeRmap) mapcount[head + i] = mapcount[head + i]! + 1;
  }
}

/** A migration entry of 2 MiB becomes 512 of 4 KiB. */
function* splitMigrationPmd(k: Kernel, vma: VmArea, word: number, haddr: number): AtomicPath<void> {
  const old = entryLo(k.memory, word);
  const oldHi = entryHi(k.memory, word);
  yield* pmdpInvalidate(k, vma, word, haddr, SITE_SPLIT_PMD);
  const first = swapPfn(old);
  const table = withdraw(k, word >>> 10);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const lo = mkPfnSwapLo(first + i) | (old & (SWP_SOFT_DIRTY | SWP_UFFD_WP));
    writeEntry(k.memory, entryWord(table, i), lo, oldHi, vma.mm.id, haddr + i * 4096, LEVEL_PTE);
  }
  setPmd(k, vma, word, (table << 12) | PTE_TABLE, 0, haddr);
}

/** `start` and `end` are the boundaries that the VMA will have; call before they change (vma_adjust_trans_huge). */
export function* vmaAdjustTransHuge(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  if (cutsPresentBlock(k, vma, start)) yield* k.fn.splitHugePmd(k, vma, start, false, 0);
  if (cutsPresentBlock(k, vma, end)) yield* k.fn.splitHugePmd(k, vma, end, false, 0);
}

/** split_huge_pmd_if_needed. */
function cutsPresentBlock(k: Kernel, vma: VmArea, address: number): boolean {
  const base = address - modPower(address, PMD_SIZE);
  if (base === address || base < vma.start || base + PMD_SIZE > vma.end) return false;
  return pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address)) >= 0;
}
