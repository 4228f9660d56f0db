// Wrong, though nothing is lost here: stores of the device are not told to the kernel. What saves this driver is that a look-up for
// a store marks the page by itself, that only such look-ups are mapped writable, and that every cleaning of a page opens a
// section first. A driver that maps a page writable after a look-up for a read (as KVM does where the CPUs may write it) has
// nothing but its own marks, and write-back and reclaim would take the page for clean.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-no-dirty',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'never marks a page dirty',
  breaks: ['I20'],

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
        yield* hw.unmap(range.start, range.end);
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
          if (!isStale && !isReleased) yield* hw.map(va, page, { writable: isWrite });
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
