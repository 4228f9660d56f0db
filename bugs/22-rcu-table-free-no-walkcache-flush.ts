import { defineBug, defineLivepatch } from 'shootdown';

/** Page-table pages do not wait for the flush of the gather: only for software that walks without a lock (here there is none). */
const tablesByGracePeriod = defineLivepatch({
  tlbRemovePage: (original) => (k, tlb, pfn, address, isTable) => {
    if (!isTable) return original(k, tlb, pfn, address, isTable);
    k.fn.putPage(k, pfn);
    return false;
  },
});

export default defineBug({
  number: 22,
  id: 'rcu-table-free-no-walkcache-flush',
  title: 'Tables are freed after a grace period, with the hardware still in them',
  year: '2018',
  summary:
    "Deferred freeing of page tables waited for software walkers alone; the CPUs' paging-structure caches still pointed to the table.",
  evidence:
    'Commit d86564a2f085 "mm/tlb, x86/mm: Support invalidating TLB caches for RCU_TABLE_FREE" (Linux 4.19), checked.',
  tag: 'UAF-TABLE',
  steps: '6',
  scenario: {
    name: 'munmap with the page table',
    summary: 'the only page of a table goes while another CPU touches addresses below that table',
    bound: false,
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      toucher: {
        cpu: 1,
        steps: [
          { do: 'load', at: 0, mayFail: true },
          { do: 'load', at: 1, mayFail: true },
        ],
      },
    },
  },
  historic: {
    what: 'Linux 4.18: tables go by their own way, without the flush',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: tablesByGracePeriod,
  },
  fixed: {
    what: 'Linux 4.19: walk caches are flushed before a table enters deferred freeing',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. CPU 1 caches the upper entry that points to table T.
2. munmap clears the pages below T.
3. It takes T out of the tree and hands it to deferred freeing, which waits for software only.
4. T is freed and gets a new owner.
5. CPU 1 walks again, from its cached upper entry.
6. It reads T as a table.

Two kinds of quiescence: software readers, and what hardware has cached.`,
});
