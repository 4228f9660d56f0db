// Reads of read-ahead that nobody waits for (the second half of readahead.ts): the page is in the cache, not up to date, until the disk
// has delivered. With preemption points on, read-ahead waits itself instead.

import type { Kernel } from '../kernel.ts';
import { PG_UPTODATE } from '../page/pages.ts';
import { readFromDisk } from './contents.ts';

/** The disk delivers what read-ahead has asked it for. Happens before whatever is done after the step that asked: it is slower than
 *  a fault that starts over, and faster than anything else. */
export function completeReads(k: Kernel): void {
  for (const { mapping, index } of k.readsInFlight) {
    const pfn = mapping.pages.get(index);
    if (pfn === undefined || (k.pages.flags[pfn]! & PG_UPTODATE) !== 0) continue;
    readFromDisk(k.memory, mapping, index, pfn);
    k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_UPTODATE;
    k.stats.fileReads++;
  }
  k.readsInFlight.length = 0;
}
