import { type AtomicPath, defineBug, InvalidateRangeDesign, type NotifierMm } from 'shootdown';

/** Page tables go without a word: the flush that precedes their freeing is made for the CPUs only. */
class SilentAboutTables extends InvalidateRangeDesign {
  override *gatherFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    freedTables: boolean,
    site: number,
  ): AtomicPath<void> {
    if (!freedTables) yield* super.gatherFlushed(mm, start, end, freedTables, site);
  }
}

export default defineBug({
  number: 4,
  id: 'pgtable-free-not-notified',
  title: 'Freeing page tables is invisible to external walkers',
  year: '2014',
  summary:
    'When the last page under a page table goes, the table is freed; nobody tells a device that keeps pointers to tables in its ' +
    'walk cache.',
  evidence: 'Second gap named by the 2014 series that became Linux 3.19.',
  tag: 'UAF-TABLE',
  steps: '6',
  scenario: {
    name: 'munmap with the page table',
    summary: 'the only page of a table goes while the device touches an address below that table',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      device: { on: 'device', steps: [{ do: 'load', at: 1 }] },
    },
  },
  historic: {
    what: 'invalidate_range for data pages only',
    design: SilentAboutTables,
    driver: 'iommu-v2',
  },
  fixed: {
    what: 'Linux 3.19: the flush that precedes the freeing of tables is announced too',
    design: 'invalidate-range',
    driver: 'iommu-v2',
  },
  story: `
1. munmap clears the only entry of table T; everybody is flushed at the end of the section.
2. The device touches another address under T: it finds no page there, but keeps the pointer to T in its walk cache.
3. munmap takes T out of the tree, flushes the CPUs and frees T. Nobody tells the device.
4. T gets a new owner, who writes data into it.
5. The device touches an address under T: its walk begins at T.
6. It reads data as page-table entries, and may set accessed bits in it.

Siblings: tables of VT-d's DMA mappings freed before the IOTLB flush (2014); GPU page-table objects freed while the GPU's flush is
still under way (amdgpu, 2024).`,
});
