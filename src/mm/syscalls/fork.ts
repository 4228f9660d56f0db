// clone, fork, vfork, exit, exit_group at the system-call edge. The parent of a vfork does not wait here: who runs the tasks
// decides when it goes on.

import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { CLONE_VFORK, CLONE_VM, doClone, doExit, doGroupExit } from '../process/task.ts';
import type { Task } from '../types.ts';
import type { SyscallArgs } from './args.ts';

/** clone(flags, ...): the child's pid or -errno. */
export function sysClone(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return doClone(k, task, a.int(0));
}

export function sysFork(k: Kernel, task: Task): KernelPath<number> {
  return doClone(k, task, 0);
}

export function sysVfork(k: Kernel, task: Task): KernelPath<number> {
  return doClone(k, task, CLONE_VM | CLONE_VFORK);
}

/** exit(status): the task and, if it was the last user, its address space are gone when the path ends. */
export function sysExit(k: Kernel, task: Task): KernelPath<number> {
  return doExit(k, task);
}

/** exit_group(status): the same for every thread of the process. */
export function sysExitGroup(k: Kernel, task: Task): KernelPath<number> {
  return doGroupExit(k, task);
}
