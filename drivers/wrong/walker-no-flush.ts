// Wrong: nothing is flushed while the address space lives. What the device has cached stays usable for ever.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-no-flush',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'invalidateRange is missing',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *release() {
      yield* hw.tearDown();
    },
  }),
});
