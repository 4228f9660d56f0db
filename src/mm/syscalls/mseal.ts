// mseal (mm/mseal.c; kernels with profile.mseal): sealed VMAs cannot be unmapped, moved, or get another protection.

import { EINVAL, ENOMEM, ENOSYS } from '../../abi/errno.ts';
import { VM_SEALED } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task } from '../types.ts';
import { setVmaFlags } from '../vma/mprotect.ts';
import { vmaModify } from '../vma/split.ts';
import { type SyscallArgs, TWO64 } from './args.ts';

/** mseal(addr, len, flags). 0, -EINVAL, -ENOMEM (a hole: nothing is sealed). */
export function sysMseal(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  if (!k.profile.mseal) return done(-ENOSYS);
  const len = a.pageAlign(1);
  if (!a.isZero(2) || !a.isPageAligned(0) || len >= TWO64) return done(-EINVAL);
  if (a.num(0) + len >= TWO64) return done(-EINVAL);
  return len === 0 ? done(0) : mseal(k, task.mm!, a.num(0), a.num(0) + len);
}

function* mseal(k: Kernel, mm: MmStruct, start: number, end: number): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let result = isWhollyMapped(mm, start, end) ? 0 : -ENOMEM;
  for (let at = start; at < end && result === 0; ) {
    const vma = mm.vmas.find(at)!;
    const stop = Math.min(end, vma.end);
    if ((vma.flags & VM_SEALED) === 0) {
      const change = vmaModify(k, vma, at, stop, vma.flags | VM_SEALED);
      const piece = change === null ? vma : yield* change;
      if (piece === null) result = k.vmaError;
      else setVmaFlags(k, piece, piece.flags | VM_SEALED);
    }
    at = stop;
  }
  lock.writeUnlock();
  return result;
}

function isWhollyMapped(mm: MmStruct, start: number, end: number): boolean {
  for (let at = start; at < end; ) {
    const vma = mm.vmas.findExact(at);
    if (vma === null) return false;
    at = vma.end;
  }
  return true;
}
