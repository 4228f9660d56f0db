// The AMD IOMMUv2 driver as merged with invalidate_range (3.19). Reclaim, write-back and migration told single pages through
// invalidate_page then, so a driver with invalidate_range needed both. Linux 3.19: drivers/iommu/amd_iommu_v2.c.

import type { NotifierMm } from '../../notifier/host.ts';
import type { InvalidateRangeOps } from '../../notifier/invalidate-range.ts';
import type { Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { AmdIommu, PasidState } from '../amd-iommu.ts';

export class IommuV2Linux319Ops implements InvalidateRangeOps {
  readonly amd: AmdIommu;
  readonly state: PasidState;

  constructor(amd: AmdIommu, state: PasidState) {
    this.amd = amd;
    this.state = state;
  }

  release(_mn: Subscription, _mm: NotifierMm): KernelPath<void> {
    return this.amd.tearDown(this.state);
  }

  invalidatePage(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    return this.amd.flushPage(this.state, address);
  }

  invalidateRange(_mn: Subscription, _mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.amd.flushRange(this.state, start, end);
  }
}
