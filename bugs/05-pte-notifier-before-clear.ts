import {
  type AtomicPath,
  defineBug,
  type KernelPath,
  Linux2627,
  type NotifierMm,
  type NotifierRange,
  SITE_TRY_TO_UNMAP,
} from 'shootdown';

/** The callback of one page comes before its entry is cleared, and not again. */
class BeforeClear extends Linux2627 {
  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    if (range.site !== SITE_TRY_TO_UNMAP) return yield* super.invalidateRangeStart(range);
    yield* this.invalidatePage(range.mm, range.start, range.end);
    return 0;
  }

  override *pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    isFile: boolean,
  ): AtomicPath<void> {
    if (site !== SITE_TRY_TO_UNMAP) yield* super.pteClearedAndFlushed(mm, start, end, site, isFile);
  }
}

export default defineBug({
  number: 5,
  id: 'pte-notifier-before-clear',
  title: 'The callback stands before the entry is cleared',
  year: '2007-2008',
  summary:
    'A secondary MMU that is told before the entry goes faults the page in again, and nobody tells it a second time.',
  evidence:
    'The pte-notifier proposal of 2007; the 2008 series corrected two paths of the kind between its versions 2 and 3.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'reclaim',
    summary: 'one page is swapped out while the device writes it',
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
    ],
    threads: {
      pageout: { steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] },
      device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'one callback for each page, before the entry is cleared',
    design: BeforeClear,
    driver: 'iommu-flush-start-end',
  },
  fixed: {
    what: 'Linux 2.6.27: after the entry was cleared and the CPUs were flushed',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
  },
  story: `
1. Reclaim announces that V goes; the secondary MMU drops V -> F1.
2. The device touches V. The entry is still present: V -> F1 is there again.
3. Reclaim clears the entry and flushes the CPUs.
4. F1 is written to swap and freed; somebody else gets it.
5. The device stores through V -> F1.

Either the callback comes after the clear, or a pair of callbacks brackets it and the secondary MMU maps nothing in between.`,
});
