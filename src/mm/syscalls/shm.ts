// SysV shared memory: shmget, shmat, shmdt, shmctl (ipc/shm.c). A segment is a shmem file; each attachment maps it through
// an open file of its own, so that two attachments never merge. A removed segment lives until its last attachment goes.

import { EACCES, EEXIST, EFAULT, EIDRM, EINVAL, ENOENT, ENOMEM, ENOSPC, EPERM } from '../../abi/errno.ts';
import { MAP_FIXED, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_SYS_ADMIN, capable, inGroup } from '../process/cred.ts';
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
const IPC_INFO = 3;
const SHM_LOCK = 11;
const SHM_UNLOCK = 12;
const SHM_STAT = 13;
const SHM_INFO = 14;
const SHM_STAT_ANY = 15;
/** shmmax and shmall are 2^64 - 2^24 - 1 bytes and pages. */
const SHM_MAX = 2 ** 64 - 2 ** 24;
const SHM_MNI = 4096;
const S_IRUGO = 0o444;
const S_IWUGO = 0o222;
const S_IXUGO = 0o111;

/** ipcperms: may the task use the segment as the permission bits `wanted` (any of the three groups) say? */
function isAllowed(task: Task, s: ShmSegment, wanted: number): boolean {
  const cred = task.mm!.limits.cred;
  const requested = (wanted >> 6) | (wanted >> 3) | wanted;
  let granted = s.mode;
  if (cred.euid === s.cuid || cred.euid === s.uid) granted >>= 6;
  else if (inGroup(cred, s.cgid) || inGroup(cred, s.gid)) granted >>= 3;
  return (requested & ~granted & 7) === 0 || capable(cred, CAP_IPC_OWNER);
}

function isOwner(task: Task, s: ShmSegment): boolean {
  const { euid } = task.mm!.limits.cred;
  return euid === s.cuid || euid === s.uid;
}

/** shmget(key, size, shmflg). The identifier or -errno. */
export function sysShmget(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return done(shmget(k, task, a.int(0), a.num(1), a.int(2)));
}

function shmget(k: Kernel, task: Task, key: number, size: number, flags: number): number {
  const known = key === 0 ? null : k.shm.byKey(key);
  if (known !== null) {
    if ((flags & (IPC_CREAT | IPC_EXCL)) === (IPC_CREAT | IPC_EXCL)) return -EEXIST;
    if (size > known.size) return -EINVAL;
    return isAllowed(task, known, flags) ? known.id : -EACCES;
  }
  if (key !== 0 && (flags & IPC_CREAT) === 0) return -ENOENT;
  if (size < 1 || size >= SHM_MAX) return -EINVAL;
  if ((flags & SHM_HUGETLB) !== 0) return -ENOMEM; // no huge pages
  const noReserve = (flags & SHM_NORESERVE) !== 0 && k.config.overcommitMode !== 2;
  const name = `/SYSV${(key >>> 0).toString(16).padStart(8, '0')}`;
  const file = shmemFileSetup(k, task.mm!, name, size, noReserve);
  if (file === null) return -ENOMEM;
  if (k.shm.byId.size >= SHM_MNI) {
    fput(k, file);
    return -ENOSPC;
  }
  file.inode.linkCount = 1;
  file.inode.isSysv = true;
  fput(k, file);
  const id = k.shm.newId();
  const { euid, egid } = task.mm!.limits.cred;
  const owner = { mode: flags & 0o777, uid: euid, gid: egid, cuid: euid, cgid: egid };
  k.shm.byId.set(id, { id, key, size, inode: file.inode, isLocked: false, ...owner });
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
  const wanted = S_IRUGO | (isReadOnly ? 0 : S_IWUGO) | ((flags & SHM_EXEC) !== 0 ? S_IXUGO : 0);
  if (!isAllowed(task, segment, wanted)) return -EACCES;
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

/** What shmctl finds behind its pointer. */
export interface ShmidDs {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** shmctl(shmid, cmd, buf) without contents behind `buf`: IPC_SET keeps what is, IPC_STAT writes nothing. */
export function sysShmctl(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  return shmctl(k, task, a.int(0), a.int(1), true, null);
}

/** shmctl. `isReachable`: can the structure be read and written? `given`: what IPC_SET finds there (null: what is set already).
 *  0, the highest slot in use (IPC_INFO, SHM_INFO), the identifier (SHM_STAT); -EINVAL, -EIDRM, -EACCES, -EPERM, -EFAULT,
 *  -ENOMEM (RLIMIT_MEMLOCK). */
export function shmctl(
  k: Kernel,
  task: Task,
  id: number,
  command: number,
  isReachable: boolean,
  given: ShmidDs | null,
): KernelPath<number> {
  if (id < 0 || command < 0) return done(-EINVAL);
  switch (command) {
    case IPC_INFO:
    case SHM_INFO:
      return done(isReachable ? k.shm.highestSlot() : -EFAULT);
    case SHM_STAT:
    case SHM_STAT_ANY:
    case IPC_STAT:
      return done(shmStat(k, task, id, command, isReachable));
    case IPC_SET:
      return done(isReachable ? shmSet(k, task, id, given) : -EFAULT);
    case IPC_RMID:
      return shmRemove(k, task, id);
    case SHM_LOCK:
    case SHM_UNLOCK:
      return done(shmLock(k, task, id, command === SHM_LOCK));
    default:
      return done(-EINVAL);
  }
}

/** shm_obtain_object_check. */
function segmentOf(k: Kernel, id: number): ShmSegment | number {
  return k.shm.byId.get(id) ?? (hasOtherSequence(k, id) ? -EIDRM : -EINVAL);
}

/** shmctl_stat: SHM_STAT names a slot, IPC_STAT an identifier. */
function shmStat(k: Kernel, task: Task, id: number, command: number, isReachable: boolean): number {
  const s = command === IPC_STAT ? segmentOf(k, id) : (k.shm.bySlot(id & ((1 << SEQ_SHIFT) - 1)) ?? -EINVAL);
  if (typeof s === 'number') return s;
  if (command !== SHM_STAT_ANY && !isAllowed(task, s, S_IRUGO)) return -EACCES;
  if (!isReachable) return -EFAULT;
  return command === IPC_STAT ? 0 : s.id;
}

/** ipcctl_obtain_check: the segment, if the task may change it. */
function ownSegment(k: Kernel, task: Task, id: number): ShmSegment | number {
  const s = segmentOf(k, id);
  if (typeof s === 'number') return s;
  return isOwner(task, s) || capable(task.mm!.limits.cred, CAP_SYS_ADMIN) ? s : -EPERM;
}

function shmSet(k: Kernel, task: Task, id: number, given: ShmidDs | null): number {
  const s = ownSegment(k, task, id);
  if (typeof s === 'number') return s;
  if (given === null) return 0;
  s.uid = given.uid;
  s.gid = given.gid;
  s.mode = (s.mode & ~0o777) | (given.mode & 0o777);
  return 0;
}

/** shmctl_do_lock, shmem_lock: the whole segment counts against RLIMIT_MEMLOCK of who locks it, unless it has CAP_IPC_LOCK. */
function shmLock(k: Kernel, task: Task, id: number, isLock: boolean): number {
  const s = segmentOf(k, id);
  if (typeof s === 'number') return s;
  const { limits } = task.mm!;
  const isFree = capable(limits.cred, CAP_IPC_LOCK);
  if (!isFree && !isOwner(task, s)) return -EPERM;
  if (!isFree && isLock && limits.memlock === 0) return -EPERM;
  const isOverLimit = Math.ceil(s.size / 4096) > Math.floor(limits.memlock / 4096);
  if (isLock && !s.isLocked && !isFree && isOverLimit) return -ENOMEM;
  s.isLocked = isLock;
  return 0;
}

function* shmRemove(k: Kernel, task: Task, id: number): KernelPath<number> {
  const segment = ownSegment(k, task, id);
  if (typeof segment === 'number') return segment;
  segment.key = 0;
  const inode = segment.inode;
  inode.linkCount = 0;
  if (inode.users === 0) k.delayedFput.push(inode);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return 0;
}
