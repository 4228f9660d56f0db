import { defineBug, defineLivepatch, type ScenarioContext, userLoad } from 'shootdown';

/** A shared table that is unlinked leaves no trace in the gather. */
const noTrace = defineLivepatch({
  hugePmdUnshare: (original) => (k, tlb, vma, address, word) => {
    const { start, end, cleared } = tlb;
    const isUnshared = original(k, tlb, vma, address, word);
    if (isUnshared) Object.assign(tlb, { start, end, cleared, unsharedTables: false });
    return isUnshared;
  },
});

/** First page of a block of 1 GiB, counted from page 0 of the scenario. */
const AT = (0x40000000 - 0x10200000) / 4096;

export default defineBug({
  number: 23,
  id: 'hugetlb-unshare-missing-flush',
  title: 'A page table that two processes share is unlinked without a flush',
  year: '2021',
  summary:
    'Unmapping memory of the hugetlb pool dropped a shared page table from one process as a whole, and went on as if there had been ' +
    'nothing to unmap: no flush. The page was freed by the other process.',
  evidence:
    'Commit a4a118f2eead "hugetlbfs: flush TLBs correctly after huge_pmd_unshare" (5.16), CVE-2021-4002, checked.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'hugetlb: unmapping beside a hole',
    summary: 'one process drops a page of shared memory of the pool, the other punches it out of the file',
    bound: false,
    kernel: { frames: 1024, hugePages: 1 },
    setup: [
      { do: 'mmap', at: AT, pages: 1 << 18, shared: true, hugetlb: true, noReserve: true },
      { do: 'store', at: AT },
      { do: 'fork', as: 'child' },
      {
        do: 'run',
        name: 'the child reads',
        path: (c: ScenarioContext) => userLoad(c.kernel, c.task('child'), c.va(AT), 4),
      },
    ],
    threads: {
      toucher: { cpu: 0, steps: [{ do: 'load', at: AT, mayFail: true }] },
      dontneed: { cpu: 1, steps: [{ do: 'madvise', at: AT, pages: 512, advice: 'dontneed' }] },
      child: { cpu: 2, task: 'child', steps: [{ do: 'madvise', at: AT, pages: 512, advice: 'remove' }] },
    },
  },
  historic: {
    what: 'Linux 5.15: the unmapping of a shared table is not recorded',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: noTrace,
  },
  fixed: {
    what: 'Linux 5.16: the gather records the whole block of 1 GiB',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. Processes A and B map the same GiB of the pool and share the page table T in front of it. CPU 0 caches V -> H1 for A.
2. A drops V: its entry for T is cleared and T’s count goes down. The loop goes on to the next table without a word in the gather.
3. The call returns, and nothing was flushed.
4. B punches H1 out of the file: B’s entry is cleared and flushed, H1 is freed.
5. H1 gets a new owner.
6. CPU 0 reads V -> H1.

Whoever unlinks a table owes a flush for all that it covers, though every entry in it stays where it is.`,
});
