// The AMD IOMMUv2 driver of 3.3 to 3.18: between start and end the PASID points at an empty page table, so that nothing can be
// loaded. Safe with a count of open sections, but the device faults on every address of the process for as long as any
// section is open, is told "try again", and faults again; at some number of fruitless attempts it stops with an error.
// Linux 3.18: drivers/iommu/amd_iommu_v2.c (mn_invalidate_range_start, mmu_notifier_count, empty_page_table).
//
// Without the count (3.10 and neighbours) the end of an inner or concurrent section puts the real table back too early:
//
//   thread A                    thread B                       device
//     start: empty table
//                                 start: empty table
//                                 clears, end: real table
//                                                                loads V -> F1, whose entry A is about to clear
//     clears V, frees F1                                         writes F1
//     end: real table

import type { AmdIommu } from '../amd-iommu.ts';
import type { MirrorReactions } from '../subscribe-mirror.ts';
import type { PasidState } from '../sva-iommu.ts';

/** `release` stands for the task-exit hook that the driver of that time used, which ran before exit_mmap just as this does. */
export function emptyTable(amd: AmdIommu, state: PasidState): MirrorReactions {
  return {
    release: () => amd.tearDownAtomic(state),
    *rangeStart() {
      yield* amd.lockState(state);
      if (state.sections++ === 0) yield* amd.parkTable(state);
      amd.unlockState(state);
      return 0;
    },
    *rangeEnd() {
      yield* amd.lockState(state);
      // Under mmu-notifiers-v4 the first thing heard can be the end of a section that was open before.
      if (state.sections > 0 && --state.sections === 0) yield* amd.restoreTable(state);
      amd.unlockState(state);
    },
    invalidatePage: (address) => amd.flushPage(state, address),
    changePte: (address) => amd.flushPage(state, address),
    rangeFreed: (start, end) => amd.flushRange(state, start, end),
    /** The use was noted in the shared entry already: only the caches go. */
    *clearYoung(start, end) {
      yield* amd.flushRange(state, start, end);
      return false;
    },
  };
}

/** As it was before sections were counted. */
export function emptyTableUncounted(amd: AmdIommu, state: PasidState): MirrorReactions {
  return {
    ...emptyTable(amd, state),
    *rangeStart() {
      yield* amd.parkTable(state);
      return 0;
    },
    rangeEnd: () => amd.restoreTable(state),
  };
}
