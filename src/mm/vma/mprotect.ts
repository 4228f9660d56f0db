// mprotect_fixup (mm/mprotect.c): new flags for a piece of one VMA. mmapLock held for write.

import { ENOMEM, EPERM } from '../../abi/errno.ts';
import { E_VMA_ADD, E_VMA_REMOVE } from '../../abi/events.ts';
import { VM_ACCOUNT, VM_HUGETLB, VM_LOCKED, VM_NORESERVE, VM_SEALED, VM_SHARED, VM_WRITE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { MM_CP_TRY_CHANGE_WRITABLE } from '../zap/cp-flags.ts';
import type { MmuGather } from '../zap/mmu-gather.ts';
import { mayExpandVm, vmEnoughMemory, vmStatAccount, vmUnacctMemory } from './account.ts';
import { noteVma } from './adjust.ts';
import { setPageProt, wantsManualWriteUpgrade } from './flags.ts';
import { populateVmaPageRange } from './populate.ts';
import { vmaModify } from './split.ts';

/** Gives a VMA other flags, with the events that tell of it; vm_page_prot follows. */
export function setVmaFlags(k: Kernel, vma: VmArea, flags: number): void {
  const log = k.memory.log;
  if (log.on) noteVma(k, E_VMA_REMOVE, vma);
  vma.flags = flags;
  setPageProt(vma);
  if (log.on) noteVma(k, E_VMA_ADD, vma);
}

/** Changes [start, end) of `vma` to `newFlags` and `pkey`, merging or cutting VMAs, and its entries. Charges a private mapping that
 *  becomes writable. Returns 0, -ENOMEM (limits, overcommit, map count), -EINVAL (hugetlb edge) or -EPERM (sealed). */
export function* mprotectFixup(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
  newFlags: number,
  pkey = vma.pkey,
): KernelPath<number> {
  const mm = vma.mm;
  const oldFlags = vma.flags;
  if ((oldFlags & VM_SEALED) !== 0) return -EPERM;
  if (newFlags === oldFlags && pkey === vma.pkey) return 0;
  const pages = (end - start) / 4096;
  let charged = 0;
  if ((newFlags & VM_WRITE) !== 0) {
    if (!mayExpandVm(mm, newFlags, pages) && mayExpandVm(mm, oldFlags, pages)) return -ENOMEM;
    if ((oldFlags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE)) === 0) {
      if (vmEnoughMemory(k, mm, pages) < 0) return -ENOMEM;
      charged = pages;
      newFlags |= VM_ACCOUNT;
    }
  } else if (
    k.profile.mprotectUncharges &&
    (oldFlags & VM_ACCOUNT) !== 0 &&
    vma.file === null &&
    vma.anonVma === null
  ) {
    newFlags &= ~VM_ACCOUNT;
  }
  const change = vmaModify(k, vma, start, end, newFlags, vma.policy, vma.uffd, pkey);
  const piece = change === null ? vma : yield* change;
  if (piece === null) {
    vmUnacctMemory(k, charged);
    return k.vmaError;
  }
  piece.pkey = pkey;
  setVmaFlags(k, piece, newFlags);
  const cpFlags = wantsManualWriteUpgrade(piece) ? MM_CP_TRY_CHANGE_WRITABLE : 0;
  yield* k.fn.changeProtection(k, tlb, piece, start, end, cpFlags);
  if ((oldFlags & VM_ACCOUNT) !== 0 && (newFlags & VM_ACCOUNT) === 0) vmUnacctMemory(k, pages);
  if ((oldFlags & (VM_WRITE | VM_SHARED | VM_LOCKED)) === VM_LOCKED && (newFlags & VM_WRITE) !== 0)
    yield* populateVmaPageRange(k, piece, start, end, false);
  vmStatAccount(mm, oldFlags, -pages);
  vmStatAccount(mm, newFlags, pages);
  return 0;
}
