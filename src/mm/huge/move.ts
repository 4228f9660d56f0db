// mremap of a huge entry (mm/huge_memory.c move_huge_pmd): the entry and its deposited table go to the new place, and the old one is flushed
// before the locks are dropped. Only where the whole 2 MiB moves and nothing, not even a page table, stands at the new place; else
// the entry is split and moved in small ones.

import { PMD_SIZE } from '../../abi/mman.ts';
import { SITE_MREMAP } from '../../abi/notifier.ts';
import { PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_MOVED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { SWP_SOFT_DIRTY, SWP_UFFD_WP } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';
import { hasUffdWithoutEventRemap } from '../uffd/events.ts';
import { dropRmapLocks, takeRmapLocks } from '../zap/move-page-tables.ts';
import { deposit, withdraw } from './deposit.ts';
import { pmdIsSwap, pmdTransHuge } from './pmd.ts';
import { setPmd } from './pmd-flush.ts';

/** move_pgt_entry(HPAGE_PMD), move_huge_pmd. True when the entry moved. */
export function* moveHugePmd(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  newAddr: number,
  from: number,
  to: number,
  needRmapLocks: boolean,
): KernelPath<boolean> {
  const m = k.memory;
  const mm = vma.mm;
  if ((entryLo(m, to) | entryHi(m, to)) !== 0) return false;
  if (needRmapLocks) yield* takeRmapLocks(k, vma);
  const oldTable = from >>> 10;
  const newTable = to >>> 10;
  if (k.sched.points || !k.ptl.tryLock(oldTable)) yield* k.ptl.lock(oldTable);
  const lo = entryLo(m, from);
  const hi = entryHi(m, from);
  const isSwap = pmdIsSwap(lo, hi);
  const isHuge = isSwap || pmdTransHuge(lo);
  if (isHuge) {
    if (newTable !== oldTable && (k.sched.points || !k.ptl.tryLock(newTable))) yield* k.ptl.lock(newTable);
    setPmd(k, vma, from, 0, 0, oldAddr);
    if (newTable !== oldTable && vma.file === null) {
      const table = withdraw(k, oldTable);
      mm.tablePages--;
      deposit(k, mm, newTable, table);
    }
    const kept = hasUffdWithoutEventRemap(vma) ? lo & ~(isSwap ? SWP_UFFD_WP : PTE_UFFD_WP) : lo;
    setPmd(k, vma, to, kept | (isSwap ? SWP_SOFT_DIRTY : PTE_SOFT_DIRTY), hi, newAddr);
    if (k.sched.points) yield P_PTES_MOVED;
    if (!isSwap) yield* k.fn.flushTlbMmRange(k, mm, oldAddr, oldAddr + PMD_SIZE, 12, true, SITE_MREMAP);
    if (newTable !== oldTable) k.ptl.unlock(newTable);
  }
  k.ptl.unlock(oldTable);
  if (needRmapLocks) dropRmapLocks(vma);
  return isHuge;
}
