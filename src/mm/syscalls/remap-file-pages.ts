// remap_file_pages, emulated by mmap since 4.0 (mm/mmap.c).

import { EINVAL } from '../../abi/errno.ts';
import {
  MAP_FIXED,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_POPULATE,
  MAP_SHARED,
  VM_ACCESS_FLAGS,
  VM_LOCKED,
  VM_SHARED,
} from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task, VmArea } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { type SyscallArgs, TWO64 } from './args.ts';
import { hasTaskWork, runTaskWork } from './edge.ts';

/** remap_file_pages(addr, size, prot, pgoff, flags). 0 or -errno. */
export function sysRemapFilePages(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const start = a.pageDown(0);
  const size = a.pageDown(1);
  if (!a.isZero(2) || size === 0 || start + size >= TWO64) return done(-EINVAL);
  if (a.num(3) + size / 4096 >= TWO64) return done(-EINVAL);
  return remapFilePages(k, task, start, size, a.num(3), a.int(4));
}

function* remapFilePages(
  k: Kernel,
  task: Task,
  start: number,
  size: number,
  pgoff: number,
  flags: number,
): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const vma = findRange(mm, start, start + size);
  let result = -EINVAL;
  let isPopulated = false;
  if (vma !== null) {
    const isLocked = (vma.flags & VM_LOCKED) !== 0;
    const mapFlags = (flags & MAP_NONBLOCK) | MAP_SHARED | MAP_FIXED | MAP_POPULATE | (isLocked ? MAP_LOCKED : 0);
    const file = vma.file!;
    file.refcount++;
    result = yield* k.fn.doMmap(k, task, file, start, size, vma.flags & VM_ACCESS_FLAGS, mapFlags, pgoff);
    isPopulated = isLocked || (mapFlags & MAP_NONBLOCK) === 0;
    fput(k, file);
  }
  lock.writeUnlock();
  if (result >= 0 && isPopulated) yield* k.fn.mmPopulate(k, mm, result, result + size);
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return result < 0 ? result : 0;
}

/** The VMA at start, if it and what follows up to end are shared mappings of one file with one set of flags. */
function findRange(mm: MmStruct, start: number, end: number): VmArea | null {
  const first = mm.vmas.findExact(start);
  if (first === null || (first.flags & VM_SHARED) === 0 || first.file === null) return null;
  for (let v = first; v.end < end; ) {
    const next = v.treeNext as VmArea | null;
    if (next === null || next.start !== v.end || next.file !== first.file || next.flags !== first.flags) return null;
    v = next;
  }
  return first;
}
