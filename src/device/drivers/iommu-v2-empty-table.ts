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

import type { NotifierMm, NotifierRange } from '../../notifier/host.ts';
import type { Linux2627Ops } from '../../notifier/linux-2.6.27.ts';
import type { Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath } from '../../sched/path.ts';
import type { AmdIommu, PasidState } from '../amd-iommu.ts';

export class EmptyTableOps implements Linux2627Ops {
  readonly amd: AmdIommu;
  readonly state: PasidState;

  constructor(amd: AmdIommu, state: PasidState) {
    this.amd = amd;
    this.state = state;
  }

  /** Stands for the task-exit hook that the driver of that time used, which ran before exit_mmap just as this does. */
  release(_mn: Subscription, _mm: NotifierMm): AtomicPath<void> {
    return this.amd.tearDownAtomic(this.state);
  }

  *invalidateRangeStart(_mn: Subscription, _range: NotifierRange): AtomicPath<void> {
    yield* this.amd.lockState(this.state);
    if (this.state.sections++ === 0) yield* this.amd.parkTable(this.state);
    this.amd.unlockState(this.state);
  }

  *invalidateRangeEnd(_mn: Subscription, _range: NotifierRange): AtomicPath<void> {
    yield* this.amd.lockState(this.state);
    if (--this.state.sections === 0) yield* this.amd.restoreTable(this.state);
    this.amd.unlockState(this.state);
  }

  invalidatePage(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    return this.amd.flushPage(this.state, address);
  }

  changePte(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    return this.amd.flushPage(this.state, address);
  }

  /** The use was noted in the shared entry already: only the caches go. */
  *clearFlushYoung(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<boolean> {
    yield* this.amd.flushPage(this.state, address);
    return false;
  }
}

/** As it was before sections were counted. */
export class EmptyTableUncountedOps extends EmptyTableOps {
  override *invalidateRangeStart(_mn: Subscription, _range: NotifierRange): AtomicPath<void> {
    yield* this.amd.parkTable(this.state);
  }

  override *invalidateRangeEnd(_mn: Subscription, _range: NotifierRange): AtomicPath<void> {
    yield* this.amd.restoreTable(this.state);
  }
}
