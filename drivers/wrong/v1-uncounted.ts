// Wrong: the driver of 3.3 to 3.18 parks the device on an empty page table while a section is open. This one does not count
// sections: the end of one brings the table back while another is still open (drivers/iommu/amd_iommu_v2.c, 3.10).
//
//   thread A                    thread B                       device
//     start: empty table
//                                 start: empty table
//                                 clears, end: real table
//                                                                loads V -> F1, whose entry A is about to clear
//     clears V, frees F1                                         writes F1
//     end: real table

import { defineDriver } from 'shootdown';

export default defineDriver({
  name: 'v1-uncounted',
  design: 'linux-2.6.27',
  device: 'walker',
  mistake: 'does not count open sections',
  breaks: ['I1', 'I5'],

  create: (hw) => ({
    *invalidateRangeStart() {
      yield* hw.parkTable();
    },

    *invalidateRangeEnd() {
      yield* hw.restoreTable();
    },

    *invalidatePage(address) {
      yield* hw.flushPage(address);
    },

    *release() {
      yield* hw.tearDownAtomic();
    },
  }),
});
