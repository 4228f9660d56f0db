// Shared virtual addressing since 6.6, as AMD's driver does it since 6.10: the device walks the live page table, and its TLBs are
// flushed whenever the CPUs' are. Linux: drivers/iommu/amd/pasid.c (sva_arch_invalidate_secondary_tlbs, sva_mn_release).

import type { NotifierMm } from '../../notifier/host.ts';
import type { Linux66Ops } from '../../notifier/linux-6.6.ts';
import type { Subscription } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { PasidState, SvaIommu } from '../sva-iommu.ts';

export class IommuSvaOps implements Linux66Ops {
  readonly sva: SvaIommu;
  readonly state: PasidState;

  constructor(sva: SvaIommu, state: PasidState) {
    this.sva = sva;
    this.state = state;
  }

  release(_mn: Subscription, _mm: NotifierMm): KernelPath<void> {
    return this.sva.release(this.state);
  }

  archInvalidateSecondaryTlbs(_mn: Subscription, _mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.sva.flushRange(this.state, start, end);
  }
}
