// Moving a mapping: move_vma (mm/mremap.c) and copy_vma (mm/mmap.c). mmapLock held for write.
//
//   new VMA over [newAddr, newAddr + newLen)   entries move   old range unmapped (a second, then empty, section)
//
// A faulted anonymous VMA keeps its page offsets, so that rmap finds its pages by the new VMA; one never faulted gets those of
// its new place.

import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import { MREMAP_DONTUNMAP, VM_ACCOUNT, VM_HUGETLB, VM_LOCKED, VM_LOCKONFAULT } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { clearVmaResvHugePages, hugetlbVmOpOpen } from '../hugetlb/reserve.ts';
import type { Kernel } from '../kernel.ts';
import type { Task, VmArea } from '../types.ts';
import { vmEnoughMemory, vmStatAccount, vmUnacctMemory } from './account.ts';
import { takeAnonVma } from './adjust.ts';
import { mergeNew, vmFile } from './merge.ts';
import { getFile, insertVma, maySplit, vmaDup } from './split.ts';

/** copy_vma: a VMA for [addr, addr + len) that shall hold pages of `vma`: a neighbour that grew, or a new one. Null: out
 *  of memory. */
function* copyVma(k: Kernel, vma: VmArea, addr: number, len: number, pgoff: number): KernelPath<VmArea | null> {
  const mm = vma.mm;
  if (vma.file === null && vma.name === null && vma.anonVma === null) pgoff = addr / 4096;
  const next = mm.vmas.find(addr);
  const prev = next === null ? mm.vmas.last() : (next.treePrev as VmArea | null);
  const merge = mergeNew(k, prev, next, addr, addr + len, vma.flags, vma, vmFile(vma), pgoff);
  const merged = merge === null ? null : yield* merge;
  if (merged !== null) return merged;
  const copy = vmaDup(k, mm, vma, addr, addr + len, pgoff);
  if (vma.chain.length > 0 && (yield* takeAnonVma(k, copy, vma)) < 0) return null;
  if ((copy.flags & VM_HUGETLB) !== 0) hugetlbVmOpOpen(k, copy, vma);
  getFile(copy.file);
  yield* insertVma(k, mm, copy);
  if (mm.notifiers !== null) k.design?.vmaCopied(vma, copy);
  return copy;
}

/** Moves [oldAddr, oldAddr + oldLen) of `vma` to the free range at newAddr. Returns newAddr or -ENOMEM. With
 *  MREMAP_DONTUNMAP the old VMA stays, empty and unlocked. */
export function* moveVma(
  k: Kernel,
  task: Task,
  vma: VmArea,
  oldAddr: number,
  oldLen: number,
  newLen: number,
  newAddr: number,
  flags: number,
): KernelPath<number> {
  const mm = task.mm!;
  if (mm.vmas.count >= k.config.maxMapCount - 3) return -ENOMEM;
  if (vma.start !== oldAddr && !maySplit(vma, oldAddr)) return -EINVAL;
  if (vma.end !== oldAddr + oldLen && !maySplit(vma, oldAddr + oldLen)) return -EINVAL;
  // KSM pages would turn up at the new place, where their items do not look for them.
  const unmerged = yield* k.fn.ksmUnmerge(k, vma, oldAddr, oldAddr + oldLen);
  if (unmerged < 0) return unmerged;
  const isKept = (flags & MREMAP_DONTUNMAP) !== 0;
  const vmFlags = vma.flags;
  const charge = (vmFlags & VM_ACCOUNT) === 0 ? 0 : (isKept ? newLen : newLen - oldLen) / 4096;
  if (charge > 0 && vmEnoughMemory(k, mm, charge) < 0) return -ENOMEM;
  if (isKept && k.profile.dontunmapCutsLocked && (vmFlags & VM_LOCKED) !== 0)
    yield* splitOff(k, vma, oldAddr, oldAddr + oldLen);
  const newVma = yield* copyVma(k, vma, newAddr, newLen, vma.pgoff + (oldAddr - vma.start) / 4096);
  if (newVma === null) {
    vmUnacctMemory(k, charge);
    return -ENOMEM;
  }
  // The source may itself be the neighbour that grew, or have been swallowed by it.
  const needRmapLocks = newVma.start !== newAddr || newVma.end !== newAddr + newLen ? newVma.pgoff <= vma.pgoff : false;
  if (vma.start >= newVma.start && vma.start < newVma.end) vma = newVma;
  let error = 0;
  if (oldLen > 0) {
    const moved = yield* k.fn.movePageTables(k, vma, oldAddr, newVma, newAddr, oldLen, needRmapLocks);
    if (moved < oldLen) {
      error = -ENOMEM;
      yield* k.fn.movePageTables(k, newVma, newAddr, vma, oldAddr, moved, true);
      vma = newVma;
      oldAddr = newAddr;
      oldLen = newLen;
    }
  }
  if ((vmFlags & VM_HUGETLB) !== 0) clearVmaResvHugePages(k, vma);
  if (error === 0 && newVma.uffd !== null) k.fn.mremapUserfaultfdPrep(k, newVma, oldAddr, newAddr, oldLen);
  vmStatAccount(mm, vmFlags, newLen / 4096);
  if (error === 0 && isKept) {
    vma.flags &= ~(VM_LOCKED | VM_LOCKONFAULT);
    if (newVma !== vma && vma.start === oldAddr && vma.end === oldAddr + oldLen && vma.chain.length > 0)
      yield* k.fn.unlinkAnonVmas(k, vma);
    return newAddr;
  }
  yield* unmapSource(k, vma, vmFlags, oldAddr, oldLen);
  if (error !== 0) return error;
  if ((vmFlags & VM_LOCKED) !== 0) mm.lockedVm += newLen / 4096;
  return newAddr;
}

/** The part [start, end) of the VMA as a VMA of its own, not joined with its neighbours; null when out of memory. Recorded on 6.1
 *  for MREMAP_DONTUNMAP of a locked part. */
function* splitOff(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<VmArea | null> {
  if (vma.start < start && (yield* k.fn.splitVma(k, vma.mm, vma, start, true)) < 0) return null;
  if (vma.end > end && (yield* k.fn.splitVma(k, vma.mm, vma, end, false)) < 0) return null;
  return vma;
}

/** do_munmap of the old place. Its charge moved along: VM_ACCOUNT is concealed from munmap and given back to what stays. */
function* unmapSource(k: Kernel, vma: VmArea, vmFlags: number, start: number, len: number): KernelPath<void> {
  const mm = vma.mm;
  const end = start + len;
  const isAccounted = (vmFlags & VM_ACCOUNT) !== 0;
  const hasBefore = vma.start < start;
  const hasAfter = vma.end > end;
  if (isAccounted) vma.flags &= ~VM_ACCOUNT;
  const r = yield* k.fn.doMunmap(k, mm, start, end, false);
  if (!isAccounted) return;
  if (r < 0) {
    // Nothing was unmapped (old length 0, or no VMA to split into): the accounts are put right.
    vma.flags |= VM_ACCOUNT;
    k.committed += len / 4096;
    return;
  }
  if (hasBefore) mm.vmas.findPrev(start)!.flags |= VM_ACCOUNT;
  if (hasAfter) mm.vmas.find(end)!.flags |= VM_ACCOUNT;
}
