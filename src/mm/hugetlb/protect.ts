// mprotect and mremap of huge pages (mm/hugetlb.c hugetlb_change_protection, move_hugetlb_page_tables). Each has a gather of its own,
// flushed under the locks, so that no other process can reuse a table that was unshared on the way. The caller's gather is open
// meanwhile: when this one ends, it therefore flushes everything once more, over an empty range (recorded).
//
// Locks: mmapLock write; VMA lock and i_mmap_rwsem write; ptl of the PMD table. Kernel names also: move_huge_pte.

import { PMD_SIZE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, MMU_NOTIFY_PROTECTION_VMA, SITE_HUGETLB } from '../../abi/notifier.ts';
import { LEVEL_PMD, PTE_PS } from '../../abi/pte.ts';
import { vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_CHANGED, P_PTES_MOVED } from '../../sched/points.ts';
import { pmdAlloc } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { pteModifyHi, pteModifyLo, ptePresent } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';
import { CLEARED_PMDS, type MmuGather } from '../zap/mmu-gather.ts';
import {
  adjustRangeIfPmdSharingPossible,
  hugePmdUnshareFlush,
  hugePteOffset,
  lastOfTable,
  lockVmaAndMapping,
  unlockVmaAndMapping,
} from './pmd.ts';

/** hugetlb_change_protection: the VMA has its new flags already. Number of small pages changed. */
export function* hugetlbChangeProtection(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  const { mm } = vma;
  const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_PROTECTION_VMA, SITE_HUGETLB);
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_HUGETLB);
  if (range !== null) {
    adjustRangeIfPmdSharingPossible(vma, range);
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  yield* lockVmaAndMapping(k, vma);
  let changed = 0;
  for (let address = start; address < end; address += PMD_SIZE) {
    const word = hugePteOffset(k, mm, address);
    if (word < 0) {
      address = lastOfTable(address);
      continue;
    }
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    const isUnshared = k.fn.hugePmdUnshare(k, tlb, vma, address, word);
    if (isUnshared || changeEntry(k, tlb, vma, address, word)) changed++;
    if (k.sched.points) yield P_PTES_CHANGED;
    k.ptl.unlock(ptl);
    if (isUnshared) address = lastOfTable(address);
  }
  yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
  yield* hugePmdUnshareFlush(k, tlb);
  unlockVmaAndMapping(vma);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
  return changed * HPAGE_PMD_NR;
}

/** One entry; false when it is none. Whatever changes, it is flushed. ptl held. */
function changeEntry(k: Kernel, tlb: MmuGather, vma: VmArea, address: number, word: number): boolean {
  const m = k.memory;
  const lo = entryLo(m, word);
  if (!ptePresent(lo)) return (lo | entryHi(m, word)) !== 0;
  const newLo = pteModifyLo(lo, vma.pageProtLo) | PTE_PS;
  writeEntry(m, word, newLo, pteModifyHi(vma.pageProtLo, vma.pageProtHi), vma.mm.id, address, LEVEL_PMD);
  tlb.addRange(address, address + PMD_SIZE, CLEARED_PMDS);
  return true;
}

/** move_hugetlb_page_tables: entries of [oldAddr, oldAddr + len) go to the new VMA. Bytes moved; less when out of memory. */
export function* moveHugetlbPageTables(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  newVma: VmArea,
  newAddr: number,
  len: number,
): KernelPath<number> {
  const { mm } = vma;
  const end = oldAddr + len;
  const range = mm.notifiers === null ? null : k.range(mm, oldAddr, end, MMU_NOTIFY_CLEAR, SITE_HUGETLB);
  if (range !== null) {
    adjustRangeIfPmdSharingPossible(vma, range);
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_HUGETLB);
  yield* lockVmaAndMapping(k, vma);
  const shift = newAddr - oldAddr;
  let address = oldAddr;
  for (; address < end; address += PMD_SIZE) {
    const from = hugePteOffset(k, mm, address);
    if (from < 0) {
      address = lastOfTable(address);
      continue;
    }
    if ((entryLo(k.memory, from) | entryHi(k.memory, from)) === 0) continue;
    const ptl = from >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    const isUnshared = k.fn.hugePmdUnshare(k, tlb, vma, address, from);
    k.ptl.unlock(ptl);
    if (isUnshared) {
      address = lastOfTable(address);
      continue;
    }
    const to = yield* hugePteAllocUnshared(k, newVma, address + shift);
    if (to < 0) break;
    yield* moveHugePte(k, vma, address, from, address + shift, to);
    tlb.addRange(address, address + PMD_SIZE, CLEARED_PMDS);
  }
  yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
  yield* hugePmdUnshareFlush(k, tlb);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  unlockVmaAndMapping(vma);
  yield* k.fn.tlbFinishMmu(k, tlb);
  return Math.min(len, address - oldAddr);
}

/** huge_pte_alloc without sharing: i_mmap_rwsem is held for write, so no other mapping's table can be looked for. */
function* hugePteAllocUnshared(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const known = hugePteOffset(k, vma.mm, address);
  if (known >= 0) return known;
  const table = yield* pmdAlloc(k, vma.mm, address);
  return table === 0 ? -1 : entryWord(table, vpnLo(address) >>> 9);
}

/** move_huge_pte. */
function* moveHugePte(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  from: number,
  newAddr: number,
  to: number,
): KernelPath<void> {
  const m = k.memory;
  const mm = vma.mm.id;
  const [oldPtl, newPtl] = [from >>> 10, to >>> 10];
  if (k.sched.points || !k.ptl.tryLock(newPtl)) yield* k.ptl.lock(newPtl);
  if (oldPtl !== newPtl && (k.sched.points || !k.ptl.tryLock(oldPtl))) yield* k.ptl.lock(oldPtl);
  const lo = entryLo(m, from);
  const hi = entryHi(m, from);
  writeEntry(m, from, 0, 0, mm, oldAddr, LEVEL_PMD);
  writeEntry(m, to, lo, hi, mm, newAddr, LEVEL_PMD);
  if (k.sched.points) yield P_PTES_MOVED;
  if (oldPtl !== newPtl) k.ptl.unlock(oldPtl);
  k.ptl.unlock(newPtl);
}
