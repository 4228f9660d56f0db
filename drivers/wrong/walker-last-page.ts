// Wrong: `end` is exclusive. Taken for the last page, the last page is left out; a range of one page is empty.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-last-page',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'leaves out the last page of the range',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      for (let va = start; va < end - 4096; va += 4096) yield* hw.flushPage(va);
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
