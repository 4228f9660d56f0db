// Recorded calls on a userfaultfd: its making and the ioctls, judged by their results. What the monitor read from it is input.

import { EBADF, EINVAL } from '../../abi/errno.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { OpenFile, type Task } from '../../mm/types.ts';
import {
  UFFD_EVENT_PAGEFAULT,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WRITEPROTECT_MODE_WP,
  type UserfaultfdCtx,
} from '../../mm/uffd/context.ts';
import {
  uffdioApi,
  uffdioContinue,
  uffdioCopy,
  uffdioRegister,
  uffdioUnregister,
  uffdioWake,
  uffdioWriteprotect,
  uffdioZeropage,
  userfaultfdContext,
} from '../../mm/uffd/ioctl.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { UffdIoctl } from '../strace/trace-op.ts';
import type { Word64 } from '../word64.ts';
import { ReplayFiles } from './files.ts';

const UFFD_API = 0xaa;

/** A word as a number; one that is missing, or above 2^53, is no address that the kernel takes. */
function number(word: Word64 | null): number {
  return word === null ? 0 : word.hi * 4294967296 + word.lo;
}

/** The file of userfaultfd(flags), or -errno. */
export function userfaultfdFile(k: Kernel, task: Task, flags: number): OpenFile | number {
  const ctx = userfaultfdContext(k, task, flags);
  return typeof ctx === 'number' ? ctx : fileOf(k, ctx);
}

function fileOf(k: Kernel, ctx: UserfaultfdCtx): OpenFile {
  const inode = k.newInode('anon', 'anon_inode:[userfaultfd]', 0);
  inode.linkCount = 0;
  inode.uffd = ctx;
  inode.users++;
  return new OpenFile(inode, true, true);
}

/** The address of the fault in a message that was read from a userfaultfd (struct uffd_msg); null when it is no fault. */
export function faultAddress(message: string): number | null {
  if (message.charCodeAt(0) !== UFFD_EVENT_PAGEFAULT || message.length < 24) return null;
  let address = 0;
  for (let i = 23; i >= 16; i--) address = address * 256 + message.charCodeAt(i);
  return address - (address % 4096);
}

/** What stands for the structure of a request that strace does not know: a monitor answers the last fault that it read, and
 *  before the first one it write-protects what it registered for that. */
export interface UffdGuess {
  /** Page of the last fault that was read and not answered; 0 = none. */
  faulted: number;
  /** The last range registered for write-protection. */
  protectable: { readonly start: number; readonly length: number } | null;
}

/** What the ioctl answers; null: a request that is not modelled. */
export function* uffdIoctl(k: Kernel, task: Task, op: UffdIoctl, guess: UffdGuess): KernelPath<number | null> {
  const file = ReplayFiles.of(task, op.fd.fd);
  if (file === null) return -EBADF;
  const ctx = file.inode.uffd;
  if (ctx === null) return null;
  const isKnown = op.start !== null || op.dst !== null;
  const isProtecting = !isKnown && op.request === 'UFFDIO_WRITEPROTECT' && guess.faulted === 0;
  const range = isProtecting ? guess.protectable : { start: guess.faulted, length: 4096 };
  const start = isKnown ? number(op.start) : (range?.start ?? 0);
  const length = isKnown ? number(op.length) : (range?.length ?? 0);
  const mode = isProtecting ? UFFDIO_WRITEPROTECT_MODE_WP : op.mode === null ? 0 : op.mode.lo | 0;
  if (op.request !== 'UFFDIO_REGISTER' && !isProtecting) guess.faulted = 0;
  switch (op.request) {
    case 'UFFDIO_API':
      // strace prints the other numbers of an API as themselves, not as a structure.
      return op.features === null ? -EINVAL : uffdioApi(k, ctx, UFFD_API, number(op.features));
    case 'UFFDIO_REGISTER':
      if ((mode & UFFDIO_REGISTER_MODE_WP) !== 0) guess.protectable = { start, length };
      return yield* uffdioRegister(k, ctx, start, length, mode);
    case 'UFFDIO_UNREGISTER':
      return yield* uffdioUnregister(k, ctx, start, length);
    case 'UFFDIO_WAKE':
      return uffdioWake(k, ctx, start, length);
    case 'UFFDIO_COPY':
      return yield* uffdioCopy(k, task, ctx, number(op.dst), number(op.src), length, mode);
    case 'UFFDIO_ZEROPAGE':
      return yield* uffdioZeropage(k, ctx, start, length, mode);
    case 'UFFDIO_CONTINUE':
      return yield* uffdioContinue(k, ctx, start, length, mode);
    case 'UFFDIO_WRITEPROTECT':
      return yield* uffdioWriteprotect(k, ctx, start, length, mode);
    default:
      return null;
  }
}
