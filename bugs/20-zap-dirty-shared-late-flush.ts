import { defineBug, defineLivepatch, type Kernel, PG_ANON, PG_DIRTY, pteTable, type VmArea } from 'shootdown';

/** A dirty page of a file is queued like any other: nothing forces a flush before the page-table lock is dropped. */
const lateFlush = defineLivepatch({
  tlbRemovePage: (original) => (k, tlb, pfn, address, isTable) => {
    tlb.forceFlush = false;
    return original(k, tlb, pfn, address, isTable);
  },
});

type Delayed = [pfn: number, vma: VmArea, address: number];

/** What each thread that zaps has still to take off its rmap, by kernel and thread. */
const delayed = new WeakMap<Kernel, Map<number, Delayed[]>>();

function pending(k: Kernel): Delayed[] | undefined {
  return delayed.get(k)?.get(k.sched.current.id);
}

/** A dirty page of a file counts as mapped until the CPUs are flushed, and write-back waits for the page-table lock of whoever
 *  zaps it (PVMW_SYNC). */
const delayedRmap = defineLivepatch({
  zapPteRange: (original) =>
    function* (k, tlb, vma, pmdWord, start, end, evenCows) {
      const threads = delayed.get(k) ?? new Map<number, Delayed[]>();
      delayed.set(k, threads);
      threads.set(k.sched.current.id, []);
      const result = yield* original(k, tlb, vma, pmdWord, start, end, evenCows);
      threads.delete(k.sched.current.id);
      return result;
    },
  pageRemoveRmap: (original) => (k, pfn, vma, address) => {
    const list = pending(k);
    const isDirtyFile = (k.pages.flags[pfn]! & (PG_ANON | PG_DIRTY)) === PG_DIRTY;
    if (list !== undefined && isDirtyFile) list.push([pfn, vma, address]);
    else original(k, pfn, vma, address);
  },
  tlbFlushMmuTlbonly: (original) =>
    function* (k, tlb) {
      yield* original(k, tlb);
      const list = pending(k)?.splice(0) ?? [];
      const threads = delayed.get(k);
      const own = pending(k);
      threads?.delete(k.sched.current.id);
      for (const [pfn, vma, address] of list) k.fn.pageRemoveRmap(k, pfn, vma, address);
      if (own !== undefined) threads!.set(k.sched.current.id, own);
    },
  pageMkcleanOne: (original) =>
    function* (k, pfn, vma, address) {
      const table = pteTable(k, vma.mm, address);
      if (table !== 0) {
        yield* k.ptl.lock(table);
        k.ptl.unlock(table);
      }
      return yield* original(k, pfn, vma, address);
    },
});

export default defineBug({
  number: 20,
  id: 'zap-dirty-shared-late-flush',
  title: 'A store after the last entry is gone, and before the flush',
  year: '2014',
  summary:
    'Write-back found no mapping to clean and took the page for clean; a CPU still stored through its TLB, and nothing remembers.',
  evidence:
    'Commit 1cf35d47712d "mm: split \'tlb_flush_mmu()\' into tlb flushing and memory freeing parts" (Linux 3.15), checked; finished by ' +
    '5df397dec7c4 "mm: delay page_remove_rmap() until after the TLB has been flushed" (Linux 6.2), from memory.',
  tag: 'LOST-WRITE',
  steps: '7',
  scenario: {
    name: 'munmap beside write-back',
    summary: 'a dirty page of a shared file mapping is unmapped while another CPU writes it and a third writes it back',
    bound: false,
    files: { f: 1 },
    setup: [
      { do: 'mmap', at: 0, file: 'f', shared: true },
      { do: 'store', at: 0 },
      { do: 'mmap', at: 1 },
      { do: 'store', at: 1 },
    ],
    threads: {
      writer: {
        cpu: 1,
        steps: [
          { do: 'store', at: 0, mayFail: true },
          { do: 'store', at: 0, mayFail: true },
        ],
      },
      munmap: { cpu: 0, steps: [{ do: 'munmap', at: 0 }] },
      flusher: {
        cpu: 2,
        steps: [
          { do: 'fsync', file: 'f' },
          { do: 'reclaim', pages: 8 },
        ],
      },
    },
  },
  historic: {
    what: 'Linux 3.14: the flush comes with the gather, after the page-table lock',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: lateFlush,
  },
  fixed: {
    what: 'Linux 6.2: the page stays mapped for write-back until the CPUs are flushed',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: delayedRmap,
  },
  others: {
    'first fix': {
      what: 'Linux 3.15 to 6.1: flushes while the page-table lock is held, but write-back does not wait for a page that is unmapped',
      isBroken: true,
      design: 'linux-6.1',
      driver: 'iommu-v2',
    },
  },
  story: `
1. CPU 1 caches V -> F1, a page of a file, writable and dirty.
2. munmap clears the entry, marks F1 dirty and drops the page-table lock. Its flush is still to come.
3. Write-back finds no entry that maps F1, takes the dirty mark away and writes the contents.
4. CPU 1 stores through V -> F1. There is no entry left that could take a dirty bit.
5. The write ends; F1 is clean.
6. munmap flushes.
7. F1 is dropped, and the store with it.

The fix of 2014 moved the flush under the page-table lock. It left a gap: write-back that finds the page unmapped does not come by that
lock. Only the exploration of that fix shows it; Linux closed it in 2022.`,
});
