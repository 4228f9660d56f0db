import {
  defineBug,
  defineLivepatch,
  entryLo,
  FOLL_WRITE,
  GUP_PIN_COUNTING_BIAS,
  type KernelPath,
  type MmStruct,
  P_COPY,
  P_PTES_COPIED,
  PTE_P,
  PTE_RW,
  pteOffset,
  ptePfn,
  pteTable,
  type ScenarioContext,
} from 'shootdown';

/** write_protect_seq: odd while fork copies. Noted as the bytes of the page-table root, which nothing else reads. */
const sequences = new WeakMap<MmStruct, number>();

/** Fork in two steps, as the processor takes them: is the page pinned, then the write protection. What was decided holds. */
const decidesThenProtects = defineLivepatch({
  copyPageRange: (original) =>
    function* (k, dst, src) {
      const { mm } = src;
      sequences.set(mm, (sequences.get(mm) ?? 0) + 1);
      k.memory.touch(mm.pgd, true);
      const isPinned = mm.hasPinned;
      yield P_PTES_COPIED;
      k.memory.touch(mm.pgd, true);
      mm.hasPinned = isPinned;
      const result = yield* original(k, dst, src);
      k.memory.touch(mm.pgd, true);
      sequences.set(mm, sequences.get(mm)! + 1);
      return result;
    },
});

/** internal_get_user_pages_fast of one page, for writing: no lock, so it looks twice. 0: another way must be gone. */
function* gupFast(c: ScenarioContext, mm: MmStruct, va: number, asksFork: boolean): KernelPath<number> {
  const { kernel: k } = c;
  k.memory.touch(mm.pgd, true);
  mm.hasPinned = true;
  const sequence = sequences.get(mm) ?? 0;
  if (asksFork && sequence % 2 === 1) return 0;
  const word = pteOffset(pteTable(k, mm, va), va);
  const lo = entryLo(k.memory, word);
  if ((lo & (PTE_P | PTE_RW)) !== (PTE_P | PTE_RW)) return 0;
  yield P_COPY;
  const pfn = ptePfn(lo);
  k.memory.touch(mm.pgd, true);
  k.pages.refcount[pfn]! += GUP_PIN_COUNTING_BIAS;
  const isOvertaken = entryLo(k.memory, word) !== lo || (asksFork && (sequences.get(mm) ?? 0) !== sequence);
  if (!isOvertaken) return pfn;
  k.pages.refcount[pfn]! -= GUP_PIN_COUNTING_BIAS;
  return 0;
}

/** Pins the page for a device; the program stores to it; the device's next transfer must be where the program looks. */
function* pinAndStore(c: ScenarioContext, asksFork: boolean): KernelPath<void> {
  const { kernel: k } = c;
  const { mm } = c.task('main');
  const va = c.va(0);
  let pfn = yield* gupFast(c, mm!, va, asksFork);
  if (pfn === 0) {
    const out = new Int32Array(1);
    yield* mm!.mmapLock.readLock();
    if ((yield* k.fn.pinUserPages(k, mm!, va, 1, FOLL_WRITE, out)) === 1) pfn = out[0]!;
    mm!.mmapLock.readUnlock();
  }
  // The store of the program, on the page-fault path if it must.
  yield* mm!.mmapLock.readLock();
  const vma = mm!.vmas.findExact(va)!;
  for (let lo = 0; (lo & PTE_RW) === 0; ) {
    lo = entryLo(k.memory, pteOffset(pteTable(k, mm!, va), va));
    if ((lo & PTE_RW) === 0) yield* k.fn.handleMmFault(k, vma, va, 1);
  }
  const mapped = ptePfn(entryLo(k.memory, pteOffset(pteTable(k, mm!, va), va)));
  mm!.mmapLock.readUnlock();
  c.claim(
    pfn === mapped,
    'SPLIT-VIEW',
    `The device has frame ${pfn} of the page pinned, and the program that pinned it has frame ${mapped} there: what the device ` +
      'writes, the program never sees.',
  );
}

function scenario(asksFork: boolean) {
  return {
    name: 'fork beside a pin',
    summary: 'a page is pinned for a device while another thread forks; then the program stores to it',
    bound: false,
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      fork: { steps: [{ do: 'fork', as: 'child' }] },
      pinner: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'pin and store', path: (c: ScenarioContext) => pinAndStore(c, asksFork) }],
      },
    },
  } as const;
}

const revision = { design: 'linux-6.1', driver: 'iommu-v2', patches: decidesThenProtects } as const;

export default defineBug({
  number: 26,
  id: 'fork-vs-gup-fast-pin',
  title: 'A page is pinned while fork decides to share it',
  year: '2020',
  summary:
    'Fork found the page not pinned and shared it; meanwhile it was pinned without a lock. The parent’s next store went to a copy.',
  evidence: 'Commit 57efa1fe5957 "mm/gup: prevent gup_fast from racing with COW during fork" (Linux 5.11), checked.',
  tag: 'SPLIT-VIEW',
  steps: '6',
  scenario: scenario(false),
  historic: { what: 'Linux 5.10: the lockless pin looks at the entry twice', ...revision },
  fixed: {
    what: 'Linux 5.11: and at a sequence counter that fork raises; it backs off when that has moved',
    ...revision,
    scenario: scenario(true),
  },
  story: `
1. Fork: page F1 is not pinned, so it will be shared.
2. Another thread pins V without a lock: the entry is writable.
3. It takes the pin and looks again: still writable.
4. Fork write-protects the entry and gives F1 to the child too.
5. The parent stores to V: copy on write, to F2.
6. The device writes F1. The parent never sees it.`,
});
