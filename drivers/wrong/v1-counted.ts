// Wrong in another way: the driver of 3.11 to 3.18 parks the device on an empty page table while any section is open, and counts
// them. No freed page is reached, but the device faults on every address of the process for as long as a section is open; it
// is told "try again", and faults again, until it gives up. Since 3.19 invalidate_range makes parking needless.

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'v1-counted',
  design: 'linux-2.6.27',
  device: 'walker',
  mistake: 'lets the device fault in vain while a section is open',
  breaks: ['L1', 'L2'],

  create(hw) {
    let sections = 0;
    return {
      *invalidateRangeStart() {
        yield* hw.lock();
        if (sections++ === 0) yield* hw.parkTable();
        hw.unlock();
      },

      *invalidateRangeEnd() {
        yield* hw.lock();
        if (--sections === 0) yield* hw.restoreTable();
        hw.unlock();
      },

      *invalidatePage(address) {
        yield* hw.flushPage(address);
      },

      *release() {
        yield* hw.tearDownAtomic();
      },
    };
  },
});
