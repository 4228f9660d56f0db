// Where the running kernel and this one may differ, with the reason for each. A program ends at its first difference; one that a row
// here explains is counted under the row's name.

import type { Difference } from './compare.ts';

export interface KnownDifference {
  readonly name: string;
  readonly reason: string;
  readonly explains: (d: Difference) => boolean;
}

export const KNOWN_DIFFERENCES: readonly KnownDifference[] = [];

export function explain(d: Difference): KnownDifference | null {
  return KNOWN_DIFFERENCES.find((row) => row.explains(d)) ?? null;
}
