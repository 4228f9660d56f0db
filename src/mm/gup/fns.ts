// The functions of room mm/gup in the livepatch table.
import type { GupFns } from '../fns.ts';
import { getUserPagesFast, gupPteRange } from './fast.ts';
import { accessRemoteVm, getUserPages, pinUserPages, unpinUserPage } from './gup.ts';

export const gupFns: GupFns = {
  getUserPages,
  getUserPagesFast,
  gupPteRange,
  pinUserPages,
  unpinUserPage,
  accessRemoteVm,
};
