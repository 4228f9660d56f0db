// Huge pages of shared memory (mm/shmem.c shmem_alloc_hugefolio, shmem_add_to_page_cache): 2 MiB of a file at once, where the mount
// allows it (huge/shmem-policy.ts), nothing of the block is there yet, in memory or in swap, and a block of frames is free. Otherwise
// the page is a small one. Such a page may reach beyond the end of the file; a split cuts that part off.
//
// In the cache the page counts 512 references, one for each index. Kernel names: shmem_get_folio_gfp, shmem_is_huge.

import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY } from '../../sched/points.ts';
import { shmemIsHuge } from '../huge/shmem-policy.ts';
import type { Kernel } from '../kernel.ts';
import { allocHugeFilePage } from '../numa/alloc.ts';
import { compoundNr, HPAGE_PMD_NR } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_SWAPBACKED, PG_UPTODATE } from '../page/pages.ts';
import { commitCharge } from '../reclaim/mem-cgroup.ts';
import { notePage } from '../rmap/rmap.ts';
import type { AddressSpace, VmArea } from '../types.ts';
import { isCachedAt, isShmem, noteFile } from './mapping.ts';

/** Is the page at `index`, which is missing, to be made as part of a huge one? `vma` null: not for a fault. */
export function mayBeHuge(k: Kernel, mapping: AddressSpace, index: number, vma: VmArea | null): boolean {
  if (!isShmem(mapping)) return false;
  return shmemIsHuge(k, mapping.inode, index, vma === null ? 0 : vma.flags, false, vma === null ? null : vma.mm);
}

/** Is there nothing of the file in the block of `first`? */
function isBlockEmpty(mapping: AddressSpace, first: number): boolean {
  const { pages, swapped } = mapping;
  if (pages.size === 0 && swapped.size === 0) return true;
  for (let i = first; i < first + HPAGE_PMD_NR; i++) if (pages.has(i) || swapped.has(i)) return false;
  return true;
}

/** Frame of page `index` in a new huge page of zeros (referenced), or 0: a small page it is. invalidateLock held. */
export function* makeHugePage(k: Kernel, mapping: AddressSpace, index: number, vma: VmArea | null): KernelPath<number> {
  const first = index - (index % HPAGE_PMD_NR);
  noteFile(k, mapping, false);
  if (!isBlockEmpty(mapping, first)) return 0;
  const head = allocHugeFilePage(k, mapping, first);
  if (head === 0) return 0;
  k.pages.flags[head] = k.pages.flags[head]! | PG_SWAPBACKED;
  tryLockPage(k, head);
  addHugeToPageCache(k, mapping, first, head);
  // Linux charges who faults, or who writes; here pages of files go by the group that is active.
  const { activeGroup, groups } = k.reclaim;
  const group = activeGroup !== 0 ? activeGroup : (vma?.mm.memcg ?? 0);
  if (group !== 0) commitCharge(k, groups[group]!, head);
  k.fn.lruAdd(k, head);
  if (k.sched.points) yield P_FAULT_PAGE_READY;
  for (let i = 0; i < HPAGE_PMD_NR; i++) k.memory.zero(head + i);
  k.pages.flags[head] = k.pages.flags[head]! | PG_UPTODATE;
  const page = head + (index - first);
  const isCut = !isCachedAt(k, mapping, index, page);
  unlockPage(k, head);
  if (!isCut) return page;
  k.fn.putPage(k, head);
  return 0;
}

/** The page, locked and with a reference of the caller's, is in the cache from now on. */
export function addHugeToPageCache(k: Kernel, mapping: AddressSpace, first: number, head: number): void {
  const { pages } = k;
  noteFile(k, mapping, true);
  notePage(k, head);
  pages.refcount[head] = pages.refcount[head]! + HPAGE_PMD_NR;
  pages.mapping[head] = mapping;
  pages.index[head] = first;
  for (let i = 0; i < HPAGE_PMD_NR; i++) mapping.pages.set(first + i, head + i);
  hugePageAdded(k, mapping);
}

/** The indices of a huge page, and all references but one that the cache had for them. */
export function removeHugeIndices(k: Kernel, mapping: AddressSpace, head: number): void {
  const { pages } = k;
  const nr = compoundNr(pages, head);
  const first = pages.index[head]!;
  for (let i = 0; i < nr; i++) mapping.pages.delete(first + i);
  notePage(k, head);
  pages.refcount[head] = pages.refcount[head]! - (nr - 1);
  hugePageGone(k, mapping);
}

/** NR_SHMEM_THPS. */
export function hugePageAdded(k: Kernel, mapping: AddressSpace): void {
  mapping.hugePages++;
  k.huge.shmemThps++;
}

/** A huge page of the file was removed or split. */
export function hugePageGone(k: Kernel, mapping: AddressSpace): void {
  mapping.hugePages--;
  k.huge.shmemThps--;
}
