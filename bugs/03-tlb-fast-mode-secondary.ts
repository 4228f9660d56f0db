import { defineBug, defineLivepatch } from 'shootdown';

/** tlb_fast_mode: on one CPU a page is freed at once, the flush comes at the end of the gather. */
const tlbFastMode = defineLivepatch({
  tlbRemovePage: (original) => (k, tlb, pfn, address, isTable) => {
    if (k.config.cpus > 1) return original(k, tlb, pfn, address, isTable);
    k.fn.putPage(k, pfn);
    return false;
  },
});

const setup = [
  { do: 'mmap', at: 0, pages: 2 },
  { do: 'store', at: 0 },
  { do: 'store', at: 1 },
] as const;

export default defineBug({
  number: 3,
  id: 'tlb-fast-mode-secondary',
  title: 'On a uniprocessor the gather frees pages before it flushes',
  year: '2011-2013',
  summary:
    'With one CPU nothing was queued in the gather: the page was freed at once, though a device still translated to it.',
  evidence: 'Removal: commit 29eb77825cc7 "arch, mm: Remove tlb_fast_mode()" (Linux 3.10), checked.',
  tag: 'UAF-DATA',
  steps: '5',
  scenario: {
    name: 'munmap on one CPU',
    summary: 'one page goes while the device writes it',
    // The page comes by the device's own fault: no CPU has ever translated it.
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0, by: 'device' },
      { do: 'store', at: 1 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux before 3.10 with one CPU: frees while it clears',
    design: 'invalidate-range',
    driver: 'iommu-v2',
    kernel: { cpus: 1 },
    patches: tlbFastMode,
  },
  fixed: {
    what: 'Linux 3.10: queue, flush, then free',
    design: 'invalidate-range',
    driver: 'iommu-v2',
    kernel: { cpus: 1 },
  },
  others: {
    'several CPUs': {
      what: 'the same kernel with two CPUs never used the mode',
      isBroken: false,
      design: 'invalidate-range',
      driver: 'iommu-v2',
      kernel: { cpus: 2 },
      patches: tlbFastMode,
    },
    'no device': {
      what: 'why it was removed: a gather may be preempted, and a thread of the same program runs on the one CPU',
      isBroken: true,
      design: 'invalidate-range',
      driver: 'iommu-v2',
      kernel: { cpus: 1 },
      patches: tlbFastMode,
      scenario: {
        name: 'munmap beside a thread on the same CPU',
        summary: 'one page goes while another thread writes it',
        bound: false,
        setup,
        threads: {
          munmap: { steps: [{ do: 'munmap', at: 0 }], cpu: 0 },
          sibling: { steps: [{ do: 'store', at: 0, mayFail: true }], cpu: 0 },
        },
      },
    },
  },
  story: `
1. The device holds V -> F1.
2. munmap clears the entry.
3. One CPU, so there is no other CPU to flush: F1 is freed at once.
4. F1 gets a new owner.
5. The device stores through V -> F1. (The flush, and the callback in the right place, come at the end of the gather.)

A correctly placed callback does not help when the flush itself is late: queue, flush, free, in this order, everywhere.`,
});
