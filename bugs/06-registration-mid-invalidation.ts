import {
  defineBug,
  type KernelPath,
  Linux2627,
  type Linux2627Ops,
  type MmuNotifier,
  type NotifierHost,
  type NotifierMm,
  SubscriptionList,
  Subscriptions,
} from 'shootdown';

/** Registration as first posted: the subscriber appears on the list whatever stands half done. */
class UnlockedList extends SubscriptionList<Linux2627Ops> {
  override *register(mn: MmuNotifier<Linux2627Ops>, mm: NotifierMm): KernelPath<number> {
    const subscriptions = this.of(mm) ?? new Subscriptions<Linux2627Ops>();
    mm.notifiers = subscriptions;
    mm.count++;
    mn.mm = mm;
    mn.users = 1;
    mn.id = this.takeId();
    mn.next = subscriptions.first;
    mn.isHashed = true;
    subscriptions.first = mn;
    return 0;
  }
}

class UnlockedRegistration extends Linux2627 {
  override readonly list: SubscriptionList<Linux2627Ops>;

  constructor(host: NotifierHost) {
    super(host);
    this.list = new UnlockedList(host, 'unhash-then-release');
  }
}

export default defineBug({
  number: 6,
  id: 'registration-mid-invalidation',
  title: 'A client joins while an invalidation is under way',
  year: '2008',
  summary:
    'A driver that registers between the start of an unmapping and its end is told of neither, or of the end alone.',
  evidence:
    'Known issue of the series of January 2008; solved in 2.6.27 by cddb8a5c14aa and 7906d00cd1f6 "mmu-notifiers: add ' +
    'mm_take_all_locks() operation" (the latter checked).',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'register beside munmap',
    summary: 'a page goes while a driver registers and its device uses the page for the first time',
    bound: false,
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      open: {
        steps: [{ do: 'bind' }, { do: 'store', at: 0, by: 'device' }, { do: 'store', at: 0, by: 'device' }],
      },
    },
  },
  historic: {
    what: 'registration takes no lock of the address space',
    design: UnlockedRegistration,
    driver: 'iommu-flush-start-end',
  },
  fixed: {
    what: 'Linux 2.6.27: registration takes mmap_lock and every rmap lock, so that no section is open',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
  },
  story: `
1. munmap starts; nobody is on the list, nobody is told.
2. The driver registers.
3. Its device faults: the entry is still there, and is cached as V -> F1.
4. munmap clears the entry and flushes the CPUs; it goes on without callbacks, as it began.
5. F1 is freed.
6. The device stores through V -> F1.

Had the walk of the list for "end" found the driver, its count of open sections would have become -1, and stayed wrong.`,
});
