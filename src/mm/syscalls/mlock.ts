// mlock, mlock2, munlock, mlockall, munlockall (mm/mlock.c). Flags first, under mmapLock for write; then the pages are
// faulted in under the read lock.

import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM } from '../../abi/errno.ts';
import {
  MCL_CURRENT,
  MCL_FUTURE,
  MCL_ONFAULT,
  MLOCK_ONFAULT,
  TASK_SIZE,
  VM_HUGETLB,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_SPECIAL,
} from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task, VmArea } from '../types.ts';
import { canDoMlock } from '../vma/account.ts';
import { isDroppable } from '../vma/flags.ts';
import { setVmaFlags } from '../vma/mprotect.ts';
import { populateRange } from '../vma/populate.ts';
import { vmaModify } from '../vma/split.ts';
import { type SyscallArgs, TWO64, wrap64 } from './args.ts';

const LOCK_FLAGS = VM_LOCKED | VM_LOCKONFAULT;

/** mlock(addr, len). */
export function sysMlock(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return doMlock(k, task.mm!, a.pageDown(0), wrap64(a.pageAlignPlus(1, a.lo[0]! & 4095)), VM_LOCKED);
}

/** mlock2(addr, len, flags). */
export function sysMlock2(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const flags = a.int(2);
  if ((flags & ~MLOCK_ONFAULT) !== 0) return done(-EINVAL);
  const vmFlags = (flags & MLOCK_ONFAULT) !== 0 ? LOCK_FLAGS : VM_LOCKED;
  return doMlock(k, task.mm!, a.pageDown(0), wrap64(a.pageAlignPlus(1, a.lo[0]! & 4095)), vmFlags);
}

function* doMlock(k: Kernel, mm: MmStruct, start: number, len: number, flags: number): KernelPath<number> {
  if (!canDoMlock(mm)) return -EPERM;
  const limit = mm.limits.capIpcLock ? Number.POSITIVE_INFINITY : Math.floor(mm.limits.memlock / 4096);
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let locked = len / 4096 + mm.lockedVm;
  if (locked > limit) locked -= countLockedPages(mm, start, start + len);
  const r = locked <= limit ? yield* applyVmaLockFlags(k, mm, start, len, flags) : -ENOMEM;
  lock.writeUnlock();
  if (r < 0) return r;
  const populated = yield* populateRange(k, mm, start, start + len, false);
  // __mlock_posix_error_return
  return populated === -EFAULT ? -ENOMEM : populated === -ENOMEM ? -EAGAIN : populated;
}

/** count_mm_mlocked_page_nr. */
function countLockedPages(mm: MmStruct, start: number, end: number): number {
  let pages = 0;
  for (let v = mm.vmas.intersects(start, end); v !== null && v.start < end; v = v.treeNext as VmArea | null) {
    if ((v.flags & VM_LOCKED) !== 0) pages += (Math.min(end, v.end) - Math.max(start, v.start)) / 4096;
  }
  return pages;
}

/** munlock(addr, len). */
export function sysMunlock(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return munlock(k, task.mm!, a.pageDown(0), wrap64(a.pageAlignPlus(1, a.lo[0]! & 4095)));
}

function* munlock(k: Kernel, mm: MmStruct, start: number, len: number): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const r = yield* applyVmaLockFlags(k, mm, start, len, 0);
  lock.writeUnlock();
  return r;
}

/** apply_vma_lock_flags: a hole ends it with -ENOMEM; what lies before stays changed. */
function* applyVmaLockFlags(k: Kernel, mm: MmStruct, start: number, len: number, flags: number): KernelPath<number> {
  const end = start + len;
  if (end >= TWO64) return -EINVAL;
  for (let at = start; at < end; ) {
    const vma = mm.vmas.findExact(at);
    if (vma === null) return -ENOMEM;
    const stop = Math.min(end, vma.end);
    const r = yield* mlockFixup(k, vma, at, stop, (vma.flags & ~LOCK_FLAGS) | flags);
    if (r < 0) return r;
    at = stop;
  }
  return 0;
}

/** mlock_fixup. Special and hugetlb VMAs are passed over in silence. */
function* mlockFixup(k: Kernel, vma: VmArea, start: number, end: number, flags: number): KernelPath<number> {
  const old = vma.flags;
  if (flags === old || (old & (VM_SPECIAL | VM_HUGETLB)) !== 0) return 0;
  if (isDroppable(old) || vma.file?.inode.isSecret === true) return 0;
  const change = vmaModify(k, vma, start, end, flags);
  const piece = change === null ? vma : yield* change;
  if (piece === null) return k.vmaError;
  const pages = (end - start) / 4096;
  if ((flags & VM_LOCKED) === 0) piece.mm.lockedVm -= pages;
  else if ((old & VM_LOCKED) === 0) piece.mm.lockedVm += pages;
  setVmaFlags(k, piece, flags);
  return 0;
}

/** mlockall(flags). */
export function sysMlockall(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return mlockall(k, task.mm!, a.int(0));
}

function* mlockall(k: Kernel, mm: MmStruct, flags: number): KernelPath<number> {
  if (flags === 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) !== 0 || flags === MCL_ONFAULT) return -EINVAL;
  if (!canDoMlock(mm)) return -EPERM;
  const isCurrent = (flags & MCL_CURRENT) !== 0;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const isAllowed = !isCurrent || mm.limits.capIpcLock || mm.totalVm <= Math.floor(mm.limits.memlock / 4096);
  if (isAllowed) yield* applyMlockallFlags(k, mm, flags);
  lock.writeUnlock();
  if (!isAllowed) return -ENOMEM;
  if (isCurrent) yield* k.fn.mmPopulate(k, mm, 0, TASK_SIZE);
  return 0;
}

/** munlockall(). */
export function* sysMunlockall(k: Kernel, task: Task): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  yield* applyMlockallFlags(k, mm, 0);
  lock.writeUnlock();
  return 0;
}

/** apply_mlockall_flags: errors of single VMAs are ignored. */
function* applyMlockallFlags(k: Kernel, mm: MmStruct, flags: number): KernelPath<void> {
  const bits = (flags & MCL_ONFAULT) !== 0 ? LOCK_FLAGS : VM_LOCKED;
  mm.defFlags &= ~LOCK_FLAGS;
  if ((flags & MCL_FUTURE) !== 0) {
    mm.defFlags |= bits;
    if ((flags & MCL_CURRENT) === 0) return;
  }
  const add = (flags & MCL_CURRENT) !== 0 ? bits : 0;
  for (let at = 0; ; ) {
    const vma = mm.vmas.find(at);
    if (vma === null) return;
    at = vma.end;
    yield* mlockFixup(k, vma, vma.start, vma.end, (vma.flags & ~LOCK_FLAGS) | add);
  }
}
