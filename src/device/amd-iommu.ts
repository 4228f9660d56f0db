// The kernel side of an AMD IOMMU: the flushes that all the drivers under drivers/ use. Linux: drivers/iommu/amd/iommu.c (__flush_pasid,
// iommu_completion_wait, __set_gcr3), drivers/iommu/amd/iommu_v2.c (mn_invalidate_range). Binding: sva-iommu.ts.

import type { AtomicPath } from '../sched/path.ts';
import { ALL_ADDRESSES, type PasidState, SvaIommu } from './sva-iommu.ts';

export class AmdIommu extends SvaIommu {
  /** __flush_pasid: the IOMMU, wait; then every device's TLB, wait. `end` ULONG_MAX = the whole PASID. */
  *flush(pasid: number, start: number, end: number): AtomicPath<void> {
    yield* this.flushIommuTlb(pasid, start, end);
    yield* this.flushDeviceTlbs(pasid, start, end);
  }

  *flushIommuTlb(pasid: number, start: number, end: number): AtomicPath<void> {
    this.iommu.invalidateIommuPages(pasid, start, end, true);
    yield* this.completionWait();
  }

  *flushDeviceTlbs(pasid: number, start: number, end: number): AtomicPath<void> {
    for (const id of this.iommu.endpoints.keys()) this.iommu.invalidateIotlbPages(id, pasid, start, end);
    yield* this.completionWait();
  }

  /** mn_invalidate_range's rule: bytes of one page, that page; more, the whole PASID. */
  override flushRange(state: PasidState, start: number, end: number): AtomicPath<void> {
    const isOnePage = end > start && Math.floor(start / 4096) === Math.floor((end - 1) / 4096);
    if (!isOnePage) return this.flush(state.pasid, 0, ALL_ADDRESSES);
    const page = start - (start % 4096);
    return this.flush(state.pasid, page, page + 4096);
  }
}
