import {
  defineBug,
  defineLivepatch,
  entryHi,
  entryLo,
  FOLL_PIN,
  FOLL_WRITE,
  GUP_PIN_COUNTING_BIAS,
  type KernelPath,
  notePage,
  P_ACCESS,
  P_GUP,
  PTE_P,
  PTE_RW,
  pteOffset,
  ptePfn,
  pteTable,
  type ScenarioContext,
  userLoad,
} from 'shootdown';

/** gup_pte_range that looks again at the leaf alone, for a pin that is to be written through. */
const looksAtLeafAlone = defineLivepatch({
  gupPteRange: () =>
    function* (k, mm, address) {
      const { pages, memory: m } = k;
      const table = pteTable(k, mm, address);
      if (table === 0) return 0;
      const word = pteOffset(table, address);
      const lo = entryLo(m, word);
      const hi = entryHi(m, word);
      if ((lo & (PTE_P | PTE_RW)) !== (PTE_P | PTE_RW)) return 0;
      const pfn = ptePfn(lo);
      yield P_ACCESS;
      notePage(k, pfn);
      if (pages.refcount[pfn]! <= 0) return 0;
      pages.refcount[pfn]! += GUP_PIN_COUNTING_BIAS;
      yield P_ACCESS;
      if (entryLo(m, word) === lo && entryHi(m, word) === hi) return pfn;
      pages.refcount[pfn]! -= GUP_PIN_COUNTING_BIAS - 1;
      k.fn.putPage(k, pfn);
      return 0;
    },
});

/** What the device writes. */
const RECEIVED = 77;

/** Pins the page, lets a device write it, and reads what it wrote. */
function* pinAndReceive(c: ScenarioContext): KernelPath<void> {
  const { kernel: k } = c;
  const main = c.task('main');
  const out = new Int32Array(1);
  if ((yield* k.fn.getUserPagesFast(k, main.mm!, c.va(1), 1, FOLL_PIN | FOLL_WRITE, out)) !== 1) return;
  const pfn = out[0]!;
  yield P_GUP;
  k.memory.touch(pfn, true);
  k.memory.words[pfn * 1024] = RECEIVED;
  const read = yield* userLoad(k, main, c.va(1), 4);
  c.claim(
    read === RECEIVED,
    'SPLIT-VIEW',
    `A device wrote ${RECEIVED} to frame ${pfn}, which is pinned as the page of the program, and the program reads ${read} there.`,
  );
}

export default defineBug({
  number: 25,
  id: 'gup-fast-vs-collapse',
  title: 'A pin takes a page through a table that has left the tree',
  year: '2022',
  summary:
    'A lockless pin looked again at the entry, but not at the table in which it stands; khugepaged had taken that table out, and copied ' +
    'the page into a huge one.',
  evidence:
    'Commit 70cbc3cc78a9 "mm: gup: fix the fast GUP race against THP collapse" (Linux 6.0); for the table itself 2ba99c5e0881 ' +
    '"mm/khugepaged: fix GUP-fast interaction by sending IPI" (6.1). Both checked.',
  tag: 'SPLIT-VIEW',
  steps: '6',
  scenario: {
    name: 'a pin beside a collapse',
    summary: 'a page is pinned for a device, and written by it, while it becomes part of a huge page',
    bound: false,
    kernel: { frames: 2048, thpEnabled: 'madvise' },
    setup: [
      { do: 'mmap', at: 0, pages: 512 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
    ],
    threads: {
      collapse: { cpu: 1, steps: [{ do: 'madvise', at: 0, pages: 512, advice: 'collapse' }] },
      pinner: { on: 'kernel', steps: [{ do: 'run', name: 'pin and receive', path: pinAndReceive }] },
    },
  },
  historic: {
    what: 'Linux 5.19: the lockless pin looks at the leaf again',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: looksAtLeafAlone,
  },
  fixed: {
    what: 'Linux 6.0: and whether its table is still in the tree',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. A lockless pin reads the middle entry: table T.
2. A collapse takes T out of the tree and flushes. Where flushes are broadcast by hardware, or go to other CPUs only, that does not
   wait for the pin.
3. The collapse looks at the references of F1: nobody has taken one beside the entry.
4. The pin reads the leaf in T, takes a reference to F1, looks at the leaf again: unchanged.
5. The collapse copies F1 into the huge page H1, and maps H1.
6. The device writes F1. The program reads H1.

An entry says nothing about a page any more when its table is not reached from the root. The table itself has a sibling of the bug:
it may be freed while the pin still reads it.`,
});
