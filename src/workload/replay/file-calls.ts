// Recorded file calls: they tell which descriptor is which file and how long it is. Their results are input, except for calls
// on memory objects (memfd_create, ftruncate, fallocate, close, dup) whose success the kernel can predict.

import { NR_fallocate, NR_ftruncate } from '../../abi/syscalls.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { closeFd, placeFile } from '../../mm/process/files.ts';
import { SyscallArgs } from '../../mm/syscalls/args.ts';
import { addSeals, getSeals } from '../../mm/syscalls/memfd.ts';
import { syscall } from '../../mm/syscalls/table.ts';
import { type Inode, OpenFile, type Task } from '../../mm/types.ts';
import { fput } from '../../mm/vma/adjust.ts';
import type { KernelPath } from '../../sched/path.ts';
import { returnedFd } from '../strace/decode.ts';
import type { CallRecord } from '../strace/record.ts';
import type { MemoryOp, TraceOp } from '../strace/trace-op.ts';
import { AT_FDCWD, type FdRef, type TextArg } from '../strace/values.ts';
import { kindOfDescriptor, ReplayFiles, resolvePath } from './files.ts';

const O_CREAT = 0o100;
const O_CLOEXEC = 0o2000000;
const AT_REMOVEDIR = 0x200;
const F_SETFD = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const FD_CLOEXEC = 1;

export class FileCalls {
  readonly files: ReplayFiles;
  readonly #kernel: Kernel;
  readonly #args = new SyscallArgs();
  readonly #pidOfFile = new WeakMap<OpenFile, number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.files = new ReplayFiles(kernel);
  }

  /** Makes the descriptor of a mapping known (inherited ones were never opened) and its file long enough. */
  beforeMapping(task: Task, op: MemoryOp & { op: 'mmap' }): void {
    if (op.fd.fd < 0 || (op.flags.lo & 0x20) !== 0) return;
    let file = ReplayFiles.of(task, op.fd.fd);
    if (file === null && op.fd.path !== null) {
      file = this.#open(op.fd.path, 2);
      task.files.open.set(op.fd.fd, file);
    }
    if (file !== null && !Number.isNaN(op.offset.num + op.length.num))
      this.files.noteMapping(file.inode, op.offset.num + op.length.num);
  }

  /** open of /proc/self/fd/N: another open file of the same inode. */
  #reopened(task: Task, path: string | null, flags: number): OpenFile | null {
    const number = /^\/proc\/(?:self|thread-self|\d+)\/fd\/(\d+)$/.exec(path ?? '')?.[1];
    const inode = number === undefined ? null : ReplayFiles.of(task, Number(number))?.inode;
    if (inode === null || inode === undefined) return null;
    inode.users++;
    return this.files.openInode(inode, flags);
  }

  #open(path: string, flags: number): OpenFile {
    const file = this.files.open(path, flags);
    file.inode.users++;
    return file;
  }

  /** The path of an *at argument. */
  #path(task: Task, dirFd: FdRef | null, path: TextArg | null): string | null {
    if (path === null || path.text === null || path.isCut) return null;
    const isCwd = dirFd === null || dirFd.fd === AT_FDCWD;
    if (dirFd !== null && isCwd && dirFd.path !== null) this.files.cwd.set(task, dirFd.path);
    const base = dirFd?.path ?? (isCwd ? this.files.cwd.get(task) : undefined) ?? '/';
    return resolvePath(base, path.text);
  }

  /** The open file of a descriptor that a call names; one that was inherited is opened now. */
  openFile(task: Task, fd: FdRef): OpenFile | undefined {
    const known = ReplayFiles.of(task, fd.fd);
    if (known !== null) return known;
    if (fd.fd < 0 || fd.path === null) return undefined;
    const file = this.#open(fd.path, 2);
    task.files.open.set(fd.fd, file);
    return file;
  }

  /** The process that a pidfd stands for; -1 when the descriptor is none. */
  pidOf(task: Task, fd: FdRef): number {
    const file = ReplayFiles.of(task, fd.fd);
    return file === null ? -1 : (this.#pidOfFile.get(file) ?? -1);
  }

  /** Puts the file that a call made at the descriptor that it got in the recording. */
  *placeMade(task: Task, record: CallRecord, file: OpenFile, closeOnExec: boolean): KernelPath<void> {
    const fd = returnedFd(record);
    if (fd === null) fput(this.#kernel, file);
    else yield* this.#place(task, fd.fd, file, closeOnExec);
  }

  /** A descriptor of something that is no file on a disk or in memory. */
  *#placeUnmapped(task: Task, fd: FdRef, end: 'read' | 'write' | 'both', pid: number): KernelPath<void> {
    const inode = this.#kernel.newInode(kindOfDescriptor(fd.path ?? ''), fd.path ?? '', 0);
    inode.users++;
    const file = new OpenFile(inode, end !== 'write', end !== 'read');
    if (pid !== 0) this.#pidOfFile.set(file, pid);
    yield* this.#place(task, fd.fd, file, false);
  }

  #inodeOfFd(task: Task, fd: FdRef): Inode | null {
    return ReplayFiles.of(task, fd.fd)?.inode ?? null;
  }

  /** Applies the call. A number: what the kernel predicts; null: the result was input, or the call says nothing. */
  *apply(task: Task, record: CallRecord, op: TraceOp): KernelPath<number | null> {
    const failed = record.errno !== null || record.ret === null;
    switch (op.op) {
      case 'ftruncate':
      case 'fallocate':
        return yield* this.#resize(task, op);
      case 'fcntl':
        if (op.cmd === F_SETFD && op.arg !== null) this.#setCloexec(task, op.fd.fd, (op.arg.lo & FD_CLOEXEC) !== 0);
        if (ReplayFiles.of(task, op.fd.fd) === null) return null;
        if (op.cmd === F_ADD_SEALS && op.arg !== null) return addSeals(task, op.fd.fd, op.arg.lo);
        return op.cmd === F_GET_SEALS ? getSeals(task, op.fd.fd) : null;
      case 'close':
        if (task.files.open.has(op.fd.fd)) yield* closeFd(this.#kernel, task, op.fd.fd);
        return null;
      default:
        if (!failed) yield* this.#succeeded(task, record, op);
        return null;
    }
  }

  *#resize(task: Task, op: TraceOp & { op: 'ftruncate' | 'fallocate' }): KernelPath<number | null> {
    const inode = this.#inodeOfFd(task, op.fd);
    if (inode === null) return null;
    const args = this.#args;
    args.of(op.fd.fd);
    if (op.op === 'ftruncate') args.setWords(1, op.length.hi, op.length.lo);
    else {
      args.setWords(1, op.mode.hi, op.mode.lo);
      args.setWords(2, op.offset.hi, op.offset.lo);
      args.setWords(3, op.length.hi, op.length.lo);
    }
    const result = yield* syscall(this.#kernel, task, op.op === 'ftruncate' ? NR_ftruncate : NR_fallocate, args);
    this.files.setSize(inode, inode.size);
    return result;
  }

  #setCloexec(task: Task, fd: number, on: boolean): void {
    if (on) task.files.closeOnExec.add(fd);
    else task.files.closeOnExec.delete(fd);
  }

  *#succeeded(task: Task, record: CallRecord, op: TraceOp): KernelPath<void> {
    switch (op.op) {
      case 'open': {
        const fd = returnedFd(record);
        const path = fd?.path ?? this.#path(task, op.dirFd, op.path);
        if (fd === null || path === null) return;
        const isNew = (op.flags.lo & O_CREAT) !== 0 && this.files.known(path) === null;
        const file = this.#reopened(task, op.path.text, op.flags.lo) ?? this.#open(path, op.flags.lo);
        if (isNew) file.inode.uid = task.mm?.limits.cred.euid ?? 0;
        yield* this.#place(task, fd.fd, file, (op.flags.lo & O_CLOEXEC) !== 0);
        return;
      }
      case 'fdopen':
        if (op.how === 'USERFAULTFD_IOC_NEW') return;
        for (const [i, fd] of op.fds.entries()) {
          const end = op.how.startsWith('pipe') ? (i === 0 ? 'read' : 'write') : 'both';
          yield* this.#placeUnmapped(task, fd, end, op.pid ?? 0);
        }
        return;
      case 'dup': {
        const fd = returnedFd(record);
        const file = ReplayFiles.of(task, op.fd.fd);
        if (fd === null || fd.fd === op.fd.fd) return;
        if (file === null) {
          if (task.files.open.has(fd.fd)) yield* closeFd(this.#kernel, task, fd.fd);
        } else yield* placeFile(this.#kernel, task, fd.fd, file, op.isCloexec);
        return;
      }
      case 'chdir': {
        const to = op.fd !== null ? op.fd.path : this.#path(task, null, op.path);
        if (to !== null) this.files.cwd.set(task, to);
        return;
      }
      case 'close_range':
        for (const fd of [...task.files.open.keys()]) {
          if (fd >= op.first.num && fd <= op.last.num) yield* closeFd(this.#kernel, task, fd);
        }
        return;
      default:
        yield* this.#sizes(task, record, op);
    }
  }

  *#place(task: Task, fd: number, file: OpenFile, cloexec: boolean): KernelPath<void> {
    yield* placeFile(this.#kernel, task, fd, file, cloexec);
    fput(this.#kernel, file);
  }

  *#sizes(task: Task, record: CallRecord, op: TraceOp): KernelPath<void> {
    const ret = record.ret!.num;
    if (op.op === 'stat') {
      const path = op.path !== null && op.path.text === '' ? null : this.#path(task, op.fd, op.path);
      const inode = path !== null ? this.files.known(path) : op.fd === null ? null : this.#inodeOfFd(task, op.fd);
      if (inode !== null) this.files.stat(inode, op.mode, op.size?.num ?? null);
    } else if (op.op === 'read' || op.op === 'write') {
      const file = ReplayFiles.of(task, op.fd.fd);
      if (file === null || Number.isNaN(ret)) return;
      const at = op.offset?.num ?? (op.op === 'write' && file.isAppend ? file.inode.size : file.position);
      // A file in memory has the pages that were written; of others only the size matters.
      if (op.op === 'write' && file.inode.kind === 'shmem' && ret > 0)
        yield* this.#kernel.fn.fileWrite(this.#kernel, file.inode, at, ret, null);
      else if (file.inode.kind === 'regular' || file.inode.kind === 'shmem') this.files.growTo(file.inode, at + ret);
      if (op.offset === null) file.position = at + ret;
    } else if (op.op === 'lseek') {
      const file = ReplayFiles.of(task, op.fd.fd);
      if (file !== null) file.position = ret;
    } else if (op.op === 'copy_file_range' || op.op === 'sendfile') {
      const out = ReplayFiles.of(task, op.outFd.fd);
      if (out === null) return;
      this.files.growTo(out.inode, out.position + ret);
      out.position += ret;
    } else if (op.op === 'truncate') {
      const path = this.#path(task, null, op.path);
      if (path !== null) this.files.setSize(this.files.inode(path), op.length.num);
    } else if (op.op === 'unlink' && (op.flags.lo & AT_REMOVEDIR) === 0) {
      const path = this.#path(task, op.dirFd, op.path);
      if (path !== null) this.files.unlink(path);
    } else if (op.op === 'rename') {
      const from = this.#path(task, op.oldDirFd, op.oldPath);
      const to = this.#path(task, op.newDirFd, op.newPath);
      if (from !== null && to !== null) this.files.rename(from, to);
    }
  }
}
