import { defineBug, Linux2627, type Linux2627Ops, type NotifierHost, SubscriptionList } from 'shootdown';

/** The subscriber stays on the list until its release hook has returned. */
class ReleaseFirst extends Linux2627 {
  override readonly list: SubscriptionList<Linux2627Ops>;

  constructor(host: NotifierHost) {
    super(host);
    this.list = new SubscriptionList<Linux2627Ops>(host, 'release-then-unhash');
  }
}

export default defineBug({
  number: 7,
  id: 'release-unhash-before-teardown',
  title: 'A freed page is still mapped in the secondary MMU',
  year: '2012-2013',
  summary:
    'Exit takes the client off the list before its release hook has torn anything down: reclaim finds nobody to tell.',
  evidence:
    'Fix 3ad3d901bbcf "mm: mmu_notifier: fix freed page still mapped in secondary MMU" (3.7), broken again by 751efd8610d3 (3.9), ' +
    'fixed again by d34883d4e35c (3.10); all three checked.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'exit beside reclaim',
    summary: 'a process exits while reclaim takes a page that its device uses',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'load', at: 0, by: 'device' },
      { do: 'madvise', at: 0, advice: 'cold' },
    ],
    threads: {
      exit: { steps: [{ do: 'exit' }], cpu: 0 },
      reclaim: { on: 'kernel', steps: [{ do: 'reclaim', pages: 4 }] },
      device: { on: 'device', steps: [{ do: 'store', at: 0, mayFail: true }] },
    },
  },
  historic: {
    what: 'Linux 2.6.27 to 3.6, and again 3.9: off the list, then release',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
  },
  fixed: {
    what: 'Linux 3.10: release, then off the list',
    design: ReleaseFirst,
    driver: 'iommu-flush-start-end',
  },
  story: `
1. The device holds V -> F1.
2. Exit takes the driver off the list.
3. Reclaim clears the entry of V and notifies an empty list.
4. F1 is freed.
5. The device stores through V -> F1.
6. Exit runs the driver's release hook, which would have stopped the device.

The regression of 3.9 came with a fix for a race of unregister and release; the same property finds it.`,
});
