// The functions of room mm/hmm in the livepatch table.
import type { HmmFns } from '../fns.ts';
import { makeDeviceExclusiveRange, pageMakeDeviceExclusive, removeDeviceExclusiveEntry } from './exclusive.ts';
import {
  migrateDeviceUnmap,
  migrateVmaCollect,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from './migrate-vma.ts';
import { hmmRangeFault } from './range-fault.ts';

export const hmmFns: HmmFns = {
  hmmRangeFault,
  migrateVmaSetup,
  migrateVmaCollect,
  migrateDeviceUnmap,
  migrateVmaPages,
  migrateVmaFinalize,
  makeDeviceExclusiveRange,
  pageMakeDeviceExclusive,
  removeDeviceExclusiveEntry,
};
