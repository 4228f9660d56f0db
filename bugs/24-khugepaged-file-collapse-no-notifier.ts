import { defineBug, defineLivepatch, pmdpCollapseFlush, pteFree, SITE_COLLAPSE } from 'shootdown';

/** collapse_and_free_pmd as it was when it had no name yet: the table leaves the tree, the CPUs are flushed, and that is all. */
const noSection = defineLivepatch({
  collapseAndFreePmd: () =>
    function* (k, vma, address, word) {
      const table = (yield* pmdpCollapseFlush(k, vma, word, address, SITE_COLLAPSE)) >>> 12;
      vma.mm.tablePages--;
      pteFree(k, table);
    },
});

export default defineBug({
  number: 24,
  id: 'khugepaged-file-collapse-no-notifier',
  title: 'khugepaged takes page tables of shared memory away and tells nobody',
  year: '2022',
  summary:
    'After the small pages of a file had been replaced by a huge one, the page table in front of them was freed with a flush of the ' +
    'CPUs only; a device that walks the same tables still had it in its walk cache.',
  evidence:
    'Commit f268f6cf875f "mm/khugepaged: invoke MMU notifiers in shmem/file collapse paths" (Linux 6.1), CVE-2022-48991, checked.',
  tag: 'UAF-TABLE',
  steps: '6',
  scenario: {
    name: 'khugepaged and shared memory',
    summary: 'small pages of shared memory become a huge one while the device uses addresses of the same page table',
    kernel: { frames: 2048, thpEnabled: 'madvise', shmemHuge: 'advise' },
    setup: [
      { do: 'mmap', at: 0, pages: 512, shared: true },
      { do: 'store', at: 0 },
      { do: 'madvise', at: 0, pages: 512, advice: 'hugepage' },
      { do: 'load', at: 0, by: 'device' },
    ],
    threads: {
      khugepaged: { on: 'kernel', steps: [{ do: 'khugepaged' }] },
      device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 6.0: no section around the retraction of a page table',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: noSection,
  },
  fixed: {
    what: 'Linux 6.1: a section for the block that the table covers',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. The device uses V, a page of shared memory.
2. khugepaged puts a huge page in the place of the small pages of the file. Each of them is unmapped first, and that is announced:
   the device drops V.
3. The device uses V again. It finds no entry, but its walk cache points to page table T now.
4. khugepaged takes T, which is empty, out of the tree of every process that maps the file, and flushes the CPUs. No callback.
5. T is freed and gets a new owner.
6. The device touches V once more: its walk begins at T, and reads data as a table.

"The entries are gone already" is true of the leaves, and only of those.`,
});
