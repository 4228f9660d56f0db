// The functions of room mm/fault in the livepatch table.
import type { FaultFns } from '../fns.ts';

export const faultFns = {} as FaultFns;
