// The functions of room mm/zap in the livepatch table.
import type { ZapFns } from '../fns.ts';
import { changeProtection, changePteRange } from './change-protection.ts';
import { freePgdRange, freePgtables } from './free-pgtables.ts';
import {
  mmTlbFlushPending,
  tlbFinishMmu,
  tlbFlushMmuFree,
  tlbFlushMmuTlbonly,
  tlbGatherMmu,
  tlbRemovePage,
} from './gather-flush.ts';
import { madviseCold, madviseFree, madvisePageout } from './madvise-age.ts';
import { moveNormalTable, movePageTables, movePtes } from './move-page-tables.ts';
import { flushTlbMm, flushTlbMmRange, flushTlbPage } from './tlb-flush.ts';
import { tlbEndVma, unmapPageRange, unmapVmas, zapPageRangeSingle, zapPteRange } from './zap.ts';

export const zapFns: ZapFns = {
  tlbGatherMmu,
  tlbFinishMmu,
  tlbFlushMmuTlbonly,
  tlbFlushMmuFree,
  tlbRemovePage,
  mmTlbFlushPending,
  unmapVmas,
  unmapPageRange,
  zapPteRange,
  zapPageRangeSingle,
  freePgtables,
  freePgdRange,
  tlbEndVma,
  changeProtection,
  changePteRange,
  movePageTables,
  moveNormalTable,
  movePtes,
  madviseFree,
  madviseCold,
  madvisePageout,
  flushTlbMmRange,
  flushTlbMm,
  flushTlbPage,
};
