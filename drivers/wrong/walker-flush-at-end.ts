// Wrong: end is too late. A full batch of pages is freed inside the section, and so are page tables after it.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-flush-at-end',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'flushes when the section ends',
  breaks: ['I1', 'I2'],

  create: (hw) => ({
    *invalidateRangeEnd(range) {
      yield* hw.flushRange(range.start, range.end);
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
