// Pages on and off the LRU lists and between them (mm/swap.c). Linux collects such moves in per-CPU vectors first
// (lru_add_drain); here each takes effect at once, as if every vector were drained right away.
//
//   new page            -> inactive
//   second reference    -> active        markPageAccessed: PG_REFERENCED first, then PG_ACTIVE
//   MADV_COLD           -> inactive head, unreferenced (lru_deactivate_fn); an inactive page stays where it is
//   MADV_FREE           -> inactive file list, as lazyfree (PG_SWAPBACKED clear on an anonymous page)
//
// Kernel names: folio_add_lru, __page_cache_release, folio_mark_accessed, deactivate_page, mark_page_lazyfree,
// isolate_lru_page, putback_lru_page.

import { OBJ_LIST, OBJ_PAGE } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import {
  LIST_LRU,
  LIST_LRU_LEAVE,
  LRU_REFS_MASK,
  LRU_REFS_SHIFT,
  PG_ACTIVE,
  PG_ANON,
  PG_IDLE,
  PG_LRU,
  PG_MLOCKED,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_WORKINGSET,
} from '../page/pages.ts';
import type { LruGenState } from './lru-gen.ts';
import { ageNonresident } from './workingset.ts';

/** Tells the explorer's recorder of a page that comes to its list or leaves it. */
function noteLru(k: Kernel, pfn: number, list: number, isWrite: boolean): void {
  const { footprint } = k.memory;
  if (footprint === null) return;
  footprint.note(OBJ_LIST, list, isWrite);
  footprint.note(OBJ_PAGE, pfn, true);
}

/** lru_gen_in_fault, and not inside reclaim. */
function isFaultOfUser(k: Kernel, lruGen: LruGenState): boolean {
  const thread = k.sched.current;
  return lruGen.inFault.has(thread) && !k.reclaim.isReclaiming(thread);
}

/** folio_add_lru: a page that comes from elsewhere. */
export function lruAdd(k: Kernel, pfn: number): void {
  if (k.memory.footprint !== null) noteLru(k, pfn, LIST_LRU, true);
  const { lruGen } = k.reclaim;
  // What a fault brings in is hot; the generation says so from now on.
  if (lruGen !== null && lruGen.inFault.size > 0 && isFaultOfUser(k, lruGen))
    k.pages.flags[pfn] = k.pages.flags[pfn]! | ((k.pages.flags[pfn]! & PG_UNEVICTABLE) === 0 ? PG_ACTIVE : 0);
  k.reclaim.join(pfn);
}

/** lruvec_add_folio of a page that has just left a list: its flags name another one now. */
function lruMove(k: Kernel, pfn: number): void {
  noteLru(k, pfn, LIST_LRU, true);
  k.reclaim.add(pfn);
}

export function lruDel(k: Kernel, pfn: number): void {
  if (k.memory.footprint !== null) noteLru(k, pfn, LIST_LRU_LEAVE, false);
  k.reclaim.remove(pfn);
}

/** lruvec_del_folio of one page of a batch, whose removal the statistics count as a whole. */
export function lruIsolate(k: Kernel, pfn: number): void {
  noteLru(k, pfn, LIST_LRU_LEAVE, false);
  k.reclaim.isolate(pfn);
}

/** Reclaim looks at the lists or their lengths: the order with all that come and go matters. */
export function noteLruScan(k: Kernel): void {
  const { footprint } = k.memory;
  if (footprint === null) return;
  footprint.note(OBJ_LIST, LIST_LRU, true);
  footprint.note(OBJ_LIST, LIST_LRU_LEAVE, true);
}

/** folio_inc_refs. */
function incRefs(k: Kernel, pfn: number): void {
  const { flags } = k.pages;
  const f = flags[pfn]! & ~PG_IDLE;
  flags[pfn] = f;
  if ((f & PG_UNEVICTABLE) !== 0) return;
  if ((f & PG_REFERENCED) === 0) flags[pfn] = f | PG_REFERENCED;
  else if ((f & PG_WORKINGSET) === 0) flags[pfn] = f | PG_WORKINGSET;
  else if ((f & LRU_REFS_MASK) !== LRU_REFS_MASK) flags[pfn] = f + (1 << LRU_REFS_SHIFT);
}

export function markPageAccessed(k: Kernel, pfn: number): void {
  const flags = k.pages.flags;
  if (k.reclaim.lruGen !== null) {
    incRefs(k, pfn);
    return;
  }
  const f = flags[pfn]! & ~PG_IDLE;
  if ((f & PG_REFERENCED) === 0) {
    flags[pfn] = f | PG_REFERENCED;
    return;
  }
  flags[pfn] = f;
  if ((f & (PG_ACTIVE | PG_UNEVICTABLE)) !== 0) return;
  const onList = (f & PG_LRU) !== 0;
  if (onList) lruDel(k, pfn);
  flags[pfn] = (flags[pfn]! & ~PG_REFERENCED) | PG_ACTIVE;
  ageNonresident(k, k.reclaim.lruvecOf(pfn));
  if (onList) lruMove(k, pfn);
}

/** deactivate_page (MADV_COLD): an active page goes to the inactive list. */
export function lruDeactivate(k: Kernel, pfn: number): void {
  const flags = k.pages.flags;
  const active = k.reclaim.lruGen === null ? PG_ACTIVE : 0;
  if ((flags[pfn]! & (PG_LRU | active | PG_UNEVICTABLE)) !== (PG_LRU | active)) return;
  lruDel(k, pfn);
  flags[pfn] = flags[pfn]! & ~(PG_ACTIVE | PG_REFERENCED);
  lruMove(k, pfn);
}

/** mark_page_lazyfree (MADV_FREE): an anonymous page whose contents may be dropped joins the inactive file pages. */
export function markPageLazyfree(k: Kernel, pfn: number): void {
  const flags = k.pages.flags;
  const wanted = PG_LRU | PG_ANON | PG_SWAPBACKED;
  if ((flags[pfn]! & (wanted | PG_SWAPCACHE | PG_UNEVICTABLE)) !== wanted) return;
  lruDel(k, pfn);
  flags[pfn] = flags[pfn]! & ~(PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED);
  lruMove(k, pfn);
}

/** folio_rotate_reclaimable: reclaim waited for this page to be written; it is the next one to be looked at. */
export function rotateReclaimable(k: Kernel, pfn: number): void {
  const flags = k.pages.flags;
  flags[pfn] = flags[pfn]! & ~PG_RECLAIM;
  if ((flags[pfn]! & PG_LRU) === 0 || (flags[pfn]! & PG_UNEVICTABLE) !== 0) return;
  lruDel(k, pfn);
  flags[pfn] = flags[pfn]! & ~PG_ACTIVE;
  noteLru(k, pfn, LIST_LRU, true);
  k.reclaim.add(pfn, true);
}

/** isolate_lru_page: takes a page off its list, with a reference of its own. False when it is on none, or unevictable. */
export function isolateLruPage(k: Kernel, pfn: number): boolean {
  const { flags, refcount } = k.pages;
  if ((flags[pfn]! & PG_LRU) === 0 || (flags[pfn]! & PG_UNEVICTABLE) !== 0) return false;
  lruDel(k, pfn);
  refcount[pfn] = refcount[pfn]! + 1;
  return true;
}

/** putback_lru_page: back on the list that its flags name, without the isolation's reference (which may be the last). */
export function putbackLruPage(k: Kernel, pfn: number): void {
  const { flags } = k.pages;
  if ((flags[pfn]! & PG_MLOCKED) !== 0) flags[pfn] = (flags[pfn]! & ~PG_ACTIVE) | PG_UNEVICTABLE;
  lruAdd(k, pfn);
  k.fn.putPage(k, pfn);
}

/** move_folios_to_lru: back on the list that its flags name after a look of reclaim, without the isolation's reference. */
export function moveFolioToLru(k: Kernel, pfn: number): void {
  if ((k.pages.flags[pfn]! & PG_MLOCKED) !== 0) {
    putbackLruPage(k, pfn);
    return;
  }
  if ((k.pages.flags[pfn]! & PG_ACTIVE) !== 0) ageNonresident(k, k.reclaim.lruvecOf(pfn));
  lruMove(k, pfn);
  k.fn.putPage(k, pfn);
}
