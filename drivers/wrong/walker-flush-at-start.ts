// Wrong: start is too early. The entry is still there, and the hardware loads it again before it is cleared.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-flush-at-start',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'flushes when the section starts',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRangeStart(range) {
      yield* hw.flushRange(range.start, range.end);
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
