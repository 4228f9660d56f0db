// The functions of room mm/oom in the livepatch table.
import type { OomFns } from '../fns.ts';
import { outOfMemory } from './kill.ts';
import { oomReapTask, oomReapTaskMm } from './reap.ts';

export const oomFns: OomFns = { oomReapTaskMm, oomReapTask, outOfMemory };
