// Counts of a huge page that one entry maps whole (mm/rmap.c, the compound halves of page_add_*_rmap and page_remove_rmap). Called
// under the ptl of the PMD table.

import { E_RMAP_ADD, E_RMAP_REMOVE, RMAP_ANON_NEW } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import { assert } from '../../base/assert.ts';
import type { Kernel } from '../kernel.ts';
import { compoundNr, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_SWAPBACKED, PG_UPTODATE } from '../page/pages.ts';
import { linearPageIndex, notePage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { deferredSplitHugePage } from './deferred-split.ts';

function announce(k: Kernel, type: number, head: number, vma: VmArea, haddr: number, kind: number): void {
  notePage(k, head);
  const m = k.memory;
  const anon = (k.pages.flags[head]! & PG_ANON) !== 0 ? 1 : 0;
  if (m.log.on)
    m.log.emit(type, vma.mm.id, haddr, haddr + PMD_SIZE, head, m.generation[head]!, anon, kind, HPAGE_PMD_ORDER, 0);
}

/** NR_SHMEM_PMDMAPPED counts it. */
function isShmemPage(k: Kernel, head: number): boolean {
  return (k.pages.flags[head]! & (PG_ANON | PG_SWAPBACKED)) === PG_SWAPBACKED;
}

/** page_add_new_anon_rmap of a huge page. */
export function pageAddNewHugeRmap(k: Kernel, head: number, vma: VmArea, haddr: number): void {
  const pages = k.pages;
  pages.compoundMapcount[head] = 1;
  pages.mapping[head] = vma.anonVma;
  pages.index[head] = linearPageIndex(vma, haddr);
  pages.flags[head] = pages.flags[head]! | PG_UPTODATE | PG_ANON | PG_ANON_EXCLUSIVE | PG_SWAPBACKED;
  if (k.memory.log.on || k.memory.footprint !== null) announce(k, E_RMAP_ADD, head, vma, haddr, RMAP_ANON_NEW);
}

/** page_dup_rmap, page_add_file_rmap and page_add_anon_rmap of one more huge entry. `kind` is RMAP_*. */
export function pageAddHugeRmap(k: Kernel, head: number, vma: VmArea, haddr: number, kind: number): void {
  const count = ++k.pages.compoundMapcount[head]!;
  if (count === 1 && isShmemPage(k, head)) k.huge.shmemPmdMapped++;
  if (k.memory.log.on || k.memory.footprint !== null) announce(k, E_RMAP_ADD, head, vma, haddr, kind);
}

/** page_remove_rmap of a huge entry. */
export function pageRemoveHugeRmap(k: Kernel, head: number, vma: VmArea, haddr: number): void {
  const pages = k.pages;
  const left = pages.compoundMapcount[head]! - 1;
  assert(left >= 0, 'pageRemoveHugeRmap: page is mapped by a huge entry');
  pages.compoundMapcount[head] = left;
  if (k.memory.log.on || k.memory.footprint !== null) announce(k, E_RMAP_REMOVE, head, vma, haddr, 0);
  if (left > 0) return;
  if ((pages.flags[head]! & PG_ANON) === 0) {
    if (isShmemPage(k, head)) k.huge.shmemPmdMapped--;
    return;
  }
  let mapped = 0;
  const nr = compoundNr(pages, head);
  for (let i = 0; i < nr; i++) if (pages.mapcount[head + i]! > 0) mapped++;
  if (mapped > 0 && mapped < nr) deferredSplitHugePage(k, head);
}
