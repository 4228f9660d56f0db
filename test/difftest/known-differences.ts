// Where the running kernel and this one may differ, with the reason for each. A program ends at its first difference; one that a row
// here explains is counted under the row's name.

import type { Difference } from './compare.ts';
import { OP_MINCORE } from './program.ts';

export interface KnownDifference {
  readonly name: string;
  readonly reason: string;
  readonly explains: (d: Difference) => boolean;
}

export const KNOWN_DIFFERENCES: readonly KnownDifference[] = [
  {
    name: 'fallocate of shared memory',
    reason:
      'Linux puts pages into the cache at once, not up to date until somebody uses them or fallocate meets them again; here a page ' +
      'comes with its first use. Only mincore can tell.',
    explains: (d) => d.op.nr === OP_MINCORE && d.story.some((line) => /^\d+ fallocate\(4, [01], .* = 0$/.test(line)),
  },
];

export function explain(d: Difference): KnownDifference | null {
  return KNOWN_DIFFERENCES.find((row) => row.explains(d)) ?? null;
}
