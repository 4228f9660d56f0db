// memfd_create, file seals, ftruncate, truncate, fallocate, fsync (mm/memfd.c, mm/shmem.c, fs/open.c, fs/sync.c).

import { EBADF, EBUSY, EFAULT, EFBIG, EINVAL, EISDIR, ENODEV, EOPNOTSUPP, EPERM, ESPIPE } from '../../abi/errno.ts';
import { MAP_HUGE_SHIFT, VM_NORESERVE } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { hugetlbFallocate, hugetlbFileSetup, isHugePageSize } from '../hugetlb/file.ts';
import type { Kernel } from '../kernel.ts';
import { fdget, installFile } from '../process/files.ts';
import type { Inode, OpenFile, Task } from '../types.ts';
import { shmemFileSetup, shmemReacctSize } from '../vma/shmem-file.ts';
import type { SyscallArgs } from './args.ts';

export const MFD_CLOEXEC = 1;
export const MFD_ALLOW_SEALING = 2;
export const MFD_HUGETLB = 4;
export const MFD_NOEXEC_SEAL = 8;
export const MFD_EXEC = 16;
/** log2 of the size of huge pages. */
const MFD_HUGE_SIZE = 0x3f << MAP_HUGE_SHIFT;

export const F_SEAL_SEAL = 0x1;
export const F_SEAL_SHRINK = 0x2;
export const F_SEAL_GROW = 0x4;
export const F_SEAL_WRITE = 0x8;
export const F_SEAL_FUTURE_WRITE = 0x10;
export const F_SEAL_EXEC = 0x20;

export const FALLOC_FL_KEEP_SIZE = 0x1;
export const FALLOC_FL_PUNCH_HOLE = 0x2;
export const FALLOC_FL_COLLAPSE_RANGE = 0x8;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const FALLOC_FL_INSERT_RANGE = 0x20;
export const FALLOC_FL_UNSHARE_RANGE = 0x40;
export const FALLOC_FL_WRITE_ZEROES = 0x80;
/** FALLOC_FL_MODE_MASK. */
const FALLOC_FL_MODES = 0xfa;

/** Modes of ext4 that shared memory does not have. */
const EXT4_MODES = FALLOC_FL_ZERO_RANGE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;

const NAME_MAX_MEMFD = 249;
const O_CLOEXEC = 0o2000000;
/** Largest file of ext4 with 4 KiB blocks. */
const EXT4_MAX_BYTES = 0xffffffff * 4096;

/** memfd_create with the name that its pointer names. The descriptor, -EINVAL or -EMFILE. */
export function memfdCreate(k: Kernel, task: Task, name: string, flags: number): number {
  const file = memfdFile(k, task, name, flags);
  return typeof file === 'number' ? file : installFile(k, task, file, (flags & MFD_CLOEXEC) !== 0);
}

/** The file of memfd_create, or -EINVAL, -EFAULT. `name` null: its pointer leads nowhere. */
export function memfdFile(k: Kernel, task: Task, name: string | null, flags: number): OpenFile | number {
  const known = MFD_CLOEXEC | MFD_ALLOW_SEALING | (k.profile.memfdExec ? MFD_NOEXEC_SEAL | MFD_EXEC : 0);
  const isHuge = (flags & MFD_HUGETLB) !== 0;
  if ((flags & ~(isHuge ? known | MFD_HUGETLB | MFD_HUGE_SIZE : known)) !== 0) return -EINVAL;
  if ((flags & MFD_EXEC) !== 0 && (flags & MFD_NOEXEC_SEAL) !== 0) return -EINVAL;
  if (name === null) return -EFAULT;
  if (name.length > NAME_MAX_MEMFD) return -EINVAL;
  const log2 = (flags >>> MAP_HUGE_SHIFT) & 63;
  if (isHuge && !isHugePageSize(log2)) return -ENODEV;
  const file = isHuge
    ? hugetlbFileSetup(k, `/memfd:${name}`, 0, VM_NORESERVE)!
    : shmemFileSetup(k, task.mm!, `/memfd:${name}`, 0, true)!;
  const isNoExec = (flags & MFD_NOEXEC_SEAL) !== 0;
  file.inode.seals = (flags & MFD_ALLOW_SEALING) !== 0 || isNoExec ? 0 : F_SEAL_SEAL;
  file.inode.isNoExec = isNoExec;
  if (isNoExec) file.inode.seals |= F_SEAL_EXEC;
  return file;
}

/** memfd_secret(flags): its file, or -EINVAL. */
export function secretFile(k: Kernel, task: Task, flags: number): OpenFile | number {
  if ((flags & ~O_CLOEXEC) !== 0) return -EINVAL;
  const file = shmemFileSetup(k, task.mm!, '/secretmem', 0, true)!;
  file.inode.isSecret = true;
  file.inode.mount = 'none';
  return file;
}

/** fcntl F_ADD_SEALS. 0, -EBADF, -EPERM, -EINVAL, -EBUSY (a writable shared mapping exists). */
export function addSeals(task: Task, fd: number, seals: number): number {
  const file = fdget(task, fd);
  if (file === undefined) return -EBADF;
  if (!file.isWritable) return -EPERM;
  const isMemory = file.inode.kind === 'shmem' || file.inode.kind === 'hugetlbfs';
  if ((seals & ~0x3f) !== 0 || !isMemory || file.inode.isSecret) return -EINVAL;
  if ((file.inode.seals & F_SEAL_SEAL) !== 0) return -EPERM;
  if ((seals & F_SEAL_EXEC) !== 0 && !file.inode.isNoExec)
    seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
  if ((seals & F_SEAL_WRITE) !== 0 && (file.inode.seals & F_SEAL_WRITE) === 0) {
    if (file.inode.mapping.writableCount > 0) return -EBUSY;
  }
  file.inode.seals |= seals;
  return 0;
}

/** fcntl F_GET_SEALS: the seals, -EBADF, -EINVAL (no file in memory). */
export function getSeals(task: Task, fd: number): number {
  const file = fdget(task, fd);
  if (file === undefined) return -EBADF;
  const isMemory = file.inode.kind === 'shmem' || file.inode.kind === 'hugetlbfs';
  return isMemory && !file.inode.isSecret ? file.inode.seals : -EINVAL;
}

/** do_truncate with its checks (notify_change, inode_newsize_ok, shmem_setattr). 0, -EFBIG or -EPERM (sealed), -ENOMEM. */
export function* truncateInode(k: Kernel, task: Task, inode: Inode, size: number): KernelPath<number> {
  if (inode.isSecret && inode.size > 0) return -EINVAL;
  if ((inode.seals & F_SEAL_SHRINK) !== 0 && size < inode.size) return -EPERM;
  if ((inode.seals & F_SEAL_GROW) !== 0 && size > inode.size) return -EPERM;
  if (size > inode.size && size > (task.mm?.limits.fsize ?? Number.POSITIVE_INFINITY)) return -EFBIG;
  if (inode.kind === 'regular' && size > EXT4_MAX_BYTES) return -EFBIG;
  const r = task.mm === null ? 0 : shmemReacctSize(k, task.mm, inode, size);
  return r < 0 ? r : yield* k.fn.truncate(k, inode, size);
}

/** ftruncate(fd, length). */
export function sysFtruncate(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const size = a.signed(1);
  const file = fdget(task, a.int(0));
  if (size < 0) return done(-EINVAL);
  if (file === undefined) return done(-EBADF);
  if (!isRegular(file.inode) || !file.isWritable) return done(-EINVAL);
  return truncateInode(k, task, file.inode, size);
}

function isRegular(inode: Inode): boolean {
  return inode.kind === 'regular' || inode.kind === 'shmem' || inode.kind === 'hugetlbfs';
}

/** truncate of the inode that a path names. */
export function truncatePath(k: Kernel, task: Task, inode: Inode, size: number): KernelPath<number> {
  if (size < 0) return done(-EINVAL);
  if (inode.kind === 'directory') return done(-EISDIR);
  return isRegular(inode) ? truncateInode(k, task, inode, size) : done(-EINVAL);
}

/** fallocate(fd, mode, offset, len). */
export function sysFallocate(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const file = fdget(task, a.int(0));
  if (file === undefined) return done(-EBADF);
  const r = checkFallocate(k, file, a.int(1), a.signed(2), a.signed(3));
  return r < 0 ? done(r) : fallocate(k, task, file, a.int(1), a.signed(2), a.signed(3));
}

/** The modes that vfs_fallocate knows and takes together: 0 or -errno. */
function checkMode(k: Kernel, mode: number): number {
  const isPunch = (mode & FALLOC_FL_PUNCH_HOLE) !== 0;
  const isKeeping = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  if (k.profile.fallocateModesExclude) {
    if ((mode & ~(FALLOC_FL_MODES | FALLOC_FL_KEEP_SIZE)) !== 0) return -EOPNOTSUPP;
    const one = mode & FALLOC_FL_MODES;
    if ((one & (one - 1)) !== 0) return -EOPNOTSUPP;
    if (isPunch && !isKeeping) return -EOPNOTSUPP;
    const takesNoFlag = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_WRITE_ZEROES;
    return (one & takesNoFlag) !== 0 && isKeeping ? -EOPNOTSUPP : 0;
  }
  if ((mode & ~0x7b) !== 0) return -EOPNOTSUPP;
  if (isPunch && (mode & FALLOC_FL_ZERO_RANGE) !== 0) return -EOPNOTSUPP;
  if (isPunch && !isKeeping) return -EOPNOTSUPP;
  if ((mode & FALLOC_FL_COLLAPSE_RANGE) !== 0 && mode !== FALLOC_FL_COLLAPSE_RANGE) return -EINVAL;
  if ((mode & FALLOC_FL_INSERT_RANGE) !== 0 && mode !== FALLOC_FL_INSERT_RANGE) return -EINVAL;
  const beside = FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE;
  return (mode & FALLOC_FL_UNSHARE_RANGE) !== 0 && (mode & ~beside) !== 0 ? -EINVAL : 0;
}

/** The checks of vfs_fallocate. */
function checkFallocate(k: Kernel, file: OpenFile, mode: number, offset: number, len: number): number {
  if (offset < 0 || len <= 0) return -EINVAL;
  const r = checkMode(k, mode);
  if (r < 0) return r;
  if (!file.isWritable) return -EBADF;
  const kind = file.inode.kind;
  if (kind === 'pipe') return -ESPIPE;
  if (kind === 'directory') return -EISDIR;
  if (kind !== 'regular' && kind !== 'shmem' && kind !== 'hugetlbfs') return -ENODEV;
  if (offset + len > (kind === 'regular' ? EXT4_MAX_BYTES : 2 ** 63 - 1)) return -EFBIG;
  if (file.inode.isSecret) return -EOPNOTSUPP;
  const supported = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | (kind === 'regular' ? EXT4_MODES : 0);
  return (mode & ~supported) !== 0 ? -EOPNOTSUPP : 0;
}

/** vfs_fallocate as madvise uses it: a hole. -EFBIG beyond what the file system can hold, -EPERM (sealed). */
export function punchFile(k: Kernel, file: OpenFile, offset: number, len: number): KernelPath<number> {
  const r = checkFallocate(k, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
  return r < 0 ? done(r) : punch(k, file.inode, offset, offset + len);
}

function punch(k: Kernel, inode: Inode, offset: number, end: number): KernelPath<number> {
  if ((inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0) return done(-EPERM);
  return k.fn.punchHole(k, inode, offset, end);
}

function* fallocate(
  k: Kernel,
  task: Task,
  file: OpenFile,
  mode: number,
  offset: number,
  len: number,
): KernelPath<number> {
  const inode = file.inode;
  const end = offset + len;
  if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) return yield* punch(k, inode, offset, end);
  if ((mode & FALLOC_FL_COLLAPSE_RANGE) !== 0) return yield* k.fn.shiftRange(k, inode, offset, end, false);
  if ((mode & FALLOC_FL_INSERT_RANGE) !== 0) {
    if (inode.size + len > Math.min(EXT4_MAX_BYTES, task.mm!.limits.fsize)) return -EFBIG;
    return yield* k.fn.shiftRange(k, inode, offset, end, true);
  }
  const isKeeping = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  // Files in memory look at the limit and at their seals even when the size stays.
  if ((!isKeeping || inode.kind !== 'regular') && end > inode.size) {
    if (end > task.mm!.limits.fsize) return -EFBIG;
    if ((inode.seals & F_SEAL_GROW) !== 0) return -EPERM;
  }
  if (inode.kind === 'hugetlbfs') return yield* hugetlbFallocate(k, inode, offset, end, isKeeping);
  if ((mode & FALLOC_FL_ZERO_RANGE) !== 0) {
    const r = yield* k.fn.zeroRange(k, inode, offset, end);
    if (r < 0) return r;
  }
  return isKeeping || end <= inode.size ? 0 : yield* k.fn.truncate(k, inode, end);
}

/** fsync(fd), fdatasync(fd). */
export function sysFsync(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const file = fdget(task, a.int(0));
  if (file === undefined) return done(-EBADF);
  if (file.inode.kind === 'pipe' || file.inode.kind === 'socket') return done(-EINVAL);
  return file.inode.kind === 'regular' ? fsync(k, file.inode) : done(0);
}

function* fsync(k: Kernel, inode: Inode): KernelPath<number> {
  yield* k.fn.filemapWriteAndWaitRange(k, inode.mapping, 0, Number.POSITIVE_INFINITY);
  return 0;
}
