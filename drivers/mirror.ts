// A device with a table of its own, kept right with start and end (the way of KVM: virt/kvm/kvm_main.c). The driver looks a
// page up in the CPUs' tables, which may sleep, and puts it into its table. In between the page may be unmapped, so what was
// looked up may be stale by the time it is put in. Two numbers tell:
//
//   count   sections that are open now. A page looked up inside one may still be the old one: entries change late
//   seq     sections that have ended. One that began and ended while the page was looked up shows here
//
//   fault                                   munmap
//     s = seq
//     looks V up: F1
//                                             start: count 1, takes V out of the table (it is not in it yet)
//                                             clears V's entry
//                                             end: count 0, seq + 1
//     lock; count is 0, but seq is not s:
//     V -> F1 is stale, looks up again
//                                             frees F1
//
// Both tests, and the change of the table, are under one lock, and so are count and seq. `low` and `high` bound the addresses of
// all open sections, so that a section somewhere else does not stop this fault.

import { defineDriver, EFAULT } from 'shootdown';

export default defineDriver({
  name: 'mirror',
  design: ['linux-6.1', 'linux-6.6', 'linux-6.12'],
  device: 'mirror',

  create(hw) {
    let seq = 0;
    let count = 0;
    let low = 0;
    let high = 0;
    let isReleased = false;
    const isBeingInvalidated = (va: number): boolean => count > 0 && va < high && va + 4096 > low;

    return {
      // Entries of the range are still in place and will change. From here until end the device has nothing of it.
      *invalidateRangeStart(range) {
        yield* hw.lock();
        low = count === 0 ? range.start : Math.min(low, range.start);
        high = count === 0 ? range.end : Math.max(high, range.end);
        count++;
        // Table, TLBs, accesses in flight: all of it before the lock is dropped.
        for (const m of yield* hw.unmap(range.start, range.end)) if (m.isDirty) hw.markDirty(m.page);
        hw.unlock();
      },

      *invalidateRangeEnd() {
        yield* hw.lock();
        seq++;
        count--;
        hw.unlock();
        // Faults that found a section open wait for its end.
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
          // Sampled before the look-up: whatever ends after this is noticed.
          const sample = seq;
          const page = yield* hw.getUserPage(va, isWrite);
          if (page < 0) return page;
          yield* hw.lock();
          const isStale = isBeingInvalidated(va) || seq !== sample;
          if (!isStale && !isReleased) {
            // Writable only for a store: the look-up for a read may have found a page that is shared with others.
            yield* hw.map(va, page, { writable: isWrite });
            if (isWrite) hw.markDirty(page);
          }
          hw.unlock();
          // The table holds no reference: start takes the page out before it can be freed.
          hw.putPage(page);
          if (isReleased) return -EFAULT;
          if (!isStale) return 0;
          yield* hw.waitUntil(() => !isBeingInvalidated(va) || isReleased, 'the end of a section');
        }
      },
    };
  },
});
