// The functions of rooms mm/reclaim and mm/swap in the livepatch table.
import type { KernelPath } from '../../sched/path.ts';
import type { ReclaimFns } from '../fns.ts';
import { lruAdd, lruDeactivate, lruDel, markPageAccessed } from './lru.ts';

function* tryToFreePages(): KernelPath<number> {
  return 0;
}

export const reclaimFns = { lruAdd, lruDel, markPageAccessed, lruDeactivate, tryToFreePages } as unknown as ReclaimFns;
