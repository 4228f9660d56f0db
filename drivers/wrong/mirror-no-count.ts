// Wrong: the sequence says that a section has ended. One that is still open is not seen: a page looked up inside it may be the old
// one, since entries change late, and its end changes nothing in the table any more.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror-no-count',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'sequence without count',
  breaks: ['I1', 'I5'],

  create(hw) {
    let seq = 0;
    let isReleased = false;

    return {
      *invalidateRangeStart(range) {
        yield* hw.lock();
        for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
        hw.unlock();
      },

      *invalidateRangeEnd() {
        yield* hw.lock();
        seq++;
        hw.unlock();
      },

      *release() {
        yield* hw.lock();
        isReleased = true;
        yield* hw.unmapAll();
        hw.unlock();
      },

      *fault({ va, isWrite }) {
        for (;;) {
          const sample = seq;
          const page = yield* hw.getUserPage(va, isWrite);
          if (page < 0) return page;
          yield* hw.lock();
          const isStale = seq !== sample;
          if (!isStale && !isReleased) {
            yield* hw.map(va, page, { writable: isWrite });
            if (isWrite) hw.markDirty(page);
          }
          hw.unlock();
          hw.putPage(page);
          if (isReleased) return -EFAULT;
          if (!isStale) return 0;
        }
      },
    };
  },
});
