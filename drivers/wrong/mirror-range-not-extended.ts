// Wrong: the range of the first open section is kept for all: a fault in the second one is let in.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-range-not-extended',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'remembers the range of one section only',
  breaks: ['I1', 'I5'],

  create(hw) {
    let seq = 0;
    let count = 0;
    let low = 0;
    let high = 0;
    let isReleased = false;
    const isBeingInvalidated = (va: number): boolean => count > 0 && va < high && va + 4096 > low;

    return {
      *invalidateRangeStart(range) {
        yield* hw.lock();
        if (count === 0) {
          low = range.start;
          high = range.end;
        }
        count++;
        for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
        hw.unlock();
      },

      *invalidateRangeEnd() {
        yield* hw.lock();
        seq++;
        count--;
        hw.unlock();
        hw.wake();
      },

      *release() {
        yield* hw.lock();
        isReleased = true;
        yield* hw.unmapAll();
        hw.unlock();
        hw.wake();
      },

      *fault({ va, isWrite }) {
        for (;;) {
          const sample = seq;
          const page = yield* hw.getUserPage(va, isWrite);
          if (page < 0) return page;
          yield* hw.lock();
          const isStale = isBeingInvalidated(va) || seq !== sample;
          if (!isStale && !isReleased) {
            yield* hw.map(va, page, { writable: isWrite });
            if (isWrite) hw.markDirty(page);
          }
          hw.unlock();
          hw.putPage(page);
          if (isReleased) return -EFAULT;
          if (!isStale) return 0;
          yield* hw.waitUntil(() => !isBeingInvalidated(va) || isReleased);
        }
      },
    };
  },
});
