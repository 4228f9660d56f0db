// A walker that flushes when a section starts and when it ends, and for single pages: what a driver can do with the callbacks of
// 2.6.27 alone, and with start and end of any later design. Neither moment is right for hardware that loads translations by itself:
//
//   munmap                             device
//     start: flush
//                                        walks V -> F1 again, the entry is still there
//     clears V, flushes CPUs
//     batch full: frees F1               writes F1: it belongs to somebody else
//     end: flush
//
// Pages of the last batch are freed after end and are safe; those of full batches and dirty file pages are not. Under the designs
// before 2.6.27 it flushes at what calls there are: before the clear (pte-notifiers), after the pages are free
// (mmu-notifiers-andrea), at begin and end (mmu-notifiers-v4).

import type { AmdIommu } from '../amd-iommu.ts';
import type { MirrorReactions } from '../subscribe-mirror.ts';
import type { PasidState } from '../sva-iommu.ts';

/** `release` stands for the task-exit hook that drivers before 3.19 used, which ran before exit_mmap just as this does. */
export function flushStartEnd(amd: AmdIommu, state: PasidState): MirrorReactions {
  return {
    release: () => amd.tearDownAtomic(state),
    *rangeStart(range) {
      yield* amd.flushRange(state, range.start, range.end);
      return 0;
    },
    rangeEnd: (range) => amd.flushRange(state, range.start, range.end),
    invalidatePage: (address) => amd.flushPage(state, address),
    rangeFreed: (start, end) => amd.flushRange(state, start, end),
  };
}

/** With the call of 2011, which has no range: the whole address space goes from the TLBs before each batch of pages is freed. */
export function flushFreePages(amd: AmdIommu, state: PasidState): MirrorReactions {
  return { ...flushStartEnd(amd, state), freePages: () => amd.flushPasid(state) };
}
