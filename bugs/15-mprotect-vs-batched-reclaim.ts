import { defineBug, defineLivepatch } from 'shootdown';

/** Nobody asks whether reclaim has put off a flush of this address space. */
const noDrain = defineLivepatch({
  flushTlbBatchedPending: () => function* () {},
});

export default defineBug({
  number: 15,
  id: 'mprotect-vs-batched-reclaim',
  title: 'mprotect returns while a flush of reclaim is still owed',
  year: '2017',
  summary:
    'Reclaim cleared the entry and put its flush off; mprotect found nothing to do, flushed nothing and returned, and a CPU went on ' +
    'writing.',
  evidence:
    'Commit 3ea277194daa "mm, mprotect: flush TLB if potentially racing with a parallel reclaim leaving stale TLB entries" (4.13), checked.',
  tag: 'STALE-PERM',
  steps: '5',
  scenario: {
    name: 'mprotect beside reclaim',
    summary: 'a page is made read-only while reclaim takes it',
    bound: false,
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'madvise', at: 0, advice: 'cold' },
    ],
    threads: {
      reclaim: { on: 'kernel', steps: [{ do: 'reclaim', pages: 4 }] },
      program: {
        cpu: 1,
        steps: [
          { do: 'store', at: 0 },
          { do: 'mprotect', at: 0, prot: 'r' },
          { do: 'store', at: 0, mayFail: true },
        ],
      },
    },
  },
  historic: {
    what: 'Linux 4.12: mprotect looks at the entries alone',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: noDrain,
  },
  fixed: {
    what: 'Linux 4.13: who changes entries drains the flushes that reclaim has put off',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. CPU 1 caches V -> F1, writable.
2. Reclaim clears the entry and only notes that a flush is due.
3. CPU 1: mprotect(read-only) finds no entry, so nothing to flush, and returns.
4. CPU 1 stores through V -> F1.
5. Reclaim flushes.

"The entry is not present" does not mean "I owe nothing". The port of the batching to arm64 had the drain as a mere barrier until
2025 (4b634918384c).`,
});
