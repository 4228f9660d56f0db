// Wrong: the mutex is held while the page is looked up. The look-up may fault the page in, copy it, reclaim: each opens a section,
// whose invalidate waits for the mutex; or it waits for mmap_lock, whose holder waits for the mutex in invalidate.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'interval-lock-across-lookup',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',
  mistake: 'holds the lock of invalidate while it looks the page up',
  breaks: ['I60'],

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
      for (;;) {
        const seq = yield* hw.readBegin();
        yield* hw.mutexLock();
        const page = yield* hw.getUserPage(va, isWrite);
        if (page < 0) {
          hw.mutexUnlock();
          return page;
        }
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
