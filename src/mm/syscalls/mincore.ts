// mincore (mm/mincore.c): anonymous memory is resident when its entry is present (or its swap slot is cached), file memory
// when the page cache has the page, mapped or not.

import { EFAULT, EINVAL, ENOMEM } from '../../abi/errno.ts';
import { TASK_SIZE, VM_HUGETLB } from '../../abi/mman.ts';
import { pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { isUptodate } from '../file/page-cache.ts';
import { completeReads } from '../file/reads.ts';
import { isHugeMapped } from '../huge/mapped.ts';
import { hugePteOffset } from '../hugetlb/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { isRealSwap, pteNone, ptePresent, SWP_PTE_MARKER, swapOffset, swapType } from '../page/swapops.ts';
import type { MmStruct, Task, VmArea } from '../types.ts';
import type { SyscallArgs } from './args.ts';

/** Pages answered under one hold of mmapLock: one page of bytes. */
const CHUNK = 4096;

/** mincore(addr, length, vec). Returns 0, -EINVAL (unaligned), -ENOMEM (hole, or beyond user space), -EFAULT (vec). */
export function sysMincore(k: Kernel, task: Task, a: SyscallArgs): KernelPath<number> {
  const start = a.num(0);
  const vec = a.num(2);
  if (!a.isPageAligned(0)) return done(-EINVAL);
  if (start + a.num(1) > TASK_SIZE) return done(-ENOMEM);
  const pages = a.pageAlign(1) / 4096;
  if (vec + pages > TASK_SIZE) return done(-EFAULT);
  return mincore(k, task.mm!, start, pages, vec);
}

function* mincore(k: Kernel, mm: MmStruct, start: number, pages: number, vec: number): KernelPath<number> {
  for (let i = 0; i < pages; ) {
    // do_mincore answers for one VMA, and that much is written before the next one is looked for.
    const at = start + i * 4096;
    const vma = mm.vmas.findExact(at);
    const out = new Uint8Array(vma === null ? 1 : Math.min(CHUNK, pages - i, (vma.end - at) / 4096));
    const r = yield* mincorePages(k, mm, at, out);
    if (r < 0) return r;
    if ((yield* k.fn.accessRemoteVm(k, mm, vec + i, out, true)) < out.length) return -EFAULT;
    i += out.length;
  }
  return 0;
}

/** Residency of out.length pages from `start`: 1 or 0 each. 0 or -ENOMEM (a hole; `out` is then unfinished). */
export function* mincorePages(k: Kernel, mm: MmStruct, start: number, out: Uint8Array): KernelPath<number> {
  if (k.readsInFlight.length > 0) completeReads(k);
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let result = 0;
  let vma: VmArea | null = null;
  for (let i = 0; i < out.length && result === 0; i++) {
    const at = start + i * 4096;
    if (vma === null || at >= vma.end) vma = mm.vmas.findExact(at);
    if (vma === null) result = -ENOMEM;
    else out[i] = isResident(k, vma, at) ? 1 : 0;
  }
  lock.readUnlock();
  return result;
}

function isResident(k: Kernel, vma: VmArea, at: number): boolean {
  // can_do_mincore: of special mappings nothing is told.
  if (vma.name !== null) return true;
  const m = k.memory;
  if ((vma.flags & VM_HUGETLB) !== 0) {
    const pmd = hugePteOffset(k, vma.mm, at);
    return pmd >= 0 && !pteNone(entryLo(m, pmd), entryHi(m, pmd));
  }
  const word = pteWord(m, vma.mm.pgd, vpnHi(at), vpnLo(at));
  if (word >= 0) {
    const lo = entryLo(m, word);
    const hi = entryHi(m, word);
    if (ptePresent(lo)) return true;
    // pte_none_mostly.
    if (!pteNone(lo, hi) && swapType(hi) !== SWP_PTE_MARKER)
      return !isRealSwap(hi) || k.swap.cached(swapOffset(lo, hi)) !== 0;
  }
  if (word < 0 && isHugeMapped(k, vma, at)) return true;
  if (vma.file === null) return false;
  const pfn = vma.file.inode.mapping.pages.get(vma.pgoff + (at - vma.start) / 4096);
  return pfn !== undefined && isUptodate(k, pfn);
}
