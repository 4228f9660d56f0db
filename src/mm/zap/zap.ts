// Zapping: taking the entries of a range away (mm/memory.c). munmap, exit, MADV_DONTNEED, truncate and the OOM reaper end here.
//
// Per page table, under its ptl: clear each entry, add it to the gather's range, give the page's state back (dirty, young,
// RSS, rmap) and queue the page. Nothing may be freed before the flush; and the flush must come before ptl is dropped when a
// dirty file page was unmapped (page_mkclean would find no entry and believe the page clean while a CPU still writes to it),
// or when the gather is full. Then the pages go, outside ptl, and the scan resumes. Since 6.2 such a page keeps its rmap as well
// until that flush (Profile.delayedRmap), so that whoever asks the rmap takes ptl and waits for it.
//
// Section order for munmap: S, entries, E; tables are freed and the last flush comes after E.
// Locks: mmapLock (read is enough), or i_mmap_rwsem for truncate; ptl inside.
// Kernel names: unmap_vmas, unmap_single_vma, unmap_page_range, zap_pte_range, zap_page_range_single, should_zap_page.

import { MM_ANONPAGES, MM_SWAPENTS, VM_HUGETLB, VM_MIXEDMAP, VM_PFNMAP, VM_SEQ_READ } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, MMU_NOTIFY_UNMAP, SITE_ZAP } from '../../abi/notifier.ts';
import {
  LEVEL_PTE,
  PTE_A,
  PTE_D,
  PTE_P,
  PTE_PS,
  PTE_RW,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
} from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import { zapPmd } from '../huge/zap.ts';
import { adjustRangeIfPmdSharingPossible } from '../hugetlb/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { announceDirty } from '../page/announce.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_ANON, PG_COMPOUND, PG_DIRTY } from '../page/pages.ts';
import { isDeviceExclusive, isDevicePrivate, isMigration, swapPfn } from '../page/pfn-swap.ts';
import { isRealSwap, pteFrame, ptePresent, SWP_PTE_MARKER, swapOffset, swapType } from '../page/swapops.ts';
import { lruAddDrain } from '../reclaim/lru-add-batch.ts';
import { mmCounter, mmCounterFile } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { installUffdWpIfNeeded } from '../uffd/marker.ts';
import { tlbFlushRmaps } from './gather-flush.ts';
import { CLEARED_PTES, type MmuGather } from './mmu-gather.ts';
import { nextPopulatedPmd, pmdEnd } from './walk-range.ts';

export function* unmapVmas(
  k: Kernel,
  tlb: MmuGather,
  vmas: readonly VmArea[],
  start: number,
  end: number,
): KernelPath<void> {
  const mm = tlb.mm;
  const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_UNMAP, tlb.site);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  tlb.dropMarkers = true;
  for (let i = 0; i < vmas.length; i++) {
    const vma = vmas[i]!;
    const from = vma.start > start ? vma.start : start;
    const to = vma.end < end ? vma.end : end;
    if (from >= to) continue;
    const zap = zapRange(k, tlb, vma, from, to, true);
    if (zap !== null) yield* zap;
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
}

export function* unmapPageRange(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
  evenCows: boolean,
): KernelPath<void> {
  const zap = zapRange(k, tlb, vma, start, end, evenCows);
  if (zap !== null) yield* zap;
}

/** unmap_single_vma; null when the range has no table and its end nothing to do. */
function zapRange(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
  evenCows: boolean,
): KernelPath<void> | null {
  if ((vma.flags & VM_HUGETLB) !== 0) return k.fn.unmapHugepageRangeFinal(k, tlb, vma, start, end);
  const first = nextPopulatedPmd(k.memory, tlb.mm.pgd, start, end);
  return first < end ? zapTables(k, tlb, vma, first, end, evenCows) : k.fn.tlbEndVma(k, tlb, vma);
}

/** unmap_page_range from `address` on, whose PMD entry is not none. */
function* zapTables(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  address: number,
  end: number,
  evenCows: boolean,
): KernelPath<void> {
  const m = k.memory;
  const root = tlb.mm.pgd;
  while (address < end) {
    const next = pmdEnd(address, end);
    const word = pmdWord(m, root, vpnHi(address), vpnLo(address));
    yield* (entryLo(m, word) & (PTE_P | PTE_PS)) === PTE_P
      ? k.fn.zapPteRange(k, tlb, vma, word, address, next, evenCows)
      : zapPmd(k, tlb, vma, word, address, next, evenCows);
    address = nextPopulatedPmd(m, root, next, end);
  }
  const ending = k.fn.tlbEndVma(k, tlb, vma);
  if (ending !== null) yield* ending;
}

/** x86 merges the ranges of neighbouring VMAs and flushes once at the end: null, nothing to do. Not for raw frames: nobody
 *  counts their mappings, so their owner may reuse them as soon as the VMA is gone. */
export function tlbEndVma(k: Kernel, tlb: MmuGather, vma: VmArea): AtomicPath<void> | null {
  const isRaw = (vma.flags & (VM_PFNMAP | VM_MIXEDMAP)) !== 0;
  return isRaw && !tlb.fullMm ? k.fn.tlbFlushMmuTlbonly(k, tlb) : null;
}

/** Zaps [start, end) inside one page table, which the PMD entry at `pmdWord` points to. Returns `end`. */
export function* zapPteRange(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  pmdWord: number,
  start: number,
  end: number,
  evenCows: boolean,
): KernelPath<number> {
  const table = entryLo(k.memory, pmdWord) >>> 12;
  let word = entryWord(table, vpnLo(start) & 511);
  let address = start;
  while (address < end) {
    if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
    if (tlb.mm.tlbFlushBatched) yield* k.fn.flushTlbBatchedPending(k, tlb.mm);
    do {
      const left = ((end - address) / 4096) | 0;
      const done = zapEntries(k, tlb, vma, word, address, left < k.stride ? left : k.stride, evenCows);
      word += done * 2;
      address += done * 4096;
      if (k.sched.points) yield P_PTES_CLEARED;
    } while (address < end && !tlb.isFull);
    const mustFlush = tlb.forceFlush || tlb.isFull;
    if (mustFlush) {
      k.stats.forcedFlushes++;
      if (tlb.mm.notifiers !== null && tlb.start < tlb.end)
        yield* k.fn.mmuNotifierPagesAboutToBeFreed(k, tlb.mm, tlb.start, tlb.end, tlb.site);
      yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
      if (tlb.delayed.length > 0) tlbFlushRmaps(k, tlb, vma);
    }
    k.ptl.unlock(table);
    if (mustFlush) {
      tlb.forceFlush = false;
      tlb.isFull = false;
      yield* k.fn.tlbFlushMmuFree(k, tlb);
    }
  }
  return end;
}

/** Up to `count` entries from word index `word` on; stops after one that filled the gather. Number of entries done. */
function zapEntries(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  count: number,
  evenCows: boolean,
): number {
  const m = k.memory;
  const mm = tlb.mm;
  const { flags } = k.pages;
  const words = m.words;
  const tracked = m.footprint !== null;
  let anon = 0;
  let first = -1;
  let end = 0;
  let i = 0;
  for (; i < count; i++) {
    const at = word + 2 * i;
    const lo = tracked ? entryLo(m, at) : words[at]!;
    if ((lo & PTE_P) === 0 && !ptePresent(lo)) {
      const hi = words[at + 1]!;
      if ((lo | hi) !== 0) zapSwapEntry(k, tlb, vma, at, start + i * 4096, lo, hi, evenCows);
      continue;
    }
    const isSpecial = (lo & PTE_SPECIAL) !== 0;
    const pfn = pteFrame(lo);
    let pageFlags = flags[pfn]!;
    const isPart = (pageFlags & PG_COMPOUND) !== 0;
    if (isPart) pageFlags = flags[compoundHead(k.pages, pfn)]!;
    const isAnon = (pageFlags & PG_ANON) !== 0;
    if (!evenCows && !isSpecial && isAnon) continue;
    const address = start + i * 4096;
    if (isPart && !isSpecial && k.profile.zapBatchesFolio) {
      const run = zapFolioRun(k, tlb, vma, at, address, count - i);
      if (first < 0) first = i;
      i += run - 1;
      end = i + 1;
      if (isAnon) anon += run;
      if (!tlb.isFull) continue;
      i++;
      break;
    }
    writeEntry(m, at, 0, 0, mm.id, address, LEVEL_PTE);
    if (first < 0) first = i;
    end = i + 1;
    if (isSpecial) continue;
    if (isAnon) {
      anon++;
      k.fn.pageRemoveRmap(k, pfn, vma, address);
    } else zapFilePage(k, tlb, vma, at, address, lo, pfn);
    if (k.fn.tlbRemovePage(k, tlb, pfn, address, false)) {
      tlb.isFull = true;
      i++;
      break;
    }
  }
  if (end > 0) tlb.addRange(start + first * 4096, start + end * 4096, CLEARED_PTES);
  mm.rss[MM_ANONPAGES] = mm.rss[MM_ANONPAGES]! - anon;
  return i;
}

/** What entries of a run may differ in. */
const OF_EACH = PTE_A | PTE_D | PTE_RW | PTE_SOFT_DIRTY;

/** folio_pte_batch: how many entries from `word` on, `most` at most, map neighbouring frames of one large page with the same rights. */
function folioRun(k: Kernel, word: number, most: number): number {
  const m = k.memory;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  const head = compoundHead(k.pages, pteFrame(lo));
  let run = 1;
  for (; run < most; run++) {
    const next = entryLo(m, word + 2 * run);
    if ((next & ~OF_EACH) >>> 0 !== ((lo & ~OF_EACH) >>> 0) + run * 4096) break;
    if (entryHi(m, word + 2 * run) !== hi || compoundHead(k.pages, pteFrame(next)) !== head) break;
  }
  return run;
}

/** zap_present_folio_ptes: the run of a large page from the entry at `word` on. Number of entries done. */
function zapFolioRun(k: Kernel, tlb: MmuGather, vma: VmArea, word: number, address: number, most: number): number {
  const m = k.memory;
  const run = folioRun(k, word, most);
  const pfn = pteFrame(entryLo(m, word));
  const isAnon = (k.pages.flags[compoundHead(k.pages, pfn)]! & PG_ANON) !== 0;
  // A run takes one place of the gather, so there is always room for it.
  tlb.reserve(tlb.count + run + 1);
  for (let i = 0; i < run; i++) {
    const at = word + 2 * i;
    const lo = entryLo(m, at);
    const va = address + i * 4096;
    writeEntry(m, at, 0, 0, tlb.mm.id, va, LEVEL_PTE);
    if (isAnon) k.fn.pageRemoveRmap(k, pfn + i, vma, va);
    else zapFilePage(k, tlb, vma, at, va, lo, pfn + i);
  }
  for (let i = 0; i < run; i++) if (k.fn.tlbRemovePage(k, tlb, pfn + i, address + i * 4096, false)) tlb.isFull = true;
  return run;
}

/** What the entry `lo`, cleared at `word`, knew about a page of a file goes to the page, and its rmap is taken away; a dirty one must be
 *  flushed before ptl is dropped. */
function zapFilePage(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  address: number,
  lo: number,
  page: number,
): void {
  const { flags } = k.pages;
  const pfn = compoundHead(k.pages, page);
  if ((lo & PTE_D) !== 0) {
    flags[pfn] = flags[pfn]! | PG_DIRTY;
    announceDirty(k, pfn);
    tlb.forceFlush = true;
  }
  if ((lo & PTE_A) !== 0 && (vma.flags & VM_SEQ_READ) === 0) k.fn.markPageAccessed(k, pfn);
  const rss = tlb.mm.rss;
  const counter = mmCounterFile(k.pages, pfn);
  rss[counter] = rss[counter]! - 1;
  if ((lo & PTE_UFFD_WP) !== 0 && !tlb.dropMarkers) installUffdWpIfNeeded(k, vma, address, word, lo, 0);
  if ((lo & PTE_D) !== 0 && k.profile.delayedRmap) tlb.delayed.push(page, address);
  else k.fn.pageRemoveRmap(k, page, vma, address);
}

/** An entry that is neither none nor present: a swapped page loses one user of its slot at once, no flush needed. */
function zapSwapEntry(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  address: number,
  lo: number,
  hi: number,
  evenCows: boolean,
): void {
  if (!isRealSwap(hi)) {
    if (swapType(hi) === SWP_PTE_MARKER && !tlb.dropMarkers) return;
    zapPfnEntry(k, tlb, vma, word, address, lo, hi, evenCows);
    return;
  }
  if (!evenCows) return;
  writeEntry(k.memory, word, 0, 0, tlb.mm.id, address, LEVEL_PTE);
  const rss = tlb.mm.rss;
  rss[MM_SWAPENTS] = rss[MM_SWAPENTS]! - 1;
  k.fn.freeSwapAndCache(k, swapOffset(lo, hi));
}

/** An entry that names a page and is not present. No TLB holds it, so a page of device memory goes at once, without the gather. */
function zapPfnEntry(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  address: number,
  lo: number,
  hi: number,
  evenCows: boolean,
): void {
  const pfn = swapPfn(lo);
  const isPage = isMigration(hi) || isDevicePrivate(hi) || isDeviceExclusive(hi);
  if (!evenCows && (!isPage || (k.pages.flags[compoundHead(k.pages, pfn)]! & PG_ANON) !== 0)) return;
  if (isPage) {
    const rss = tlb.mm.rss;
    const counter = mmCounter(k.pages, compoundHead(k.pages, pfn));
    rss[counter] = rss[counter]! - 1;
  }
  writeEntry(k.memory, word, 0, 0, tlb.mm.id, address, LEVEL_PTE);
  if (!isPage || isMigration(hi)) return;
  if (isDevicePrivate(hi)) k.fn.pageRemoveRmap(k, pfn, vma, address);
  k.fn.putPage(k, pfn);
}

export function* zapPageRangeSingle(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  evenCows: boolean,
  site = SITE_ZAP,
): KernelPath<number> {
  const mm = vma.mm;
  if (k.reclaim.addBatch.length > 0) lruAddDrain(k);
  const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_CLEAR, site);
  if (range !== null && (vma.flags & VM_HUGETLB) !== 0) adjustRangeIfPmdSharingPossible(vma, range);
  const tlb = k.fn.tlbGatherMmu(k, mm, false, site);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  const zap = zapRange(k, tlb, vma, start, end, evenCows);
  if (zap !== null) yield* zap;
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPagesFreed(k, mm, start, end, site);
  return 0;
}
