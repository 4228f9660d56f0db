// A page request served: what the workers of every IOMMU driver do for one request of a group. Linux: drivers/iommu/amd/iommu_v2.c
// (do_fault), drivers/iommu/iommu-sva-lib.c and io-pgfault.c (iommu_sva_handle_iopf).

import { PRG_INVALID, PRG_SUCCESS } from '../abi/events.ts';
import {
  FAULT_FLAG_INSTRUCTION,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  VM_EXEC,
  VM_FAULT_ERROR,
  VM_FAULT_RETRY,
  VM_READ,
  VM_WRITE,
} from '../abi/mman.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';
import type { PprEntry } from './messages.ts';

/** Makes the page of the request accessible. PRG_SUCCESS, also when it was; PRG_INVALID: no VMA there, or one that forbids it, or the
 *  fault failed. Takes mmapLock for reading; the caller holds what keeps the address space. */
export function* faultIn(k: Kernel, mm: MmStruct, entry: PprEntry): KernelPath<number> {
  let flags = FAULT_FLAG_USER | FAULT_FLAG_REMOTE;
  let needs = VM_READ;
  if (entry.isWrite) {
    flags |= FAULT_FLAG_WRITE;
    needs = VM_WRITE;
  } else if (entry.isExec) {
    flags |= FAULT_FLAG_INSTRUCTION;
    needs = VM_EXEC;
  }
  for (;;) {
    yield* mm.mmapLock.readLock();
    const vma = mm.vmas.findExact(entry.address);
    if (vma === null || (vma.flags & needs) === 0 || mm.isExiting) {
      mm.mmapLock.readUnlock();
      return PRG_INVALID;
    }
    const result = yield* k.fn.handleMmFault(k, vma, entry.address, flags);
    if ((result & VM_FAULT_RETRY) !== 0) {
      flags |= FAULT_FLAG_TRIED;
      continue;
    }
    mm.mmapLock.readUnlock();
    return (result & VM_FAULT_ERROR) !== 0 ? PRG_INVALID : PRG_SUCCESS;
  }
}
