// Wrong: `end` is exclusive. Taken for the last page, the last page is left out; a range of one page is empty.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-last-page',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'leaves the last page of a range in',
  breaks: ['I1', 'I4', 'I5'],

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
        low = count === 0 ? range.start : Math.min(low, range.start);
        high = count === 0 ? range.end : Math.max(high, range.end);
        count++;
        for (const m of yield* hw.unmap(range.start, range.end - 4096)) if (m.isDirty) hw.markDirty(m.page);
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
