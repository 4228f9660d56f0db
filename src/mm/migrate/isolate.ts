// Taking a page off its list to move it (mm/vmscan.c folio_isolate_lru): unevictable pages can move too.

import type { Kernel } from '../kernel.ts';
import { PG_LRU } from '../page/pages.ts';
import { lruDel } from '../reclaim/lru.ts';

/** Off its list, with a reference of the isolation; false when it is on none. */
export function isolateForMigration(k: Kernel, pfn: number): boolean {
  if ((k.pages.flags[pfn]! & PG_LRU) === 0) return false;
  lruDel(k, pfn);
  k.pages.refcount[pfn] = k.pages.refcount[pfn]! + 1;
  return true;
}
