// Where this kernel is known to differ from the recorded one, with the reason. A gap covers one case from one level on: a case that
// differs there counts as "gap", not as "diverging". Reviewed: a reason must be one that a kernel engineer would accept.

import type { Level } from './compare.ts';

export interface KnownGap {
  readonly case: string;
  readonly levels: readonly Level[];
  readonly reason: string;
}

/** What a memory cgroup's lists remember outlives a script, and the scripts of one boot ran in one group. */
const CARRIED_OVER =
  'The group of the scripts was not new: its cost averages (lru_note_cost) and refault counters (snapshot_refaults) still held what ' +
  'earlier scripts of the same boot had left, which a recording does not contain. The batches show it: in reclaim-young-0 the priorities ' +
  '3 to 1 of the first reclaim take 0, 1 and 3 of 32 anonymous pages, an anonymous share between 0.19 and 0.21, where a group ' +
  'without costs has 60 / 200 = 0.3; in reclaim-file an active page is deactivated at priority 2 with 27 inactive and 5 active ' +
  'pages, which only refaults since the last snapshot allow. With a new group, as here, the first looks differ.';

export const KNOWN_GAPS: readonly KnownGap[] = [
  {
    case: 'compact',
    levels: ['callbacks', 'events', 'pages'],
    reason:
      'compaction moves pages by their physical addresses: which pages lie below the free scanner, and in which order the migrate scanner ' +
      'meets them, follows from everything that ran on the machine since it booted, which no recording tells; two recordings differ too',
  },
  {
    case: 'uprobe',
    levels: ['events'],
    reason:
      'The copy with the breakpoint was still in the per-CPU vector of pages on their way to an LRU list (lru_add), which refers to it, ' +
      'so it was freed when a later operation drained the vector. Here pages join their list at once and the copy is freed when ' +
      'the probe goes.',
  },
  { case: 'reclaim-file', levels: ['callbacks', 'events'], reason: CARRIED_OVER },
  { case: 'reclaim-young-0', levels: ['events'], reason: CARRIED_OVER },
  { case: 'reclaim-young-1', levels: ['callbacks', 'events'], reason: CARRIED_OVER },
];

/** The gap that covers a divergence of the case at that level; null when there is none. */
export function gapOf(name: string, level: Level): KnownGap | null {
  return KNOWN_GAPS.find((g) => g.case === name && g.levels.includes(level)) ?? null;
}
