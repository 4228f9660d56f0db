// Wrong: both commands, then one wait. Commands execute side by side, so this is the wrong order as well: the device's TLB may
// be emptied first, and filled again from the IOMMU's old entry.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-one-wait',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'one completion wait for both flushes',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      hw.invalidateIommuTlb(start, end);
      hw.invalidateDeviceTlb(start, end);
      yield* hw.completionWait();
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
