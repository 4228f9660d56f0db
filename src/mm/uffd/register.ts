// Which memory a userfaultfd watches (fs/userfaultfd.c userfaultfd_register, _unregister, _release): VMAs get the context and
// VM_UFFD_* flags, cut and merged as for any other change of flags. mmapLock W throughout.

import { EBUSY, EINVAL, EPERM } from '../../abi/errno.ts';
import {
  PMD_SIZE,
  VM_HUGETLB,
  VM_MAYWRITE,
  VM_UFFD_FLAGS,
  VM_UFFD_MINOR,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
} from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { isShmem } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { AIO_PATH } from '../syscalls/aio.ts';
import type { Inode, VmArea } from '../types.ts';
import { mmDrop } from '../vma/exit-mmap.ts';
import { isDroppable } from '../vma/flags.ts';
import { setVmaFlags } from '../vma/mprotect.ts';
import { vmaModify } from '../vma/split.ts';
import type { UserfaultfdCtx } from './context.ts';
import { noteUffd, wakeUserfault } from './fault.ts';

/** vma_is_shmem: SysV segments, secret memory and rings of io_setup have operations of their own. */
function hasShmemOps(inode: Inode): boolean {
  return isShmem(inode.mapping) && !inode.isSysv && !inode.isSecret && inode.path !== AIO_PATH;
}

/** vma_can_userfault. */
function vmaCanUserfault(vma: VmArea, flags: number): boolean {
  if (isDroppable(vma.flags)) return false;
  const isShmemVma = vma.file !== null && hasShmemOps(vma.file.inode);
  const isHugetlb = (vma.flags & VM_HUGETLB) !== 0;
  if ((flags & VM_UFFD_MINOR) !== 0) return isHugetlb || isShmemVma;
  return (vma.file === null && vma.name === null) || isHugetlb || isShmemVma;
}

function isHugeAligned(vma: VmArea, address: number): boolean {
  return (vma.flags & VM_HUGETLB) === 0 || address % PMD_SIZE === 0;
}

/** May every VMA of the range be watched with `flags`? 0 or -errno. */
function checkRegister(ctx: UserfaultfdCtx, first: VmArea, start: number, end: number, flags: number): number {
  if (!isHugeAligned(first, start)) return -EINVAL;
  for (let v: VmArea | null = first; v !== null && v.start < end; v = v.treeNext as VmArea | null) {
    if (!vmaCanUserfault(v, flags)) return -EINVAL;
    if ((v.flags & VM_MAYWRITE) === 0) return -EPERM;
    if (end <= v.end && end > v.start && !isHugeAligned(v, end)) return -EINVAL;
    if (v.uffd !== null && v.uffd !== ctx) return -EBUSY;
  }
  return 0;
}

/** userfaultfd_register of [start, end), which was validated. `flags`: VM_UFFD_*. 0, -EINVAL (no VMA, or one that cannot be
 *  watched), -EPERM (not writable), -EBUSY (watched by another), -ENOMEM. */
export function* userfaultfdRegister(
  k: Kernel,
  ctx: UserfaultfdCtx,
  start: number,
  end: number,
  flags: number,
): KernelPath<number> {
  const { mm } = ctx;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let vma = mm.vmas.intersects(start, end);
  let result = vma === null ? -EINVAL : checkRegister(ctx, vma, start, end, flags);
  while (result === 0 && vma !== null && vma.start < end) {
    const from = Math.max(start, vma.start);
    const to = Math.min(end, vma.end);
    if (vma.uffd !== ctx || (vma.flags & flags) !== flags) {
      const newFlags = (vma.flags & ~VM_UFFD_FLAGS) | flags;
      const change = vmaModify(k, vma, from, to, newFlags, vma.policy, ctx);
      const piece: VmArea | null = change === null ? vma : yield* change;
      if (piece === null) {
        result = k.vmaError;
        break;
      }
      piece.uffd = ctx;
      setVmaFlags(k, piece, newFlags);
    }
    vma = to < end ? mm.vmas.intersects(to, end) : null;
  }
  lock.writeUnlock();
  return result;
}

/** userfaultfd_unregister of [start, end), which was validated. Entries lose their marks, waiters go on. 0, -EINVAL, -ENOMEM. */
export function* userfaultfdUnregister(k: Kernel, ctx: UserfaultfdCtx, start: number, end: number): KernelPath<number> {
  const { mm } = ctx;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let vma = mm.vmas.intersects(start, end);
  let result = vma === null || !isHugeAligned(vma, start) ? -EINVAL : 0;
  for (let v = vma; result === 0 && v !== null && v.start < end; v = v.treeNext as VmArea | null) {
    if (!vmaCanUserfault(v, v.flags)) result = -EINVAL;
  }
  while (result === 0 && vma !== null && vma.start < end) {
    const from = Math.max(start, vma.start);
    const to = Math.min(end, vma.end);
    if (vma.uffd !== null) {
      if ((vma.flags & VM_UFFD_MISSING) !== 0) wakeUserfault(k, vma.uffd, from, to);
      if ((vma.flags & VM_UFFD_WP) !== 0) yield* k.fn.uffdWpRange(k, vma, from, to - from, false);
      result = yield* takeOff(k, vma, from, to);
    }
    vma = to < end ? mm.vmas.intersects(to, end) : null;
  }
  lock.writeUnlock();
  return result;
}

/** [from, to) of `vma` is watched no more. 0 or -errno. */
function* takeOff(k: Kernel, vma: VmArea, from: number, to: number): KernelPath<number> {
  const flags = vma.flags & ~VM_UFFD_FLAGS;
  const change = vmaModify(k, vma, from, to, flags, vma.policy, null);
  const piece = change === null ? vma : yield* change;
  if (piece === null) return k.vmaError;
  piece.uffd = null;
  setVmaFlags(k, piece, flags);
  return 0;
}

/** userfaultfd_release: the last close of the descriptor. Marks stay in the entries and mean nothing any more; everybody who
 *  waits goes on and faults as if nothing had been registered. */
export function* userfaultfdRelease(k: Kernel, ctx: UserfaultfdCtx): KernelPath<void> {
  const { mm } = ctx;
  noteUffd(k, ctx, true);
  ctx.released = true;
  if (mm.users > 0) {
    const lock = mm.mmapLock;
    mm.users++;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
    for (let v = mm.vmas.first(); v !== null; v = v.treeNext as VmArea | null) {
      if (v.uffd !== ctx) continue;
      const flags = v.flags & ~VM_UFFD_FLAGS;
      const change = vmaModify(k, v, v.start, v.end, flags, v.policy, null);
      const piece: VmArea | null = change === null ? v : yield* change;
      v = piece ?? v;
      v.uffd = null;
      setVmaFlags(k, v, flags);
    }
    lock.writeUnlock();
    yield* k.fn.mmPut(k, mm);
  }
  noteUffd(k, ctx, true);
  ctx.faultQueue.wakeAll(k.sched);
  ctx.eventQueue.wakeAll(k.sched);
  ctx.readQueue.wakeAll(k.sched);
  mmDrop(k, mm);
}
