// Wrong: the device has a TLB of its own (ATS), and nobody tells it.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-iommu-tlb-only',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'forgets the device TLB',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      hw.invalidateIommuTlb(start, end);
      yield* hw.completionWait();
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
