// Growth of a GROWSDOWN VMA: expand_downwards and acct_stack_growth (mm/mmap.c). mmapLock held for write. No notifier:
// nothing was mapped there.

import { ENOMEM, EPERM } from '../../abi/errno.ts';
import { VM_ACCESS_FLAGS, VM_GROWSDOWN, VM_LOCKED } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { khugepagedEnterVma } from '../huge/khugepaged-mm.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { mayExpandVm, mlockFutureCheck, vmEnoughMemory, vmStatAccount } from './account.ts';
import { pageDown } from './address.ts';
import { vmaSetBounds } from './adjust.ts';

/** Grows `vma` down to the page of `address`. 0, -EPERM (below mmap_min_addr), -ENOMEM (guard gap of an accessible
 *  neighbour, RLIMIT_STACK, AS or MEMLOCK, overcommit). */
export function* expandStack(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const mm = vma.mm;
  const start = pageDown(address);
  if (start < k.config.mmapMinAddr) return -EPERM;
  if (start >= vma.start) return 0;
  const prev = vma.treePrev as VmArea | null;
  if (prev !== null && (prev.flags & VM_GROWSDOWN) === 0 && (prev.flags & VM_ACCESS_FLAGS) !== 0) {
    if (start - prev.end < k.config.stackGuardGap) return -ENOMEM;
  }
  // The anon_vma lock, taken for the new bounds, must be more than a formality.
  if (vma.anonVma === null && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return -ENOMEM;
  const grow = (vma.start - start) / 4096;
  if (grow > vma.pgoff) return -ENOMEM;
  if (!mayExpandVm(mm, vma.flags, grow)) return -ENOMEM;
  if (vma.end - start > mm.limits.stack) return -ENOMEM;
  if (mlockFutureCheck(mm, vma.flags, grow) < 0) return -ENOMEM;
  if (vmEnoughMemory(k, mm, grow) < 0) return -ENOMEM;
  if ((vma.flags & VM_LOCKED) !== 0) mm.lockedVm += grow;
  vmStatAccount(mm, vma.flags, grow);
  yield* vmaSetBounds(k, vma, start, vma.end);
  khugepagedEnterVma(k, vma, vma.flags);
  return 0;
}
