import { defineBug, defineLivepatch, SITE_COW } from 'shootdown';

/** An architecture that flushes the CPUs when an entry gains rights. */
const upgradeFlushes = defineLivepatch({
  doWpPage: (original) =>
    function* (k, vma, address, flags) {
      const result = yield* original(k, vma, address, flags);
      yield* k.fn.flushTlbPage(k, vma, address, SITE_COW);
      return result;
    },
});

/** The device's TLB believes its entry until it is told otherwise. */
const device = { ats: { retranslatesOnDenied: false, refaultBudget: 2 } };

export default defineBug({
  number: 13,
  id: 'permission-upgrade-not-notified',
  title: 'An entry becomes writable and nobody tells the device',
  year: '2023',
  summary:
    'A device TLB that does not look again after a permission fault keeps its read-only entry for ever: the store never completes.',
  evidence:
    'Series that ends in 6bbd42e2df8f "mmu_notifiers: call invalidate_range() when invalidating TLBs" (Linux 6.6), checked.',
  tag: 'LIVELOCK',
  steps: '5',
  scenario: {
    name: 'store after an upgrade',
    summary: 'the device writes a page that it has cached read-only, and that has become its owner’s alone',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'fork', as: 'child' },
      { do: 'load', at: 0, by: 'device' },
      { do: 'exit', task: 'child' },
    ],
    threads: { device: { on: 'device', steps: [{ do: 'store', at: 0 }] } },
  },
  historic: {
    what: 'Linux 6.5: an upgrade flushes CPUs, no callback exists for it',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: upgradeFlushes,
    device,
  },
  fixed: {
    what: "Linux 6.6: every flush of the CPUs' TLBs is a flush of the device's",
    design: 'linux-6.6',
    driver: 'iommu-sva',
    patches: upgradeFlushes,
    device,
  },
  others: {
    'the device looks again': {
      what: 'a walker that walks again on a permission fault needs no callback',
      isBroken: false,
      design: 'linux-6.1',
      driver: 'iommu-v2',
      patches: upgradeFlushes,
    },
  },
  story: `
1. The device caches V read-only.
2. It stores: a permission fault, and a page request.
3. The kernel finds that the page has one owner and makes the entry writable in place.
4. It answers "translate again". No callback: nothing was taken away.
5. The device looks at its entry, read-only, and asks again; and again.

POWER's nest MMU was harsher: it hung, unless the entry went through "not present" on the way (bd5050e38aec, 2018).`,
});
