// The AMD IOMMUv2 driver as merged with invalidate_range (3.19). Reclaim, write-back and migration told single pages through
// invalidate_page then, so a driver with invalidate_range needed both. Linux 3.19: drivers/iommu/amd_iommu_v2.c.

import type { NotifierMm } from '../../notifier/host.ts';
import type { InvalidateRangeOps } from '../../notifier/invalidate-range.ts';
import type { Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { PasidState, SvaIommu } from '../sva-iommu.ts';

export class IommuV2Linux319Ops implements InvalidateRangeOps {
  readonly sva: SvaIommu;
  readonly state: PasidState;

  constructor(sva: SvaIommu, state: PasidState) {
    this.sva = sva;
    this.state = state;
  }

  release(_mn: Subscription, _mm: NotifierMm): KernelPath<void> {
    return this.sva.release(this.state);
  }

  invalidatePage(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    return this.sva.flushPage(this.state, address);
  }

  invalidateRange(_mn: Subscription, _mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.sva.flushRange(this.state, start, end);
  }
}
