// Descriptor tables: what the memory system calls need of fs/file.c.

import { EBADF, EMFILE } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { hasTaskWork, runTaskWork } from '../syscalls/edge.ts';
import { FileTable, type Inode, type OpenFile, type Task } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { openInode } from '../vma/shmem-file.ts';

/** The lowest free descriptor at or above `from`. */
function lowestFree(files: FileTable, from: number): number {
  let fd = from;
  while (files.open.has(fd)) fd++;
  return fd;
}

/** fdget: the open file of a descriptor; undefined when there is none, or only a path (O_PATH). */
export function fdget(task: Task, fd: number): OpenFile | undefined {
  const file = task.files.open.get(fd);
  return file?.isPath === true ? undefined : file;
}

/** fd_install: `file` (a reference of which is taken over) gets the lowest free descriptor. The descriptor or -EMFILE. */
export function installFile(k: Kernel, task: Task, file: OpenFile, closeOnExec = false): number {
  const fd = lowestFree(task.files, 0);
  if (fd >= (task.mm?.limits.nofile ?? k.config.rlimits.nofile)) {
    fput(k, file);
    return -EMFILE;
  }
  task.files.open.set(fd, file);
  if (closeOnExec) task.files.closeOnExec.add(fd);
  return fd;
}

/** open of an inode: the new descriptor or -EMFILE. */
export function openFile(
  k: Kernel,
  task: Task,
  inode: Inode,
  isReadable: boolean,
  isWritable: boolean,
  closeOnExec = false,
  isAppend = false,
): number {
  return installFile(k, task, openInode(inode, isReadable, isWritable, isAppend), closeOnExec);
}

/** Puts `file` at exactly `fd`, as a recorded run had it; what was there is closed. Takes a reference of its own. */
export function* placeFile(k: Kernel, task: Task, fd: number, file: OpenFile, closeOnExec = false): KernelPath<void> {
  file.refcount++;
  if (task.files.open.has(fd)) yield* closeFd(k, task, fd);
  task.files.open.set(fd, file);
  if (closeOnExec) task.files.closeOnExec.add(fd);
}

/** close. 0 or -EBADF. */
export function* closeFd(k: Kernel, task: Task, fd: number): KernelPath<number> {
  const file = task.files.open.get(fd);
  if (file === undefined) return -EBADF;
  task.files.open.delete(fd);
  task.files.closeOnExec.delete(fd);
  fput(k, file);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return 0;
}

/** dup, and fcntl F_DUPFD with `from`. The descriptor, -EBADF or -EMFILE. */
export function dupFd(k: Kernel, task: Task, fd: number, from = 0, closeOnExec = false): number {
  const file = task.files.open.get(fd);
  if (file === undefined) return -EBADF;
  const to = lowestFree(task.files, from);
  if (to >= (task.mm?.limits.nofile ?? k.config.rlimits.nofile)) return -EMFILE;
  file.refcount++;
  task.files.open.set(to, file);
  if (closeOnExec) task.files.closeOnExec.add(to);
  return to;
}

/** dup2 and dup3. `to` or -EBADF. */
export function* dup2Fd(k: Kernel, task: Task, fd: number, to: number, closeOnExec = false): KernelPath<number> {
  const file = task.files.open.get(fd);
  if (file === undefined || to < 0) return -EBADF;
  if (fd === to) return to;
  yield* placeFile(k, task, to, file, closeOnExec);
  return to;
}

/** unlink of the inode's last name: its pages go with its last user. */
export function* unlinkInode(k: Kernel, inode: Inode): KernelPath<void> {
  inode.isDeleted = true;
  if (inode.linkCount > 0) inode.linkCount--;
  if (inode.linkCount > 0 || inode.users > 0) return;
  k.delayedFput.push(inode);
  yield* runTaskWork(k);
}

/** copy_files: a child's own table with the parent's files. */
export function dupFiles(parent: FileTable): FileTable {
  const child = new FileTable();
  for (const [fd, file] of parent.open) {
    file.refcount++;
    child.open.set(fd, file);
  }
  for (const fd of parent.closeOnExec) child.closeOnExec.add(fd);
  return child;
}

/** put_files_struct: the last user closes everything. */
export function* putFiles(k: Kernel, files: FileTable): KernelPath<void> {
  if (--files.users > 0) return;
  for (const file of files.open.values()) fput(k, file);
  files.open.clear();
  files.closeOnExec.clear();
  if (hasTaskWork(k)) yield* runTaskWork(k);
}
