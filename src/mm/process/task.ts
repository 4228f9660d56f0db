// Tasks: how they come (fork, clone), change their program (exec) and go (exit). Kernel: copy_process, exec_mmap,
// begin_new_exec, do_exit. The program loader is not modelled: exec gets the finished layout as a list.

import { EAGAIN, ENOMEM } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { threadsOf } from '../oom/kill.ts';
import { FileTable, type MmStruct, Task } from '../types.ts';
import { closeFd, dupFiles, putFiles } from './files.ts';
import { buildMm, type ProgramLayout } from './layout.ts';
import { noteTaskMm } from './task-mm.ts';

/** clone flags that matter here. */
export const CLONE_VM = 0x100;
export const CLONE_FILES = 0x400;
export const CLONE_VFORK = 0x4000;
export const CLONE_THREAD = 0x10000;

function nextPid(k: Kernel): number {
  let pid = 1;
  for (const known of k.tasks.keys()) if (known >= pid) pid = known + 1;
  return pid;
}

function addTask(k: Kernel, task: Task): Task {
  k.tasks.set(task.pid, task);
  return task;
}

/** A first process with the given layout, as after an execve: no parent, no open files. -ENOMEM when no frame is free.
 *  Throws InputError for a layout that cannot be. `pid` 0 = the next free one. */
export function* createProcess(k: Kernel, layout: ProgramLayout, pid = 0, comm = ''): KernelPath<Task> {
  const mm = yield* buildMm(k, layout, null);
  if (mm === null) throw new Error('createProcess: no free frame for the page table');
  return addTask(k, new Task(pid === 0 ? nextPid(k) : pid, mm, new FileTable(), comm));
}

/** Does the task wait in vfork for a child that still uses its address space? Who runs the tasks lets it go on when not. */
export function isInVfork(k: Kernel, task: Task): boolean {
  for (const other of k.tasks.values()) if (other.vforkParent === task) return true;
  return false;
}

/** kernel_clone: a child task. With CLONE_VM it shares the address space (threads, vfork), else it gets a copy. `pid` 0 =
 *  the next free one. Returns the pid, or -ENOMEM, or -EAGAIN when the pid is taken. */
export function* doClone(k: Kernel, task: Task, flags: number, pid = 0): KernelPath<number> {
  if (pid !== 0 && k.tasks.has(pid)) return -EAGAIN;
  const mm = task.mm!;
  let childMm: MmStruct | null = mm;
  if ((flags & CLONE_VM) !== 0) mm.users++;
  else childMm = yield* k.fn.dupMm(k, mm);
  if (k.uffdEvents.length > 0) yield* k.fn.sendUffdEvents(k);
  if (childMm === null) return -ENOMEM;
  const isSharingFiles = (flags & CLONE_FILES) !== 0;
  if (isSharingFiles) task.files.users++;
  const files = isSharingFiles ? task.files : dupFiles(task.files);
  const child = new Task(pid === 0 ? nextPid(k) : pid, childMm, files, task.comm);
  if ((flags & CLONE_VFORK) !== 0) child.vforkParent = task;
  if ((flags & CLONE_THREAD) !== 0) child.tgid = task.tgid;
  child.cpu = task.cpu;
  child.policy = task.policy;
  child.interleavePrev = task.interleavePrev;
  child.personality = task.personality;
  return addTask(k, child).pid;
}

/** execve: a new address space with the given layout takes the place of the old one, which is put (exit_mmap runs before the
 *  new program if this was its last user). Close-on-exec descriptors go. Returns 0 or -ENOMEM (nothing changed). */
export function* doExec(k: Kernel, task: Task, layout: ProgramLayout): KernelPath<number> {
  const old = task.mm;
  const mm = yield* buildMm(k, layout, old);
  if (mm === null) return -ENOMEM;
  // de_thread: of a program's threads only the one that calls execve lives on.
  for (const other of threadsOf(k, task)) if (other !== task) yield* doExit(k, other);
  noteTaskMm(k, task, true);
  task.mm = mm;
  task.vforkParent = null;
  if (old !== null) yield* k.fn.mmPut(k, old);
  if (task.files.users > 1) {
    task.files.users--;
    task.files = dupFiles(task.files);
  }
  for (const fd of [...task.files.closeOnExec]) yield* closeFd(k, task, fd);
  return 0;
}

/** do_exit: gives up the address space, then the files, then the task. */
export function* doExit(k: Kernel, task: Task): KernelPath<number> {
  const mm = task.mm;
  noteTaskMm(k, task, true);
  task.mm = null;
  task.vforkParent = null;
  task.isAlive = false;
  if (mm !== null) yield* k.fn.mmPut(k, mm);
  yield* putFiles(k, task.files);
  k.tasks.delete(task.pid);
  return 0;
}

/** do_group_exit: exit_group, or a fatal signal. Every thread of the process ends; the one given ends last. */
export function* doGroupExit(k: Kernel, task: Task): KernelPath<number> {
  for (const other of threadsOf(k, task)) if (other !== task) yield* doExit(k, other);
  return yield* doExit(k, task);
}
