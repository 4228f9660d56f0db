import {
  type AtomicPath,
  defineBug,
  defineDriver,
  InvalidateRangeDesign,
  type NotifierMm,
  SITE_TRY_TO_UNMAP,
} from 'shootdown';

/** Reclaim makes the call of another type. */
class WrongCallback extends InvalidateRangeDesign {
  override *pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    isFile: boolean,
  ): AtomicPath<void> {
    if (site === SITE_TRY_TO_UNMAP) yield* this.invalidateRange(mm, start, end);
    else yield* super.pteClearedAndFlushed(mm, start, end, site, isFile);
  }
}

/** A client with start, end and invalidate_page, as KVM was. */
const client = defineDriver({
  name: 'start-end-page',
  design: 'invalidate-range',
  device: 'walker',
  create: (hw) => ({
    *invalidateRangeStart(range) {
      yield* hw.flushRange(range.start, range.end);
    },
    *invalidateRangeEnd(range) {
      yield* hw.flushRange(range.start, range.end);
    },
    *invalidatePage(address) {
      yield* hw.flushPage(address);
    },
    *release() {
      yield* hw.tearDown();
    },
  }),
});

export default defineBug({
  number: 9,
  id: 'reclaim-notifies-wrong-callback',
  title: 'Reclaim calls invalidate_range where a client has invalidate_page',
  year: '2017',
  summary:
    'A repair moved reclaim from one callback to another; clients that had only the first were told nothing. Guests corrupted memory.',
  evidence:
    'aac2fea94f7a "rmap: do not call mmu_notifier_invalidate_page() under ptl", reverted by 785373b4c387; 369ea8242c0f and Linux 4.14 ' +
    'removed invalidate_page. All checked.',
  tag: 'UAF-DATA',
  steps: '5',
  scenario: {
    name: 'reclaim',
    summary: 'one page is swapped out while the device writes it',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'load', at: 0, by: 'device' },
    ],
    threads: {
      pageout: { steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] },
      device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 4.13-rc: invalidate_range in place of invalidate_page',
    design: WrongCallback,
    driver: client,
  },
  fixed: {
    what: 'the revert: invalidate_page for single pages',
    design: 'invalidate-range',
    driver: client,
  },
  story: `
1. The client implements start, end and invalidate_page. Its device holds V -> F1.
2. Reclaim clears the entry.
3. Reclaim calls invalidate_range: the client has none, nothing happens.
4. F1 is written to swap and freed.
5. The device stores through V -> F1.

The cheapest generator of real bugs: every set of callbacks against every path.`,
});
