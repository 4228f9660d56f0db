// The functions of room mm/file in the livepatch table.
import type { FileFns } from '../fns.ts';

export const fileFns = {} as FileFns;
