// mprotect, pkey_mprotect, pkey_alloc, pkey_free: do_mprotect_pkey (mm/mprotect.c).

import { EACCES, EINVAL, ENOMEM, ENOSPC } from '../../abi/errno.ts';
import {
  PROT_EXEC,
  PROT_GROWSDOWN,
  PROT_GROWSUP,
  PROT_READ,
  PROT_SEM,
  PROT_WRITE,
  VM_ACCESS_FLAGS,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_MAYEXEC,
} from '../../abi/mman.ts';
import { SITE_MPROTECT } from '../../abi/notifier.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Task } from '../types.ts';
import { protToFlags } from '../vma/flags.ts';
import {
  allocPkey,
  isPkeyAllocated,
  overrideMprotectPkey,
  PKEY_DISABLE_ACCESS,
  PKEY_DISABLE_WRITE,
} from '../vma/pkeys.ts';
import { type SyscallArgs, TWO64 } from './args.ts';
import { deniesWriteExec } from './prctl.ts';

const READ_IMPLIES_EXEC = 0x400000;
const GROWS = PROT_GROWSDOWN | PROT_GROWSUP;
const PROT_KNOWN = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM;

/** mprotect(addr, len, prot). Returns 0 or -errno; VMAs before the failing one stay changed. */
export function sysMprotect(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return mprotectPkey(k, task, a, -1);
}

/** pkey_mprotect(addr, len, prot, pkey). */
export function sysPkeyMprotect(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return mprotectPkey(k, task, a, a.int(3));
}

/** pkey_alloc(flags, access_rights): a key, -EINVAL (also the first time without keys in the CPU) or -ENOSPC. */
export function* sysPkeyAlloc(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  if (!a.isZero(0) || a.num(1) > (PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE)) return -EINVAL;
  const mm = task.mm!;
  if (!k.config.pkeys) {
    // Key 0, the only one, is taken from an empty map; then its rights cannot be set, and it is not given back.
    if (mm.pkeyMap !== 0) return -ENOSPC;
    mm.pkeyMap = 1;
    return -EINVAL;
  }
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const pkey = allocPkey(mm);
  lock.writeUnlock();
  return pkey < 0 ? -ENOSPC : pkey;
}

/** pkey_free(pkey): entries that have the key keep it. 0 or -EINVAL. */
export function* sysPkeyFree(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const pkey = a.int(0);
  const isHeld = k.config.pkeys && isPkeyAllocated(k, mm, pkey);
  if (isHeld) mm.pkeyMap &= ~(1 << pkey);
  lock.writeUnlock();
  return isHeld ? 0 : -EINVAL;
}

function mprotectPkey(k: Kernel, task: Task, a: SyscallArgs, pkey: number): KernelPath<number> {
  const grows = a.int(2) & GROWS;
  const prot = a.int(2) & ~GROWS;
  if (grows === GROWS || !a.isPageAligned(0)) return done(-EINVAL);
  if (a.isZero(1)) return done(0);
  const start = a.num(0);
  const end = start + a.pageAlign(1);
  if (end >= TWO64 || end <= start) return done(-ENOMEM);
  if ((prot & ~PROT_KNOWN) !== 0 || a.hi[2] !== 0) return done(-EINVAL);
  return doMprotect(k, task, start, end, prot, grows, pkey);
}

function* doMprotect(
  k: Kernel,
  task: Task,
  start: number,
  end: number,
  prot: number,
  grows: number,
  pkey: number,
): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const result = yield* mprotectLocked(k, task, start, end, prot, grows, pkey);
  lock.writeUnlock();
  return result;
}

function* mprotectLocked(
  k: Kernel,
  task: Task,
  start: number,
  end: number,
  prot: number,
  grows: number,
  pkey: number,
): KernelPath<number> {
  const mm = task.mm!;
  if (pkey !== -1 && !isPkeyAllocated(k, mm, pkey)) return -EINVAL;
  let vma = mm.vmas.find(start);
  if (vma === null) return -ENOMEM;
  if ((grows & PROT_GROWSDOWN) !== 0) {
    if (vma.start >= end) return -ENOMEM;
    start = vma.start;
    if ((vma.flags & VM_GROWSDOWN) === 0) return -EINVAL;
  } else {
    if (vma.start > start) return -ENOMEM;
    if ((grows & PROT_GROWSUP) !== 0) return -EINVAL;
  }
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_MPROTECT);
  const newAccess = protToFlags(prot);
  const isReadExec = (task.personality & READ_IMPLIES_EXEC) !== 0 && (prot & PROT_READ) !== 0;
  let at = start;
  let result = 0;
  while (at < end) {
    if (vma === null || vma.start > at) {
      result = -ENOMEM;
      break;
    }
    const isExec = isReadExec && (vma.flags & VM_MAYEXEC) !== 0;
    const newFlags = (vma.flags & ~VM_ACCESS_FLAGS) | newAccess | (isExec ? VM_EXEC : 0);
    if ((newFlags & ~(newFlags >> 4) & VM_ACCESS_FLAGS) !== 0) {
      result = -EACCES;
      break;
    }
    if (deniesWriteExec(mm, vma.flags, newFlags)) {
      result = -EACCES;
      break;
    }
    const stop = Math.min(end, vma.end);
    const newPkey = k.config.pkeys ? overrideMprotectPkey(mm, vma, prot, pkey) : 0;
    result = yield* k.fn.mprotectFixup(k, tlb, vma, at, stop, newFlags, newPkey);
    if (result < 0) break;
    at = stop;
    if (at < end) vma = mm.vmas.find(at);
  }
  yield* k.fn.tlbFinishMmu(k, tlb);
  return result;
}
