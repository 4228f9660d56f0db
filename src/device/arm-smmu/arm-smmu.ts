// The kernel side of an ARM SMMUv3: flushes through the command queue, the quiet context, tear-down.
// Linux: drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-sva.c (arm_smmu_mm_invalidate_range, arm_smmu_mm_release, arm_smmu_mmu_notifier_put),
// arm-smmu-v3.c (arm_smmu_tlb_inv_range_asid, arm_smmu_tlb_inv_asid, arm_smmu_atc_inv_domain).
//
//   flush of a range       TLBI of each span (ranges.ts), CMD_SYNC; ATC_INV to each device, CMD_SYNC
//   release (exit)         the context becomes the quiet one: what is not translated aborts without a word. TLBI of the ASID, CMD_SYNC;
//                          ATC_INV of everything, CMD_SYNC. `cleared` says so, and nothing can be loaded again
//   unbind                 1  the device is made to stop
//                          2  the context goes; TLBs as above, unless release has done it
//                          3  the queue has no request of the address space, and what was taken is answered
//                          4  mmu_notifier_put: release does not run; free_notifier comes after a grace period
//
// The SMMU's TLB and the devices' believe what they hold: a store through a read-only entry is denied without a look at the table
// (rewalksOnDenied and retranslatesOnDenied are false). arm64 therefore flushes when a fault gives an entry more rights, and since
// 6.6 that reaches the SMMU; before, nothing did (documented gap 11).
//
// Broadcast TLB maintenance of the CPUs (BTM), with which the TLBI commands are left out, is not modelled.

import { BIND_DRAINED } from '../../abi/events.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { Iommu } from '../iommu.ts';
import type { IopfQueue } from '../iopf-queue.ts';
import { PART_PASID } from '../objects.ts';
import { ALL_ADDRESSES, type IommuDriver, type PasidState, SvaIommu } from '../sva-iommu.ts';
import type { ArmSmmuConfig } from './config.ts';
import { atcSpan, type Span, tlbiSpans } from './ranges.ts';

export class ArmSmmu extends SvaIommu {
  readonly config: ArmSmmuConfig;
  readonly faults: IopfQueue;

  constructor(
    k: Kernel,
    iommu: Iommu,
    faults: (states: ReadonlyMap<number, PasidState>) => IopfQueue,
    config: ArmSmmuConfig,
  ) {
    super(k, iommu);
    this.config = config;
    this.faults = faults(this.states);
  }

  // --- flushes

  /** arm_smmu_mm_invalidate_range, arm_smmu_mm_arch_invalidate_secondary_tlbs. */
  override *flushRange(state: PasidState, start: number, end: number): AtomicPath<void> {
    if (end <= start) return;
    yield* this.flushTlb(state, start, end);
    yield* this.flushAtcs(state, start, end);
  }

  /** arm_smmu_tlb_inv_range_asid, arm_smmu_tlb_inv_asid. Leaf is false: walk caches go, too. */
  *flushTlb(state: PasidState, start: number, end: number): AtomicPath<void> {
    for (const span of this.tlbiSpans(start, end))
      this.iommu.invalidateIommuPages(state.pasid, span.start, span.end, true);
    yield* this.completionWait();
  }

  /** arm_smmu_atc_inv_domain. */
  *flushAtcs(state: PasidState, start: number, end: number): AtomicPath<void> {
    const span = this.atcSpan(start, end);
    for (const id of this.iommu.endpoints.keys())
      this.iommu.invalidateIotlbPages(id, state.pasid, span.start, span.end);
    yield* this.completionWait();
  }

  tlbiSpans(start: number, end: number): Span[] {
    return tlbiSpans(start, end, this.config);
  }

  atcSpan(start: number, end: number): Span {
    return atcSpan(start, end);
  }

  // --- tear-down

  /** arm_smmu_mm_release: the quiet context. Idempotent. */
  override *release(state: PasidState): KernelPath<void> {
    yield* this.clearTable(state);
  }

  /** __arm_smmu_sva_unbind, arm_smmu_mmu_notifier_put; the device has been stopped. */
  override *unbind(driver: IommuDriver, pasid: number): KernelPath<void> {
    const state = this.states.get(pasid);
    if (state === undefined) return;
    this.note(PART_PASID, pasid, false);
    // `cleared`: no entry can have been made since.
    if (!state.isInvalid) yield* this.clearTable(state);
    else if (!state.isCleared) yield* this.flushRange(state, 0, ALL_ADDRESSES);
    yield* this.faults.drain(pasid);
    if (this.k.sched.points) yield P_DRIVER;
    this.noteBind(state, 0, BIND_DRAINED);
    yield* driver.unsubscribe(state);
    this.note(PART_PASID, pasid, true);
    this.states.delete(pasid);
  }
}
