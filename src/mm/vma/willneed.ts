// MADV_WILLNEED: swapped pages go into the swap cache, file pages into the page cache; nothing is mapped
// (madvise_willneed, swapin_walk_pmd_entry in mm/madvise.c). mmapLock held for read.

import { PMD_SIZE } from '../../abi/mman.ts';
import { pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { forcePageCacheRa } from '../file/readahead.ts';
import type { Kernel } from '../kernel.ts';
import { isRealSwap, pteIsSwap, swapOffset } from '../page/swapops.ts';
import type { AddressSpace, VmArea } from '../types.ts';

/** Anonymous: 0. */
export function* swapinRange(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  const m = k.memory;
  for (let at = start; at < end; at += 4096) {
    const word = pteWord(m, vma.mm.pgd, vpnHi(at), vpnLo(at));
    if (word < 0) {
      at = Math.floor(at / PMD_SIZE) * PMD_SIZE + PMD_SIZE - 4096;
      continue;
    }
    const lo = entryLo(m, word);
    const hi = entryHi(m, word);
    if (!pteIsSwap(lo, hi) || !isRealSwap(hi)) continue;
    const pfn = yield* k.fn.readSwapCache(k, swapOffset(lo, hi));
    if (pfn > 0) k.fn.putPage(k, pfn);
  }
  return 0;
}

/** File or shared memory: pages of the range that lie inside the file are read. mmapLock is dropped meanwhile. 0. */
export function* willneedFile(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  const file = vma.file!;
  if (file.inode.kind === 'hugetlbfs') return 0;
  const lock = vma.mm.mmapLock;
  const first = vma.pgoff + (start - vma.start) / 4096;
  const last = Math.min(first + (end - start) / 4096, Math.ceil(file.inode.size / 4096));
  file.refcount++;
  lock.readUnlock();
  const mapping = file.inode.mapping;
  if (file.inode.kind === 'regular' && first < last) yield* forcePageCacheRa(k, mapping, first, last - first);
  else yield* swapinMapping(k, mapping, first, last);
  file.refcount--;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  return 0;
}

/** shmem_swapin_range: a hole stays one. */
function* swapinMapping(k: Kernel, mapping: AddressSpace, first: number, last: number): KernelPath<void> {
  for (let index = first; index < last; index++) {
    if (!mapping.swapped.has(index)) continue;
    const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
    if (pfn > 0) k.fn.putPage(k, pfn);
  }
}
