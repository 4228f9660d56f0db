// Wrong: flushes when a section starts. The entry is still there, so the hardware loads it again.
import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'flush-at-start',
  design: 'linux-6.1',
  device: 'walker',
  create(hw) {
    return {
      *invalidateRangeStart(range) {
        yield* hw.flushRange(range.start, range.end);
      },
      *release() {
        yield* hw.tearDown();
      },
    };
  },
});
