// MADV_COLLAPSE (mm/khugepaged.c madvise_collapse): every whole block of a piece of a VMA, at once and whatever the settings say.
// A block of shared memory that is huge in the page cache already, but mapped by small entries, is only mapped whole. Files on disks:
// -EINVAL (collapse-file.ts). mmapLock held for read; dropped on the way, and held again at the end.

import { EINVAL } from '../../abi/errno.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { lruAddDrain } from '../reclaim/lru-add-batch.ts';
import { linearPageIndex } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { revalidate } from './collapse.ts';
import { hugepageVmaCheck } from './policy.ts';
import {
  collapseErrno,
  mayGoOn,
  SCAN_FAIL,
  SCAN_PMD_MAPPED,
  SCAN_PTE_MAPPED_HUGEPAGE,
  SCAN_SUCCEED,
} from './scan-result.ts';

/** 0, or -errno: a block could not be collapsed. */
export function* madviseCollapse(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  const { mm } = vma;
  const lock = mm.mmapLock;
  if (!hugepageVmaCheck(k, vma, vma.flags, false, false)) return -EINVAL;
  lruAddDrain(k);
  const first = Math.ceil(start / PMD_SIZE) * PMD_SIZE;
  let last = Math.floor(end / PMD_SIZE) * PMD_SIZE;
  let isLocked = true;
  let failed = SCAN_FAIL;
  let done = 0;
  for (let at = first; at < last; at += PMD_SIZE) {
    if (!isLocked) {
      if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
      isLocked = true;
      const found = revalidate(k, mm, at, false, false);
      if (typeof found === 'number') {
        failed = -found;
        break;
      }
      vma = found;
      last = Math.min(last, Math.floor(vma.end / PMD_SIZE) * PMD_SIZE);
    }
    let result: number;
    const { file } = vma;
    if (file !== null) {
      file.refcount++;
      const pgoff = linearPageIndex(vma, at);
      lock.readUnlock();
      isLocked = false;
      result = yield* k.fn.collapseScanFile(k, mm, at, file.inode.mapping, pgoff, false);
      fput(k, file);
      if (result === SCAN_PTE_MAPPED_HUGEPAGE) {
        if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
        result = yield* k.fn.collapsePteMappedThp(k, mm, at, true);
        lock.writeUnlock();
      }
    } else {
      result = yield* k.fn.collapseScanPmd(k, vma, at, false);
      if (k.huge.lockDropped) isLocked = false;
    }
    if (result === SCAN_SUCCEED || result === SCAN_PMD_MAPPED) {
      done++;
      continue;
    }
    failed = result;
    if (!mayGoOn(result)) break;
  }
  if (!isLocked && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
  // A piece inside one block, which touches neither of its ends, has "minus one" blocks: that is a failure too.
  return done === (last - first) / PMD_SIZE ? 0 : collapseErrno(failed);
}
