// Counts of a mapped huge page (mm/rmap.c hugepage_add_anon_rmap and its likes): always mapped whole, by one entry; not in RSS, not
// on an LRU list. Called under the ptl of the entry. The entries of a shared PMD table count once, whoever links the table.

import { E_RMAP_ADD, E_RMAP_REMOVE } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import { assert } from '../../base/assert.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_ORDER } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_HUGETLB_RESTORE, PG_UPTODATE } from '../page/pages.ts';
import { linearPageIndex, notePage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';

// Kinds as E_RMAP_ADD has them.
const RMAP_DUP = 0;
const RMAP_ANON = 1;
const RMAP_ANON_NEW = 2;

function announce(k: Kernel, type: number, head: number, vma: VmArea, address: number, kind: number): void {
  notePage(k, head);
  const m = k.memory;
  if (!m.log.on) return;
  const anon = (k.pages.flags[head]! & PG_ANON) !== 0 ? 1 : 0;
  const end = address + PMD_SIZE;
  m.log.emit(type, vma.mm.id, address, end, head, m.generation[head]!, anon, kind, HPAGE_PMD_ORDER, 0);
}

/** hugepage_add_new_anon_rmap: a page that nobody else can see yet. Its reservation is used. */
export function hugepageAddNewAnonRmap(k: Kernel, head: number, vma: VmArea, address: number): void {
  const { pages } = k;
  pages.compoundMapcount[head] = 1;
  pages.mapping[head] = vma.anonVma;
  pages.index[head] = linearPageIndex(vma, address);
  pages.flags[head] = (pages.flags[head]! & ~PG_HUGETLB_RESTORE) | PG_UPTODATE | PG_ANON | PG_ANON_EXCLUSIVE;
  announce(k, E_RMAP_ADD, head, vma, address, RMAP_ANON_NEW);
}

/** hugepage_add_anon_rmap: an anonymous page gets an entry again (migration). */
export function hugepageAddAnonRmap(k: Kernel, head: number, vma: VmArea, address: number, exclusive: boolean): void {
  const { pages } = k;
  pages.compoundMapcount[head]!++;
  if (exclusive) pages.flags[head] = pages.flags[head]! | PG_ANON_EXCLUSIVE;
  announce(k, E_RMAP_ADD, head, vma, address, RMAP_ANON);
}

/** page_dup_file_rmap, page_dup_anon_rmap: one more entry. */
export function hugepageDupRmap(k: Kernel, head: number, vma: VmArea, address: number): void {
  k.pages.compoundMapcount[head]!++;
  announce(k, E_RMAP_ADD, head, vma, address, RMAP_DUP);
}

/** page_remove_rmap with compound. */
export function hugepageRemoveRmap(k: Kernel, head: number, vma: VmArea, address: number): void {
  const count = k.pages.compoundMapcount[head]! - 1;
  assert(count >= 0, 'hugepageRemoveRmap: page is mapped');
  k.pages.compoundMapcount[head] = count;
  announce(k, E_RMAP_REMOVE, head, vma, address, 0);
}
