// The functions of room mm/page in the livepatch table.
import type { PageFns } from '../fns.ts';

export const pageFns = {} as PageFns;
