import {
  defineBug,
  defineLivepatch,
  entryLo,
  type KernelPath,
  notePage,
  PG_ANON_EXCLUSIVE,
  pteOffset,
  ptePfn,
  pteTable,
  type ScenarioContext,
  userLoad,
  userStore,
} from 'shootdown';

/** Until Linux 5.19 no page was marked as belonging to one process alone; today that mark alone makes write_protect_page flush. */
const noExclusivePages = defineLivepatch({
  writeProtectPage: (original) =>
    function* (k, vma, pfn) {
      notePage(k, pfn);
      k.pages.flags[pfn]! &= ~PG_ANON_EXCLUSIVE;
      return yield* original(k, vma, pfn);
    },
});

/** write_protect_page looks at the entry alone. */
const noPendingFlush = defineLivepatch({
  mmTlbFlushPending: () => () => false,
});

/** clear_refs of soft-dirty bits as it was until 5.11: the entries are walked under mmap_sem for read, which is taken for write only when
 *  VMAs still are VM_SOFTDIRTY. Here the setup has cleared that. */
function* clearRefs(c: ScenarioContext): KernelPath<void> {
  const mm = c.task('main').mm!;
  yield* mm.mmapLock.readLock();
  yield* c.kernel.fn.clearSoftDirty(c.kernel, mm);
  mm.mmapLock.readUnlock();
}

/** A page that KSM has merged, one that it is going to merge with it, and what a thread stores to it meanwhile. */
const KSM_PAGE = 1;
const AT = 2;
const STORED = 77;
/** Worlds in which it has been stored. Noted as the bytes of the page-table root, which nothing else reads. */
const stored = new WeakSet<ScenarioContext>();

/** Stores through what CPU 0 has cached since the setup. */
function* store(c: ScenarioContext): KernelPath<void> {
  const main = c.task('main');
  yield* userStore(c.kernel, main, c.va(AT), STORED, 4);
  c.kernel.memory.touch(main.mm!.pgd, true);
  stored.add(c);
}

/** Frame that a page of the scenario maps. */
function frameAt(c: ScenarioContext, page: number): number {
  const { kernel: k } = c;
  const table = pteTable(k, c.task('main').mm!, c.va(page));
  return ptePfn(entryLo(k.memory, pteOffset(table, c.va(page))));
}

/** What a scan does when it comes to the page and has found the KSM page equal to it; then the program looks at what it has stored. */
function* mergeAndLoad(c: ScenarioContext): KernelPath<void> {
  const { kernel: k } = c;
  const main = c.task('main');
  const mm = main.mm!;
  yield* mm.mmapLock.readLock();
  const pfn = frameAt(c, AT);
  notePage(k, pfn);
  k.pages.refcount[pfn]!++;
  yield* k.fn.tryToMergeOnePage(k, mm.vmas.findExact(c.va(AT))!, pfn, frameAt(c, KSM_PAGE));
  mm.mmapLock.readUnlock();
  k.fn.putPage(k, pfn);
  k.memory.touch(mm.pgd, false);
  if (!stored.has(c)) return;
  const loaded = yield* userLoad(k, main, c.va(AT), 4);
  c.claim(
    loaded === STORED,
    'LOST-WRITE',
    `A thread has stored ${STORED} to its page and loads ${loaded} from it: KSM has put another page there, equal to what it was before.`,
  );
}

export default defineBug({
  number: 17,
  id: 'ksm-vs-softdirty-lazy-flush',
  title: 'KSM compares a page that a CPU can still write',
  year: '2017',
  summary:
    'MADV_FREE and clear_refs had made the entry clean and read-only and had not flushed yet; KSM found nothing to protect, flushed ' +
    'nothing, compared, and replaced the page under a writer.',
  evidence: 'Commit b3a81d0841a9 "mm: fix KSM data corruption" (Linux 4.13), checked.',
  tag: 'LOST-WRITE',
  steps: '7',
  scenario: {
    name: 'KSM beside clear_refs',
    summary: 'a page is merged while one thread gives it up, the soft-dirty bits are cleared and a CPU writes it',
    bound: false,
    setup: [
      { do: 'mmap', at: 0, pages: 3 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
      { do: 'madvise', at: 0, pages: 3, advice: 'mergeable' },
      { do: 'ksm', scans: 3 },
      { do: 'munmap', at: 0 },
      { do: 'soft-dirty' },
      { do: 'store', at: AT },
    ],
    threads: {
      'clear refs': { on: 'kernel', steps: [{ do: 'run', name: 'clear_refs', path: clearRefs }] },
      writer: { on: 'kernel', steps: [{ do: 'run', name: 'store', path: store }] },
      'madvise free': { cpu: 1, steps: [{ do: 'madvise', at: AT, advice: 'free' }] },
      ksmd: { on: 'kernel', steps: [{ do: 'run', name: 'merge and load', path: mergeAndLoad }] },
    },
  },
  historic: {
    what: 'Linux 4.12: an entry that is read-only and clean needs no flush',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: [noExclusivePages, noPendingFlush],
  },
  fixed: {
    what: 'Linux 6.1: where a flush is pending, KSM flushes for itself, and for a page of one process alone in any case',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. CPU 0 caches V -> F1, writable and dirty.
2. MADV_FREE makes the entry clean, clear_refs makes it read-only. Both flush at their end.
3. ksmd write-protects V for a merge: the entry is read-only and clean already, so it does not flush.
4. It compares F1 with the KSM page K: equal.
5. CPU 0 stores to F1, through its TLB.
6. ksmd maps V -> K and frees F1.
7. clear_refs and MADV_FREE flush.

Three that are right when alone. The counter of pending flushes, which migration had needed four years before, was there for it.`,
});
