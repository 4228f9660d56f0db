import { defineBug } from 'shootdown';

export default defineBug({
  number: 1,
  id: 'amd-iommuv2-flush-at-end',
  title: 'An external TLB can only be flushed too early or too late',
  year: '2011-2014',
  summary:
    'With start and end callbacks alone, a device that walks the page tables by itself loads the old translation again after ' +
    'start, and the page is freed before end.',
  evidence: 'Commits 0f0a327fa12c and 34ee645e83b6 (Linux 3.19), both checked.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'munmap',
    summary: 'one page goes while the device writes it; the gather holds one page, so it is freed inside the section',
    kernel: { gatherBundle: 1 },
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 2.6.27: flushes when a section starts and when it ends',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
  },
  fixed: {
    what: 'Linux 3.19: flushes in invalidate_range, where the CPUs are flushed',
    design: 'invalidate-range',
    driver: 'iommu-v2',
  },
  story: `
1. munmap opens a section; the driver flushes. The entry is still there.
2. The device walks to the page again and caches V -> F1.
3. munmap clears the entry and flushes the CPUs.
4. The gather is full: F1 is freed.
5. The device stores through V -> F1. The frame may belong to anybody by now.
6. The section ends; the driver flushes, too late.

The fix is a third callback, issued exactly where the CPU TLBs are flushed: after the entry was cleared, before the page is freed.`,
});
