// One batch of isolated pages: which of them can go (mm/vmscan.c shrink_folio_list). The steps for a page, in Linux's order:
//
//   page lock        contended: keep
//   references       used since the last visit: keep, or activate when it was used before too; VM_LOCKED: unevictable
//   swap slot        anonymous and swap-backed: add to the swap cache; pinned: keep; no slot: activate
//   unmap            every entry, through rmap (sections and secondary TLBs are its business); one left: activate
//   pinned           activate: nobody can pin it any more, and whoever did needs it
//   dirty            anonymous, shmem: flush the postponed CPU flushes, write to swap. File: left to the flusher, unless kswapd
//                    has come by before
//   remove           from its cache, only when the cache and this batch alone refer to it
//
// Pages that can go are freed together (freePages), after one flush of the CPU TLBs (try_to_unmap_flush). The rest goes back to the
// lists. Each page comes with a reference of its isolation.
//
// Locks: page lock (tried); rmap locks and ptl below it. Kernel names: folio_check_references, pageout, __remove_mapping,
// try_to_unmap_flush_dirty, reclaim_folio_list.

import { KEPT_FILE, KEPT_LAZYFREE, KEPT_SWAP } from '../../abi/events.ts';
import { VM_EXEC, VM_LOCKED } from '../../abi/mman.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FREE, P_RECLAIM } from '../../sched/points.ts';
import { canSplitFolio } from '../huge/split-page.ts';
import type { Kernel } from '../kernel.ts';
import { isMapped } from '../migrate/folio.ts';
import { freePages } from '../page/allocator.ts';
import { announceDiscard } from '../page/announce.ts';
import { compoundNr } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import {
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_MLOCKED,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_WORKINGSET,
  PG_WRITEBACK,
} from '../page/pages.ts';
import { TTU_BATCH_FLUSH } from '../rmap/flush-batch.ts';
import { pageMaybeDmaPinned } from '../rmap/rmap.ts';
import { TTU_SPLIT_HUGE_PMD } from '../rmap/unmap.ts';
import { moveFolioToLru } from './lru.ts';
import type { LruGenState } from './lru-gen.ts';
import { type MemCgroup, memCgroupUnchargeList } from './mem-cgroup.ts';
import { workingsetEviction } from './workingset.ts';

// Verdicts on a page.
const KEEP = 0;
const ACTIVATE = 1;
const FREE = 2;

// enum folio_references.
const REF_RECLAIM = 0;
const REF_RECLAIM_CLEAN = 1;
const REF_KEEP = 2;
const REF_ACTIVATE = 3;

/** File page for the lists (folio_is_file_lru): lazyfree pages count as such. */
function isFileLru(flags: number): boolean {
  return (flags & PG_SWAPBACKED) === 0;
}

export function* shrinkFolioList(
  k: Kernel,
  pages: number[],
  isKswapd: boolean,
  ignoreReferences: boolean,
  target: MemCgroup | null = null,
  isEviction = false,
): KernelPath<number> {
  const { flags } = k.pages;
  const freed: number[] = [];
  const kept: number[] = [];
  let reclaimed = 0;
  for (let i = 0; i < pages.length; i++) {
    const pfn = pages[i]!;
    if (k.sched.points) yield P_RECLAIM;
    if (!tryLockPage(k, pfn)) {
      kept.push(pfn);
      continue;
    }
    const tails: number[] = [];
    const verdict = yield* tryToReclaim(k, pfn, isKswapd, ignoreReferences, target, tails);
    // The parts of a huge page that was split are next.
    if (tails.length > 0) pages.splice(i + 1, 0, ...tails.reverse());
    if (verdict === ACTIVATE) {
      const f = flags[pfn]!;
      // The page stays: give its slot back when swap runs short (mem_cgroup_swap_full).
      if ((f & PG_SWAPCACHE) !== 0 && ((f & PG_MLOCKED) !== 0 || k.swap.isNearlyFull)) k.fn.folioFreeSwap(k, pfn);
      if ((f & PG_MLOCKED) === 0) {
        flags[pfn] = flags[pfn]! | PG_ACTIVE;
        countChanges(k, 1);
      }
    }
    unlockPage(k, pfn);
    if (verdict === FREE) reclaimed += compoundNr(k.pages, pfn);
    // A large page at once, before the flush: documented gap 18.
    if (verdict === FREE && k.pages.order[pfn] !== 0 && !k.profile.freesInOrder) k.fn.freePage(k, pfn);
    else (verdict === FREE ? freed : kept).push(pfn);
  }
  if (k.reclaim.hasGroups) memCgroupUnchargeList(k, freed);
  yield* k.fn.tryToUnmapFlush(k);
  if (k.sched.points && freed.length > 0) yield P_FREE;
  freePages(k, freed);
  for (let i = 0; i < kept.length; i++) {
    if (isEviction && k.reclaim.lruGen !== null) keepOutOfOldest(k, k.reclaim.lruGen, kept[i]!);
    moveFolioToLru(k, kept[i]!);
  }
  k.stats.reclaimed += reclaimed;
  return reclaimed;
}

/** evict_folios, of a page that it did not get: not into the oldest generation again, unless it waits to be written. */
function keepOutOfOldest(k: Kernel, lruGen: LruGenState, pfn: number): void {
  const { flags } = k.pages;
  const f = flags[pfn]!;
  if ((f & (PG_UNEVICTABLE | PG_MLOCKED)) !== 0) return;
  if ((f & PG_RECLAIM) !== 0 && (f & (PG_DIRTY | PG_WRITEBACK)) !== 0) {
    if ((f & PG_WORKINGSET) !== 0) flags[pfn] = f | PG_REFERENCED;
    return;
  }
  lruGen.clearRefs(k.pages, pfn);
  flags[pfn] = flags[pfn]! | PG_ACTIVE;
}

/** KEEP, ACTIVATE or FREE; page lock held. After FREE the page has no reference, and nobody gets one any more. */
function* tryToReclaim(
  k: Kernel,
  pfn: number,
  isKswapd: boolean,
  ignoreReferences: boolean,
  target: MemCgroup | null,
  tails: number[],
): KernelPath<number> {
  const { flags, refcount, order } = k.pages;
  if ((flags[pfn]! & (PG_UNEVICTABLE | PG_MLOCKED)) !== 0) return ACTIVATE;
  if ((flags[pfn]! & PG_WRITEBACK) !== 0) return KEEP;
  // Somebody who looked around found it used meanwhile.
  if (k.reclaim.lruGen !== null && !ignoreReferences && isMapped(k.pages, pfn) && (flags[pfn]! & PG_REFERENCED) !== 0)
    return KEEP;
  const references = ignoreReferences ? REF_RECLAIM : yield* checkReferences(k, pfn, target);
  if (references === REF_ACTIVATE) return ACTIVATE;
  if (references === REF_KEEP) return KEEP;

  const swapsOut = PG_ANON | PG_SWAPBACKED;
  if ((flags[pfn]! & swapsOut) === swapsOut && (flags[pfn]! & PG_SWAPCACHE) === 0) {
    if (pageMaybeDmaPinned(k.pages, pfn)) return KEEP;
    if (!(yield* swapSlots(k, pfn, tails))) return ACTIVATE;
  } else if (
    (flags[pfn]! & PG_SWAPBACKED) !== 0 &&
    order[pfn] !== 0 &&
    (yield* k.fn.splitHugePage(k, pfn, tails)) !== 0
  )
    return KEEP;
  if (isMapped(k.pages, pfn)) {
    yield* k.fn.tryToUnmap(k, pfn, order[pfn] === 0 ? TTU_BATCH_FLUSH : TTU_BATCH_FLUSH | TTU_SPLIT_HUGE_PMD);
    if (isMapped(k.pages, pfn)) return ACTIVATE;
    countChanges(k, 1);
  }
  if (pageMaybeDmaPinned(k.pages, pfn)) return ACTIVATE;
  if ((flags[pfn]! & PG_DIRTY) !== 0) {
    const verdict = yield* pageout(k, pfn, isKswapd, references);
    if (verdict !== FREE) return verdict;
  }
  if ((flags[pfn]! & swapsOut) === PG_ANON) {
    // lazyfree: in no cache
    if (refcount[pfn] !== 1) return KEEP;
    announceDiscard(k, pfn, KEPT_LAZYFREE);
    freeze(k, pfn);
    return FREE;
  }
  return removeMapping(k, pfn, target) ? FREE : KEEP;
}

/** Gives the page a place in the swap area. A huge page gets a row of slots, or is split: at once when no huge entry maps it, as some of
 *  its parts may be free for the taking then. False: there is no room, or somebody refers to it. */
function* swapSlots(k: Kernel, pfn: number, tails: number[]): KernelPath<boolean> {
  const { order, compoundMapcount } = k.pages;
  if (order[pfn] === 0) {
    if (!k.fn.addToSwap(k, pfn)) return false;
    // MEMCG_SWAP and NR_SWAPCACHE.
    countChanges(k, 2);
    return true;
  }
  if (!canSplitFolio(k, pfn)) return false;
  if (compoundMapcount[pfn] === 0 && (yield* k.fn.splitHugePage(k, pfn, tails)) !== 0) return false;
  if (k.fn.addToSwap(k, pfn)) return true;
  if (order[pfn] === 0 || (yield* k.fn.splitHugePage(k, pfn, tails)) !== 0) return false;
  return k.fn.addToSwap(k, pfn);
}

/** memcg_rstat_updated, once for each of `counters`. */
function countChanges(k: Kernel, counters: number): void {
  if (k.reclaim.hasGroups) for (let i = 0; i < counters; i++) k.reclaim.stats.updated(1);
}

/** folio_check_references. */
function* checkReferences(k: Kernel, pfn: number, target: MemCgroup | null): KernelPath<number> {
  const { flags } = k.pages;
  const referencedEntries = yield* k.fn.folioReferenced(k, pfn, true, target);
  const vmFlags = k.referencedVmFlags;
  const wasReferenced = (flags[pfn]! & PG_REFERENCED) !== 0;
  flags[pfn] = flags[pfn]! & ~PG_REFERENCED;
  if ((vmFlags & VM_LOCKED) !== 0) return REF_ACTIVATE;
  if (referencedEntries < 0) return REF_KEEP;
  if (referencedEntries > 0) {
    flags[pfn] = flags[pfn]! | PG_REFERENCED;
    if (wasReferenced || referencedEntries > 1) return REF_ACTIVATE;
    return (vmFlags & VM_EXEC) !== 0 && isFileLru(flags[pfn]!) ? REF_ACTIVATE : REF_KEEP;
  }
  return wasReferenced && isFileLru(flags[pfn]!) ? REF_RECLAIM_CLEAN : REF_RECLAIM;
}

/** What a dirty page needs before it can go: FREE when it is clean now. */
function* pageout(k: Kernel, pfn: number, isKswapd: boolean, references: number): KernelPath<number> {
  const { flags, refcount, mapping } = k.pages;
  const f = flags[pfn]!;
  if (isFileLru(f)) {
    if (!isKswapd || (f & PG_RECLAIM) === 0 || !k.reclaim.manyDirty) {
      flags[pfn] = f | PG_RECLAIM;
      return ACTIVATE;
    }
  }
  if (references === REF_RECLAIM_CLEAN) return KEEP;
  yield* k.fn.tryToUnmapFlushDirty(k);
  // is_page_cache_freeable: the cache and the isolation.
  if (refcount[pfn] !== 1 + compoundNr(k.pages, pfn)) return KEEP;
  if ((f & PG_SWAPCACHE) !== 0) yield* k.fn.swapWritepage(k, pfn);
  else if (mapping[pfn] === null) return KEEP;
  else yield* k.fn.writepage(k, pfn);
  k.reclaim.pageouts++;
  // NR_WRITEBACK, up and down.
  countChanges(k, 2);
  return (flags[pfn]! & (PG_DIRTY | PG_WRITEBACK)) === 0 ? FREE : ACTIVATE;
}

/** __remove_mapping: takes the page out of its cache when nobody else refers to it. */
function removeMapping(k: Kernel, pfn: number, target: MemCgroup | null): boolean {
  const { flags, refcount, mapping } = k.pages;
  const nr = compoundNr(k.pages, pfn);
  if (refcount[pfn] !== 1 + nr || (flags[pfn]! & PG_DIRTY) !== 0) return false;
  if ((flags[pfn]! & PG_SWAPCACHE) !== 0) {
    // Without an entry that refers to the slot nobody will ever read it.
    for (let page = pfn; page < pfn + nr; page++) {
      if (k.swap.users(k.pages.private[page]!) > 0) announceDiscard(k, page, KEPT_SWAP);
    }
    k.fn.deleteFromSwapCache(k, pfn, workingsetEviction(k, pfn, target));
    countChanges(k, 1);
  } else if (mapping[pfn] !== null && (flags[pfn]! & PG_ANON) === 0) {
    announceDiscard(k, pfn, KEPT_FILE);
    k.fn.deleteFromPageCache(k, pfn, isFileLru(flags[pfn]!) ? workingsetEviction(k, pfn, target) : 0);
    countChanges(k, 1);
  } else return false;
  freeze(k, pfn);
  return true;
}

/** folio_ref_freeze for good: who finds the page without a reference of its own (KSM, from its tree) must not take one now. */
function freeze(k: Kernel, pfn: number): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_PAGE, pfn, true);
  k.pages.refcount[pfn] = 0;
}
