// Wrong: readBegin alone only says that no invalidation was open when the look-up began.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'interval-no-retry',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'never calls readRetry',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidate(range, seq) {
      if (range.blockable) yield* hw.mutexLock();
      else if (!hw.mutexTryLock()) return false;
      hw.setSeq(seq);
      for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
      hw.mutexUnlock();
      return true;
    },

    *unbind() {
      yield* hw.mutexLock();
      yield* hw.unmapAll();
      hw.mutexUnlock();
    },

    *fault({ va, isWrite }) {
      yield* hw.readBegin();
      const page = yield* hw.getUserPage(va, isWrite);
      if (page < 0) return page;
      yield* hw.mutexLock();
      yield* hw.map(va, page, { writable: isWrite });
      if (isWrite) hw.markDirty(page);
      hw.mutexUnlock();
      hw.putPage(page);
      return 0;
    },
  }),
});
