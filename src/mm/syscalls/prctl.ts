// prctl(PR_SET_MDWE): memory-deny-write-execute (kernel/sys.c, include/linux/mman.h map_deny_write_exec; 6.3).

import { EINVAL, EPERM } from '../../abi/errno.ts';
import { VM_EXEC, VM_WRITE } from '../../abi/mman.ts';
import type { MmStruct } from '../types.ts';

export const PR_MDWE_REFUSE_EXEC_GAIN = 1;
export const PR_MDWE_NO_INHERIT = 2;

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
