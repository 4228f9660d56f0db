// The functions of room mm/huge in the livepatch table.
import type { HugeFns } from '../fns.ts';
import { coldHugePmd, madviseFreeHugePmd } from './age.ts';
import { doHugePmdAnonymousPage, doHugePmdWpPage, handleHugePmd } from './anon-fault.ts';
import { changeHugePmd } from './change.ts';
import { collapseHugePage, collapseScanPmd } from './collapse.ts';
import { collapseFile, collapseScanFile } from './collapse-file.ts';
import { copyHugePmd } from './copy.ts';
import { doFileHugeFault, doSetPmd } from './file-fault.ts';
import { khugepaged, khugepagedScan } from './khugepaged.ts';
import { pmdMigrationEntryWait } from './migration.ts';
import { moveHugePmd } from './move.ts';
import { collapseAndFreePmd, collapsePteMappedThp, retractPageTables } from './retract.ts';
import { deferredSplitScan, splitHugePage } from './split-page.ts';
import { splitHugePmd, vmaAdjustTransHuge } from './split-pmd.ts';
import { zapHugePmd } from './zap.ts';

export const hugeFns: HugeFns = {
  vmaAdjustTransHuge,
  splitHugePmd,
  handleHugePmd,
  doHugePmdAnonymousPage,
  doHugePmdWpPage,
  doFileHugeFault,
  doSetPmd,
  pmdMigrationEntryWait,
  zapHugePmd,
  changeHugePmd,
  copyHugePmd,
  moveHugePmd,
  madviseFreeHugePmd,
  coldHugePmd,
  splitHugePage,
  deferredSplitScan,
  collapseScanPmd,
  collapseHugePage,
  collapseScanFile,
  collapseFile,
  retractPageTables,
  collapseAndFreePmd,
  collapsePteMappedThp,
  khugepagedScan,
  khugepaged,
};
