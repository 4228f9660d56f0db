// Wrong: a driver carried over from 6.1, which flushed at the end of every section by itself, to 6.6, where end implies nothing:
// secondary TLBs are flushed from the architecture's flush, and only a driver with that callback hears of it.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'sva-flush-at-end',
  design: ['linux-6.6', 'linux-6.12'],
  device: 'walker',
  mistake: 'relies on the end of sections under 6.6',
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
