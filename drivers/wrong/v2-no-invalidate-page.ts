// Wrong: in the design of 3.19 reclaim and write-back tell of single pages through invalidate_page alone. This driver does not hear
// of them. The confusion was common enough that 4.14 removed the callback.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'v2-no-invalidate-page',
  design: 'invalidate-range',
  device: 'walker',
  mistake: 'invalidatePage is missing',
  breaks: ['I1', 'I3', 'I5'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      yield* hw.flushRange(start, end);
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
