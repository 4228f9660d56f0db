// The functions of rooms mm/reclaim and mm/swap in the livepatch table.
import type { KernelPath } from '../../sched/path.ts';
import type { ReclaimFns } from '../fns.ts';
import {
  addToSwap,
  deleteFromSwapCache,
  folioFreeSwap,
  freeSwapAndCache,
  getSwapPage,
  swapDuplicate,
  swapFree,
  swapinReadahead,
  swapWritepage,
} from '../swap/swap-cache.ts';
import { lruAdd, lruDeactivate, lruDel, markPageAccessed } from './lru.ts';

function* tryToFreePages(): KernelPath<number> {
  return 0;
}

export const reclaimFns = {
  lruAdd,
  lruDel,
  markPageAccessed,
  lruDeactivate,
  tryToFreePages,
  getSwapPage,
  swapDuplicate,
  swapFree,
  freeSwapAndCache,
  addToSwap,
  swapinReadahead,
  swapWritepage,
  deleteFromSwapCache,
  folioFreeSwap,
} as unknown as ReclaimFns;
