// Linux's AMD IOMMUv2 driver from 3.19 on: the device walks the live page table all the time; its TLBs are flushed when the
// kernel flushes the CPUs'. Linux: drivers/iommu/amd/iommu_v2.c (mn_invalidate_range, mn_release).

import type { NotifierMm } from '../../notifier/host.ts';
import type { Linux61, MmuNotifierOps } from '../../notifier/linux-6.1.ts';
import { MmuNotifier, type Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { AmdIommu, IommuDriver, PasidState } from '../amd-iommu.ts';

/** The callbacks for one bound address space. */
export class IommuV2Ops implements MmuNotifierOps {
  readonly amd: AmdIommu;
  readonly state: PasidState;

  constructor(amd: AmdIommu, state: PasidState) {
    this.amd = amd;
    this.state = state;
  }

  release(_mn: Subscription, _mm: NotifierMm): KernelPath<void> {
    return this.amd.tearDown(this.state);
  }

  invalidateRange(_mn: Subscription, _mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.amd.flushRange(this.state, start, end);
  }
}

export class IommuV2 implements IommuDriver {
  readonly name = 'iommu-v2';
  readonly amd: AmdIommu;
  readonly design: Linux61;

  constructor(amd: AmdIommu, design: Linux61) {
    this.amd = amd;
    this.design = design;
  }

  subscribe(state: PasidState): KernelPath<number> {
    const mn = new MmuNotifier<MmuNotifierOps>(new IommuV2Ops(this.amd, state));
    state.subscription = mn;
    return this.design.list.register(mn, state.mm);
  }

  unsubscribe(state: PasidState): KernelPath<void> {
    return this.design.list.unregister(state.subscription as MmuNotifier<MmuNotifierOps>, state.mm);
  }
}
