// Shared virtual addressing since Linux 6.6 (drivers/iommu/amd/pasid.c, drivers/iommu/intel/svm.c): as drivers/iommu-walker.ts,
// but the call comes from the architecture's own TLB flush. Whenever the CPUs' TLBs are flushed, so are the device's, with
// the same range and for no other reason.
//
// What that changes: the end of a section implies nothing any more, and an entry that moved (mremap) is flushed at its old
// place before the section ends. A driver that has this callback is a TLB; it may not have start and end as well.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'iommu-sva',
  design: ['linux-6.6', 'linux-6.12'],
  device: 'walker',

  create(hw) {
    return {
      *archInvalidateSecondaryTlbs(start, end) {
        yield* hw.flushRange(start, end);
      },

      *release() {
        yield* hw.tearDown();
      },
    };
  },
});
