// Wrong: the process exits; the table still translates its addresses. Sections at exit do not help: the subscribers are off the
// list by then.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'mirror-no-release',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'release is missing',
  breaks: ['I12', 'I1'],

  create(hw) {
    let seq = 0;
    let count = 0;
    let low = 0;
    let high = 0;
    const isBeingInvalidated = (va: number): boolean => count > 0 && va < high && va + 4096 > low;

    return {
      *invalidateRangeStart(range) {
        yield* hw.lock();
        low = count === 0 ? range.start : Math.min(low, range.start);
        high = count === 0 ? range.end : Math.max(high, range.end);
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

      *fault({ va, isWrite }) {
        for (;;) {
          const sample = seq;
          const page = yield* hw.getUserPage(va, isWrite);
          if (page < 0) return page;
          yield* hw.lock();
          const isStale = isBeingInvalidated(va) || seq !== sample;
          if (!isStale) {
            yield* hw.map(va, page, { writable: isWrite });
            if (isWrite) hw.markDirty(page);
          }
          hw.unlock();
          hw.putPage(page);
          if (!isStale) return 0;
          yield* hw.waitUntil(() => !isBeingInvalidated(va));
        }
      },
    };
  },
});
