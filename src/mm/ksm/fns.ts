// The functions of room mm/ksm in the livepatch table.
import type { KsmFns } from '../fns.ts';
import { breakKsm, ksmEnter, ksmExit, ksmFork, ksmUnmerge } from './break.ts';
import { cmpAndMergePage, tryToMergeOnePage } from './merge.ts';
import { ksmMightNeedToCopy, rmapWalkKsm } from './rmap-walk.ts';
import { ksmDoScan, ksmd } from './scan.ts';
import { replacePage, writeProtectPage } from './write-protect.ts';

export const ksmFns: KsmFns = {
  writeProtectPage,
  replacePage,
  tryToMergeOnePage,
  breakKsm,
  ksmUnmerge,
  ksmEnter,
  ksmFork,
  ksmExit,
  ksmDoScan,
  cmpAndMergePage,
  ksmd,
  rmapWalkKsm,
  ksmMightNeedToCopy,
};
