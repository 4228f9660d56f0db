// Wrong: translations are flushed, pointers to page tables are not. When munmap frees a page table, the walk cache leads the next
// walk through a page that belongs to somebody else. The callback is the same for both, so both must go each time.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-leaf-only',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'keeps the walk cache',
  breaks: ['I2'],

  create: (hw) => ({
    *invalidateRange(start, end) {
      hw.invalidateIommuTlb(start, end, { leafOnly: true });
      yield* hw.completionWait();
      hw.invalidateDeviceTlb(start, end);
      yield* hw.completionWait();
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
