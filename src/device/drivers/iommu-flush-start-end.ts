// A walker with the callbacks of 2.6.27 alone: flushes when a section starts and when it ends, and for single pages. Neither
// moment is right for hardware that loads translations by itself:
//
//   munmap                             device
//     start: flush
//                                        walks V -> F1 again, the entry is still there
//     clears V, flushes CPUs
//     batch full: frees F1               writes F1: it belongs to somebody else
//     end: flush
//
// Pages of the last batch are freed after end and are safe; those of full batches and dirty file pages are not.

import type { NotifierMm, NotifierRange } from '../../notifier/host.ts';
import type { Linux2627, Linux2627Ops } from '../../notifier/linux-2.6.27.ts';
import { MmuNotifier, type Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { AmdIommu, IommuDriver, PasidState } from '../amd-iommu.ts';

export class FlushStartEndOps implements Linux2627Ops {
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

  invalidateRangeStart(_mn: Subscription, range: NotifierRange): AtomicPath<void> {
    return this.amd.flushRange(this.state, range.start, range.end);
  }

  invalidateRangeEnd(_mn: Subscription, range: NotifierRange): AtomicPath<void> {
    return this.amd.flushRange(this.state, range.start, range.end);
  }

  invalidatePage(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    return this.amd.flushPage(this.state, address);
  }
}

/** A driver of design linux-2.6.27 that makes its callbacks with `makeOps`. */
export class Driver2627 implements IommuDriver {
  readonly name: string;
  readonly design: Linux2627;
  readonly makeOps: (state: PasidState) => Linux2627Ops;

  constructor(name: string, design: Linux2627, makeOps: (state: PasidState) => Linux2627Ops) {
    this.name = name;
    this.design = design;
    this.makeOps = makeOps;
  }

  subscribe(state: PasidState): KernelPath<number> {
    const mn = new MmuNotifier<Linux2627Ops>(this.makeOps(state));
    state.subscription = mn;
    return this.design.list.register(mn, state.mm);
  }

  unsubscribe(state: PasidState): KernelPath<void> {
    return this.design.list.unregister(state.subscription as MmuNotifier<Linux2627Ops>, state.mm);
  }
}
