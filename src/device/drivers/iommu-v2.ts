// Linux's AMD IOMMUv2 driver from 3.19 on: the device walks the live page table all the time; its TLBs are flushed when the
// kernel flushes the CPUs'. Linux: drivers/iommu/amd/iommu_v2.c (mn_invalidate_range, mn_release).

import type { NotifierMm } from '../../notifier/host.ts';
import type { MmuNotifierOps } from '../../notifier/linux-6.1.ts';
import type { Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { PasidState, SvaIommu } from '../sva-iommu.ts';

/** The callbacks for one bound address space. */
export class IommuV2Ops implements MmuNotifierOps {
  readonly sva: SvaIommu;
  readonly state: PasidState;

  constructor(sva: SvaIommu, state: PasidState) {
    this.sva = sva;
    this.state = state;
  }

  release(_mn: Subscription, _mm: NotifierMm): KernelPath<void> {
    return this.sva.release(this.state);
  }

  invalidateRange(_mn: Subscription, _mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.sva.flushRange(this.state, start, end);
  }
}
