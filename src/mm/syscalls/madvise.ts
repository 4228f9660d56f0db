// madvise and process_madvise (mm/madvise.c): the walk over VMA pieces and what each advice does to one. Advice that only
// changes flags takes mmapLock for write, the rest for read.

import { EACCES, EAGAIN, EBADF, EFAULT, EHWPOISON, EINVAL, ENOMEM, EPERM } from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { FOLL_HWPOISON, FOLL_TOUCH, FOLL_UNLOCKABLE, FOLL_WRITE } from '../gup/flags.ts';
import { khugepagedEnterVma } from '../huge/khugepaged-mm.ts';
import { madviseCollapse } from '../huge/madvise-collapse.ts';
import type { Kernel } from '../kernel.ts';
import { mayBeMergeable } from '../ksm/break.ts';
import { madviseInjectError } from '../migrate/memory-failure.ts';
import type { MmStruct, Task, VmArea } from '../types.ts';
import { isDroppable } from '../vma/flags.ts';
import { vmFile } from '../vma/merge.ts';
import { setVmaFlags } from '../vma/mprotect.ts';
import { vmaModify } from '../vma/split.ts';
import { swapinRange, willneedFile } from '../vma/willneed.ts';
import { madviseGuardInstall, madviseGuardRemove } from '../zap/guard.ts';
import { type SyscallArgs, TWO64 } from './args.ts';
import { hasTaskWork, runTaskWork } from './edge.ts';
import { punchFile } from './memfd.ts';

/** madvise_behavior_valid. */
function isKnown(k: Kernel, advice: number): boolean {
  if (advice === A.MADV_GUARD_INSTALL || advice === A.MADV_GUARD_REMOVE) return k.profile.madvGuard;
  if (advice === A.MADV_HWPOISON || advice === A.MADV_SOFT_OFFLINE) return k.config.memoryFailure;
  return (advice >= A.MADV_NORMAL && advice <= A.MADV_DONTNEED) || (advice >= A.MADV_FREE && advice <= A.MADV_COLLAPSE);
}

/** madvise_need_mmap_write. */
function needsWrite(advice: number): boolean {
  switch (advice) {
    case A.MADV_REMOVE:
    case A.MADV_WILLNEED:
    case A.MADV_DONTNEED:
    case A.MADV_DONTNEED_LOCKED:
    case A.MADV_COLD:
    case A.MADV_PAGEOUT:
    case A.MADV_FREE:
    case A.MADV_POPULATE_READ:
    case A.MADV_POPULATE_WRITE:
    case A.MADV_COLLAPSE:
    case A.MADV_GUARD_INSTALL:
    case A.MADV_GUARD_REMOVE:
      return false;
    default:
      return true;
  }
}

/** madvise(addr, length, advice). Returns 0 or -errno; pieces before a failing one are done. */
export function sysMadvise(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const len = a.pageAlign(1);
  const r = checkRange(k, a.int(2), a.isPageAligned(0), a.num(0), len);
  // The length is not rounded up: the last page of an error that is injected may be short.
  if (r > 0 && (a.int(2) === A.MADV_HWPOISON || a.int(2) === A.MADV_SOFT_OFFLINE))
    return madviseInjectError(k, task.mm!, a.num(0), a.num(0) + a.num(1), a.int(2));
  return r <= 0 ? done(r) : doMadvise(k, task.mm!, a.num(0), a.num(0) + len, a.int(2));
}

/** 1: go on; 0 or -EINVAL: done. */
function checkRange(k: Kernel, advice: number, isAligned: boolean, start: number, len: number): number {
  if (!isKnown(k, advice) || !isAligned) return -EINVAL;
  if (len >= TWO64 || start + len >= TWO64) return -EINVAL;
  return len === 0 ? 0 : 1;
}

function* doMadvise(k: Kernel, mm: MmStruct, start: number, end: number, advice: number): KernelPath<number> {
  const lock = mm.mmapLock;
  const isWrite = needsWrite(advice);
  if (isWrite) {
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  } else if (k.sched.points || !lock.tryRead()) {
    yield* lock.readLock();
  }
  const isPopulate = advice === A.MADV_POPULATE_READ || advice === A.MADV_POPULATE_WRITE;
  const result = yield* isPopulate && k.profile.madvisePopulateAtOnce
    ? madvisePopulate(k, mm, start, end, advice === A.MADV_POPULATE_WRITE)
    : madviseWalkVmas(k, mm, start, end, advice);
  if (isWrite) lock.writeUnlock();
  else lock.readUnlock();
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result;
}

/** madvise_walk_vmas: holes are skipped and answered with -ENOMEM at the end; a piece's error ends the walk. */
function* madviseWalkVmas(k: Kernel, mm: MmStruct, start: number, end: number, advice: number): KernelPath<number> {
  let unmapped = 0;
  let at = start;
  while (at < end) {
    const vma = mm.vmas.find(at);
    if (vma === null) return -ENOMEM;
    if (at < vma.start) {
      unmapped = -ENOMEM;
      at = vma.start;
      if (at >= end) break;
    }
    const stop = Math.min(end, vma.end);
    const r = yield* madviseVma(k, vma, at, stop, advice);
    if (r < 0) return r;
    at = stop;
  }
  return unmapped;
}

/** madvise_vma_behavior: a piece of one VMA. A plain function: it hands over to the path of the advice. */
function madviseVma(k: Kernel, vma: VmArea, start: number, end: number, advice: number): KernelPath<number> {
  if (k.profile.mseal && !canMadviseModify(vma, advice)) return done(-EPERM);
  switch (advice) {
    case A.MADV_DONTNEED:
    case A.MADV_DONTNEED_LOCKED:
      if ((vma.flags & A.VM_HUGETLB) !== 0) return dontneedHugetlb(k, vma, start, end);
      if ((vma.flags & A.VM_PFNMAP) !== 0) return done(-EINVAL);
      if (advice === A.MADV_DONTNEED && (vma.flags & A.VM_LOCKED) !== 0) return done(-EINVAL);
      return vma.uffd === null
        ? k.fn.zapPageRangeSingle(k, vma, start, end, true)
        : announcedDrop(k, vma, start, end, advice);
    case A.MADV_FREE:
      if ((vma.flags & (A.VM_PFNMAP | A.VM_LOCKED)) !== 0 || vma.file !== null || vma.name !== null)
        return done(-EINVAL);
      return vma.uffd === null ? k.fn.madviseFree(k, vma, start, end) : announcedDrop(k, vma, start, end, advice);
    case A.MADV_COLD:
    case A.MADV_PAGEOUT:
      if ((vma.flags & (A.VM_LOCKED | A.VM_PFNMAP | A.VM_HUGETLB)) !== 0) return done(-EINVAL);
      return advice === A.MADV_COLD ? k.fn.madviseCold(k, vma, start, end) : k.fn.madvisePageout(k, vma, start, end);
    case A.MADV_WILLNEED:
      return vma.file === null ? swapinRange(k, vma, start, end) : willneedFile(k, vma, start, end);
    case A.MADV_REMOVE:
      return madviseRemove(k, vma, start, end);
    case A.MADV_POPULATE_READ:
    case A.MADV_POPULATE_WRITE:
      return madvisePopulate(k, vma.mm, start, end, advice === A.MADV_POPULATE_WRITE);
    case A.MADV_COLLAPSE:
      return madviseCollapse(k, vma, start, end);
    case A.MADV_GUARD_INSTALL:
      return madviseGuardInstall(k, vma, start, end);
    case A.MADV_GUARD_REMOVE:
      return madviseGuardRemove(k, vma, start, end);
    default:
      return updateFlags(k, vma, start, end, advice);
  }
}

/** can_madvise_modify: advice that throws contents away is refused on sealed anonymous memory that is not writable. Mappings of
 *  files may lose even what was written to them privately. */
function canMadviseModify(vma: VmArea, advice: number): boolean {
  if ((vma.flags & A.VM_SEALED) === 0) return true;
  switch (advice) {
    case A.MADV_FREE:
    case A.MADV_DONTNEED:
    case A.MADV_DONTNEED_LOCKED:
    case A.MADV_REMOVE:
    case A.MADV_DONTFORK:
    case A.MADV_WIPEONFORK:
    case A.MADV_GUARD_INSTALL:
      return (vma.flags & A.VM_WRITE) !== 0 || vma.file !== null || vma.name !== null;
    default:
      return true;
  }
}

/** Locked or not. Only whole huge pages: the end is rounded down. */
function dontneedHugetlb(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if (start % A.PMD_SIZE !== 0) return done(-EINVAL);
  const stop = end - (end % A.PMD_SIZE);
  return stop <= start ? done(0) : k.fn.zapPageRangeSingle(k, vma, start, stop, true);
}

/** DONTNEED or FREE of memory that a userfaultfd watches: the monitor may have to hear of it first, and mmapLock is dropped
 *  meanwhile. What is mapped there afterwards is looked up again. */
function* announcedDrop(k: Kernel, vma: VmArea, start: number, end: number, advice: number): KernelPath<number> {
  const { mm } = vma;
  if (!(yield* k.fn.userfaultfdRemove(k, vma, start, end))) {
    if (k.sched.points || !mm.mmapLock.tryRead()) yield* mm.mmapLock.readLock();
    const now = mm.vmas.findExact(start);
    if (now === null) return -ENOMEM;
    if ((now.flags & A.VM_PFNMAP) !== 0 || (advice !== A.MADV_DONTNEED_LOCKED && (now.flags & A.VM_LOCKED) !== 0))
      return -EINVAL;
    if (advice === A.MADV_FREE && now.file !== null) return -EINVAL;
    vma = now;
    end = Math.min(end, now.end);
  }
  return yield* advice === A.MADV_FREE
    ? k.fn.madviseFree(k, vma, start, end)
    : k.fn.zapPageRangeSingle(k, vma, start, end, true);
}

/** madvise_remove: punches the hole into the file; mmapLock is dropped meanwhile. */
function* madviseRemove(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  const { file, mm } = vma;
  if ((vma.flags & A.VM_LOCKED) !== 0 || vmFile(vma) === null) return -EINVAL;
  if (file === null || (vma.flags & (A.VM_SHARED | A.VM_MAYWRITE)) !== (A.VM_SHARED | A.VM_MAYWRITE)) return -EACCES;
  const offset = vma.pgoff * 4096 + (start - vma.start);
  file.refcount++;
  if (vma.uffd === null || (yield* k.fn.userfaultfdRemove(k, vma, start, end))) mm.mmapLock.readUnlock();
  const r = yield* punchFile(k, file, offset, end - start);
  file.refcount--;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  return r;
}

/** madvise_populate: as accesses of the program would, without forcing permissions. */
function* madvisePopulate(k: Kernel, mm: MmStruct, start: number, end: number, isWrite: boolean): KernelPath<number> {
  const flags = FOLL_TOUCH | FOLL_HWPOISON | FOLL_UNLOCKABLE | (isWrite ? FOLL_WRITE : 0);
  // Pages that one call of faultin_page_range has done when it meets an error: it returns those, and is called again.
  let before = 0;
  for (let at = start; at < end; ) {
    const vma = mm.vmas.findExact(at);
    if (vma === null) return -ENOMEM;
    const isAllowed = (vma.flags & (isWrite ? A.VM_WRITE : A.VM_READ)) !== 0;
    if ((vma.flags & (A.VM_IO | A.VM_PFNMAP)) !== 0 || !isAllowed) return -EINVAL;
    const pages = (Math.min(end, vma.end) - at) / 4096;
    const got = yield* k.fn.getUserPages(k, mm, at, pages, flags, null);
    const goesOn = k.profile.madvisePopulateAtOnce && (k.gupUnlocked || got === pages);
    if (k.gupUnlocked) {
      k.gupUnlocked = false;
      if (k.sched.points || !mm.mmapLock.tryRead()) yield* mm.mmapLock.readLock();
    }
    if (got < 0 && before > 0) {
      before = 0;
      continue;
    }
    before = goesOn ? before + Math.max(got, 0) : 0;
    if (got < 0) return got === -EFAULT || got === -EINVAL || got === -EHWPOISON ? got : -ENOMEM;
    at += got * 4096;
  }
  return 0;
}

/** The flags after an advice that changes flags only; null: EINVAL. */
function newFlags(vma: VmArea, advice: number): number | null {
  const f = vma.flags;
  switch (advice) {
    case A.MADV_NORMAL:
      return f & ~(A.VM_RAND_READ | A.VM_SEQ_READ);
    case A.MADV_SEQUENTIAL:
      return (f & ~A.VM_RAND_READ) | A.VM_SEQ_READ;
    case A.MADV_RANDOM:
      return (f & ~A.VM_SEQ_READ) | A.VM_RAND_READ;
    case A.MADV_DONTFORK:
      return f | A.VM_DONTCOPY;
    case A.MADV_DOFORK:
      return (f & A.VM_IO) !== 0 ? null : f & ~A.VM_DONTCOPY;
    case A.MADV_WIPEONFORK:
      return vmFile(vma) !== null || (f & A.VM_SHARED) !== 0 ? null : f | A.VM_WIPEONFORK;
    case A.MADV_KEEPONFORK:
      return isDroppable(f) ? null : f & ~A.VM_WIPEONFORK;
    case A.MADV_DONTDUMP:
      return f | A.VM_DONTDUMP;
    case A.MADV_DODUMP:
      if (isDroppable(f)) return null;
      return (f & A.VM_HUGETLB) === 0 && (f & A.VM_SPECIAL) !== 0 ? null : f & ~A.VM_DONTDUMP;
    case A.MADV_MERGEABLE:
      return mayBeMergeable(f) ? f | A.VM_MERGEABLE : f;
    case A.MADV_UNMERGEABLE:
      return f & ~A.VM_MERGEABLE;
    case A.MADV_HUGEPAGE:
      return (f & ~A.VM_NOHUGEPAGE) | A.VM_HUGEPAGE;
    default: // MADV_NOHUGEPAGE
      return (f & ~A.VM_HUGEPAGE) | A.VM_NOHUGEPAGE;
  }
}

/** madvise_update_vma. Lack of memory for a cut is reported as EAGAIN. */
function* updateFlags(k: Kernel, vma: VmArea, start: number, end: number, advice: number): KernelPath<number> {
  const flags = newFlags(vma, advice);
  if (flags === null) return -EINVAL;
  if (advice === A.MADV_HUGEPAGE) khugepagedEnterVma(k, vma, flags);
  if (flags === vma.flags) return 0;
  if (advice === A.MADV_MERGEABLE) k.fn.ksmEnter(k, vma.mm);
  if (advice === A.MADV_UNMERGEABLE) {
    const unmerged = yield* k.fn.ksmUnmerge(k, vma, start, end);
    if (unmerged < 0) return -EAGAIN;
  }
  const change = vmaModify(k, vma, start, end, flags);
  const piece = change === null ? vma : yield* change;
  if (piece === null) return k.vmaError === -ENOMEM ? -EAGAIN : k.vmaError;
  setVmaFlags(k, piece, flags);
  if (advice === A.MADV_HUGEPAGE) khugepagedEnterVma(k, piece, flags);
  return 0;
}

/** process_madvise for `target`, with the ranges that the iovec names: bytes advised, or -errno. Of another process only
 *  non-destructive advice is accepted. */
export function* processMadvise(
  k: Kernel,
  task: Task,
  target: Task | null,
  ranges: readonly (readonly [start: number, len: number])[],
  advice: number,
  flags: number,
): KernelPath<number> {
  if (flags !== 0) return -EINVAL;
  if (target === null) return -EBADF;
  const isRemote = target.mm !== task.mm;
  const isGentle =
    advice === A.MADV_COLD || advice === A.MADV_PAGEOUT || advice === A.MADV_WILLNEED || advice === A.MADV_COLLAPSE;
  if (!isGentle && (isRemote || !k.profile.processMadviseSelf)) return -EINVAL;
  let total = 0;
  for (const [start, len] of ranges) {
    const aligned = Math.ceil(len / 4096) * 4096;
    let r = checkRange(k, advice, start % 4096 === 0, start, aligned);
    if (r > 0) r = yield* doMadvise(k, target.mm!, start, start + aligned, advice);
    if (r < 0) return total > 0 ? total : r;
    total += len;
  }
  return total;
}
