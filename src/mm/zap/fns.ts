// The functions of room mm/zap in the livepatch table.
import type { ZapFns } from '../fns.ts';
import { freePgdRange, freePgtables } from './free-pgtables.ts';
import { tlbFinishMmu, tlbFlushMmuFree, tlbFlushMmuTlbonly, tlbGatherMmu, tlbRemovePage } from './gather-flush.ts';
import { flushTlbMm, flushTlbMmRange, flushTlbPage } from './tlb-flush.ts';
import { unmapPageRange, unmapVmas, zapPageRangeSingle, zapPteRange } from './zap.ts';

export const zapFns = {
  tlbGatherMmu,
  tlbFinishMmu,
  tlbFlushMmuTlbonly,
  tlbFlushMmuFree,
  tlbRemovePage,
  unmapVmas,
  unmapPageRange,
  zapPteRange,
  zapPageRangeSingle,
  freePgtables,
  freePgdRange,
  flushTlbMmRange,
  flushTlbMm,
  flushTlbPage,
} as unknown as ZapFns;
