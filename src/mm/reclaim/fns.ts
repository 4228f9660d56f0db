// The functions of room mm/reclaim in the livepatch table.
import type { ReclaimFns } from '../fns.ts';

export const reclaimFns = {} as ReclaimFns;
