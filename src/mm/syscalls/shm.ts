// SysV shared memory: shmget, shmat, shmdt, shmctl (ipc/shm.c). A segment is a shmem file; each attachment maps it through
// an open file of its own, so that two attachments never merge. A removed segment lives until its last attachment goes.

import { EEXIST, EIDRM, EINVAL, ENOENT, ENOMEM, ENOSPC } from '../../abi/errno.ts';
import { MAP_FIXED, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { OpenFile, Task, VmArea } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { openInode, shmemFileSetup } from '../vma/shmem-file.ts';
import { type SyscallArgs, TWO64 } from './args.ts';
import { hasTaskWork, locksFuture, runTaskWork } from './edge.ts';
import { SEQ_SHIFT, type ShmSegment } from './shm-ids.ts';

const IPC_CREAT = 0o1000;
const IPC_EXCL = 0o2000;
const SHM_HUGETLB = 0o4000;
const SHM_NORESERVE = 0o10000;
const SHM_RDONLY = 0o10000;
const SHM_RND = 0o20000;
const SHM_REMAP = 0o40000;
const SHM_EXEC = 0o100000;
const IPC_RMID = 0;
const IPC_SET = 1;
const IPC_STAT = 2;
const SHM_LOCK = 11;
const SHM_UNLOCK = 12;
const SHM_MAX = 2 ** 64 - 2 ** 24 - 1;

/** shmget(key, size, shmflg). The identifier or -errno. */
export function sysShmget(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return done(shmget(k, task, a.int(0), a.num(1), a.int(2)));
}

function shmget(k: Kernel, task: Task, key: number, size: number, flags: number): number {
  const known = key === 0 ? null : k.shm.byKey(key);
  if (known !== null) {
    if ((flags & (IPC_CREAT | IPC_EXCL)) === (IPC_CREAT | IPC_EXCL)) return -EEXIST;
    return size > known.size ? -EINVAL : known.id;
  }
  if (key !== 0 && (flags & IPC_CREAT) === 0) return -ENOENT;
  if (size < 1 || size > SHM_MAX) return -EINVAL;
  if (k.shm.byId.size >= 4096) return -ENOSPC;
  if ((flags & SHM_HUGETLB) !== 0) return -ENOMEM; // no huge pages
  const noReserve = (flags & SHM_NORESERVE) !== 0 && k.config.overcommitMode !== 2;
  const name = `/SYSV${(key >>> 0).toString(16).padStart(8, '0')}`;
  const file = shmemFileSetup(k, task.mm!, name, size, noReserve);
  if (file === null) return -ENOMEM;
  file.inode.linkCount = 1;
  file.inode.isSysv = true;
  fput(k, file);
  const id = k.shm.newId();
  k.shm.byId.set(id, { id, key, size, inode: file.inode });
  return id;
}

/** shmat(shmid, shmaddr, shmflg). The address or -errno. */
export function sysShmat(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  let addr = a.num(1);
  const flags = a.int(2);
  const id = a.int(0);
  if (id < 0) return done(-EINVAL);
  if (!a.isZero(1)) {
    if (!a.isPageAligned(1)) {
      if ((flags & SHM_RND) === 0) return done(-EINVAL);
      addr = a.pageDown(1);
      if (addr === 0 && (flags & SHM_REMAP) !== 0) return done(-EINVAL);
    }
  } else if ((flags & SHM_REMAP) !== 0) {
    return done(-EINVAL);
  }
  // Rounded down to 0 it is still an address that was asked for.
  return shmat(k, task, id, addr, flags, !a.isZero(1));
}

function* shmat(k: Kernel, task: Task, id: number, addr: number, flags: number, isFixed: boolean): KernelPath<number> {
  const mm = task.mm!;
  const segment = k.shm.byId.get(id);
  if (segment === undefined) return hasOtherSequence(k, id) ? -EIDRM : -EINVAL;
  const isReadOnly = (flags & SHM_RDONLY) !== 0;
  const prot = PROT_READ | (isReadOnly ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) !== 0 ? PROT_EXEC : 0);
  const len = Math.ceil(segment.size / 4096) * 4096;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let result = -EINVAL;
  const end = addr + segment.size;
  const isFree = addr === 0 || (flags & SHM_REMAP) !== 0 || (end < TWO64 && mm.vmas.intersects(addr, end) === null);
  if (isFree) {
    const file = openInode(segment.inode, true, !isReadOnly);
    const mapFlags = MAP_SHARED | (isFixed ? MAP_FIXED : 0);
    result = yield* k.fn.doMmap(k, task, file, addr, len, prot, mapFlags, 0);
    fput(k, file);
  }
  const isPopulated = result >= 0 && locksFuture(mm);
  lock.writeUnlock();
  if (isPopulated) yield* k.fn.mmPopulate(k, mm, result, result + len);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result;
}

/** An identifier whose slot is in use again, or was never: EIDRM tells the first from the second. */
function hasOtherSequence(k: Kernel, id: number): boolean {
  const mask = (1 << SEQ_SHIFT) - 1;
  for (const other of k.shm.byId.keys()) if ((other & mask) === (id & mask)) return true;
  return false;
}

/** shmdt(shmaddr): unmaps every piece of the segment that still stands where it was attached. */
export function sysShmdt(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return a.isPageAligned(0) ? shmdt(k, task, a.num(0)) : done(-EINVAL);
}

function* shmdt(k: Kernel, task: Task, addr: number): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let file: OpenFile | null = null;
  let limit = Number.POSITIVE_INFINITY;
  let at = addr;
  for (;;) {
    const vma: VmArea | null = mm.vmas.find(at);
    if (vma === null || vma.end - addr > limit) break;
    at = vma.end;
    const isPiece = vma.file?.inode.isSysv === true && (vma.start - addr) / 4096 === vma.pgoff;
    if (!isPiece || (file !== null && vma.file !== file)) continue;
    if (file === null) {
      file = vma.file!;
      limit = Math.ceil(file.inode.size / 4096) * 4096;
    }
    yield* k.fn.doMunmap(k, mm, vma.start, vma.end, false);
  }
  lock.writeUnlock();
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return file === null ? -EINVAL : 0;
}

/** shmctl(shmid, cmd, buf). IPC_STAT writes nothing here. */
export function sysShmctl(k: Kernel, _task: Task, a: SyscallArgs): KernelPath<number> {
  const segment = k.shm.byId.get(a.int(0));
  const command = a.int(1);
  if (a.int(0) < 0 || command < 0) return done(-EINVAL);
  if (segment === undefined) return done(hasOtherSequence(k, a.int(0)) ? -EIDRM : -EINVAL);
  switch (command) {
    case IPC_RMID:
      return shmRemove(k, segment);
    case IPC_SET:
    case IPC_STAT:
    case SHM_LOCK:
    case SHM_UNLOCK:
      return done(0);
    default:
      return done(-EINVAL);
  }
}

function* shmRemove(k: Kernel, segment: ShmSegment): KernelPath<number> {
  segment.key = 0;
  const inode = segment.inode;
  inode.linkCount = 0;
  if (inode.users === 0) k.delayedFput.push(inode);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return 0;
}
