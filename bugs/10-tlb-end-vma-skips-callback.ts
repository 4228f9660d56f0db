import { defineBug, defineLivepatch, FLUSH_OF_GATHER } from 'shootdown';

/** The hook at the end of each VMA flushes the CPUs and forgets the range; external TLBs hear only of what comes after. */
const cpusOnly = defineLivepatch({
  tlbEndVma: () =>
    function* (k, tlb) {
      if (tlb.fullMm || tlb.cleared === 0) return;
      yield* k.fn.flushTlbMmRange(k, tlb.mm, tlb.start, tlb.end, 12, tlb.freedTables, FLUSH_OF_GATHER);
      tlb.resetRange();
    },
});

const throughTheCommonRoutine = defineLivepatch({
  tlbEndVma: () =>
    function* (k, tlb) {
      if (!tlb.fullMm) yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
    },
});

export default defineBug({
  number: 10,
  id: 'tlb-end-vma-skips-callback',
  title: 'The flush at the end of a VMA forgets the external TLBs',
  year: '2018',
  summary:
    'Where the architecture flushes after each VMA, the range gathered so far was reset without a callback; later pages of the ' +
    'same gather carried only their own range.',
  evidence: 'Commit fd1102f0aade "mm: mmu_notifier fix for tlb_end_vma" (Linux 4.19), checked.',
  tag: 'UAF-DATA',
  steps: '8',
  scenario: {
    name: 'munmap of two areas',
    summary: 'two areas go in one call; the gather is full after the second page, so both are freed inside the section',
    kernel: { gatherBundle: 2 },
    setup: [
      { do: 'mmap', at: 0, pages: 3 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
      { do: 'mprotect', at: 1, pages: 1, prot: 'r' },
      { do: 'load', at: 0, by: 'device' },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0, pages: 2 }] },
      device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 4.18 on an architecture with a tlb_end_vma of its own',
    design: 'invalidate-range',
    driver: 'iommu-v2',
    patches: cpusOnly,
  },
  fixed: {
    what: 'Linux 4.19: the hook goes through the routine that flushes CPUs and external TLBs together',
    design: 'invalidate-range',
    driver: 'iommu-v2',
    patches: throughTheCommonRoutine,
  },
  story: `
1. The device holds Va -> F1, in area A.
2. munmap of A and B: the entry of Va is cleared, F1 queued; the gather's range is A.
3. End of A: the hook flushes the CPUs for A and resets the range. No callback.
4. The entry in B is cleared; the range is B.
5. The gather is full: CPUs and external TLBs are flushed for B.
6. All queued pages are freed, F1 too.
7. F1 gets a new owner.
8. The device stores through Va -> F1.

Whatever resets a pending range must have discharged every class of debt.`,
});
