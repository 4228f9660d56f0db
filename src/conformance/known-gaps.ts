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
  {
    kernels: ['6.12'],
    case: 'mglru-reclaim',
    levels: ['callbacks', 'events'],
    reason:
      'The recorded kernel (6.12.95) has the change of 6.13 by which the multi-generational LRU ages through the notifiers: looking around a ' +
      'page (lru_gen_look_around) asks clear_young for every entry of its table. Not modelled: here looking around asks nobody, as in 6.1, ' +
      'and each page of the batch is asked by itself (clear_flush_young).',
  },
  {
    kernels: ['6.12'],
    case: 'reclaim-file',
    levels: ['callbacks', 'events'],
    reason:
      'How many pages each look at a list takes follows from costs and refaults of the memory cgroup as its statistics had them. 6.12 leaves ' +
      'bringing them up to date to a worker that runs every two seconds (mem_cgroup_flush_stats_ratelimited), and when it ran is not recorded.',
  },
  {
    kernels: ['6.12'],
    case: 'reclaim-young-1',
    levels: ['callbacks', 'events'],
    reason:
      'As reclaim-file: the second look at the anonymous pages, of which none could go, is the first that depends on the statistics of the ' +
      'memory cgroup, which a worker brings up to date at times that are not recorded.',
  },
  {
    kernels: ['6.12'],
    case: 'memory-limit-swap',
    levels: ['callbacks', 'events'],
    reason:
      'Limit reclaim of 1,024 pages: as reclaim-file. Before that, the first page of the program is freed while it runs (event 2575): its ' +
      'executable was dropped from the page cache when reclaim reached the inactive file pages, which are few and belong to other cgroups too.',
  },
  {
    kernels: ['6.12'],
    case: 'random-file-fork-s28',
    levels: ['events'],
    reason:
      'pwrite from a mapping of a file: which of its pages fault_in_readable still finds unmapped follows from where read-ahead and ' +
      'fault-around ended before. Read-ahead of 6.12 (folios of higher order, page_cache_ra_order) is not modelled; that of 6.1 is.',
  },
  {
    kernels: ['6.12'],
    case: 'random-file-fork-s46',
    levels: ['events', 'pages'],
    reason:
      'As random-file-fork-s28: the pages that fault-around maps beside the faulting one are those that read-ahead of 6.12 has brought in.',
  },
  {
    kernels: ['6.12'],
    case: 'random-file-s45',
    levels: ['events'],
    reason:
      'MADV_POPULATE_READ tries a fault that had to wait again inside __get_user_pages_locked, with FAULT_FLAG_TRIED. Here the call begins anew ' +
      'at that page, without the flag; the page that is mapped is the same.',
  },
  {
    kernels: ['6.12'],
    case: 'hugetlb-migrate',
    levels: ['events'],
    reason:
      "The old huge page of the move went back to the pool without passing the recorder's probe on frees; here the free is written down. Where " +
      'the page is mapped, the result and every callback agree.',
  },
  {
    kernels: ['6.12'],
    case: 'random-mixed-s24',
    levels: ['events'],
    reason:
      'Late in the run, a zap of small entries of large pages that fork and copies have mixed: which neighbouring entries form one run ' +
      '(folio_pte_batch) decides in which order unmap and gather records alternate. The flush, the frees and every callback agree.',
  },
  {
    kernels: ['6.12'],
    case: 'random-thp-fork-s23',
    levels: ['events'],
    reason:
      'As random-mixed-s24, 19,165 records into the run: where one run of entries of a large page ends and the next begins decides in which ' +
      'order unmap and gather records alternate.',
  },
];

/** The gap that covers a divergence of the case at that level; null when there is none. */
export function gapOf({ name, kernel }: { name: string; kernel: string }, level: Level): KnownGap | null {
  const isIt = (g: KnownGap): boolean => g.case === name && g.kernels.includes(kernel) && g.levels.includes(level);
  return KNOWN_GAPS.find(isIt) ?? null;
}
