// do_munmap: cut the edges, take the VMAs out of the tree, unmap their pages, free what is left of them.
// Kernel: do_mas_align_munmap, unmap_region, remove_mt, remove_vma (mm/mmap.c). mmapLock held for write; unmapping may run
// under a downgraded lock, because the VMAs have left the tree.

import { EINVAL, ENOMEM, EPERM } from '../../abi/errno.ts';
import { E_VMA_REMOVE } from '../../abi/events.ts';
import {
  TASK_SIZE,
  USER_PGTABLES_CEILING,
  VM_ACCOUNT,
  VM_GROWSDOWN,
  VM_HUGETLB,
  VM_LOCKED,
  VM_SEALED,
} from '../../abi/mman.ts';
import { SITE_MUNMAP } from '../../abi/notifier.ts';
import type { KernelPath } from '../../sched/path.ts';
import { hugetlbVmOpClose } from '../hugetlb/reserve.ts';
import type { Kernel } from '../kernel.ts';
import { lruAddDrain } from '../reclaim/lru-add-batch.ts';
import { updateHiwaterRss } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { vmStatAccount, vmUnacctMemory } from './account.ts';
import { isPageAligned } from './address.ts';
import { fput, noteVma } from './adjust.ts';

/** do_munmap of [start, end), page aligned. Returns 1 if mmapLock was downgraded to read, 0 if it is still held for write,
 *  -EINVAL (range not below TASK_SIZE, or a hugetlb edge), -ENOMEM (map count), -EPERM (sealed). Nothing mapped: 0. */
export function* doMunmap(k: Kernel, mm: MmStruct, start: number, end: number, downgrade: boolean): KernelPath<number> {
  if (!isPageAligned(start) || start > TASK_SIZE || end > TASK_SIZE || end <= start) return -EINVAL;
  let vma = mm.vmas.intersects(start, end);
  if (vma === null) return 0;
  if (start > vma.start) {
    // Cutting a hole into one VMA makes one more; trimming edges is allowed even at the limit.
    if (end < vma.end && mm.vmas.count >= k.config.maxMapCount) return -ENOMEM;
    if ((vma.flags & VM_SEALED) !== 0) return -EPERM;
    const r = yield* k.fn.splitVma(k, mm, vma, start, false);
    if (r < 0) return r;
    vma = vma.treeNext as VmArea;
  }
  const prev = vma.treePrev as VmArea | null;
  let next: VmArea | null = vma;
  for (; next !== null && next.start < end; next = next.treeNext as VmArea | null) {
    if (next.uffd !== null) k.fn.userfaultfdUnmapPrep(k, next, start, end);
    // A sealed VMA refuses the whole call; the cut at the start stays.
    if ((next.flags & VM_SEALED) !== 0) return -EPERM;
    if (next.end > end) {
      const r = yield* k.fn.splitVma(k, mm, next, end, true);
      if (r < 0) return r;
      break;
    }
  }
  const vmas: VmArea[] = [];
  mm.vmas.removeRange(start, end, vmas);
  for (let i = 0; i < vmas.length; i++) {
    const v = vmas[i]!;
    if (k.memory.log.on) noteVma(k, E_VMA_REMOVE, v);
    if ((v.flags & VM_LOCKED) !== 0) mm.lockedVm -= (v.end - v.start) / 4096;
  }
  if (downgrade && k.profile.munmapNoDowngradeBelowStack && next !== null && (next.flags & VM_GROWSDOWN) !== 0)
    downgrade = false;
  if (downgrade) mm.mmapLock.downgrade();
  yield* k.fn.unmapRegion(
    k,
    mm,
    vmas,
    start,
    end,
    prev === null ? 0 : prev.end,
    next === null ? USER_PGTABLES_CEILING : next.start,
  );
  for (let i = 0; i < vmas.length; i++) {
    const v = vmas[i]!;
    const pages = (v.end - v.start) / 4096;
    if ((v.flags & VM_ACCOUNT) !== 0) vmUnacctMemory(k, pages);
    vmStatAccount(mm, v.flags, -pages);
    if (mm.notifiers !== null) yield* k.fn.mmuNotifierVmaClosed(k, v);
    k.fn.removeVma(k, v);
  }
  return downgrade ? 1 : 0;
}

/** unmap_region. */
export function* unmapRegion(
  k: Kernel,
  mm: MmStruct,
  vmas: VmArea[],
  start: number,
  end: number,
  prevEnd: number,
  nextStart: number,
): KernelPath<void> {
  if (k.reclaim.addBatch.length > 0) lruAddDrain(k);
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_MUNMAP);
  updateHiwaterRss(mm);
  yield* k.fn.unmapVmas(k, tlb, vmas, start, end);
  yield* k.fn.freePgtables(k, tlb, vmas, prevEnd, nextStart);
  yield* k.fn.tlbFinishMmu(k, tlb);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPagesFreed(k, mm, start, end, SITE_MUNMAP);
}

/** remove_vma: drops the VMA's file. Its pages, tables and rmap links are gone. */
export function removeVma(k: Kernel, vma: VmArea): void {
  if ((vma.flags & VM_HUGETLB) !== 0) hugetlbVmOpClose(k, vma);
  if (vma.file !== null) fput(k, vma.file);
}
