// The functions of room mm/page in the livepatch table.
import type { PageFns } from '../fns.ts';
import { allocatorFns } from './allocator.ts';

export const pageFns: PageFns = allocatorFns;
