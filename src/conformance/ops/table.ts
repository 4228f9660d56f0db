// Every operation of a script that is modelled: the `op` of a call record -> the function that performs it. A room adds its own
// operations as one file beside this and one line here.

import { accessOps } from './access.ts';
import { damonOps } from './damon.ts';
import { dyingOps } from './dying.ts';
import { fileOps } from './files.ts';
import { hmmOps } from './hmm.ts';
import { memoryOps } from './memory.ts';
import { migrateOps } from './migrate.ts';
import { notifierOps } from './notifier.ts';
import type { Op } from './outcome.ts';
import { processOps } from './process.ts';
import { reclaimOps } from './reclaim.ts';
import { remoteOps } from './remote.ts';
import { trackingOps } from './tracking.ts';
import { uffdOps } from './uffd.ts';

export const OPS: Readonly<Record<string, Op>> = {
  ...memoryOps,
  ...accessOps,
  ...notifierOps,
  ...processOps,
  ...fileOps,
  ...uffdOps,
  ...dyingOps,
  ...remoteOps,
  ...reclaimOps,
  ...trackingOps,
  ...damonOps,
  ...migrateOps,
  ...hmmOps,
};
