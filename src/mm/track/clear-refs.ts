// /proc/PID/clear_refs (fs/proc/task_mmu.c clear_refs_write): forget which pages were used (1 all, 2 anonymous, 3 file), which
// were written (4, soft-dirty), or the highest RSS (5).
//
// Soft-dirty: every entry loses write access and its soft-dirty bit, so that the next write faults, and the fault sets the bit
// again. VMAs lose VM_SOFTDIRTY first, which says "all of this is new": their new entries then begin read-only too.
//
//   mmap W; VM_SOFTDIRTY off; S(SOFT_DIRTY, 0, ~0) entries changed E; CPU flush of the whole mm
//
// 1 to 3 clear A in the CPU's entries only: secondary MMUs are neither asked nor told. Locks: mmapLock for write (4, 5; in
// 6.1 also 1 to 3); ptl inside. Kernel names: clear_refs_pte_range, clear_soft_dirty, clear_soft_dirty_pmd, pte_is_pinned.

import { EINVAL } from '../../abi/errno.ts';
import {
  MM_ANONPAGES,
  MM_FILEPAGES,
  MM_SHMEMPAGES,
  ULONG_MAX,
  VM_HUGETLB,
  VM_MAYWRITE,
  VM_PFNMAP,
  VM_SHARED,
  VM_SOFTDIRTY,
} from '../../abi/mman.ts';
import { MMU_NOTIFY_SOFT_DIRTY, SITE_SOFT_DIRTY } from '../../abi/notifier.ts';
import { LEVEL_PTE, PTE_A, PTE_RW, PTE_SOFT_DIRTY } from '../../abi/pte.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CHANGED } from '../../sched/points.ts';
import { pteOffset } from '../fault/page-tables.ts';
import { pmdFrame, pmdIsSwap, pmdIsTable, pmdTransHuge } from '../huge/pmd.ts';
import { pmdpInvalidate, setPmd } from '../huge/pmd-flush.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_REFERENCED, PG_YOUNG } from '../page/pages.ts';
import { pteFrame, pteIsSwap, ptePresent, pteSpecial, SWP_SOFT_DIRTY } from '../page/swapops.ts';
import { notePage, pageMaybeDmaPinned } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { setVmaFlags } from '../vma/mprotect.ts';
import { nextPopulatedPmd, pmdEnd } from '../zap/walk-range.ts';

export const CLEAR_REFS_ALL = 1;
export const CLEAR_REFS_ANON = 2;
export const CLEAR_REFS_MAPPED = 3;
export const CLEAR_REFS_SOFT_DIRTY = 4;
export const CLEAR_REFS_MM_HIWATER_RSS = 5;

/** A write of `type` (CLEAR_REFS_*) to the file. 0 or -EINVAL. */
export function* clearRefs(k: Kernel, mm: MmStruct, type: number): KernelPath<number> {
  if (!(type >= CLEAR_REFS_ALL && type <= CLEAR_REFS_MM_HIWATER_RSS)) return -EINVAL;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (type === CLEAR_REFS_MM_HIWATER_RSS) {
    mm.hiwaterRss = mm.rss[MM_FILEPAGES]! + mm.rss[MM_ANONPAGES]! + mm.rss[MM_SHMEMPAGES]!;
  } else if (type === CLEAR_REFS_SOFT_DIRTY) {
    yield* k.fn.clearSoftDirty(k, mm);
  } else {
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
      const isSkipped = v.file === null ? type === CLEAR_REFS_MAPPED : type === CLEAR_REFS_ANON;
      if (!isSkipped) yield* clearVma(k, v, false);
    }
  }
  lock.writeUnlock();
  return 0;
}

/** CLEAR_REFS_SOFT_DIRTY. mmapLock W held. */
export function* clearSoftDirty(k: Kernel, mm: MmStruct): KernelPath<void> {
  for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v))
    if ((v.flags & VM_SOFTDIRTY) !== 0) setVmaFlags(k, v, v.flags & ~VM_SOFTDIRTY);
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  mm.tlbFlushPending++;
  const range = mm.notifiers === null ? null : k.range(mm, 0, ULONG_MAX, MMU_NOTIFY_SOFT_DIRTY, SITE_SOFT_DIRTY);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) yield* clearVma(k, v, true);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.flushTlbMm(k, mm, SITE_SOFT_DIRTY);
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  mm.tlbFlushPending--;
}

/** walk_page_range over one VMA. */
function* clearVma(k: Kernel, vma: VmArea, isSoftDirty: boolean): KernelPath<void> {
  if ((vma.flags & (VM_PFNMAP | VM_HUGETLB)) !== 0) return;
  const m = k.memory;
  const root = vma.mm.pgd;
  for (let at = nextPopulatedPmd(m, root, vma.start, vma.end); at < vma.end; ) {
    const next = pmdEnd(at, vma.end);
    const word = pmdWord(m, root, vpnHi(at), vpnLo(at));
    const pmd = entryLo(m, word);
    if (pmdIsTable(pmd)) yield* clearTable(k, vma, pmd >>> 12, at, next, isSoftDirty);
    else yield* clearHuge(k, vma, word, at, isSoftDirty);
    at = nextPopulatedPmd(m, root, next, vma.end);
  }
}

/** clear_refs_pte_range for a huge page: clear_soft_dirty_pmd, or A of the huge entry. */
function* clearHuge(k: Kernel, vma: VmArea, word: number, haddr: number, isSoftDirty: boolean): AtomicPath<void> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const m = k.memory;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  if (isSoftDirty && pmdTransHuge(lo)) {
    const old = yield* pmdpInvalidate(k, vma, word, haddr, SITE_SOFT_DIRTY);
    setPmd(k, vma, word, old & ~(PTE_RW | PTE_SOFT_DIRTY), hi, haddr);
  } else if (isSoftDirty && pmdIsSwap(lo, hi)) {
    if ((lo & SWP_SOFT_DIRTY) !== 0) setPmd(k, vma, word, lo & ~SWP_SOFT_DIRTY, hi, haddr);
  } else if (pmdTransHuge(lo) && !isHugeZero(k, pmdFrame(lo))) {
    if ((lo & PTE_A) !== 0) setPmd(k, vma, word, lo & ~PTE_A, hi, haddr);
    forgetUse(k, pmdFrame(lo));
  }
  k.ptl.unlock(ptl);
}

/** clear_refs_pte_range: [start, end) of one table. */
function* clearTable(
  k: Kernel,
  vma: VmArea,
  table: number,
  start: number,
  end: number,
  isSoftDirty: boolean,
): AtomicPath<void> {
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at + k.stride * 4096);
    for (; at < stop; at += 4096) {
      const word = pteOffset(table, at);
      if (isSoftDirty) clearSoftDirtyEntry(k, vma, word, at);
      else clearYoungEntry(k, vma, word, at);
    }
    if (k.sched.points) yield P_PTES_CHANGED;
  }
  k.ptl.unlock(table);
}

/** pte_is_pinned: a device may write the page at any time; write-protecting the entry would only break its hold on it. */
function isPinned(k: Kernel, vma: VmArea, lo: number): boolean {
  const isCow = (vma.flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE;
  if ((lo & PTE_RW) === 0 || !isCow || !vma.mm.hasPinned || pteSpecial(lo)) return false;
  return pageMaybeDmaPinned(k.pages, compoundHead(k.pages, pteFrame(lo)));
}

function clearSoftDirtyEntry(k: Kernel, vma: VmArea, word: number, address: number): void {
  const m = k.memory;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  let now = lo;
  if (ptePresent(lo)) {
    if (isPinned(k, vma, lo)) return;
    now = lo & ~(PTE_RW | PTE_SOFT_DIRTY);
  } else if (pteIsSwap(lo, hi)) {
    now = lo & ~SWP_SOFT_DIRTY;
  }
  if (now !== lo) writeEntry(m, word, now, hi, vma.mm.id, address, LEVEL_PTE);
}

/** Takes A, and what the kernel noted of the page's use. */
function clearYoungEntry(k: Kernel, vma: VmArea, word: number, address: number): void {
  const m = k.memory;
  const lo = entryLo(m, word);
  if (!ptePresent(lo) || pteSpecial(lo)) return;
  if ((lo & PTE_A) !== 0) writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), vma.mm.id, address, LEVEL_PTE);
  forgetUse(k, pteFrame(lo));
}

/** test_and_clear_page_young, ClearPageReferenced. */
export function forgetUse(k: Kernel, pfn: number): void {
  const head = compoundHead(k.pages, pfn);
  notePage(k, head);
  k.pages.flags[head] = k.pages.flags[head]! & ~(PG_REFERENCED | PG_YOUNG);
}
