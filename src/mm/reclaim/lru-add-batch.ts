// Pages on their way back to the LRU lists, collected as each CPU does (lru_add of mm/swap.c, PAGEVEC_SIZE): each is referenced until
// the batch is full or somebody drains it (lru_add_drain, before anything is unmapped). Those that nobody else refers to by then are freed
// with it. Only pages that a collapse puts back come here; elsewhere a page joins its list at once (lru.ts).

import { OBJ_LIST } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import { putPages } from '../page/allocator.ts';
import { LIST_LRU } from '../page/pages.ts';
import { putbackLruPage } from './lru.ts';

/** folio_add_lru: the caller's reference becomes the batch's. */
export function lruAddBatch(k: Kernel, pfn: number): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_LRU, true);
  if (k.reclaim.addBatch.push(pfn) === k.profile.folioBatch) lruAddDrain(k);
}

/** lru_add_drain. */
export function lruAddDrain(k: Kernel): void {
  const { refcount } = k.pages;
  const pages = k.reclaim.addBatch.splice(0);
  const gone = pages.filter((pfn) => refcount[pfn] === 1);
  for (const pfn of pages) if (refcount[pfn]! > 1) putbackLruPage(k, pfn);
  putPages(k, gone);
}
