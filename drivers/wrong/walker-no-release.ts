// Wrong: the process exits and its page tables are freed, page directory and all, while the IOMMU still points at them.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-no-release',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'release is missing',
  breaks: ['I12', 'I2'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      yield* hw.flushRange(start, end);
    },
  }),
});
