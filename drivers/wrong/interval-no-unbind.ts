// Wrong: the device is taken off the address space and the table is left as it is.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'interval-no-unbind',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'unbind is missing',
  breaks: ['I12'],

  create: (hw) => ({
    *invalidate(range, seq) {
      if (range.blockable) yield* hw.mutexLock();
      else if (!hw.mutexTryLock()) return false;
      hw.setSeq(seq);
      for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
      hw.mutexUnlock();
      return true;
    },

    *fault({ va, isWrite }) {
      for (;;) {
        const seq = yield* hw.readBegin();
        const page = yield* hw.getUserPage(va, isWrite);
        if (page < 0) return page;
        yield* hw.mutexLock();
        const isStale = hw.readRetry(seq);
        if (!isStale) {
          yield* hw.map(va, page, { writable: isWrite });
          if (isWrite) hw.markDirty(page);
        }
        hw.mutexUnlock();
        hw.putPage(page);
        if (!isStale) return 0;
      }
    },
  }),
});
