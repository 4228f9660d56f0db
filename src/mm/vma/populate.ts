// __mm_populate and populate_vma_page_range (mm/gup.c): faults ranges in for mlock, MAP_POPULATE and MAP_LOCKED.

import { VM_ACCESS_FLAGS, VM_IO, VM_LOCKONFAULT, VM_PFNMAP, VM_SHARED, VM_WRITE } from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { FOLL_FORCE, FOLL_TOUCH, FOLL_UNLOCKABLE, FOLL_WRITE } from '../gup/flags.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, VmArea } from '../types.ts';

/** Faults [start, end) of one VMA in, as a write where that breaks copy-on-write. mmapLock held, for read at least.
 *  Returns pages done or -errno. `mayUnlock`: it may come back with k.gupUnlocked set and mmapLock dropped. */
export function populateVmaPageRange(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  mayUnlock: boolean,
): KernelPath<number> {
  const pages = (end - start) / 4096;
  if ((vma.flags & VM_LOCKONFAULT) !== 0) return done(pages);
  let flags = mayUnlock ? FOLL_TOUCH | FOLL_UNLOCKABLE : FOLL_TOUCH;
  if ((vma.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE) flags |= FOLL_WRITE;
  if ((vma.flags & VM_ACCESS_FLAGS) !== 0) flags |= FOLL_FORCE;
  return k.fn.getUserPages(k, vma.mm, start, pages, flags, null);
}

/** Times that one place may be tried again with the lock dropped. Linux has no such bound, as its small allocations do not fail. */
const RETRIES_MAX = 8;

/** __mm_populate of [start, end): takes mmapLock for read. Returns 0 or the first -errno; with `ignoreErrors` it goes on
 *  with the next VMA after an error. */
export function* populateRange(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  ignoreErrors: boolean,
): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let at = start;
  let result = 0;
  let fruitless = 0;
  while (at < end) {
    const vma = mm.vmas.intersects(at, end);
    if (vma === null) break;
    const stop = Math.min(end, vma.end);
    if ((vma.flags & (VM_IO | VM_PFNMAP)) === 0) {
      const from = Math.max(at, vma.start);
      const got = yield* populateVmaPageRange(k, vma, from, stop, fruitless < RETRIES_MAX);
      if (k.gupUnlocked) {
        k.gupUnlocked = false;
        if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
        at = got > 0 ? from + got * 4096 : from;
        fruitless = got > 0 ? 0 : fruitless + 1;
        continue;
      }
      if (got < 0 && !ignoreErrors) {
        result = got;
        break;
      }
      // A short count: the rest cannot be had; go on from there.
      at = got > 0 ? from + got * 4096 : stop;
    } else {
      at = stop;
    }
  }
  lock.readUnlock();
  return result;
}

/** mm_populate. */
export function mmPopulate(k: Kernel, mm: MmStruct, start: number, end: number): KernelPath<number> {
  return populateRange(k, mm, start, end, true);
}
