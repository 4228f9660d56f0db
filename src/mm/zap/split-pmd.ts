// What a VMA boundary inside a 2 MiB block tells the notifiers (mm/huge_memory.c): 6.1 opens and closes a section over the
// whole block before the boundary changes, whenever the block lies inside one VMA and its 1 GiB has a PMD table, whether or
// not a huge page is mapped there. The split itself belongs to room huge.
//
// Locks: mmapLock for write. Kernel names: vma_adjust_trans_huge, split_huge_pmd_if_needed, __split_huge_pmd.

import { PMD_SIZE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_SPLIT_PMD } from '../../abi/notifier.ts';
import { PTE_P } from '../../abi/pte.ts';
import { pudWord, vpnHi } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';

/** `start` and `end` are the boundaries that the VMA will have; call before they change. */
export function* vmaAdjustTransHuge(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  if (needsSplit(k, vma, start)) yield* splitHugePmd(k, vma, start);
  if (needsSplit(k, vma, end)) yield* splitHugePmd(k, vma, end);
}

function needsSplit(k: Kernel, vma: VmArea, address: number): boolean {
  const base = address - modPower(address, PMD_SIZE);
  if (base === address || base < vma.start || base + PMD_SIZE > vma.end) return false;
  const word = pudWord(k.memory, vma.mm.pgd, vpnHi(address));
  return word >= 0 && (entryLo(k.memory, word) & PTE_P) !== 0;
}

/** __split_huge_pmd. */
function* splitHugePmd(k: Kernel, vma: VmArea, address: number): KernelPath<void> {
  if (vma.mm.notifiers === null) return;
  const base = address - modPower(address, PMD_SIZE);
  const range = k.range(vma.mm, base, base + PMD_SIZE, MMU_NOTIFY_CLEAR, SITE_SPLIT_PMD);
  yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, true);
}
