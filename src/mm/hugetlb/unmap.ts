// Unmapping huge pages (mm/hugetlb.c). In 6.1 every call opens a section UNMAP of its own, inside that of munmap or madvise and
// widened to whole GiB where tables may be shared; later kernels leave it to the callers. The pages wait in the caller's gather
// like any others. A shared table is unlinked whole: its pages stay mapped by the others, and the flush for it comes at once.
//
// Locks: VMA lock and i_mmap_rwsem for write around the entries, ptl of the PMD table inside. Kernel names: unmap_hugepage_range,
// __unmap_hugepage_range, __unmap_hugepage_range_final, unmap_ref_private, hugetlb_vmdelete_list.

import { PMD_SIZE, VM_MAYSHARE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, MMU_NOTIFY_UNMAP, SITE_HUGETLB } from '../../abi/notifier.ts';
import { LEVEL_PMD, PTE_D } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import { setPageDirty } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON, PG_HUGETLB_RESTORE } from '../page/pages.ts';
import { pteFrame, pteNone, ptePresent } from '../page/swapops.ts';
import { intervalNext } from '../rmap/interval.ts';
import { linearPageIndex, vmaAddress } from '../rmap/rmap.ts';
import type { AddressSpace, VmArea } from '../types.ts';
import { CLEARED_PMDS, type MmuGather } from '../zap/mmu-gather.ts';
import {
  adjustRangeIfPmdSharingPossible,
  hugePmdUnshareFlush,
  hugePteOffset,
  lastOfTable,
  lockVmaAndMapping,
  unlockVmaAndMapping,
} from './pmd.ts';
import { restoreReservationOfAnon } from './reserve.ts';
import { hugepageRemoveRmap } from './rmap.ts';

/** __unmap_hugepage_range of [start, end), multiples of 2 MiB. `refPage`: only the entry of this page goes, and the VMA never gets
 *  another one there (0: all). VMA lock and i_mmap_rwsem held for write. */
function* unmapEntries(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
  refPage: number,
): KernelPath<void> {
  const { mm } = vma;
  const isNested = k.profile.hugetlbUnmapsInOwnSection;
  const range = mm.notifiers === null || !isNested ? null : k.range(mm, start, end, MMU_NOTIFY_UNMAP, SITE_HUGETLB);
  if (range !== null) {
    adjustRangeIfPmdSharingPossible(vma, range);
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  for (let address = start; address < end; address += PMD_SIZE) {
    const word = hugePteOffset(k, mm, address);
    if (word < 0) {
      address = lastOfTable(address);
      continue;
    }
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    const isUnshared = k.fn.hugePmdUnshare(k, tlb, vma, address, word);
    const head = isUnshared ? 0 : clearEntry(k, tlb, vma, address, word, refPage);
    if (k.sched.points) yield P_PTES_CLEARED;
    k.ptl.unlock(ptl);
    if (isUnshared) {
      address = lastOfTable(address);
      continue;
    }
    if (head === 0) continue;
    if (k.fn.tlbRemovePage(k, tlb, head, address, false, PMD_SIZE)) {
      yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
      if (mm.notifiers !== null)
        yield* k.fn.mmuNotifierPagesAboutToBeFreed(k, mm, start, address + PMD_SIZE, SITE_HUGETLB);
      yield* k.fn.tlbFlushMmuFree(k, tlb);
    }
    if (refPage !== 0) break;
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  const ending = k.fn.tlbEndVma(k, tlb, vma);
  if (ending !== null) yield* ending;
  yield* hugePmdUnshareFlush(k, tlb);
}

/** Clears one entry. Head of the page that it mapped, or 0. ptl held. */
function clearEntry(k: Kernel, tlb: MmuGather, vma: VmArea, address: number, word: number, refPage: number): number {
  const m = k.memory;
  const lo = entryLo(m, word);
  if (pteNone(lo, entryHi(m, word))) return 0;
  const head = pteFrame(lo);
  if (!ptePresent(lo)) {
    // A migration entry, or one of a page that failed.
    if (refPage === 0) writeEntry(m, word, 0, 0, vma.mm.id, address, LEVEL_PMD);
    return 0;
  }
  if (refPage !== 0) {
    if (head !== refPage) return 0;
    vma.hugetlb!.isUnmapped = true;
  }
  writeEntry(m, word, 0, 0, vma.mm.id, address, LEVEL_PMD);
  tlb.addRange(address, address + PMD_SIZE, CLEARED_PMDS);
  if ((lo & PTE_D) !== 0) setPageDirty(k, head);
  hugepageRemoveRmap(k, head, vma, address);
  // Nobody else maps it: it goes back to the pool as the page that was promised to this VMA.
  const isLast = (k.pages.flags[head]! & PG_ANON) !== 0 && k.pages.compoundMapcount[head] === 0;
  if (k.profile.hugetlbRestoresReservation && isLast && restoreReservationOfAnon(vma, address))
    k.pages.flags[head] = k.pages.flags[head]! | PG_HUGETLB_RESTORE;
  return head;
}

/** __unmap_hugepage_range_final: a piece of a VMA, for munmap, exit and DONTNEED. */
export function* unmapHugepageRangeFinal(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
): KernelPath<void> {
  yield* lockVmaAndMapping(k, vma);
  yield* unmapEntries(k, tlb, vma, start, end, 0);
  unlockVmaAndMapping(vma);
}

/** unmap_hugepage_range: with a gather of its own. VMA lock and i_mmap_rwsem held for write. */
export function* unmapHugepageRange(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  refPage: number,
): KernelPath<void> {
  const { mm } = vma;
  const isNested = k.profile.hugetlbUnmapsInOwnSection;
  const range = mm.notifiers === null || isNested ? null : k.range(mm, start, end, MMU_NOTIFY_CLEAR, SITE_HUGETLB);
  if (range !== null) {
    adjustRangeIfPmdSharingPossible(vma, range);
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_HUGETLB);
  yield* unmapEntries(k, tlb, vma, start, end, refPage);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
}

/** unmap_ref_private: takes `head` from every private mapping that has no reservation for it (children), so that the process which
 *  reserved can copy. They get SIGBUS there from now on. */
export function* unmapRefPrivate(k: Kernel, vma: VmArea, head: number, address: number): KernelPath<void> {
  const { mapping } = vma.file!.inode;
  const index = linearPageIndex(vma, address);
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const list = mapping.iMmap;
  for (let i = intervalNext(list, 0, index, index); i >= 0; i = intervalNext(list, i + 1, index, index)) {
    const other = list[i]!;
    if (other === vma || (other.flags & VM_MAYSHARE) !== 0 || other.hugetlb!.reserve !== null) continue;
    const at = vmaAddress(other, index);
    yield* k.fn.unmapHugepageRange(k, other, at, at + PMD_SIZE, head);
  }
  lock.writeUnlock();
}

/** hugetlb_vmdelete_list: unmaps huge pages [first, end) of the file everywhere, private copies too. i_mmap_rwsem write. */
export function* hugetlbVmdeleteList(k: Kernel, mapping: AddressSpace, first: number, end: number): KernelPath<void> {
  const from = first * HPAGE_PMD_NR;
  const to = end * HPAGE_PMD_NR;
  const list = mapping.iMmap;
  for (let i = intervalNext(list, 0, from, to - 1); i >= 0; i = intervalNext(list, i + 1, from, to - 1)) {
    const vma = list[i]!;
    // Somebody else is unmapping there, or faulting: the page is taken away under its fault mutex later.
    const lock = vma.hugetlb!.lock;
    if (lock !== null && !lock.writeTrylock()) continue;
    const start = Math.max(vma.start, vmaAddress(vma, from));
    const stop = Math.min(vma.end, vmaAddress(vma, to));
    yield* k.fn.unmapHugepageRange(k, vma, start, stop, 0);
    lock?.writeUnlock();
  }
}
