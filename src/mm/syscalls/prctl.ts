// prctl for what concerns memory (kernel/sys.c): PR_SET_THP_DISABLE, which keeps huge pages away from an address space (faults, khugepaged
// and MADV_COLLAPSE; children inherit it), and PR_SET_MDWE, memory-deny-write-execute (include/linux/mman.h map_deny_write_exec; 6.3).

import { EINVAL, EPERM } from '../../abi/errno.ts';
import { VM_EXEC, VM_WRITE } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task } from '../types.ts';
import type { SyscallArgs } from './args.ts';

export const PR_SET_THP_DISABLE = 41;
export const PR_GET_THP_DISABLE = 42;

export const PR_MDWE_REFUSE_EXEC_GAIN = 1;
export const PR_MDWE_NO_INHERIT = 2;

/** prctl(option, ...). The options that this room models; -EINVAL for all others. */
export function sysPrctl(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const mm = task.mm!;
  const hasRest = !a.isZero(2) || !a.isZero(3) || !a.isZero(4);
  switch (a.int(0)) {
    case PR_SET_THP_DISABLE:
      return hasRest ? done(-EINVAL) : setThpDisable(k, mm, !a.isZero(1));
    case PR_GET_THP_DISABLE:
      return done(hasRest || !a.isZero(1) ? -EINVAL : mm.thpDisabled ? 1 : 0);
    default:
      return done(-EINVAL);
  }
}

/** MMF_DISABLE_THP. Pages that are huge already stay so. */
function* setThpDisable(k: Kernel, mm: MmStruct, isDisabled: boolean): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  mm.thpDisabled = isDisabled;
  lock.writeUnlock();
  return 0;
}

/** PR_SET_MDWE: 0, -EINVAL, -EPERM (it cannot be taken back). */
export function prctlMdwe(mm: MmStruct, bits: number): number {
  if ((bits & ~(PR_MDWE_REFUSE_EXEC_GAIN | PR_MDWE_NO_INHERIT)) !== 0) return -EINVAL;
  if ((bits & PR_MDWE_NO_INHERIT) !== 0 && (bits & PR_MDWE_REFUSE_EXEC_GAIN) === 0) return -EINVAL;
  if (mm.mdwe !== 0 && mm.mdwe !== bits) return -EPERM;
  mm.mdwe = bits;
  return 0;
}

/** The setting of a child or of the next program. */
export function inheritedMdwe(bits: number): number {
  return (bits & PR_MDWE_NO_INHERIT) !== 0 ? 0 : bits;
}

/** map_deny_write_exec: would memory become executable that is or was writable? */
export function deniesWriteExec(mm: MmStruct, oldFlags: number, newFlags: number): boolean {
  if ((mm.mdwe & PR_MDWE_REFUSE_EXEC_GAIN) === 0 || (newFlags & VM_EXEC) === 0) return false;
  return (newFlags & VM_WRITE) !== 0 || (oldFlags & VM_EXEC) === 0;
}
