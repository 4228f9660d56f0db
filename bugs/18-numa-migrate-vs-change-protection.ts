import { defineBug, defineLivepatch, type KernelPath, type ScenarioContext, userLoad, userStore } from 'shootdown';

/** Nobody says that entries have changed and the flush is still to come. */
const noPendingFlush = defineLivepatch({
  mmTlbFlushPending: () => () => false,
});

const STORED = 77;

/** Stores to the page through what CPU 0 has cached since the setup, and loads it again. */
function* storeAndLoad(c: ScenarioContext): KernelPath<void> {
  const main = c.task('main');
  yield* userStore(c.kernel, main, c.va(0), STORED, 4);
  const loaded = yield* userLoad(c.kernel, main, c.va(0), 4);
  c.claim(
    loaded === STORED,
    'LOST-WRITE',
    `A thread stored ${STORED} to its page and loads ${loaded} from it: the store went to a frame whose contents had been copied.`,
  );
}

export default defineBug({
  number: 18,
  id: 'numa-migrate-vs-change-protection',
  title: 'NUMA balancing moves a page that a CPU still writes',
  year: '2013',
  summary:
    'Entries lost every right, their flush was to come at the end; a hinting fault took "no access" for "nobody writes" and copied the ' +
    'page to another node.',
  evidence:
    'Commit 20841405940e "mm: fix TLB flush race between migration, and change_protection_range" (Linux 3.13), checked: the beginning ' +
    'of the counter of pending flushes.',
  tag: 'LOST-WRITE',
  steps: '6',
  scenario: {
    name: 'a hinting fault beside the scan',
    summary: 'a page on a far node is sampled, written by one CPU and faulted on by another',
    bound: false,
    kernel: { numaNodes: 2 },
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'move-pages', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      scan: { cpu: 1, steps: [{ do: 'numa-scan', at: 0 }] },
      toucher: { cpu: 2, steps: [{ do: 'load', at: 0 }] },
      writer: { on: 'kernel', steps: [{ do: 'run', name: 'store and load', path: storeAndLoad }] },
    },
  },
  historic: {
    what: 'Linux 3.12: an entry without rights is taken for one that no TLB has',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: noPendingFlush,
  },
  fixed: {
    what: 'Linux 3.13: where a flush is pending, migration flushes for itself',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. CPU 0 caches V -> F1, writable.
2. CPU 1, NUMA balancing: takes every right from the entry. The flush comes at the end of the range.
3. CPU 2 touches V and faults. The page is on the wrong node; an entry without rights needs no flush; it is copied to F2.
4. CPU 0 stores through V -> F1.
5. CPU 2 maps V -> F2.
6. CPU 1 flushes.

Whoever puts a flush off must say so before the first entry changes, and whoever concludes anything from an entry must ask.`,
});
