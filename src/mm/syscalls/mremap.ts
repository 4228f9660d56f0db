// mremap (mm/mremap.c): shrink, grow in place, move. Two orders of checks: until 6.16 the target of a fixed move and a shrunk
// tail are unmapped before the source is looked at (an EFAULT then leaves holes); since 6.17 the source comes first, and a
// pure move may span several VMAs.

import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM } from '../../abi/errno.ts';
import {
  MAP_FIXED,
  MAP_SHARED,
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PMD_SIZE,
  TASK_SIZE,
  VM_ACCOUNT,
  VM_DONTEXPAND,
  VM_HUGETLB,
  VM_LOCKED,
  VM_MAYSHARE,
  VM_PFNMAP,
  VM_SEALED,
  VM_SHARED,
} from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task, VmArea } from '../types.ts';
import { mayExpandVm, mlockFutureCheck, vmEnoughMemory, vmStatAccount, vmUnacctMemory } from '../vma/account.ts';
import { isPageAligned } from '../vma/address.ts';
import { vmaSetBounds } from '../vma/adjust.ts';
import { mergeNew, vmFile } from '../vma/merge.ts';
import { type SyscallArgs, TWO64, wrap64 } from './args.ts';
import { hasTaskWork, runTaskWork } from './edge.ts';

const FLAGS = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
const NEW_PLACE = MREMAP_FIXED | MREMAP_DONTUNMAP;

/** What happened on the way of one call. */
class Outcome {
  /** A locked VMA was moved or grew: populate what is new. */
  isLocked = false;
  /** mmapLock was turned to read. */
  isDowngraded = false;
}

/** mremap(old_address, old_size, new_size, flags, new_address). Returns the address or -errno. */
export function sysMremap(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const flags = a.int(3);
  const oldLen = wrap64(a.pageAlign(1));
  const newLen = wrap64(a.pageAlign(2));
  if ((flags & ~FLAGS) !== 0 || a.hi[3] !== 0) return done(-EINVAL);
  if ((flags & NEW_PLACE) !== 0 && (flags & MREMAP_MAYMOVE) === 0) return done(-EINVAL);
  // 6.1 compares the lengths as given, later kernels the rounded ones.
  const isSameLength = k.profile.mremapMultiVma ? oldLen === newLen : a.num(1) === a.num(2);
  if ((flags & MREMAP_DONTUNMAP) !== 0 && !isSameLength) return done(-EINVAL);
  if (!a.isPageAligned(0) || newLen === 0) return done(-EINVAL);
  const addr = a.num(0);
  const newAddr = a.num(4);
  if (k.profile.mremapMultiVma) {
    if (newLen > TASK_SIZE) return done(-EINVAL);
    if ((flags & NEW_PLACE) !== 0) {
      const r = checkTarget(k, task.mm!, addr, oldLen, newLen, newAddr);
      if (r < 0) return done(r);
    }
  }
  return doMremap(k, task, addr, oldLen, newLen, flags, newAddr);
}

/** The checks of a move to a given place. 0, -EINVAL or -ENOMEM (map count). */
function checkTarget(k: Kernel, mm: MmStruct, addr: number, oldLen: number, newLen: number, newAddr: number): number {
  if (!isPageAligned(newAddr)) return -EINVAL;
  if (newLen > TASK_SIZE || newAddr > TASK_SIZE - newLen) return -EINVAL;
  if (wrap64(addr + oldLen) > newAddr && newAddr + newLen > addr) return -EINVAL;
  return mm.vmas.count + 2 >= k.config.maxMapCount - 3 ? -ENOMEM : 0;
}

function* doMremap(
  k: Kernel,
  task: Task,
  addr: number,
  oldLen: number,
  newLen: number,
  flags: number,
  newAddr: number,
): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const out = new Outcome();
  let result: number;
  if ((flags & MREMAP_FIXED) !== 0 && k.profile.mremapMultiVma && oldLen === newLen)
    result = yield* remapMove(k, task, out, addr, oldLen, flags, newAddr);
  else result = yield* remapOne(k, task, out, addr, oldLen, newLen, flags, newAddr);
  const isPopulated = out.isLocked && result >= 0 && newLen > oldLen;
  if (out.isDowngraded) lock.readUnlock();
  else lock.writeUnlock();
  if (isPopulated) yield* k.fn.mmPopulate(k, mm, result + oldLen, result + newLen);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result;
}

/** remap_move (6.17): every VMA of the range goes, the gaps between them stay as they are. */
function* remapMove(
  k: Kernel,
  task: Task,
  out: Outcome,
  start: number,
  len: number,
  flags: number,
  newAddr: number,
): KernelPath<number> {
  const mm = task.mm!;
  const end = start + len;
  let result = -EFAULT;
  let target = newAddr;
  let lastEnd = -1;
  for (let at = start; at < end; ) {
    const vma = mm.vmas.intersects(at, end);
    if (vma === null) break;
    if (lastEnd < 0 && start < vma.start) return -EFAULT;
    const from = Math.max(vma.start, at);
    const pieceEnd = Math.min(end, vma.end);
    // A file with a placement rule of its own might not land where it is told: alone only.
    if ((vma.file?.inode.isSysv ?? false) && (lastEnd >= 0 || vma.end < end)) return -EFAULT;
    if (lastEnd >= 0) target += from - lastEnd;
    lastEnd = pieceEnd;
    const r = yield* remapOne(k, task, out, from, pieceEnd - from, pieceEnd - from, flags, target);
    if (r < 0) return r;
    if (result < 0) result = r;
    target = r + (pieceEnd - from);
    at = pieceEnd;
  }
  return result;
}

/** mremap of a range of one VMA. */
function* remapOne(
  k: Kernel,
  task: Task,
  out: Outcome,
  addr: number,
  oldLen: number,
  newLen: number,
  flags: number,
  newAddr: number,
): KernelPath<number> {
  const mm = task.mm!;
  const vma = mm.vmas.findExact(addr);
  if (vma === null) return -EFAULT;
  if ((vma.flags & VM_SEALED) !== 0) return -EPERM;
  if ((vma.flags & VM_HUGETLB) !== 0) {
    // Whole huge pages, and never more of them: what is reserved cannot grow.
    oldLen = Math.ceil(oldLen / PMD_SIZE) * PMD_SIZE;
    newLen = Math.ceil(newLen / PMD_SIZE) * PMD_SIZE;
    if (addr % PMD_SIZE !== 0 || newAddr % PMD_SIZE !== 0 || newLen > oldLen) return -EINVAL;
  }
  if ((flags & NEW_PLACE) !== 0) return yield* mremapTo(k, task, out, addr, oldLen, newLen, flags, newAddr);
  if (oldLen >= newLen) {
    if (oldLen === newLen) return addr;
    const r = yield* k.fn.doMunmap(k, mm, addr + newLen, addr + oldLen, true);
    if (r < 0) return r;
    out.isDowngraded = r === 1;
    return addr;
  }
  const check = vmaToResize(mm, addr, oldLen, newLen, flags);
  if (check < 0) return check;
  if (oldLen === vma.end - addr && isExpandable(k, mm, vma, newLen - oldLen))
    return yield* expandInPlace(k, mm, out, vma, addr, oldLen, newLen);
  if ((flags & MREMAP_MAYMOVE) === 0) return -ENOMEM;
  const place = newPlace(k, mm, vma, addr, newLen, 0, 0);
  if (place < 0) return place;
  if ((vma.flags & VM_LOCKED) !== 0) out.isLocked = true;
  return yield* k.fn.moveVma(k, task, vma, addr, oldLen, newLen, place, flags);
}

/** get_unmapped_area for a mapping that moves. */
function newPlace(
  k: Kernel,
  mm: MmStruct,
  vma: VmArea,
  addr: number,
  newLen: number,
  hint: number,
  mapFlags: number,
): number {
  if ((vma.flags & VM_MAYSHARE) !== 0) mapFlags |= MAP_SHARED;
  const pgoff = vma.pgoff + (addr - vma.start) / 4096;
  return k.fn.getUnmappedArea(k, mm, vma.file, hint, newLen, pgoff, mapFlags);
}

/** mremap_to: MREMAP_FIXED, or MREMAP_DONTUNMAP with newAddr as a hint. */
function* mremapTo(
  k: Kernel,
  task: Task,
  out: Outcome,
  addr: number,
  oldLen: number,
  newLen: number,
  flags: number,
  newAddr: number,
): KernelPath<number> {
  const mm = task.mm!;
  const isFixed = (flags & MREMAP_FIXED) !== 0;
  if (k.profile.mremapMultiVma) {
    const check = vmaToResize(mm, addr, Math.min(oldLen, newLen), newLen, flags);
    if (check < 0) return check;
  } else {
    const r = checkTarget(k, mm, addr, oldLen, newLen, newAddr);
    if (r < 0) return r;
  }
  if (isFixed) {
    const r = yield* k.fn.doMunmap(k, mm, newAddr, newAddr + newLen, false);
    if (r < 0) return r;
    // A length that wraps around hides the overlap: the source may be gone with the target.
    if (k.profile.mremapMultiVma && mm.vmas.findExact(addr) === null) return -EFAULT;
  }
  if (oldLen > newLen) {
    const r = yield* k.fn.doMunmap(k, mm, addr + newLen, addr + oldLen, false);
    if (r < 0) return r;
    oldLen = newLen;
  }
  const check = vmaToResize(mm, addr, oldLen, newLen, flags);
  if (check < 0) return check;
  const vma = mm.vmas.findExact(addr)!;
  if ((flags & MREMAP_DONTUNMAP) !== 0 && !mayExpandVm(mm, vma.flags, oldLen / 4096)) return -ENOMEM;
  const place = newPlace(k, mm, vma, addr, newLen, newAddr, isFixed ? MAP_FIXED : 0);
  if (place < 0) return place;
  if ((vma.flags & VM_LOCKED) !== 0) out.isLocked = true;
  return yield* k.fn.moveVma(k, task, vma, addr, oldLen, newLen, isFixed ? newAddr : place, flags);
}

/** vma_to_resize: 0 or why the range cannot be moved or grow. */
function vmaToResize(mm: MmStruct, addr: number, oldLen: number, newLen: number, flags: number): number {
  const vma = mm.vmas.findExact(addr);
  if (vma === null) return -EFAULT;
  if (oldLen === 0 && (vma.flags & (VM_SHARED | VM_MAYSHARE)) === 0) return -EINVAL;
  const isUnexpandable = (vma.flags & (VM_DONTEXPAND | VM_PFNMAP)) !== 0;
  if ((flags & MREMAP_DONTUNMAP) !== 0 && isUnexpandable) return -EINVAL;
  if (oldLen > vma.end - addr) return -EFAULT;
  if (newLen <= oldLen) return 0;
  if (vma.pgoff + (addr - vma.start) / 4096 + newLen / 4096 >= TWO64) return -EINVAL;
  if (isUnexpandable) return -EFAULT;
  const pages = (newLen - oldLen) / 4096;
  if (mlockFutureCheck(mm, vma.flags, pages) < 0) return -EAGAIN;
  return mayExpandVm(mm, vma.flags, pages) ? 0 : -ENOMEM;
}

function isExpandable(k: Kernel, mm: MmStruct, vma: VmArea, delta: number): boolean {
  const end = vma.end + delta;
  if (mm.vmas.intersects(vma.end, end) !== null) return false;
  return k.fn.getUnmappedArea(k, mm, null, vma.start, end - vma.start, 0, MAP_FIXED) >= 0;
}

function* expandInPlace(
  k: Kernel,
  mm: MmStruct,
  out: Outcome,
  vma: VmArea,
  addr: number,
  oldLen: number,
  newLen: number,
): KernelPath<number> {
  const pages = (newLen - oldLen) / 4096;
  const isCharged = (vma.flags & VM_ACCOUNT) !== 0;
  if (isCharged && vmEnoughMemory(k, mm, pages) < 0) return -ENOMEM;
  const { flags, end, pgoff } = vma;
  const next = vma.treeNext as VmArea | null;
  const extPgoff = pgoff + (end - vma.start) / 4096;
  const merge = mergeNew(k, vma, next, end, end + pages * 4096, flags, vma, vmFile(vma), extPgoff);
  if (merge === null) {
    // A VMA with a close operation does not merge with its own extension: it just grows.
    yield* vmaSetBounds(k, vma, vma.start, end + pages * 4096);
  } else if ((yield* merge) === null) {
    if (isCharged) vmUnacctMemory(k, pages);
    return -ENOMEM;
  }
  vmStatAccount(mm, flags, pages);
  if ((flags & VM_LOCKED) !== 0) {
    mm.lockedVm += pages;
    out.isLocked = true;
  }
  return addr;
}
