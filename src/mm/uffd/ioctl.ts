// The interface of userfaultfd: the system call, the ioctls in the order of their checks, read (fs/userfaultfd.c). The structures
// that the ioctls take lie in user memory; here they are arguments.

import { EAGAIN, EBADF, EINVAL, EPERM, ESRCH } from '../../abi/errno.ts';
import { TASK_SIZE, VM_UFFD_MINOR, VM_UFFD_MISSING, VM_UFFD_WP } from '../../abi/mman.ts';
import { ACCESS_READ } from '../../hw/walker.ts';
import type { KernelPath } from '../../sched/path.ts';
import { userTranslate } from '../cpu-access.ts';
import type { Kernel } from '../kernel.ts';
import { CAP_SYS_PTRACE, capable } from '../process/cred.ts';
import { installFile } from '../process/files.ts';
import type { MmStruct, Task } from '../types.ts';
import { openInode } from '../vma/shmem-file.ts';
import * as U from './context.ts';
import { noteUffd, wakeUserfault } from './fault.ts';
import { MCOPY_ATOMIC_CONTINUE, MCOPY_ATOMIC_NORMAL, MCOPY_ATOMIC_ZEROPAGE } from './fill.ts';

/** userfaultfd(flags): a descriptor for faults of the caller's address space, -EPERM, -EINVAL or -EMFILE. */
export function userfaultfd(k: Kernel, task: Task, flags: number): number {
  const ctx = userfaultfdContext(k, task, flags);
  return typeof ctx === 'number' ? ctx : openContext(k, task, ctx);
}

/** The context of userfaultfd(flags), or -EPERM (faults of the kernel, without CAP_SYS_PTRACE), -EINVAL. */
export function userfaultfdContext(k: Kernel, task: Task, flags: number): U.UserfaultfdCtx | number {
  const isPrivileged = capable(task.mm!.limits.cred, CAP_SYS_PTRACE);
  if ((flags & U.UFFD_USER_MODE_ONLY) === 0 && !isPrivileged) return -EPERM;
  if ((flags & ~(U.UFFD_USER_MODE_ONLY | U.O_CLOEXEC | U.O_NONBLOCK)) !== 0) return -EINVAL;
  return new U.UserfaultfdCtx(k.nextUffd++, holdMm(task.mm!), flags);
}

function holdMm(mm: MmStruct): MmStruct {
  mm.count++;
  return mm;
}

/** A descriptor of `task` for the context. */
function openContext(k: Kernel, task: Task, ctx: U.UserfaultfdCtx): number {
  const inode = k.newInode('device', 'anon_inode:[userfaultfd]', 0);
  inode.linkCount = 0;
  inode.uffd = ctx;
  return installFile(k, task, openInode(inode, true, true), (ctx.flags & U.O_CLOEXEC) !== 0);
}

/** The context behind a descriptor of `task`, or null. */
export function uffdOf(task: Task, fd: number): U.UserfaultfdCtx | null {
  return task.files.open.get(fd)?.inode.uffd ?? null;
}

/** UFFDIO_API: the features wanted become those of the context, once. 0, -EINVAL (unknown ones, or done before), -EPERM. */
export function uffdioApi(k: Kernel, ctx: U.UserfaultfdCtx, api: number, features: number): number {
  if (api !== U.UFFD_API || (features & ~k.profile.uffdFeatures) !== 0) return -EINVAL;
  if ((features & U.UFFD_FEATURE_EVENT_FORK) !== 0 && !k.config.capSysAdmin) return -EPERM;
  if (ctx.isInitialized) return -EINVAL;
  noteUffd(k, ctx, true);
  ctx.isInitialized = true;
  ctx.features = features;
  return 0;
}

/** validate_range: 0 or -EINVAL. */
function validateRange(k: Kernel, start: number, len: number): number {
  if (start % 4096 !== 0 || len % 4096 !== 0 || len === 0) return -EINVAL;
  if ((k.profile.uffdMinAddr && start < k.config.mmapMinAddr) || start >= TASK_SIZE || len > TASK_SIZE - start)
    return -EINVAL;
  return 0;
}

const REGISTER_MODES = U.UFFDIO_REGISTER_MODE_MISSING | U.UFFDIO_REGISTER_MODE_WP | U.UFFDIO_REGISTER_MODE_MINOR;

/** UFFDIO_REGISTER: see userfaultfdRegister for what may come back. */
export function* uffdioRegister(
  k: Kernel,
  ctx: U.UserfaultfdCtx,
  start: number,
  len: number,
  mode: number,
): KernelPath<number> {
  if (!ctx.isInitialized || mode === 0 || (mode & ~REGISTER_MODES) !== 0) return -EINVAL;
  let flags = 0;
  if ((mode & U.UFFDIO_REGISTER_MODE_MISSING) !== 0) flags |= VM_UFFD_MISSING;
  if ((mode & U.UFFDIO_REGISTER_MODE_WP) !== 0) flags |= VM_UFFD_WP;
  if ((mode & U.UFFDIO_REGISTER_MODE_MINOR) !== 0) flags |= VM_UFFD_MINOR;
  const r = validateRange(k, start, len);
  if (r < 0) return r;
  if (ctx.mm.users === 0) return -ESRCH;
  return yield* k.fn.userfaultfdRegister(k, ctx, start, start + len, flags);
}

/** UFFDIO_UNREGISTER. */
export function* uffdioUnregister(k: Kernel, ctx: U.UserfaultfdCtx, start: number, len: number): KernelPath<number> {
  const r = ctx.isInitialized ? validateRange(k, start, len) : -EINVAL;
  if (r < 0) return r;
  if (ctx.mm.users === 0) return -ESRCH;
  return yield* k.fn.userfaultfdUnregister(k, ctx, start, start + len);
}

/** UFFDIO_WAKE. */
export function uffdioWake(k: Kernel, ctx: U.UserfaultfdCtx, start: number, len: number): number {
  const r = ctx.isInitialized ? validateRange(k, start, len) : -EINVAL;
  if (r === 0) wakeUserfault(k, ctx, start, start + len);
  return r;
}

/** The checks before a fill. */
function checkFill(k: Kernel, ctx: U.UserfaultfdCtx, start: number, len: number, mode: number, known: number): number {
  if (!ctx.isInitialized) return -EINVAL;
  noteUffd(k, ctx, false);
  if (ctx.mmapChanging > 0) return -EAGAIN;
  const r = validateRange(k, start, len);
  if (r < 0) return r;
  if ((mode & ~known) !== 0) return -EINVAL;
  return ctx.mm.users === 0 ? -ESRCH : 0;
}

/** After a fill of `done` bytes (or -errno): wakes, and says whether it was all. 0 or -errno. */
function finishFill(k: Kernel, ctx: U.UserfaultfdCtx, start: number, len: number, mode: number, done: number): number {
  if (done < 0) return done;
  if ((mode & U.UFFDIO_MODE_DONTWAKE) === 0) wakeUserfault(k, ctx, start, start + done);
  return done === len ? 0 : -EAGAIN;
}

/** UFFDIO_COPY from memory of `task`, the monitor. 0, -EAGAIN (not all of it), -EEXIST, -ENOENT, -EFAULT, -EINVAL, -ENOMEM, -ESRCH. */
export function* uffdioCopy(
  k: Kernel,
  task: Task,
  ctx: U.UserfaultfdCtx,
  start: number,
  source: number,
  len: number,
  mode: number,
): KernelPath<number> {
  const r = checkFill(k, ctx, start, len, mode, U.UFFDIO_MODE_DONTWAKE | U.UFFDIO_COPY_MODE_WP);
  if (r < 0) return r;
  const read = (offset: number): KernelPath<Uint8Array | null> => copyFromUser(k, task, source + offset);
  const flags = mode & U.UFFDIO_COPY_MODE_WP;
  const done = yield* k.fn.mcopyAtomic(k, ctx, start, len, MCOPY_ATOMIC_NORMAL, flags, read);
  return finishFill(k, ctx, start, len, mode, done);
}

/** A page of bytes from `address` of the monitor (any alignment), or null when it cannot be read. */
function* copyFromUser(k: Kernel, task: Task, address: number): KernelPath<Uint8Array | null> {
  const out = new Uint8Array(4096);
  const cpu = k.cpus[task.cpu]!;
  for (let done = 0; done < 4096; ) {
    const at = yield* userTranslate(k, task.mm!, cpu, address + done, ACCESS_READ);
    if (at < 0) return null;
    const count = Math.min(4096 - done, 4096 - (at % 4096));
    out.set(k.memory.bytes.subarray(at, at + count), done);
    done += count;
  }
  return out;
}

/** UFFDIO_ZEROPAGE. */
export function uffdioZeropage(
  k: Kernel,
  ctx: U.UserfaultfdCtx,
  start: number,
  len: number,
  mode: number,
): KernelPath<number> {
  return fillWithout(k, ctx, start, len, mode, MCOPY_ATOMIC_ZEROPAGE);
}

/** UFFDIO_CONTINUE. */
export function uffdioContinue(
  k: Kernel,
  ctx: U.UserfaultfdCtx,
  start: number,
  len: number,
  mode: number,
): KernelPath<number> {
  return fillWithout(k, ctx, start, len, mode, MCOPY_ATOMIC_CONTINUE);
}

/** A fill that takes no bytes from the monitor. `how`: MCOPY_ATOMIC_*. */
function* fillWithout(
  k: Kernel,
  ctx: U.UserfaultfdCtx,
  start: number,
  len: number,
  mode: number,
  how: number,
): KernelPath<number> {
  const r = checkFill(k, ctx, start, len, mode, U.UFFDIO_MODE_DONTWAKE);
  if (r < 0) return r;
  const done = yield* k.fn.mcopyAtomic(k, ctx, start, len, how, 0, null);
  return finishFill(k, ctx, start, len, mode, done);
}

/** UFFDIO_WRITEPROTECT: marks (WP) or unmarks and wakes. */
export function* uffdioWriteprotect(
  k: Kernel,
  ctx: U.UserfaultfdCtx,
  start: number,
  len: number,
  mode: number,
): KernelPath<number> {
  const protect = (mode & U.UFFDIO_WRITEPROTECT_MODE_WP) !== 0;
  const dontWake = (mode & U.UFFDIO_WRITEPROTECT_MODE_DONTWAKE) !== 0;
  let r = checkFill(k, ctx, start, len, mode, U.UFFDIO_WRITEPROTECT_MODE_WP | U.UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
  if (r < 0) return r;
  if (protect && dontWake) return -EINVAL;
  r = yield* k.fn.mwriteprotectRange(k, ctx, start, len, protect);
  if (r === 0 && !protect && !dontWake) wakeUserfault(k, ctx, start, start + len);
  return r;
}

/** A message as read gives it: of a fork, with the descriptor that the reader got for the child (`fd`). */
export interface UffdRead {
  readonly message: U.UffdMessage;
  readonly fd: number;
}

/** read: the oldest fault, else the oldest event; waits unless O_NONBLOCK. -EAGAIN, -EINVAL (before UFFDIO_API), -EBADF (closed). */
export function* userfaultfdRead(k: Kernel, task: Task, ctx: U.UserfaultfdCtx): KernelPath<UffdRead | number> {
  if (!ctx.isInitialized) return -EINVAL;
  noteUffd(k, ctx, true);
  if (!ctx.hasMessage) {
    if ((ctx.flags & U.O_NONBLOCK) !== 0) return -EAGAIN;
    const isReady = (): boolean => {
      noteUffd(k, ctx, false);
      return ctx.hasMessage || ctx.released;
    };
    yield* k.sched.waitUntil(isReady, ctx.readQueue, 'userfaultfd message');
    noteUffd(k, ctx, true);
  }
  const wait = ctx.pending.pop();
  if (wait !== undefined) {
    ctx.fault.unshift(wait);
    return { message: wait.message, fd: -1 };
  }
  const event = ctx.events.shift();
  if (event === undefined) return -EBADF;
  const fd = event.message.child === null ? -1 : openContext(k, task, event.message.child);
  event.isRead = true;
  ctx.eventQueue.wakeAll(k.sched);
  return { message: event.message, fd };
}
