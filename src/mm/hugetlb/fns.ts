// The functions of room mm/hugetlb in the livepatch table.
import type { HugetlbFns } from '../fns.ts';
import { copyHugetlbPageRange } from './copy.ts';
import { hugetlbFault, hugetlbNoPage, hugetlbWp } from './fault.ts';
import { followHugetlbPage } from './follow.ts';
import { hugePmdUnshare, hugetlbUnsharePmds } from './pmd.ts';
import { hugetlbChangeProtection, moveHugetlbPageTables } from './protect.ts';
import { hugetlbVmdeleteList, unmapHugepageRange, unmapHugepageRangeFinal, unmapRefPrivate } from './unmap.ts';

export const hugetlbFns: HugetlbFns = {
  hugetlbFault,
  hugetlbNoPage,
  hugetlbWp,
  followHugetlbPage,
  unmapHugepageRangeFinal,
  unmapHugepageRange,
  unmapRefPrivate,
  hugetlbVmdeleteList,
  hugetlbChangeProtection,
  copyHugetlbPageRange,
  moveHugetlbPageTables,
  hugePmdUnshare,
  hugetlbUnsharePmds,
};
