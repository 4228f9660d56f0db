// msync (mm/msync.c).

import { EBUSY, EINVAL, ENOMEM } from '../../abi/errno.ts';
import { MS_ASYNC, MS_INVALIDATE, MS_SYNC, VM_LOCKED, VM_SHARED } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { type SyscallArgs, TWO64, wrap64 } from './args.ts';
import { hasTaskWork, runTaskWork } from './edge.ts';

/** msync(addr, length, flags). Holes are skipped and answered with -ENOMEM at the end (MS_ASYNC alone: at once). */
export function sysMsync(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const flags = a.int(2);
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) !== 0 || !a.isPageAligned(0)) return done(-EINVAL);
  if ((flags & MS_ASYNC) !== 0 && (flags & MS_SYNC) !== 0) return done(-EINVAL);
  const len = wrap64(a.pageAlign(1));
  if (a.num(0) + len >= TWO64) return done(-ENOMEM);
  return len === 0 ? done(0) : msync(k, task.mm!, a.num(0), a.num(0) + len, flags);
}

function* msync(k: Kernel, mm: MmStruct, start: number, end: number, flags: number): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let unmapped = 0;
  let result = 0;
  for (let at = start; at < end; ) {
    const vma = mm.vmas.find(at);
    if (vma === null || (at < vma.start && (flags === MS_ASYNC || vma.start >= end))) {
      result = -ENOMEM;
      break;
    }
    if (at < vma.start) {
      unmapped = -ENOMEM;
      at = vma.start;
    }
    if ((flags & MS_INVALIDATE) !== 0 && (vma.flags & VM_LOCKED) !== 0) {
      result = -EBUSY;
      break;
    }
    const from = vma.pgoff * 4096 + (at - vma.start);
    const to = from + (Math.min(end, vma.end) - at);
    const file = vma.file;
    at = vma.end;
    if ((flags & MS_SYNC) !== 0 && file !== null && (vma.flags & VM_SHARED) !== 0) {
      // The lock is not held over the writeback; the file is.
      file.refcount++;
      lock.readUnlock();
      if (file.inode.kind === 'regular') yield* k.fn.filemapWriteAndWaitRange(k, file.inode.mapping, from, to);
      fput(k, file);
      if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    }
  }
  lock.readUnlock();
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result !== 0 ? result : unmapped;
}
