// The pool of huge pages (mm/hugetlb.c struct hstate; the 2 MiB one): nr_hugepages blocks taken from the allocator in advance. A mapping
// reserves what it may come to need, so that its faults do not fail; what nobody reserved is for MAP_NORESERVE and for private
// copies. A page that loses its last reference goes back to the pool, not to the allocator, and begins a new generation: a stale
// translation of it is as wrong as one of a freed page.
//
//   free >= reserved          always; a fault without a reservation may take only what is above
//
// Last freed, first given out. Overcommit (surplus pages) is 0, as Linux begins. Guarded by hugetlb_lock, here: plain functions. Kernel names:
// set_max_huge_pages, dequeue_huge_page_vma, enqueue_huge_page, free_huge_page, hugetlb_acct_memory, gather_surplus_pages.

import { ENOMEM } from '../../abi/errno.ts';
import { E_FRAME_ALLOC, E_FRAME_FREE, FRAME_HUGETLB } from '../../abi/events.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import { clearCompound, HPAGE_PMD_NR, HPAGE_PMD_ORDER, totalMapcount } from '../page/compound.ts';
import { buddyOf, pageToNid } from '../page/nodes.ts';
import { GFP_KERNEL, LIST_HUGETLB, PG_COMPOUND, PG_HUGETLB, PG_HUGETLB_RESTORE } from '../page/pages.ts';

/** E_FRAME_FREE, word c: the page went to the hugetlb pool. */
export const FREE_TO_HUGETLB_POOL = 1;

export class HugetlbPool {
  /** nr_hugepages: pages of the pool, free or not. */
  total = 0;
  /** resv_hugepages: promised and not yet used. */
  reserved = 0;
  /** Heads of free pages; the last one is given out next. */
  readonly free: number[] = [];

  /** Free pages that nobody has reserved. */
  get available(): number {
    return this.free.length - this.reserved;
  }
}

/** Tells the explorer's recorder that this step uses the pool. */
export function notePool(k: Kernel): void {
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_LIST, LIST_HUGETLB, true);
}

/** A write to /proc/sys/vm/nr_hugepages: as many as can be had, or can be given up, up to `count`. Number of pages then. */
export function setNrHugepages(k: Kernel, count: number): number {
  const pool = k.hugetlb;
  notePool(k);
  while (pool.total < count) {
    // Node by node in turn (hstate_next_node_to_alloc).
    const head = k.fn.allocPages(k, GFP_KERNEL, HPAGE_PMD_ORDER, FRAME_HUGETLB, pool.total % k.nodes.length);
    if (head === 0) break;
    pool.total++;
    k.pages.flags[head] = PG_HUGETLB | PG_COMPOUND;
    k.pages.refcount[head] = 0;
    freeHugePage(k, head);
  }
  while (pool.total > count && pool.available > 0) {
    const head = pool.free.pop()!;
    pool.total--;
    clearCompound(k.pages, head);
    k.pages.flags[head] = 0;
    buddyOf(k, head).giveBlock(head, HPAGE_PMD_ORDER);
  }
  return pool.total;
}

/** hugetlb_acct_memory: reserves `delta` more pages, or gives reservations up. 0 or -ENOMEM. */
export function hugetlbAcctMemory(k: Kernel, delta: number): number {
  const pool = k.hugetlb;
  notePool(k);
  if (delta > pool.available) return -ENOMEM;
  pool.reserved += delta;
  assert(pool.reserved >= 0, 'hugetlbAcctMemory: reservations that were made are given up');
  return 0;
}

/** dequeue_huge_page_nodemask: the page of `node` that was freed last, else of another node; 0 when none is free. */
function takeFree(k: Kernel, node: number): number {
  const { free } = k.hugetlb;
  for (let i = free.length - 1; i >= 0 && k.nodes.length > 1; i--)
    if (pageToNid(k, free[i]!) === node) return free.splice(i, 1)[0]!;
  return free.pop() ?? 0;
}

/** dequeue_huge_page_vma: a page with refcount 1, of `node` if that has one, or 0. `hasReserve`: one of the reserved pages is meant for
 *  this fault. */
export function dequeueHugePage(k: Kernel, hasReserve: boolean, node = 0): number {
  const pool = k.hugetlb;
  notePool(k);
  if (!hasReserve && pool.available <= 0) return 0;
  const head = takeFree(k, node);
  if (head === 0) return 0;
  const { pages, memory } = k;
  pages.refcount[head] = 1;
  if (hasReserve) {
    pages.flags[head] = pages.flags[head]! | PG_HUGETLB_RESTORE;
    pool.reserved--;
  }
  if (memory.log.on)
    memory.log.emit(E_FRAME_ALLOC, 0, 0, 0, head, memory.generation[head]!, FRAME_HUGETLB, HPAGE_PMD_ORDER, 0, 0);
  return head;
}

/** free_huge_page: the last reference is gone. A reservation that was taken for the page and not used comes back. */
export function freeHugePage(k: Kernel, head: number): void {
  const { pages, memory, hugetlb } = k;
  notePool(k);
  assert((pages.refcount[head]! | totalMapcount(pages, head)) === 0, 'freeHugePage: nobody uses the page');
  if ((pages.flags[head]! & PG_HUGETLB_RESTORE) !== 0) hugetlb.reserved++;
  const generation = memory.generation[head]!;
  if (memory.log.on)
    memory.log.emit(E_FRAME_FREE, 0, 0, 0, head, generation, FRAME_HUGETLB, HPAGE_PMD_ORDER, FREE_TO_HUGETLB_POOL, 0);
  for (let pfn = head; pfn < head + HPAGE_PMD_NR; pfn++) memory.generation[pfn]!++;
  pages.flags[head] = PG_HUGETLB | PG_COMPOUND;
  pages.mapping[head] = null;
  hugetlb.free.push(head);
}
