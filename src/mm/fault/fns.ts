// The functions of room mm/fault in the livepatch table.
import type { FaultFns } from '../fns.ts';
import { doAnonymousPage } from './anonymous.ts';
import { copyPageRange } from './copy-range.ts';
import { doWpPage, wpPageCopy } from './cow.ts';
import { doUserAddrFault, handleMmFault } from './fault.ts';
import { doCowFault, doReadFault, doSharedFault } from './file-fault.ts';
import { pteAlloc } from './page-tables.ts';
import { doSwapPage } from './swap-fault.ts';

export const faultFns: FaultFns = {
  doUserAddrFault,
  handleMmFault,
  doAnonymousPage,
  doWpPage,
  wpPageCopy,
  doSwapPage,
  doReadFault,
  doCowFault,
  doSharedFault,
  pteAlloc,
  copyPageRange,
};
