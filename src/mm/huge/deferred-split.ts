// Huge pages of which a part is no longer mapped (mm/huge_memory.c deferred_split_huge_page): the part cannot be freed before the page
// is split. They wait in a queue for reclaim; a page that is freed whole leaves it.

import { OBJ_PAGE } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON, PG_SWAPCACHE } from '../page/pages.ts';

/** deferred_split_huge_page: anonymous pages only. */
export function deferredSplitHugePage(k: Kernel, head: number): void {
  if ((k.pages.flags[head]! & (PG_SWAPCACHE | PG_ANON)) !== PG_ANON) return;
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_PAGE, head, true);
  k.huge.splitQueue.add(head);
}
