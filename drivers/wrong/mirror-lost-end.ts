// Wrong: only sections that took something out are counted as ended. The count is wrong from then on, and faults wait for ever.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-lost-end',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'an end that does not match its start',
  breaks: ['I60'],

  create(hw) {
    let seq = 0;
    let count = 0;
    let low = 0;
    let high = 0;
    let isReleased = false;
    const isBeingInvalidated = (va: number): boolean => count > 0 && va < high && va + 4096 > low;
    let hasRemoved = false;

    return {
      *invalidateRangeStart(range) {
        yield* hw.lock();
        low = count === 0 ? range.start : Math.min(low, range.start);
        high = count === 0 ? range.end : Math.max(high, range.end);
        count++;
        const removed = yield* hw.unmap(range.start, range.end);
        for (const m of removed) if (m.isDirty) hw.markDirty(m.page);
        hasRemoved = removed.length > 0;
        hw.unlock();
      },

      *invalidateRangeEnd() {
        yield* hw.lock();
        seq++;
        if (hasRemoved) count--;
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
