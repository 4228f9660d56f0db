// Wrong: invalidateRange is called under a page-table lock, where nobody may sleep; a mutex sleeps. The types say so, the
// comment below silences them. In plain JavaScript the lock-order monitor says it.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'walker-sleeps',
  design: 'linux-6.1',
  device: 'walker',
  mistake: 'takes a mutex in a callback that must not sleep',
  breaks: ['I44'],

  create: (hw) => ({
    // @ts-expect-error: a path that sleeps is not an AtomicPath
    *invalidateRange(start, end) {
      yield* hw.mutexLock();
      yield* hw.flushRange(start, end);
      hw.mutexUnlock();
    },

    *release() {
      yield* hw.tearDown();
    },
  }),
});
