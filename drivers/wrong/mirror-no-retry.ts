// Wrong: what was looked up is put into the table without asking whether it still holds.
//
//   fault                              munmap
//     looks V up: F1
//                                        start: V is not in the table; clears, end
//     puts V -> F1 into the table        frees F1

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-no-retry',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'no retry test',
  breaks: ['I1', 'I5'],

  create(hw) {
    let isReleased = false;

    return {
      *invalidateRangeStart(range) {
        yield* hw.lock();
        for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
        hw.unlock();
      },

      *release() {
        yield* hw.lock();
        isReleased = true;
        yield* hw.unmapAll();
        hw.unlock();
        hw.wake();
      },

      *fault({ va, isWrite }) {
        const page = yield* hw.getUserPage(va, isWrite);
        if (page < 0) return page;
        yield* hw.lock();
        if (!isReleased) yield* hw.map(va, page, { writable: isWrite });
        if (isWrite) hw.markDirty(page);
        hw.unlock();
        hw.putPage(page);
        return isReleased ? -EFAULT : 0;
      },
    };
  },
});
