// Wrong: the commands are in the queue when the callback returns, not in effect. The kernel frees the page; then they execute.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-no-wait',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'returns before the completion wait',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    invalidateRange(start, end) {
      hw.invalidateIommuTlb(start, end);
      hw.invalidateDeviceTlb(start, end);
      // Missing: yield* hw.completionWait(), after each of the two.
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
