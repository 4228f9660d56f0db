// The functions of rooms mm/reclaim and mm/swap in the livepatch table.
import type { ReclaimFns } from '../fns.ts';
import { swapinReadahead } from '../swap/readahead.ts';
import {
  addToSwap,
  deleteFromSwapCache,
  folioFreeSwap,
  freeSwapAndCache,
  getSwapPage,
  readSwapCache,
  swapDuplicate,
  swapFree,
  swapWritepage,
} from '../swap/swap-cache.ts';
import { shrinkActiveList } from './lists.ts';
import { lruAdd, lruDeactivate, lruDel, markPageAccessed } from './lru.ts';
import { kswapd, reclaimPages, tryToFreePages } from './shrink.ts';
import { shrinkFolioList } from './shrink-folio-list.ts';

export const reclaimFns: ReclaimFns = {
  lruAdd,
  lruDel,
  markPageAccessed,
  lruDeactivate,
  tryToFreePages,
  shrinkFolioList,
  shrinkActiveList,
  reclaimPages,
  kswapd,
  getSwapPage,
  swapDuplicate,
  swapFree,
  freeSwapAndCache,
  addToSwap,
  swapinReadahead,
  readSwapCache,
  swapWritepage,
  deleteFromSwapCache,
  folioFreeSwap,
};
