// Files of a script: what the target does with descriptors, and what the controller does with paths.

import { EFAULT, ENOENT } from '../../abi/errno.ts';
import { NR_fallocate, NR_fsync, NR_ftruncate } from '../../abi/syscalls.ts';
import { ACCESS_READ, ACCESS_WRITE } from '../../hw/walker.ts';
import { fileRead, fileWrite } from '../../mm/file/read-write.ts';
import { openFile, unlinkInode } from '../../mm/process/files.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, memfdCreate, truncatePath } from '../../mm/syscalls/memfd.ts';
import type { FileKind, OpenFile } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import * as C from '../../workload/strace/constants.ts';
import type { TraceRecord } from '../record.ts';
import type { Process, World } from '../world.ts';
import { kernelAccess } from './access.ts';
import { fdOf } from './memory.ts';
import { type Args, errorOutcome, type Op, type Outcome, valueOutcome } from './outcome.ts';

/** What `fill` writes. */
const FILL_BYTE = 90;
/** What the controller's pwrite writes. */
const PWRITE_BYTE = 51;
const O_CREAT = 0x40;

function kindOf(path: string): FileKind {
  if (path.startsWith('/mnt/huge/')) return 'hugetlbfs';
  return path.startsWith('/mnt/tmpfs/') ? 'shmem' : path.startsWith('/dev/') ? 'device' : 'regular';
}

/** A descriptor that the script names: the name stands in the ret record. */
export function named(world: World, fd: number, name: string): Outcome {
  if (fd < 0) return errorOutcome(fd);
  world.fds.set(name, fd);
  return { ret: fd };
}

/** Writes `len` bytes from the start and puts them on the disk. */
const fill: Op = function* (world, _p, args): KernelPath<Outcome> {
  const path = args.text('path');
  const length = args.num('len');
  const inode = world.inode(path, kindOf(path), 0);
  inode.mapping.patternEnd = 0;
  const r = yield* fileWrite(world.kernel, inode, 0, length, new Uint8Array(length).fill(FILL_BYTE));
  if (r < 0) return errorOutcome(r);
  yield* world.kernel.fn.filemapWriteAndWaitRange(world.kernel, inode.mapping, 0, Number.POSITIVE_INFINITY);
  return { ret: 0 };
};

const open: Op = function* (world, p, args, call) {
  const path = args.text('path');
  const flags = args.flags('flags', C.OPEN);
  if (!world.files.has(path) && kindOf(path) !== 'device' && (flags & O_CREAT) === 0) return errorOutcome(-ENOENT);
  const mode = flags & 3;
  const fd = openFile(world.kernel, p.task, world.inode(path, kindOf(path)), mode !== 1, mode !== 0);
  return named(world, fd, nameOf(call));
};

/** The script's name for the descriptor that this call gives: filled in from the ret record by the runner. */
export function nameOf(call: TraceRecord): string {
  return String(call['name'] ?? '');
}

const memfd: Op = function* (world, p, args, call) {
  const fd = memfdCreate(world.kernel, p.task, args.text('name'), args.num('flags'));
  return named(world, fd, nameOf(call));
};

const ftruncate: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_ftruncate, fdOf(world, args), args.word('len')));
};

const truncate: Op = function* (world, p, args) {
  const inode = world.inode(args.text('path'));
  return valueOutcome(yield* truncatePath(world.kernel, p.task, inode, args.num('len')));
};

const fallocate: Op = function* (world, p, args) {
  const mode = args.flags('mode', C.FALLOC);
  return valueOutcome(
    yield* world.syscall(p, NR_fallocate, fdOf(world, args), mode, args.word('off'), args.word('len')),
  );
};

/** The controller's own descriptor of a path, for calls that take one. */
function withPath(world: World, p: Process, path: string, nr: number, ...words: number[]): KernelPath<number> {
  const fd = openFile(world.kernel, p.task, world.inode(path), true, true);
  return world.syscall(p, nr, fd, ...words);
}

const punchHole: Op = function* (world, p, args) {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return valueOutcome(
    yield* withPath(world, p, args.text('path'), NR_fallocate, mode, args.num('off'), args.num('len')),
  );
};

const fsync: Op = function* (world, p, args) {
  if (args.has('path')) return valueOutcome(yield* withPath(world, p, args.text('path'), NR_fsync));
  return valueOutcome(yield* world.syscall(p, NR_fsync, fdOf(world, args)));
};

const unlink: Op = function* (world, _p, args) {
  const inode = world.files.get(args.text('path'));
  if (inode === undefined) return errorOutcome(-ENOENT);
  yield* unlinkInode(world.kernel, inode);
  world.files.delete(args.text('path'));
  return { ret: 0 };
};

/** Copies between a buffer of the process and a file, page by page: the buffer's pages are faulted in as they are met. */
function* transfer(world: World, p: Process, args: Args, file: OpenFile, isRead: boolean): KernelPath<number> {
  const [buffer, length, offset] = [args.num('buf'), args.num('len'), args.num('off')];
  const { inode } = file;
  let done = 0;
  while (done < length) {
    const count = Math.min(4096 - ((buffer + done) % 4096), 4096 - ((offset + done) % 4096), length - done);
    if (isRead && offset + done >= inode.size) break;
    const at = yield* kernelAccess(world, p, buffer + done, isRead ? ACCESS_WRITE : ACCESS_READ);
    if (at < 0) {
      // copy_to_user may try the rest once more, byte by byte; fault_in_readable does not.
      if (isRead && world.kernel.profile.copyUserRetriesBytes)
        yield* kernelAccess(world, p, buffer + done, ACCESS_WRITE);
      return done > 0 ? done : -EFAULT;
    }
    const bytes = world.kernel.memory.bytes.subarray(at, at + count);
    const r = isRead
      ? yield* fileRead(world.kernel, inode, offset + done, count, bytes, file)
      : yield* fileWrite(world.kernel, inode, offset + done, count, bytes.slice());
    if (r <= 0) return done > 0 ? done : r;
    done += r;
  }
  return done;
}

function transferOp(isRead: boolean): Op {
  return function* (world, p, args) {
    if (args.has('path')) return valueOutcome(yield* writePath(world, args));
    const file = p.task.files.open.get(fdOf(world, args));
    if (file === undefined) return errorOutcome(-9);
    return valueOutcome(yield* transfer(world, p, args, file, isRead));
  };
}

/** The controller writes to a path. */
function* writePath(world: World, args: Args): KernelPath<number> {
  const length = args.num('len');
  const bytes = new Uint8Array(length).fill(PWRITE_BYTE);
  return yield* fileWrite(world.kernel, world.inode(args.text('path')), args.num('off'), length, bytes);
}

export const fileOps: Readonly<Record<string, Op>> = {
  fill,
  open,
  memfd_create: memfd,
  ftruncate,
  truncate,
  fallocate,
  punch_hole: punchHole,
  fsync,
  unlink,
  pread: transferOp(true),
  pwrite: transferOp(false),
};
