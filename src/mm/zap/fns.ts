// The functions of room mm/zap in the livepatch table.
import type { ZapFns } from '../fns.ts';

export const zapFns = {} as ZapFns;
