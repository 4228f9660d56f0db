// Recorded calls on a userfaultfd: its making and the ioctls, judged by their results. What the monitor read from it is input.

import { EBADF, EINVAL } from '../../abi/errno.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { OpenFile, type Task } from '../../mm/types.ts';
import { UFFD_EVENT_PAGEFAULT, type UserfaultfdCtx } from '../../mm/uffd/context.ts';
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

/** What the ioctl answers; null: a request that is not modelled. `faulted`: the page of the last fault that was read. It
 *  stands for the range of a request whose structure strace does not know. */
export function* uffdIoctl(k: Kernel, task: Task, op: UffdIoctl, faulted: number): KernelPath<number | null> {
  const file = ReplayFiles.of(task, op.fd.fd);
  if (file === null) return -EBADF;
  const ctx = file.inode.uffd;
  if (ctx === null) return null;
  const isKnown = op.start !== null || op.dst !== null;
  const start = isKnown ? number(op.start) : faulted;
  const length = isKnown ? number(op.length) : 4096;
  const mode = op.mode === null ? 0 : op.mode.lo | 0;
  switch (op.request) {
    case 'UFFDIO_API':
      // strace prints the other numbers of an API as themselves, not as a structure.
      return op.features === null ? -EINVAL : uffdioApi(k, ctx, UFFD_API, number(op.features));
    case 'UFFDIO_REGISTER':
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
