// The functions of room mm/vma in the livepatch table.
import type { VmaFns } from '../fns.ts';

export const vmaFns = {} as VmaFns;
