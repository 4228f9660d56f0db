// Where pages go: the new_page_t callbacks of migrate_pages (mm/migrate.c alloc_migration_target, mm/mempolicy.c new_page).

import { dequeueHugePage } from '../hugetlb/pool.ts';
import type { Kernel } from '../kernel.ts';
import { NUMA_NO_NODE, pageToNid } from '../page/nodes.ts';
import { GFP_KERNEL, PG_HUGETLB } from '../page/pages.ts';
import type { NewPage } from './migrate-pages.ts';

/** alloc_huge_page_nodemask: a free page of the pool that nobody has reserved. */
function hugetlbTarget(k: Kernel, node: number, isOnly: boolean): number {
  const { free } = k.hugetlb;
  if (isOnly && !free.some((head) => pageToNid(k, head) === node)) return 0;
  return dequeueHugePage(k, false, node < 0 ? 0 : node);
}

function* allocLike(k: Kernel, src: number, node: number, isOnly: boolean) {
  const { flags, order, purpose } = k.pages;
  if ((flags[src]! & PG_HUGETLB) !== 0) return hugetlbTarget(k, node, isOnly);
  const pfn = k.fn.allocPages(k, GFP_KERNEL, order[src]!, purpose[src]!, node, isOnly);
  if (pfn !== 0 || isOnly || order[src] !== 0) return pfn;
  return yield* k.fn.allocPagesSlow(k, GFP_KERNEL, purpose[src]!);
}

/** On `node` and nowhere else (__GFP_THISNODE). */
export function targetOn(node: number): NewPage {
  return (k, src) => allocLike(k, src, node, true);
}

/** On `node`, or where there is room. */
export function targetNear(node: number): NewPage {
  return (k, src) => allocLike(k, src, node, false);
}

/** Wherever a page without a policy would be. */
export const targetAnywhere: NewPage = (k, src) => allocLike(k, src, NUMA_NO_NODE, false);
