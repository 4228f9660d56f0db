// The kernel as shipped: the livepatch table with every room's functions. A Kernel takes a copy.

import { faultFns } from './fault/fns.ts';
import { fileFns } from './file/fns.ts';
import type { KernelFns } from './fns.ts';
import { gupFns } from './gup/fns.ts';
import { hmmFns } from './hmm/fns.ts';
import { hugeFns } from './huge/fns.ts';
import { hugetlbFns } from './hugetlb/fns.ts';
import { ksmFns } from './ksm/fns.ts';
import { migrateFns } from './migrate/fns.ts';
import { notifyFns } from './notify.ts';
import { oomFns } from './oom/fns.ts';
import { pageFns } from './page/fns.ts';
import { reclaimFns } from './reclaim/fns.ts';
import { rmapFns } from './rmap/fns.ts';
import { trackFns } from './track/fns.ts';
import { uffdFns } from './uffd/fns.ts';
import { uprobeFns } from './uprobes/fns.ts';
import { vmaFns } from './vma/fns.ts';
import { zapFns } from './zap/fns.ts';

export const linuxFns: KernelFns = {
  ...vmaFns,
  ...faultFns,
  ...rmapFns,
  ...zapFns,
  ...hugeFns,
  ...pageFns,
  ...reclaimFns,
  ...fileFns,
  ...gupFns,
  ...hugetlbFns,
  ...uffdFns,
  ...oomFns,
  ...migrateFns,
  ...hmmFns,
  ...notifyFns,
  ...ksmFns,
  ...trackFns,
  ...uprobeFns,
};
