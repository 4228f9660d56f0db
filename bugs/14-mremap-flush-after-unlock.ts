import { defineBug, defineLivepatch, SITE_MREMAP } from 'shootdown';

/** move_ptes flushes the old place only after it has dropped both page-table locks. */
const flushAfterUnlock = defineLivepatch({
  flushTlbMmRange: (original) =>
    function* (k, mm, start, end, stride, freedTables, site) {
      if (site !== SITE_MREMAP) yield* original(k, mm, start, end, stride, freedTables, site);
    },
  movePtes: (original) =>
    function* (k, vma, oldAddr, newVma, newAddr, len, needRmapLocks) {
      yield* original(k, vma, oldAddr, newVma, newAddr, len, needRmapLocks);
      yield* k.fn.flushTlbMmRange(k, vma.mm, oldAddr, oldAddr + len, 12, true, SITE_MREMAP + LATE);
    },
});
/** A site of its own, which the patched flush lets through. */
const LATE = 1000;

export default defineBug({
  number: 14,
  id: 'mremap-flush-after-unlock',
  title: 'mremap flushes after the page-table locks are dropped',
  year: '2018',
  summary:
    'mremap moved an entry and dropped its locks before it flushed the old address; a truncate that zapped the new place flushed ' +
    'only that, and freed the page under the old one.',
  evidence:
    'Commit eb66ae030829 "mremap: properly flush TLB before releasing the page" (Linux 4.19), CVE-2018-18281, checked.',
  tag: 'UAF-DATA',
  steps: '7',
  scenario: {
    name: 'mremap beside truncate',
    summary: 'a file page moves to another address while the file is cut',
    bound: false,
    files: { f: 1 },
    setup: [
      { do: 'mmap', at: 0, file: 'f', shared: true },
      { do: 'load', at: 0 },
      { do: 'mmap', at: 2 },
      { do: 'store', at: 2 },
    ],
    threads: {
      toucher: {
        steps: [
          { do: 'load', at: 0, mayFail: true },
          { do: 'load', at: 0, mayFail: true },
        ],
      },
      mremap: { steps: [{ do: 'mremap', at: 0, to: 4 }] },
      truncate: { steps: [{ do: 'truncate', file: 'f', pages: 0 }] },
    },
  },
  historic: {
    what: 'Linux 4.18: moves, unlocks, flushes',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: flushAfterUnlock,
  },
  fixed: {
    what: 'Linux 4.19: moves, flushes, unlocks',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. A thread on another CPU caches the old address V -> F1.
2. mremap takes both page-table locks, moves the entry to V', drops the locks.
3. truncate zaps V', flushes V' and frees F1.
4. F1 gets a new owner.
5. The thread reads through V -> F1.
6. mremap flushes V.

A move keeps no count of the page: only the lock keeps it alive until the old translation is gone.`,
});
