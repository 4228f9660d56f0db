// Every operation of a script that is modelled: the `op` of a call record -> the function that performs it. A room adds its own
// operations as one file beside this and one line here.

import { accessOps } from './access.ts';
import { fileOps } from './files.ts';
import { memoryOps } from './memory.ts';
import { migrateOps } from './migrate.ts';
import { notifierOps } from './notifier.ts';
import type { Op } from './outcome.ts';
import { processOps } from './process.ts';

export const OPS: Readonly<Record<string, Op>> = {
  ...memoryOps,
  ...accessOps,
  ...notifierOps,
  ...processOps,
  ...fileOps,
  ...migrateOps,
};
