// The functions of the GRU's driver as shipped.

import { assignAsid, gsegFault, interruptContext, loadMmTracker, unloadContext, unloadMmTracker } from './context.ts';
import type { GruFns } from './driver.ts';
import { atomicPteLookup, interrupt, readLatch, tryDropin, userCallOs } from './fault.ts';
import { clearAsid, finishPurge, flushAllTlb, flushTlbRange, rangeEnd, rangeStart, tghInvalidate } from './purge.ts';

export const gruFns: GruFns = {
  rangeStart,
  rangeEnd,
  flushTlbRange,
  tghInvalidate,
  finishPurge,
  clearAsid,
  flushAllTlb,
  assignAsid,
  loadMmTracker,
  unloadMmTracker,
  interruptContext,
  unloadContext,
  gsegFault,
  readLatch,
  atomicPteLookup,
  tryDropin,
  interrupt,
  userCallOs,
};
