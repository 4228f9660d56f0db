// Wrong: a range is taken for a page.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-first-page',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'flushes the first page of the range',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRange(start) {
      yield* hw.flushPage(start);
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
