// The counts of a mapped page: mapcount, its mapping and index, PG_ANON_EXCLUSIVE (mm/rmap.c, include/linux/rmap.h and mm.h).
// An exclusive anonymous page belongs to one address space and may be mapped writable. Called under the ptl of the entry.

import { E_RMAP_ADD, E_RMAP_REMOVE, RMAP_ANON, RMAP_ANON_NEW, RMAP_DUP, RMAP_FILE } from '../../abi/events.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES } from '../../abi/mman.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import { deferredSplitHugePage } from '../huge/deferred-split.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import {
  GUP_PIN_COUNTING_BIAS,
  type Pages,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_COMPOUND,
  PG_SWAPBACKED,
  PG_UPTODATE,
} from '../page/pages.ts';
import type { MmStruct, VmArea } from '../types.ts';

/** linear_page_index: page offset of the address in its VMA's linear space. */
export function linearPageIndex(vma: VmArea, address: number): number {
  return vma.pgoff + Math.floor((address - vma.start) / 4096);
}

/** vma_address: where the VMA maps page `index`. */
export function vmaAddress(vma: VmArea, index: number): number {
  return vma.start + (index - vma.pgoff) * 4096;
}

/** mm_counter_file: the RSS counter of a page-cache page. */
export function mmCounterFile(pages: Pages, pfn: number): number {
  return (pages.flags[compoundHead(pages, pfn)]! & PG_SWAPBACKED) !== 0 ? MM_SHMEMPAGES : MM_FILEPAGES;
}

/** mm_counter: the RSS counter of a mapped page. */
export function mmCounter(pages: Pages, pfn: number): number {
  return (pages.flags[compoundHead(pages, pfn)]! & PG_ANON) !== 0 ? MM_ANONPAGES : mmCounterFile(pages, pfn);
}

/** update_hiwater_rss: before RSS falls. */
export function updateHiwaterRss(mm: MmStruct): void {
  const rss = mm.rss[MM_FILEPAGES]! + mm.rss[MM_ANONPAGES]! + mm.rss[MM_SHMEMPAGES]!;
  if (rss > mm.hiwaterRss) mm.hiwaterRss = rss;
}

/** get_page. */
export function getPage(k: Kernel, pfn: number): void {
  const head = compoundHead(k.pages, pfn);
  notePage(k, head);
  k.pages.refcount[head]!++;
}

/** page_maybe_dma_pinned: small pages count a pin as 1024 references, so many references look like one; large ones have a count of
 *  their own, in the head. */
export function pageMaybeDmaPinned(pages: Pages, pfn: number): boolean {
  const head = compoundHead(pages, pfn);
  return pages.order[head] === 0 ? pages.refcount[head]! >= GUP_PIN_COUNTING_BIAS : pages.pincount[head]! > 0;
}

/** try_grab_page(FOLL_PIN), with the page's table locked. */
export function pinPage(k: Kernel, pfn: number): void {
  const pages = k.pages;
  const head = compoundHead(pages, pfn);
  notePage(k, head);
  if (pages.order[head] === 0) pages.refcount[head]! += GUP_PIN_COUNTING_BIAS;
  else {
    pages.refcount[head]!++;
    pages.pincount[head]!++;
  }
}

/** Tells the explorer's recorder that this step changes the page's counts. */
export function notePage(k: Kernel, pfn: number): void {
  const footprint = k.memory.footprint;
  if (footprint !== null) footprint.note(OBJ_PAGE, pfn, true);
}

/** Writes an event of the small page's rmap down. `kind` is RMAP_*. */
export function announceRmap(k: Kernel, type: number, pfn: number, vma: VmArea, address: number, kind: number): void {
  const head = compoundHead(k.pages, pfn);
  notePage(k, head);
  const m = k.memory;
  const anon = (k.pages.flags[head]! & PG_ANON) !== 0 ? 1 : 0;
  if (m.log.on) m.log.emit(type, vma.mm.id, address, address + 4096, pfn, m.generation[pfn]!, anon, kind, 0, 0);
}

/** A new anonymous page, not visible to anyone yet: exclusive. */
export function pageAddNewAnonRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void {
  const pages = k.pages;
  pages.mapcount[pfn] = 1;
  pages.mapping[pfn] = vma.anonVma;
  pages.index[pfn] = linearPageIndex(vma, address);
  pages.flags[pfn] = pages.flags[pfn]! | PG_UPTODATE | PG_ANON | PG_ANON_EXCLUSIVE | PG_SWAPBACKED;
  if (k.memory.log.on || k.memory.footprint !== null) announceRmap(k, E_RMAP_ADD, pfn, vma, address, RMAP_ANON_NEW);
}

/** An anonymous page gets an entry again (swap-in). Not exclusive: it hangs on the oldest anon_vma, which every
 *  VMA that may hold the page has a chain to. */
export function pageAddAnonRmap(k: Kernel, pfn: number, vma: VmArea, address: number, exclusive: boolean): void {
  const pages = k.pages;
  let kind = RMAP_ANON;
  pages.mapcount[pfn]!++;
  // A page that is anonymous already keeps its mapping: that outlives its entries while it is in the swap cache.
  if ((pages.flags[compoundHead(pages, pfn)]! & PG_ANON) === 0) {
    const anonVma = vma.anonVma;
    assert(anonVma !== null, 'pageAddAnonRmap: VMA has an anon_vma');
    pages.mapping[pfn] = exclusive ? anonVma : anonVma.root;
    pages.index[pfn] = linearPageIndex(vma, address);
    pages.flags[pfn] = pages.flags[pfn]! | PG_ANON | PG_SWAPBACKED;
    if (k.profile.swapinNewRmap) kind = RMAP_ANON_NEW;
  }
  if (exclusive) pages.flags[pfn] = pages.flags[pfn]! | PG_ANON_EXCLUSIVE;
  if (k.memory.log.on || k.memory.footprint !== null) announceRmap(k, E_RMAP_ADD, pfn, vma, address, kind);
}

/** page_move_anon_rmap: a page that turned out to have one user becomes that VMA's own. Page lock held. */
export function pageMoveAnonRmap(k: Kernel, pfn: number, vma: VmArea): void {
  const head = compoundHead(k.pages, pfn);
  notePage(k, head);
  k.pages.mapping[head] = vma.anonVma;
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_ANON_EXCLUSIVE;
}

export function pageAddFileRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void {
  k.pages.mapcount[pfn]!++;
  if (k.memory.log.on || k.memory.footprint !== null) announceRmap(k, E_RMAP_ADD, pfn, vma, address, RMAP_FILE);
}

/** One more entry of a page that is mapped already (fork). */
export function pageDupRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void {
  k.pages.mapcount[pfn]!++;
  if (k.memory.log.on || k.memory.footprint !== null) announceRmap(k, E_RMAP_ADD, pfn, vma, address, RMAP_DUP);
}

export function pageRemoveRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void {
  const pages = k.pages;
  const count = pages.mapcount[pfn]! - 1;
  assert(count >= 0, 'pageRemoveRmap: page is mapped');
  pages.mapcount[pfn] = count;
  if (k.memory.log.on || k.memory.footprint !== null) announceRmap(k, E_RMAP_REMOVE, pfn, vma, address, 0);
  // A part of a huge page that nobody maps any more: reclaim may split the page to get it back.
  if (count === 0 && (pages.flags[pfn]! & PG_COMPOUND) !== 0) deferredSplitHugePage(k, compoundHead(pages, pfn));
}

export function pageTryShareAnonRmap(k: Kernel, pfn: number): boolean {
  if (pageMaybeDmaPinned(k.pages, pfn)) return false;
  notePage(k, pfn);
  k.pages.flags[pfn] = k.pages.flags[pfn]! & ~PG_ANON_EXCLUSIVE;
  return true;
}
