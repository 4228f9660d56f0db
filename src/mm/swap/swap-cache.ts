// The swap cache (mm/swap_state.c): pages that have a slot in the swap area, slot -> frame. One reference for the cache and
// one count on the slot. A page stands here from the moment it gets its slot until nobody needs the slot, so that two
// processes that share the slot find the same page, and a page that was not written since need not be written again.
//
// Guarded by the page lock of each page (lookups by the reference they take). Kernel names: add_to_swap,
// delete_from_swap_cache, free_swap_cache, folio_free_swap, lookup_swap_cache, read_swap_cache_async.

import { FRAME_ANON, KEPT_SWAP } from '../../abi/events.ts';
import { OBJ_LIST, OBJ_PAGE } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_IO } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { isMapped } from '../migrate/folio.ts';
import { announceDirty, announceWriteOut } from '../page/announce.ts';
import { compoundHead, compoundNr } from '../page/compound.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import {
  GFP_KERNEL,
  GFP_NOWAIT,
  LIST_SWAP,
  PG_DIRTY,
  PG_READAHEAD,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UPTODATE,
} from '../page/pages.ts';
import { commitCharge } from '../reclaim/mem-cgroup.ts';
import { workingsetRefault } from '../reclaim/workingset.ts';

function note(k: Kernel): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_SWAP, true);
}

export function getSwapPage(k: Kernel): number {
  note(k);
  return k.swap.allocate();
}

/** One more user of a slot. 0, or -ENOENT when the slot is not in use. */
export function swapDuplicate(k: Kernel, entry: number): number {
  note(k);
  return k.swap.duplicate(entry);
}

export function swapFree(k: Kernel, entry: number): void {
  note(k);
  k.swap.release(entry);
}

/** free_swap_and_cache: an entry that held the slot is gone; a cached page that nobody needs any more goes with it. */
export function freeSwapAndCache(k: Kernel, entry: number): void {
  note(k);
  k.swap.release(entry);
  const pfn = compoundHead(k.pages, k.swap.cached(entry));
  if (pfn === 0 || k.swap.users(entry) > 0) return;
  if (isMapped(k.pages, pfn) || !tryLockPage(k, pfn)) return;
  // The cache's reference may be the last one: the page must outlive its unlocking.
  k.pages.refcount[pfn] = k.pages.refcount[pfn]! + 1;
  k.fn.folioFreeSwap(k, pfn);
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
}

/** free_swap_cache: a page that leaves its last mapping gives its slot back. */
export function freeSwapCache(k: Kernel, pfn: number): void {
  if ((k.pages.flags[pfn]! & PG_SWAPCACHE) === 0 || isMapped(k.pages, pfn) || !tryLockPage(k, pfn)) return;
  k.fn.folioFreeSwap(k, pfn);
  unlockPage(k, pfn);
}

export function folioFreeSwap(k: Kernel, pfn: number): boolean {
  const flags = k.pages.flags;
  if ((flags[pfn]! & PG_SWAPCACHE) === 0) return false;
  for (let i = 0; i < compoundNr(k.pages, pfn); i++) if (k.swap.users(k.pages.private[pfn + i]!) > 0) return false;
  k.fn.deleteFromSwapCache(k, pfn);
  flags[pfn] = flags[pfn]! | PG_DIRTY;
  announceDirty(k, pfn);
  return true;
}

/** Puts a locked page into the cache of the slots that it owns: one for each of its frames, in a row. */
function insert(k: Kernel, pfn: number, entry: number): void {
  const { flags, refcount } = k.pages;
  const nr = compoundNr(k.pages, pfn);
  refcount[pfn] = refcount[pfn]! + nr;
  flags[pfn] = flags[pfn]! | PG_SWAPCACHE;
  for (let i = 0; i < nr; i++) {
    k.pages.private[pfn + i] = entry + i;
    k.swap.setCached(entry + i, pfn + i);
  }
}

/** add_to_swap: page lock held. False when no slot is free; for a huge page, no row of them. */
export function addToSwap(k: Kernel, pfn: number): boolean {
  const nr = compoundNr(k.pages, pfn);
  if (nr > 1) note(k);
  const entry = nr === 1 ? k.fn.getSwapPage(k) : k.swap.allocateRun(nr);
  if (entry === 0) return false;
  insert(k, pfn, entry);
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_DIRTY;
  announceDirty(k, pfn);
  return true;
}

/** Page lock held. Drops the cache's reference and its count on the slot. */
export function deleteFromSwapCache(k: Kernel, pfn: number, shadow = 0): void {
  note(k);
  const { flags, private: slots } = k.pages;
  const nr = compoundNr(k.pages, pfn);
  for (let i = 0; i < nr; i++) {
    if (shadow !== 0) k.swap.setShadow(slots[pfn + i]!, shadow);
    k.swap.dropCached(slots[pfn + i]!);
    slots[pfn + i] = 0;
  }
  flags[pfn] = flags[pfn]! & ~PG_SWAPCACHE;
  k.pages.refcount[pfn] = k.pages.refcount[pfn]! - (nr - 1);
  k.fn.putPage(k, pfn);
}

/** read_swap_cache_async: the page of the slot, from the cache or read into a new frame (`isNew`, which read-ahead marks: see
 *  swap/readahead.ts). Frame (referenced), or 0 when nobody needs the slot any more or memory is short. */
export function* readSwapCache(k: Kernel, entry: number, isReadahead = false): KernelPath<number> {
  const { refcount, flags } = k.pages;
  for (;;) {
    const cached = k.swap.cached(entry);
    if (cached !== 0) {
      const head = compoundHead(k.pages, cached);
      if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_PAGE, head, true);
      refcount[head] = refcount[head]! + 1;
      if ((flags[head]! & PG_UPTODATE) !== 0) return cached;
      // Being read by somebody else: the page lock is dropped when the contents are there.
      if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
      unlockPage(k, head);
      return cached;
    }
    if (k.swap.users(entry) === 0) return 0;
    if (k.swap.hasCache(entry)) {
      // A fault reads it past the cache.
      yield P_IO;
      continue;
    }
    let pfn = k.fn.allocPage(k, isReadahead ? GFP_NOWAIT : GFP_KERNEL, FRAME_ANON);
    if (pfn === 0 && !isReadahead) pfn = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON);
    if (pfn === 0) return 0;
    if (k.swap.cached(entry) !== 0 || k.swap.users(entry) === 0) {
      k.fn.putPage(k, pfn);
      continue;
    }
    tryLockPage(k, pfn);
    flags[pfn] = flags[pfn]! | PG_SWAPBACKED;
    k.swap.addCacheCount(entry);
    insert(k, pfn, entry);
    if (isReadahead) flags[pfn] = flags[pfn]! | PG_READAHEAD;
    const { activeGroup, groups } = k.reclaim;
    if (activeGroup !== 0) commitCharge(k, groups[activeGroup]!, pfn);
    workingsetRefault(k, pfn, k.swap.shadow(entry));
    k.fn.lruAdd(k, pfn);
    if (k.sched.points) yield P_IO;
    swapReadpage(k, pfn, entry);
    unlockPage(k, pfn);
    return pfn;
  }
}

/** swap_readpage. */
export function swapReadpage(k: Kernel, pfn: number, entry: number): void {
  k.memory.touch(pfn, true);
  k.swap.read(entry, k.memory.bytes, pfn * 4096);
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_UPTODATE;
  k.stats.swapIns++;
}

/** swap_writepage: page lock held. Afterwards the page is clean. */
export function* swapWritepage(k: Kernel, pfn: number): KernelPath<void> {
  const { flags } = k.pages;
  flags[pfn] = flags[pfn]! & ~PG_DIRTY;
  if (k.sched.points) yield P_IO;
  const nr = compoundNr(k.pages, pfn);
  for (let page = pfn; page < pfn + nr; page++) {
    k.memory.touch(page, false);
    k.swap.write(k.pages.private[page]!, k.memory.bytes, page * 4096);
    announceWriteOut(k, page, KEPT_SWAP);
    k.stats.swapOuts++;
  }
}
