import { defineBug, defineLivepatch } from 'shootdown';

/** tlb_finish_mmu without a look at other gathers of the address space. */
const alone = defineLivepatch({
  tlbFinishMmu: () =>
    function* (k, tlb) {
      yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
      yield* k.fn.tlbFlushMmuFree(k, tlb);
      for (const batch of tlb.batches.splice(0)) k.fn.putPage(k, batch);
      tlb.mm.tlbFlushPending--;
      k.gathers.push(tlb);
    },
});

export default defineBug({
  number: 16,
  id: 'madvise-parallel-zap-no-flush',
  title: 'Two threads throw the same page away, and one returns too early',
  year: '2017',
  summary:
    'The second MADV_DONTNEED finds the entry gone already, flushes nothing and returns, though the first has not flushed yet: the ' +
    'program then reads the old contents.',
  evidence: 'Commit 99baac21e458 "mm: fix MADV_[FREE|DONTNEED] TLB flush miss problem" (Linux 4.13), checked.',
  tag: 'STALE-MAP',
  steps: '5',
  scenario: {
    name: 'two times DONTNEED',
    summary: 'two threads throw a page away; the second reads it afterwards',
    bound: false,
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      first: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
      second: {
        steps: [
          { do: 'load', at: 0 },
          { do: 'madvise', at: 0, advice: 'dontneed' },
          { do: 'load', at: 0 },
        ],
      },
    },
  },
  historic: {
    what: 'Linux 4.12: a gather flushes what it has cleared itself',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: alone,
  },
  fixed: {
    what: 'Linux 4.13: a gather that is not alone on the address space flushes all of it',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. CPU 1 caches V -> F1.
2. Thread A, MADV_DONTNEED: clears the entry, queues F1, drops the page-table lock. Its flush is still to come.
3. Thread B on CPU 1, MADV_DONTNEED of the same page: finds nothing, has nothing to flush, returns.
4. B reads V, which reads as zero from now on. CPU 1 still has V -> F1.
5. B sees the old contents.

F1 is not free yet: who looks for uses of freed pages only misses this one.`,
});
