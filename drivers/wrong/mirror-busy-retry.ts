// Wrong: while a section is open the engine is sent back to fault again, at once. It gets nowhere until the section ends, and gives up
// before. KVM does this to a virtual CPU, which never gives up; a device counts.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-busy-retry',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'answers "again" instead of waiting',
  breaks: ['L1', 'L2'],

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
        for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
        hw.unlock();
      },

      *invalidateRangeEnd() {
        yield* hw.lock();
        seq++;
        count--;
        hw.unlock();
      },

      *release() {
        yield* hw.lock();
        isReleased = true;
        yield* hw.unmapAll();
        hw.unlock();
      },

      *fault({ va, isWrite }) {
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
        return isReleased ? -EFAULT : 0;
      },
    };
  },
});
