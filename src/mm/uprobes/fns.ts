// The functions of room mm/uprobes in the livepatch table.
import type { UprobeFns } from '../fns.ts';
import { uprobeMmap, uprobeWriteOpcode } from './uprobes.ts';

export const uprobeFns: UprobeFns = { uprobeMmap, uprobeWriteOpcode };
