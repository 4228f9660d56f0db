// Wrong: the device's TLB is flushed and filled again at once from the IOMMU's.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-device-tlb-only',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'forgets the IOMMU TLB',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      hw.invalidateDeviceTlb(start, end);
      yield* hw.completionWait();
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
