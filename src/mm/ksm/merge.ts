// What the scan does with one page (mm/ksm.c cmp_and_merge_page): same bytes as a KSM page, merge into it; unchanged since the
// last scan, look for a partner in the unstable tree. Of two partners the page now being scanned becomes the KSM page and the
// other one is replaced by it.
//
// A merge fails, and nothing is lost, when the page is locked, has references that are no mappings, is pinned, or was written
// meanwhile. ksm_thread_mutex held; each merge takes the mmapLock of its own mm for read.

import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { announceDirty } from '../page/announce.ts';
import { compoundHead, isCompound } from '../page/compound.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_DIRTY } from '../page/pages.ts';
import type { VmArea } from '../types.ts';
import { breakKsm } from './break.ts';
import { calcChecksum, pagesIdentical } from './content.ts';
import {
  pageStableNode,
  removeRmapItemFromTree,
  setPageStableNode,
  stableTreeAppend,
  stableTreeInsert,
  stableTreeSearch,
} from './stable-tree.ts';
import { noteKsm, type RmapItem } from './state.ts';
import { findMergeableVma, type UnstableMatch, unstableTreeSearchInsert } from './unstable-tree.ts';

/** try_to_merge_one_page: `kpfn` takes the place of `pfn` in the VMA; with 0 `pfn` itself becomes a KSM page. True when done. */
export function* tryToMergeOnePage(k: Kernel, vma: VmArea, pfn: number, kpfn: number): KernelPath<boolean> {
  if (pfn === kpfn) return true; // a page that fork shares
  const { flags } = k.pages;
  const head = compoundHead(k.pages, pfn);
  if ((flags[head]! & PG_ANON) === 0) return false;
  // Others that hold the lock may hold it for long (I/O): this page can wait.
  if (!tryLockPage(k, head)) return false;
  // With the split the lock goes to the small page.
  if (isCompound(k.pages, pfn) && (yield* k.fn.splitHugePage(k, pfn, null)) !== 0) {
    unlockPage(k, head);
    return false;
  }
  let isMerged = false;
  if (yield* k.fn.writeProtectPage(k, vma, pfn)) {
    if (kpfn === 0) {
      setPageStableNode(k, pfn, null);
      k.fn.markPageAccessed(k, pfn);
      // A clean page without dirty entries would simply be dropped by reclaim.
      if ((flags[pfn]! & PG_DIRTY) === 0) {
        flags[pfn] = flags[pfn]! | PG_DIRTY;
        announceDirty(k, pfn);
      }
      isMerged = true;
    } else if (pagesIdentical(k, pfn, kpfn)) {
      isMerged = yield* k.fn.replacePage(k, vma, pfn, kpfn);
    }
  }
  unlockPage(k, pfn);
  return isMerged;
}

/** try_to_merge_with_ksm_page. */
function* tryToMergeWithKsmPage(k: Kernel, item: RmapItem, pfn: number, kpfn: number): KernelPath<boolean> {
  const lock = item.mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const vma = findMergeableVma(item.mm, item.address);
  let isMerged = false;
  if (vma !== null && (yield* tryToMergeOnePage(k, vma, pfn, kpfn))) {
    isMerged = true;
    yield* removeRmapItemFromTree(k, item);
    // Taken while mmapLock keeps the VMA: rmap looks here for the item's mapping, and for those of forked children.
    item.anonVma = vma.anonVma;
  }
  lock.readUnlock();
  return isMerged;
}

/** break_cow: undoes a merge that could not be completed. */
function* breakCow(k: Kernel, item: RmapItem): KernelPath<void> {
  item.anonVma = null;
  const lock = item.mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const vma = findMergeableVma(item.mm, item.address);
  if (vma !== null) yield* breakKsm(k, vma, item.address);
  lock.readUnlock();
}

/** try_to_merge_two_pages, and the stable node for the page that both places map then. */
function* mergeTwo(k: Kernel, item: RmapItem, pfn: number, other: UnstableMatch): KernelPath<void> {
  if (!(yield* tryToMergeWithKsmPage(k, item, pfn, 0))) {
    const { pages } = k;
    const isOneBlock = isCompound(pages, pfn) && compoundHead(pages, pfn) === compoundHead(pages, other.pfn);
    k.fn.putPage(k, other.pfn);
    if (isOneBlock) yield* splitBlock(k, pfn);
    return;
  }
  const isMerged = yield* tryToMergeWithKsmPage(k, other.item, other.pfn, pfn);
  k.fn.putPage(k, other.pfn);
  if (!isMerged) {
    // A KSM page with one mapping serves nobody.
    yield* breakCow(k, item);
    return;
  }
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  const node = stableTreeInsert(k, pfn);
  stableTreeAppend(k.ksm, other.item, node);
  stableTreeAppend(k.ksm, item, node);
  unlockPage(k, pfn);
}

/** Both pages belong to one huge page, and the reference on the other one kept it from being split. */
function* splitBlock(k: Kernel, pfn: number): KernelPath<void> {
  const head = compoundHead(k.pages, pfn);
  if (!tryLockPage(k, head)) return;
  const isSplit = (yield* k.fn.splitHugePage(k, pfn, null)) === 0;
  unlockPage(k, isSplit ? pfn : head);
}

/** Merges into a KSM page that has room (its reference is given up here). */
function* mergeIntoStable(k: Kernel, item: RmapItem, pfn: number, kpfn: number): KernelPath<void> {
  if (yield* tryToMergeWithKsmPage(k, item, pfn, kpfn)) {
    if (k.sched.points || !lockPageFast(k, kpfn)) yield* lockPage(k, kpfn);
    const node = pageStableNode(k, kpfn);
    if (node !== null) stableTreeAppend(k.ksm, item, node);
    unlockPage(k, kpfn);
  }
  k.fn.putPage(k, kpfn);
}

/** Merges a page of zeros with the zero page (use_zero_pages). True when there is nothing left to do. */
function* mergeWithZeroPage(k: Kernel, item: RmapItem, pfn: number): KernelPath<boolean> {
  const lock = item.mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const vma = findMergeableVma(item.mm, item.address);
  const isDone = vma === null || (yield* tryToMergeOnePage(k, vma, pfn, k.zeroPfn));
  lock.readUnlock();
  return isDone;
}

/** cmp_and_merge_page: `pfn` is what the item's address mapped when the scan looked; the caller holds a reference. */
export function* cmpAndMergePage(k: Kernel, item: RmapItem, pfn: number): KernelPath<void> {
  noteKsm(k);
  const { ksm } = k;
  const node = pageStableNode(k, pfn);
  if (node !== null && item.head === node) return;
  const kpfn = stableTreeSearch(k, pfn);
  if (kpfn > 0 && kpfn === pfn && item.head === node) {
    k.fn.putPage(k, kpfn);
    return;
  }
  yield* removeRmapItemFromTree(k, item);
  if (kpfn < 0) return;
  if (kpfn > 0) {
    yield* mergeIntoStable(k, item, pfn, kpfn);
    return;
  }
  // A page that changes all the time is not worth a search.
  const checksum = calcChecksum(k.memory, pfn);
  if (item.oldChecksum !== checksum) {
    item.oldChecksum = checksum;
    return;
  }
  if (ksm.useZeroPages && checksum === ksm.zeroChecksum && (yield* mergeWithZeroPage(k, item, pfn))) return;
  const other = yield* unstableTreeSearchInsert(k, item, pfn);
  if (other !== null) yield* mergeTwo(k, item, pfn, other);
}
