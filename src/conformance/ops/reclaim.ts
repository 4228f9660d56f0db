// Swap, memory limits and reclaim: what the controller of a script does as the administrator.

import { swapoff } from '../../mm/swap/swapoff.ts';
import { type Op, valueOutcome } from './outcome.ts';

const swapoffOp: Op = function* (world) {
  return valueOutcome(yield* swapoff(world.kernel));
};

export const reclaimOps: Readonly<Record<string, Op>> = {
  swapoff: swapoffOp,
};
