// The same device with an interval subscriber (the way of RDMA on-demand paging and of GPUs through HMM: drivers/infiniband/core/
// umem_odp.c, lib/test_hmm.c). The core keeps the sequence number; the driver promises three things:
//
//   readBegin before the look-up    it waits while the interval is being invalidated
//   readRetry under the lock        true: an invalidation came since readBegin; look up again
//   setSeq under the same lock      in invalidate, before the range is taken out
//
//   fault                                   munmap
//     s = readBegin
//     looks V up: F1
//                                             invalidate: mutex, setSeq, takes V out (it is not in the table yet), drops it
//     mutex; readRetry(s): yes, start again
//                                             clears V's entry, frees F1
//
// Had the fault taken the mutex first, readRetry would say no, and invalidate would wait for it and take out what it put in.
// There is no callback at the end of a section: readBegin waits instead.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'mirror-interval',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',

  create(hw) {
    return {
      *invalidate(range, seq) {
        // The OOM reaper cannot wait for the mutex: a fault holds it while it sleeps.
        if (range.blockable) yield* hw.mutexLock();
        else if (!hw.mutexTryLock()) return false;
        hw.setSeq(seq);
        for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
        hw.mutexUnlock();
        return true;
      },

      // Exit tells intervals with an invalidate over everything. Being taken off the address space does not.
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
    };
  },
});
