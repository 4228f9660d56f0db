import { createDriverDevice, type DeviceMaker, defineBug, defineDriver, lockPage, unlockPage } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

/** userptr: the driver owes every dirty page a set_page_dirty when it lets go of it. */
function userptr(locksPages: boolean): DeviceMaker {
  return (k, config) => {
    const driver = defineDriver({
      name: 'userptr',
      design: 'linux-6.1',
      device: 'mirror',
      create(hw) {
        const gpu = new KvmLike(hw);
        return {
          *invalidateRangeStart(range) {
            yield* hw.lock();
            gpu.begin(range);
            const removed = yield* hw.unmap(range.start, range.end);
            hw.unlock();
            for (const m of removed) {
              if (!m.isDirty) continue;
              if (locksPages) yield* lockPage(k, m.page);
              hw.markDirty(m.page);
              if (locksPages) unlockPage(k, m.page);
            }
          },
          *invalidateRangeEnd() {
            yield* gpu.invalidateRangeEnd();
          },
          *release() {
            yield* gpu.release();
          },
          *fault({ va }) {
            return yield* gpu.fault(va);
          },
        };
      },
    });
    return createDriverDevice(k, driver, config);
  };
}

export default defineBug({
  number: 37,
  id: 'i915-userptr-lock-recursion',
  title: 'A callback takes the page lock that its caller holds',
  year: '2019',
  summary:
    'Reclaim locks a page, unmaps it, and calls the driver, which locks the page to mark it dirty: the thread waits for itself.',
  evidence:
    'Commit aa56a292ce62 "drm/i915/userptr: Acquire the page lock around set_page_dirty()", checked; undone later.',
  tag: 'DEADLOCK',
  steps: '4',
  scenario: {
    name: 'reclaim of a dirty page',
    summary: 'a page that the device has written is swapped out',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'store', at: 0, by: 'device' },
    ],
    threads: { pageout: { steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] } },
  },
  historic: {
    what: 'the page lock around set_page_dirty',
    design: 'linux-6.1',
    driver: userptr(true),
  },
  fixed: {
    what: 'no page lock in a callback',
    design: 'linux-6.1',
    driver: userptr(false),
  },
  story: `
1. Reclaim locks page F1.
2. It unmaps F1: a section starts, the driver is called.
3. The driver takes F1 out of its table and wants to mark it dirty, under F1's page lock.
4. The thread that holds that lock is this one.

With a mutex of the driver in between it takes two threads, and is as final. A callback runs with its caller's locks.`,
});
