// Can the kernel follow a pointer that a recorded call passed? strace prints what a pointer leads to; where it prints the number
// itself, it could not read there, or does not decode the structure. Then the mappings tell.

import { TASK_SIZE, VM_ACCESS_FLAGS, VM_WRITE } from '../../abi/mman.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { Word64 } from '../word64.ts';

/** Is every page of [addr, addr + length) mapped with one of `access`? Nothing is touched. */
function isMapped(mm: MmStruct, addr: number, length: number, access: number): boolean {
  const end = addr + length;
  if (!(end <= TASK_SIZE)) return false;
  for (let at = addr; at < end; ) {
    const vma = mm.vmas.findExact(at - (at % 4096));
    if (vma === null || (vma.flags & access) === 0) return false;
    at = vma.end;
  }
  return true;
}

/** copy_from_user of that many bytes: what may be written or executed can be read too. `addr` null: strace printed what lies there. */
export function canRead(mm: MmStruct, addr: Word64 | null, length: number): boolean {
  return addr === null || isMapped(mm, addr.num, length, VM_ACCESS_FLAGS);
}

/** copy_to_user. */
export function canWrite(mm: MmStruct, addr: Word64 | null, length: number): boolean {
  return addr === null || isMapped(mm, addr.num, length, VM_WRITE);
}
