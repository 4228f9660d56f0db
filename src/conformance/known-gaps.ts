// Where this kernel is known to differ from the recorded one, with the reason. A gap covers one case from one level on: a case that
// differs there counts as "gap", not as "diverging". Reviewed: a reason must be one that a kernel engineer would accept.

import type { Level } from './compare.ts';

export interface KnownGap {
  /** The kernels whose recordings differ. */
  readonly kernels: readonly string[];
  readonly case: string;
  readonly levels: readonly Level[];
  readonly reason: string;
}

export const KNOWN_GAPS: readonly KnownGap[] = [
  {
    kernels: ['6.1', '6.12'],
    case: 'compact',
    levels: ['callbacks', 'events', 'pages'],
    reason:
      'compaction moves pages by their physical addresses: which pages lie below the free scanner, and in which order the migrate scanner ' +
      'meets them, follows from everything that ran on the machine since it booted, which no recording tells; two recordings differ too',
  },
  {
    kernels: ['6.1', '6.12'],
    case: 'uprobe',
    levels: ['events'],
    reason:
      'The copy with the breakpoint was still in the per-CPU vector of pages on their way to an LRU list (lru_add), which refers to it, ' +
      'so it was freed when pages of the controller, which are not recorded, had filled the vector. Here pages join their list at ' +
      'once (only its length lags) and the copy is freed when the probe goes.',
  },
];

/** The gap that covers a divergence of the case at that level; null when there is none. */
export function gapOf({ name, kernel }: { name: string; kernel: string }, level: Level): KnownGap | null {
  const isIt = (g: KnownGap): boolean => g.case === name && g.kernels.includes(kernel) && g.levels.includes(level);
  return KNOWN_GAPS.find(isIt) ?? null;
}
