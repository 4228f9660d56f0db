// Compound pages (include/linux/mm.h, mm/page_alloc.c): 2^order frames that are allocated, referenced and freed as one. Reference
// count, list links, mapping, index and most flags live in the head; a tail knows only its head.
//
//   mapcount[pfn]            entries of page tables that map this one frame, head or tail
//   compoundMapcount[head]   larger entries (PMD) that map the whole block
//   PG_ANON_EXCLUSIVE        on the frame that a page-table entry maps, on the head for a larger entry
//
// Kernel names: prep_compound_page, compound_head, free_compound_page, page_mapcount, total_mapcount.

import { assert } from '../../base/assert.ts';
import { type Pages, PG_COMPOUND } from './pages.ts';

/** Order of a transparent huge page and of a 2 MiB hugetlb page. */
export const HPAGE_PMD_ORDER = 9;
export const HPAGE_PMD_NR = 512;

/** compound_head: the page that carries the counts of `pfn`; itself for a small page. */
export function compoundHead(pages: Pages, pfn: number): number {
  const head = pages.head[pfn]!;
  return head === 0 ? pfn : head;
}

/** compound_nr of a head: number of frames. */
export function compoundNr(pages: Pages, head: number): number {
  return 1 << pages.order[head]!;
}

/** PageTransCompound: part of a larger page. */
export function isCompound(pages: Pages, pfn: number): boolean {
  return (pages.flags[pfn]! & PG_COMPOUND) !== 0;
}

/** page_mapcount: entries of any size that map this frame. */
export function pageMapcount(pages: Pages, pfn: number): number {
  return pages.mapcount[pfn]! + pages.compoundMapcount[compoundHead(pages, pfn)]!;
}

/** total_mapcount: entries that map any frame of the block. O(frames). */
export function totalMapcount(pages: Pages, head: number): number {
  let n = pages.compoundMapcount[head]!;
  for (let i = 0; i < 1 << pages.order[head]!; i++) n += pages.mapcount[head + i]!;
  return n;
}

/** folio_likely_mapped_shared: one mapping is one user, a huge entry beside others or more entries than frames are several; else the
 *  first frame tells. */
export function folioLikelyMappedShared(pages: Pages, head: number): boolean {
  const count = totalMapcount(pages, head);
  if (count <= 1 || pages.order[head] === 0) return count > 1;
  if (pages.compoundMapcount[head]! > 0 || count > 1 << pages.order[head]!) return true;
  return pages.mapcount[head]! > 1;
}

/** prep_compound_page: a free block of 2^order frames becomes one page. */
export function prepCompoundPage(pages: Pages, head: number, order: number): void {
  pages.order[head] = order;
  pages.compoundMapcount[head] = 0;
  const { flags } = pages;
  for (let pfn = head; pfn < head + (1 << order); pfn++) {
    if (pfn !== head) pages.head[pfn] = head;
    flags[pfn] = flags[pfn]! | PG_COMPOUND;
  }
}

/** The block is small pages again: they are free, or about to be split. */
export function clearCompound(pages: Pages, head: number): void {
  const count = 1 << pages.order[head]!;
  assert(count > 1, 'clearCompound: the head of a compound page');
  pages.order[head] = 0;
  const { flags } = pages;
  for (let pfn = head; pfn < head + count; pfn++) {
    pages.head[pfn] = 0;
    flags[pfn] = flags[pfn]! & ~PG_COMPOUND;
  }
}
