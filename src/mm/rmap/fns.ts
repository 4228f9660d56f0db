// The functions of room mm/rmap in the livepatch table.
import type { RmapFns } from '../fns.ts';

export const rmapFns = {} as RmapFns;
