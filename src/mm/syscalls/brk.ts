// brk (mm/mmap.c). Every refusal returns the old break, never an errno.

import {
  MAP_FIXED,
  VM_ACCOUNT,
  VM_LOCKED,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYWRITE,
  VM_READ,
  VM_SOFTDIRTY,
  VM_WRITE,
} from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { RLIM_INFINITY } from '../config.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task } from '../types.ts';
import { VmArea } from '../types.ts';
import { mayExpandVm, mlockFutureCheck, vmEnoughMemory } from '../vma/account.ts';
import { pageUp } from '../vma/address.ts';
import { vmaSetBounds } from '../vma/adjust.ts';
import { setPageProt } from '../vma/flags.ts';
import { canMergeAfter } from '../vma/merge.ts';
import { vmStartGap } from '../vma/unmapped-area.ts';
import type { SyscallArgs } from './args.ts';
import { hasTaskWork, locksFuture, runTaskWork } from './edge.ts';

/** VM_DATA_DEFAULT_FLAGS. */
const DATA_FLAGS = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;

/** brk(addr). Returns the new break, or the old one when refused. */
export function sysBrk(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return doBrk(k, task.mm!, a.num(0));
}

function* doBrk(k: Kernel, mm: MmStruct, brk: number): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const oldBrk = mm.brk;
  const oldEnd = pageUp(oldBrk);
  const newEnd = pageUp(brk);
  let isDowngraded = false;
  let isOk = false;
  if (brk < mm.startBrk || isAboveDataLimit(mm, brk)) {
    isOk = false;
  } else if (oldEnd === newEnd) {
    isOk = true;
  } else if (brk <= oldBrk) {
    const vma = mm.vmas.find(newEnd);
    if (vma !== null && vma.start < oldEnd) {
      mm.brk = brk;
      const r = yield* k.fn.doMunmap(k, mm, newEnd, oldEnd, true);
      isDowngraded = r === 1;
      isOk = r >= 0;
      if (!isOk) mm.brk = oldBrk;
    }
  } else {
    isOk = (yield* growBrk(k, mm, oldEnd, newEnd)) === 0;
  }
  if (isOk && !isDowngraded) mm.brk = brk;
  const isPopulated = isOk && newEnd > oldEnd && locksFuture(mm);
  if (isDowngraded) lock.readUnlock();
  else lock.writeUnlock();
  if (isPopulated) yield* k.fn.mmPopulate(k, mm, oldEnd, newEnd);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return isOk ? brk : oldBrk;
}

/** check_data_rlimit; the initialised data counts as nothing here. */
function isAboveDataLimit(mm: MmStruct, brk: number): boolean {
  return mm.limits.data < RLIM_INFINITY && brk - mm.startBrk > mm.limits.data;
}

/** The checks for growing, then do_brk_flags. 0, or -1 for any refusal. */
function* growBrk(k: Kernel, mm: MmStruct, oldEnd: number, newEnd: number): KernelPath<number> {
  const len = newEnd - oldEnd;
  const pages = len / 4096;
  if (k.fn.getUnmappedArea(k, mm, null, oldEnd, len, 0, MAP_FIXED) < 0) return -1;
  if (mlockFutureCheck(mm, mm.defFlags, pages) < 0) return -1;
  const next = mm.vmas.find(oldEnd);
  if (next !== null && newEnd + 4096 > vmStartGap(next)) return -1;
  const flags = DATA_FLAGS | VM_ACCOUNT | mm.defFlags;
  if (!mayExpandVm(mm, flags, pages) || mm.vmas.count > k.config.maxMapCount) return -1;
  if (vmEnoughMemory(k, mm, pages) < 0) return -1;
  const pgoff = oldEnd / 4096;
  let vma = next === null ? mm.vmas.last() : (next.treePrev as VmArea | null);
  // The area below start_brk (bss) never becomes heap.
  const isHeap = vma !== null && vma.end === oldEnd && vma.end > mm.startBrk;
  if (vma !== null && isHeap && canMergeAfter(k.profile, vma, flags, null, null, null, pgoff)) {
    yield* vmaSetBounds(k, vma, vma.start, newEnd);
  } else {
    vma = new VmArea(mm, oldEnd, newEnd, flags, null, pgoff, k.config.stackGuardGap);
    setPageProt(vma);
    k.fn.linkVma(k, mm, vma);
  }
  mm.totalVm += pages;
  mm.dataVm += pages;
  if ((flags & VM_LOCKED) !== 0) mm.lockedVm += pages;
  vma.flags |= VM_SOFTDIRTY;
  return 0;
}
