// The kernel side of an Intel IOMMU with a scalable-mode PASID table: flushes through the invalidation queue, tear-down, drain.
// Linux: drivers/iommu/intel/svm.c (intel_svm_bind_mm, intel_svm_unbind_mm, intel_mm_release, intel_flush_svm_range,
// intel_svm_drain_prq), intel/pasid.c (intel_pasid_tear_down_entry), intel/dmar.c (qi_flush_piotlb, qi_flush_dev_iotlb_pasid,
// qi_submit_sync), intel/cache.c (6.12).
//
//   flush of a range       blocks.ts; for each block: PASID IOTLB, wait descriptor; device TLB, wait descriptor
//   release (exit)         PASID entry cleared, its faults ignored from now on (FPD); PASID IOTLB, then device TLB, of the whole PASID.
//                          Page requests are not waited for: their handler finds an address space without users
//   unbind                 1  the device is made to stop (its Stop Marker is its last request)
//                          2  the PASID entry is torn down as above
//                          3  the queue has no request of the PASID any more, and what was taken is answered (prq_complete,
//                             iopf_queue_flush_dev)
//                          4  wait descriptor with fence; PASID IOTLB and device TLB once more; wait descriptor that drains page
//                             requests. An overflow meanwhile: again
//                          5  unregister; the PASID may be given to somebody else
//
// Linux submits the two invalidations of step 4 without a wait between them. Here each waits, as the rule is that a device TLB is
// flushed when the IOTLB is known to be.

import { BIND_DRAINED } from '../../abi/events.ts';
import { assert } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { Iommu } from '../iommu.ts';
import type { IopfQueue } from '../iopf-queue.ts';
import { PART_PASID } from '../objects.ts';
import { type IommuDriver, type PasidState, SvaIommu } from '../sva-iommu.ts';
import { type Block, coveringBlock, splitBlocks } from './blocks.ts';
import type { IntelSvmConfig } from './config.ts';

export class IntelIommu extends SvaIommu {
  readonly config: IntelSvmConfig;
  readonly faults: IopfQueue;

  constructor(
    k: Kernel,
    iommu: Iommu,
    faults: (states: ReadonlyMap<number, PasidState>) => IopfQueue,
    config: IntelSvmConfig,
  ) {
    super(k, iommu);
    this.config = config;
    this.faults = faults(this.states);
  }

  // --- flushes

  /** The blocks that stand for the range. */
  blocks(start: number, end: number): Block[] {
    const { hasCoveringBlocks, addressMaskMax } = this.config;
    return hasCoveringBlocks ? [coveringBlock(start, end, addressMaskMax)] : splitBlocks(start, end);
  }

  /** intel_flush_svm_range, intel_flush_svm_all; cache_tag_flush_range. */
  override *flushRange(state: PasidState, start: number, end: number): AtomicPath<void> {
    // A gather that was flushed inside another one passes an empty range.
    if (end <= start) return;
    for (const block of this.blocks(start, end)) yield* this.flushBlock(state, block);
  }

  *flushBlock(state: PasidState, block: Block): AtomicPath<void> {
    yield* this.flushPiotlb(state, block);
    yield* this.flushDeviceTlb(state, block);
  }

  /** qi_flush_piotlb: page-selective within the PASID, or PASID-selective. The hint IH is 0: paging-structure caches go, too. */
  *flushPiotlb(state: PasidState, block: Block): AtomicPath<void> {
    assertNatural(block);
    this.iommu.invalidateIommuPages(state.pasid, block.start, block.end, true);
    yield* this.completionWait();
  }

  /** qi_flush_dev_iotlb_pasid, for every device that has a TLB. */
  *flushDeviceTlb(state: PasidState, block: Block): AtomicPath<void> {
    assertNatural(block);
    for (const id of this.iommu.endpoints.keys())
      this.iommu.invalidateIotlbPages(id, state.pasid, block.start, block.end);
    yield* this.completionWait();
  }

  // --- tear-down

  /** intel_mm_release. Idempotent. */
  override *release(state: PasidState): KernelPath<void> {
    yield* this.clearTable(state);
  }

  /** intel_svm_unbind_mm; the device has been stopped. */
  override *unbind(driver: IommuDriver, pasid: number): KernelPath<void> {
    const state = this.states.get(pasid);
    if (state === undefined) return;
    yield* this.clearTable(state);
    yield* this.drainPrq(state);
    if (this.k.sched.points) yield P_DRIVER;
    this.noteBind(state, 0, BIND_DRAINED);
    yield* driver.unsubscribe(state);
    this.note(PART_PASID, pasid, true);
    this.states.delete(pasid);
  }

  /** intel_svm_drain_prq. */
  *drainPrq(state: PasidState): KernelPath<void> {
    yield* this.faults.drain(state.pasid);
    for (;;) {
      yield* this.completionWait();
      yield* this.flushPasid(state);
      if (!this.iommu.hasOverflowed()) return;
      yield* this.faults.overflowCleared();
    }
  }
}

/** The hardware takes no other block. */
function assertNatural({ start, end }: Block): void {
  const pages = (end - start) / 4096;
  if (end === Number.POSITIVE_INFINITY) assert(start === 0, 'invalidation descriptor: the whole PASID');
  else assert(Number.isInteger(Math.log2(pages)) && start % (end - start) === 0, 'invalidation descriptor: a block');
}
