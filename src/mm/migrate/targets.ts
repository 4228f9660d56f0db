// Where pages go: the new_page_t callbacks of migrate_pages (mm/migrate.c alloc_migration_target, mm/mempolicy.c new_page).

import type { Kernel } from '../kernel.ts';
import { NUMA_NO_NODE } from '../page/nodes.ts';
import { GFP_KERNEL } from '../page/pages.ts';
import type { NewPage } from './migrate-pages.ts';

function* allocLike(k: Kernel, src: number, node: number, isOnly: boolean) {
  const { order, purpose } = k.pages;
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
