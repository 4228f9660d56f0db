// The functions of room mm/gup in the livepatch table.
import type { GupFns } from '../fns.ts';

export const gupFns = {} as GupFns;
