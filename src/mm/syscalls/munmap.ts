// munmap: __vm_munmap (mm/mmap.c).

import { EINVAL } from '../../abi/errno.ts';
import { TASK_SIZE } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Task } from '../types.ts';
import type { SyscallArgs } from './args.ts';
import { hasTaskWork, runTaskWork } from './edge.ts';

/** munmap(addr, length). Returns 0, -EINVAL, -ENOMEM or -EPERM. */
export function sysMunmap(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const start = a.num(0);
  const len = a.pageAlign(1);
  if (!a.isPageAligned(0) || start > TASK_SIZE || a.num(1) > TASK_SIZE - start || len === 0) return done(-EINVAL);
  return vmMunmap(k, task, start, start + len);
}

function* vmMunmap(k: Kernel, task: Task, start: number, end: number): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const result = yield* k.fn.doMunmap(k, mm, start, end, true);
  if (result === 1) lock.readUnlock();
  else lock.writeUnlock();
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result === 1 ? 0 : result;
}
