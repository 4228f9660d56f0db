import { type AtomicPath, defineBug, defineDriver, type WalkerHw } from 'shootdown';

const PAGE = 4096;

/** One invalidation descriptor: a block of 2^order pages at a multiple of its size; lower address bits are ignored. */
function* flushBlock(hw: WalkerHw, address: number, order: number): AtomicPath<void> {
  const size = PAGE * 2 ** order;
  const base = address - (address % size);
  hw.invalidateIommuTlb(base, base + size);
  yield* hw.completionWait();
  hw.invalidateDeviceTlb(base, base + size);
  yield* hw.completionWait();
}

/** Order of the smallest block that is as long as the range. */
function orderOf(start: number, end: number): number {
  return Math.ceil(Math.log2((end - start) / PAGE));
}

/** Order of the smallest block that contains the range. */
function coveringOrder(start: number, end: number): number {
  let order = orderOf(start, end);
  while (Math.floor(start / (PAGE * 2 ** order)) !== Math.floor((end - 1) / (PAGE * 2 ** order))) order++;
  return order;
}

function driver(name: string, order: (start: number, end: number) => number) {
  return defineDriver({
    name,
    design: 'linux-6.1',
    device: 'walker',
    create: (hw) => ({
      *invalidateRange(start, end) {
        if (end === Number.POSITIVE_INFINITY) yield* hw.flushAll();
        else if (start < end) yield* flushBlock(hw, start, order(start, end));
      },
      *release() {
        yield* hw.tearDown();
      },
    }),
  });
}

export default defineBug({
  number: 33,
  id: 'vtd-piotlb-align',
  title: 'The block that is flushed does not cover the range that was asked for',
  year: '2021',
  summary:
    'Invalidation descriptors name aligned blocks of a power of two. A wrong test of alignment issued a block that begins before the ' +
    'range and ends inside it.',
  evidence: 'Commit 1efd17e7acb6 "iommu/vt-d: Fix misuse of ALIGN in qi_flush_piotlb()" (Linux 5.11), checked.',
  tag: 'UAF-DATA',
  steps: '5',
  scenario: {
    name: 'munmap of two unaligned pages',
    summary: 'pages 1 and 2 go while the device writes the second of them',
    setup: [
      { do: 'mmap', at: 0, pages: 4 },
      { do: 'store', at: 1 },
      { do: 'store', at: 2 },
      { do: 'store', at: 3 },
      { do: 'load', at: 2, by: 'device' },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 1, pages: 2 }] },
      device: { on: 'device', steps: [{ do: 'store', at: 2 }] },
    },
  },
  historic: {
    what: 'Linux 5.10: a block as long as the range, at the address cut down to its size',
    design: 'linux-6.1',
    driver: driver('piotlb-misaligned', orderOf),
  },
  fixed: {
    what: 'Linux 5.11: a block that contains the range',
    design: 'linux-6.1',
    driver: driver('piotlb-covering', coveringOrder),
  },
  story: `
1. The device caches pages 1 and 2.
2. munmap clears both and asks for the invalidation of [1, 3): two pages, a block of order 1.
3. Such a block begins at an even page: [0, 2) is flushed, page 2 is not.
4. Both pages are freed.
5. The device stores to page 2.

A plain obligation: what is issued must contain what was requested. All starts and lengths of a small space are soon tried.`,
});
