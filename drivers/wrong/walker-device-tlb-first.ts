// Wrong: the device's TLB before the IOMMU's.
//
//   driver                             device
//     device TLB: V dropped
//                                        misses V; the IOMMU TLB still has V -> F1, the device caches it
//     IOMMU TLB: V dropped
//     the kernel frees F1                writes F1

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-device-tlb-first',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'flushes the device TLB before the IOMMU TLB',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      hw.invalidateDeviceTlb(start, end);
      yield* hw.completionWait();
      hw.invalidateIommuTlb(start, end);
      yield* hw.completionWait();
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
