// Pages on and off the LRU lists and between them (mm/swap.c). Linux collects such moves in per-CPU vectors first
// (lru_add_drain); here each takes effect at once, as if every vector were drained right away.
//
//   new page            -> inactive
//   second reference    -> active        markPageAccessed: PG_REFERENCED first, then PG_ACTIVE
//   MADV_COLD           -> inactive head, unreferenced (lru_deactivate_fn)
//   MADV_FREE           -> inactive file list, as lazyfree (PG_SWAPBACKED clear on an anonymous page)
//
// Kernel names: folio_add_lru, __page_cache_release, folio_mark_accessed, deactivate_page, mark_page_lazyfree.

import { OBJ_LIST } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import { LIST_LRU, PG_ACTIVE, PG_LRU, PG_REFERENCED, PG_UNEVICTABLE } from '../page/pages.ts';

export function lruAdd(k: Kernel, pfn: number): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_LRU, true);
  k.reclaim.add(pfn);
}

export function lruDel(k: Kernel, pfn: number): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_LRU, true);
  k.reclaim.remove(pfn);
}

export function markPageAccessed(k: Kernel, pfn: number): void {
  const flags = k.pages.flags;
  const f = flags[pfn]!;
  if ((f & PG_REFERENCED) === 0) {
    flags[pfn] = f | PG_REFERENCED;
    return;
  }
  if ((f & (PG_ACTIVE | PG_UNEVICTABLE)) !== 0) return;
  const onList = (f & PG_LRU) !== 0;
  if (onList) lruDel(k, pfn);
  flags[pfn] = (flags[pfn]! & ~PG_REFERENCED) | PG_ACTIVE;
  if (onList) lruAdd(k, pfn);
}

/** deactivate_page (MADV_COLD). */
export function lruDeactivate(k: Kernel, pfn: number): void {
  const flags = k.pages.flags;
  if ((flags[pfn]! & PG_LRU) === 0 || (flags[pfn]! & PG_UNEVICTABLE) !== 0) return;
  lruDel(k, pfn);
  flags[pfn] = flags[pfn]! & ~(PG_ACTIVE | PG_REFERENCED);
  lruAdd(k, pfn);
}
