import { defineBug } from 'shootdown';

export default defineBug({
  number: 2,
  id: 'amd-iommuv2-empty-table-refault',
  title: 'Parking the device on an empty table while anything is invalidated',
  year: '2013-2014',
  summary:
    'The driver points the device at an empty page table between start and end. Every access faults meanwhile, each fault is ' +
    'answered with "try again", and a device that does not try for ever gives up.',
  evidence: 'The cover letters of the 2014 series tell it; the driver is drivers/iommu/amd_iommu_v2.c of Linux 3.18.',
  tag: 'LIVELOCK',
  steps: 'k + 4, k attempts of the device',
  scenario: {
    name: 'munmap of another page',
    summary: 'the device reads a page that nobody touches while its neighbour is unmapped',
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
    ],
    threads: {
      device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
      munmap: { steps: [{ do: 'munmap', at: 1 }] },
    },
  },
  historic: {
    what: 'Linux 3.18: an empty page table while any section is open',
    design: 'linux-2.6.27',
    driver: 'iommu-v2-empty-table',
    device: { ats: { refaultBudget: 0 } },
  },
  fixed: {
    what: 'Linux 3.19: the device walks the live table all the time',
    design: 'invalidate-range',
    driver: 'iommu-v2',
    device: { ats: { refaultBudget: 0 } },
  },
  story: `
1. munmap opens a section; the driver points the device at an empty table and flushes.
2. The device reads another page, finds nothing and asks for it.
3. The page is there: the kernel answers "translate again".
4. 2 and 3 repeat while munmap stands in its section.
5. The device has tried as often as it may and stops with an error.

Two overlapping sections after one another need not even be slow: the table comes back only when no section is open.`,
});
