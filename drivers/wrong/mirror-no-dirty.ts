// What the device stored stands in the dirty bits of its table, and goes with them: nobody tells the kernel. A page that was read back
// from swap is clean as far as the kernel knows, its copy in swap is good; what the device stored since is in no copy.
//
// Often the CPUs' own entry is dirty too, since a look-up for a store makes it so. That is luck: a driver that maps a page writable after
// a look-up for a read (as KVM does where the CPUs may write it) has nothing but its own marks.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-no-dirty',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'never marks a page dirty',
  breaks: ['I20a'],

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
