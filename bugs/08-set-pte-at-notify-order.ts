import { type AtomicPath, defineBug, defineLivepatch, SITE_COW } from 'shootdown';

function* nothing(): AtomicPath<void> {}

/** Copy on write installs the new entry first and tells the secondary MMUs of it afterwards. */
const notifyAfterSet = defineLivepatch({
  mmuNotifierPteCleared: (original) => (k, mm, start, end, site, isFile) =>
    site === SITE_COW ? nothing() : original(k, mm, start, end, site, isFile),
  mmuNotifierChangePte: () => nothing,
  mmuNotifierInvalidateRangeEnd: (original) =>
    function* (k, range, onlyEnd) {
      const { mm, start, end, site } = range;
      if (site === SITE_COW) yield* k.design!.pteClearedAndFlushed(mm, start, end, site, false);
      yield* original(k, range, onlyEnd);
    },
});

export default defineBug({
  number: 8,
  id: 'set-pte-at-notify-order',
  title: 'The new entry is visible before the secondary MMU lets go of the old page',
  year: '2012',
  summary:
    'After copy on write a CPU stores to the copy while the device still reads the original: two views of one address.',
  evidence:
    'Patch "mm: mmu_notifier: fix inconsistent memory between secondary MMU and host" (3.7), found; its commit 48af0d7cb3df is not checked.',
  tag: 'SPLIT-VIEW',
  steps: '6',
  scenario: {
    name: 'copy on write',
    summary: 'two CPUs store to a page shared with a child, the device reads it',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'fork', as: 'child' },
      { do: 'load', at: 0, by: 'device' },
    ],
    threads: {
      writer: { steps: [{ do: 'store', at: 0, value: 2 }] },
      sibling: { steps: [{ do: 'store', at: 0, value: 3 }] },
      device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 2.6.32 to 3.6: set_pte_at, then the callback',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
    patches: notifyAfterSet,
  },
  fixed: {
    what: 'Linux 3.7: clear, flush, callback, then set',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
  },
  story: `
1. The device maps V -> F1, read-only.
2. A store breaks the sharing: F1 is copied to F2 and V -> F2 installed, before anybody tells the device.
3. A second CPU stores 1 to V, and raises a flag somewhere else.
4. The device sees the flag.
5. It reads V through F1, and sees 0.
6. The callback arrives.

Nothing is freed and no right is broken; only the order of two observations is impossible. The kernel's document of MMU notifiers
uses the same litmus test.`,
});
