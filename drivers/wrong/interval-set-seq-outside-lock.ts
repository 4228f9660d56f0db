// Wrong: the number is set when the lock is dropped already. A fault that takes it in between tests the old number, and puts
// its page in after the range was taken out.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'interval-set-seq-outside-lock',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'calls setSeq after it dropped the lock',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidate(range, seq) {
      if (range.blockable) yield* hw.mutexLock();
      else if (!hw.mutexTryLock()) return false;
      for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
      hw.mutexUnlock();
      yield* hw.step();
      hw.setSeq(seq);
      return true;
    },

    *unbind() {
      yield* hw.mutexLock();
      yield* hw.unmapAll();
      hw.mutexUnlock();
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
