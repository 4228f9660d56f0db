// The AMD IOMMUv2 driver as it was merged with invalidate_range, Linux 3.19 (drivers/iommu/amd_iommu_v2.c). In that design reclaim,
// write-back and migration opened no section: they told of single pages through invalidate_page. A driver with
// invalidateRange alone hears nothing when a page is swapped out.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'iommu-v2-3.19',
  design: 'invalidate-range',
  device: 'walker',

  create(hw) {
    return {
      *invalidateRange(start, end) {
        yield* hw.flushRange(start, end);
      },

      *invalidatePage(address) {
        yield* hw.flushPage(address);
      },

      *release() {
        yield* hw.tearDown();
      },
    };
  },
});
