// process_vm_readv, process_vm_writev (mm/process_vm_access.c): copies between the caller and another address space, remote
// piece by remote piece, page by page. What was copied before an address that cannot be reached counts.

import { EFAULT, EINVAL, EPERM, ESRCH } from '../../abi/errno.ts';
import { TASK_SIZE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { FOLL_REMOTE, FOLL_UNLOCKABLE, FOLL_WRITE } from '../gup/flags.ts';
import type { Kernel } from '../kernel.ts';
import { ptraceMayRead } from '../process/cred.ts';
import type { MmStruct, Task } from '../types.ts';

/** UIO_MAXIOV. */
const PIECES_MAX = 1024;
/** MAX_RW_COUNT. */
const BYTES_MAX = 0x7ffff000;

/** One element of an iovec. */
export interface IoPiece {
  /** NaN: somewhere in the caller's memory where the kernel can read and write; its contents count as zeros. */
  base: number;
  /** As passed: 2^63 and more are negative lengths. */
  readonly length: number;
}

/** An iovec array in the program's memory; null: the pointer leads nowhere. */
export interface IoVector {
  readonly count: number;
  readonly pieces: readonly IoPiece[] | null;
}

/** import_iovec: 0, or why the caller's own vector is refused. */
export function importIovec(v: IoVector): number {
  return checkVector(v, true);
}

/** 0, or -EINVAL (too many, a negative length), -EFAULT. `isLocal`: addresses beyond user space are refused at once. */
function checkVector(v: IoVector, isLocal: boolean): number {
  if (v.count > PIECES_MAX) return -EINVAL;
  if (v.count === 0) return 0;
  if (v.pieces === null) return -EFAULT;
  for (const p of v.pieces) {
    if (p.length >= 2 ** 63) return -EINVAL;
    if (isLocal && p.base + p.length > TASK_SIZE) return -EFAULT;
  }
  return 0;
}

/** Walks an iovec: where the next bytes are. */
class Cursor {
  readonly #pieces: readonly IoPiece[];
  #index = 0;
  #offset = 0;
  left: number;

  constructor(v: IoVector) {
    this.#pieces = v.pieces === null ? [] : v.pieces.slice(0, v.count);
    this.left = Math.min(
      BYTES_MAX,
      this.#pieces.reduce((sum, p) => sum + p.length, 0),
    );
    this.#skip();
  }

  #skip(): void {
    while (this.#index < this.#pieces.length && this.#offset === this.#pieces[this.#index]!.length) {
      this.#index++;
      this.#offset = 0;
    }
  }

  get address(): number {
    return this.#pieces[this.#index]!.base + this.#offset;
  }

  /** Bytes from here to the end of the piece, of the page, of all. */
  get run(): number {
    const piece = this.#pieces[this.#index]!.length - this.#offset;
    const { address } = this;
    const page = Number.isNaN(address) ? 4096 : 4096 - (address % 4096);
    return Math.min(piece, page, this.left);
  }

  advance(bytes: number): void {
    this.#offset += bytes;
    this.left -= bytes;
    this.#skip();
  }
}

/** process_vm_readv or _writev. `target` null: no such task. Bytes copied, or -EINVAL, -EFAULT, -ESRCH, -EPERM. */
export function* processVm(
  k: Kernel,
  task: Task,
  target: Task | null,
  local: IoVector,
  remote: IoVector,
  flags: number,
  isWrite: boolean,
): KernelPath<number> {
  if (flags !== 0) return -EINVAL;
  const localCheck = checkVector(local, true);
  if (localCheck < 0) return localCheck;
  const near = new Cursor(local);
  if (near.left === 0) return 0;
  const remoteCheck = checkVector(remote, false);
  if (remoteCheck < 0) return remoteCheck;
  const far = new Cursor(remote);
  if (far.left === 0) return 0;
  if (target === null || target.mm === null) return -ESRCH;
  if (!ptraceMayRead(task, target)) return -EPERM;
  let done = 0;
  while (near.left > 0 && far.left > 0) {
    const count = Math.min(near.run, far.run);
    if (!(yield* copyRun(k, task, target, near.address, far.address, count, isWrite))) break;
    near.advance(count);
    far.advance(count);
    done += count;
  }
  return done > 0 ? done : -EFAULT;
}

/** Copies bytes that lie in one page on either side. False: one of the pages cannot be had. */
function* copyRun(
  k: Kernel,
  task: Task,
  target: Task,
  near: number,
  far: number,
  count: number,
  isWrite: boolean,
): KernelPath<boolean> {
  const bytes = new Uint8Array(count);
  if (far + count > TASK_SIZE) return false;
  if (!isWrite && (yield* accessPinned(k, target.mm!, far, bytes, false)) < count) return false;
  if (!Number.isNaN(near) && (yield* k.fn.accessRemoteVm(k, task.mm!, near, bytes, !isWrite)) < count) return false;
  return !isWrite || (yield* accessPinned(k, target.mm!, far, bytes, true)) === count;
}

const onePage = new Int32Array(1);

/** process_vm_rw_single_vec for bytes of one page: copied while the page is pinned. A read of a page that fork shares gives the
 *  target its own first. Bytes copied or -errno. */
function* accessPinned(
  k: Kernel,
  mm: MmStruct,
  address: number,
  bytes: Uint8Array,
  isWrite: boolean,
): KernelPath<number> {
  const lock = mm.mmapLock;
  const page = address - (address % 4096);
  const flags = FOLL_REMOTE | FOLL_UNLOCKABLE | (isWrite ? FOLL_WRITE : 0);
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let got = yield* k.fn.pinUserPages(k, mm, page, 1, flags, onePage);
  if (k.gupUnlocked) {
    k.gupUnlocked = false;
    if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    got = yield* k.fn.pinUserPages(k, mm, page, 1, flags & ~FOLL_UNLOCKABLE, onePage);
  }
  lock.readUnlock();
  if (got < 1) return -EFAULT;
  const pfn = onePage[0]!;
  k.memory.touch(pfn, isWrite);
  const at = pfn * 4096 + (address % 4096);
  if (isWrite) k.memory.bytes.set(bytes, at);
  else bytes.set(k.memory.bytes.subarray(at, at + bytes.length));
  k.fn.unpinUserPage(k, pfn, isWrite);
  return bytes.length;
}
