// An IOMMU that walks the CPUs' own page table (AMD IOMMUv2, Linux 3.19 to 6.6: drivers/iommu/amd/iommu_v2.c). The hardware may
// load a translation at any instant at which the entry is present, and nobody can hold it back. So there is only one right
// moment for a flush: after the entry is gone, and before the page can be used for anything else.
//
// That moment is invalidateRange. It comes with every flush of the CPUs' TLBs, and at the end of every section:
//
//   munmap                          hardware
//     section starts                  (a flush here would be too early: the entry is still present)
//     entry cleared
//     CPUs flushed
//     invalidateRange: flush          from here on the device faults
//     page freed
//
// It is called under a page-table lock, so it must not sleep. Flushes wait by spinning.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'iommu-walker',
  design: 'linux-6.1',
  device: 'walker',

  create(hw) {
    return {
      *invalidateRange(start, end) {
        // IOMMU TLB and walk cache first; only when that is complete, the device's TLB: the other way round the device would
        // fill its TLB again from what the IOMMU still has.
        yield* hw.flushRange(start, end);
      },

      // The process exits, or the device is taken off it; perhaps both at once. Afterwards its page tables are freed, so the
      // device must not even begin a walk.
      *release() {
        yield* hw.tearDown();
      },
    };
  },
});
