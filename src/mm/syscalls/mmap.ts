// mmap: sys_mmap (arch/x86/kernel/sys_x86_64.c), ksys_mmap_pgoff, vm_mmap_pgoff. Rows 1 to 5 of the table of checks.

import { EBADF, EINVAL, ENOMEM } from '../../abi/errno.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_POPULATE,
  PMD_SIZE,
  VM_NORESERVE,
} from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { hugetlbFileSetup, isHugePageSize } from '../hugetlb/file.ts';
import type { Kernel } from '../kernel.ts';
import { fdget } from '../process/files.ts';
import type { OpenFile, Task } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { type SyscallArgs, TWO64 } from './args.ts';
import { hasTaskWork, locksFuture, runTaskWork } from './edge.ts';

const PUD_SIZE = 1 << 30;

/** mmap(addr, length, prot, flags, fd, offset). Returns the address or -errno. */
export function sysMmap(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  if (!a.isPageAligned(5)) return done(-EINVAL);
  return ksysMmap(k, task, address(a), a.pageAlign(1), a.int(2), a.int(3), a.int(4), a.pageDown(5) / 4096);
}

/** The last 4095 addresses read as error numbers: asked for with MAP_FIXED, get_unmapped_area takes them for its error. */
function address(a: SyscallArgs): number {
  const isErrValue = a.hi[0] === 0xffffffff && a.lo[0]! > 0xfffff000;
  return isErrValue && (a.int(3) & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0 ? a.signed(0) : a.num(0);
}

function* ksysMmap(
  k: Kernel,
  task: Task,
  addr: number,
  len: number,
  prot: number,
  flags: number,
  fd: number,
  pgoff: number,
): KernelPath<number> {
  const mm = task.mm!;
  let file: OpenFile | null = null;
  if ((flags & MAP_ANONYMOUS) === 0) {
    file = fdget(task, fd) ?? null;
    if (file === null) return -EBADF;
    if (file.inode.kind === 'hugetlbfs') len = alignHuge(len);
    else if ((flags & MAP_HUGETLB) !== 0) return -EINVAL;
  } else if ((flags & MAP_HUGETLB) !== 0) {
    const log2 = (flags >>> MAP_HUGE_SHIFT) & 63;
    if (!isHugePageSize(log2)) return -EINVAL;
    // No page of 1 GiB was set aside.
    if (log2 === 30) return mmapGigantic(addr, len, flags, pgoff);
    len = alignHuge(len);
    file = hugetlbFileSetup(k, '/anon_hugepage', len, VM_NORESERVE)!;
  }
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const result = yield* k.fn.doMmap(k, task, file, addr, len, prot, flags, pgoff);
  const isPopulated =
    (flags & MAP_LOCKED) !== 0 || locksFuture(mm) || (flags & (MAP_POPULATE | MAP_NONBLOCK)) === MAP_POPULATE;
  lock.writeUnlock();
  if (file !== null && (flags & MAP_ANONYMOUS) !== 0) fput(k, file);
  if (isPopulated && result >= 0) yield* k.fn.mmPopulate(k, mm, result, result + len);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result;
}

/** The checks of a mapping of 1 GiB pages; then the empty pool. */
function mmapGigantic(addr: number, len: number, flags: number, pgoff: number): number {
  const isFixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0;
  if (len === 0 || pgoff % (PUD_SIZE / 4096) !== 0 || (isFixed && addr % PUD_SIZE !== 0)) return -EINVAL;
  return -ENOMEM;
}

/** Wraps around, unlike the rounding to pages: 0 is then refused as a length. */
function alignHuge(len: number): number {
  const aligned = Math.ceil(len / PMD_SIZE) * PMD_SIZE;
  return aligned >= TWO64 ? 0 : aligned;
}
