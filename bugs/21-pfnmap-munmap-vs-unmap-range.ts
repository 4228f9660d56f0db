import {
  defineBug,
  defineLivepatch,
  FRAME_KERNEL,
  GFP_KERNEL,
  type KernelPath,
  LEVEL_PTE,
  PTE_A,
  PTE_D,
  PTE_P,
  PTE_RW,
  PTE_SPECIAL,
  PTE_US,
  pteOffset,
  pteTable,
  type ScenarioContext,
  VM_PFNMAP,
  writeEntry,
} from 'shootdown';

/** The end of a VMA of raw frames is nothing special. */
const noFlushAtEnd = defineLivepatch({
  tlbEndVma: () => function* () {},
});

/** Frame of the driver's memory. */
let frame = 0;

/** The driver maps a frame of its own at page 0: no reference, no rmap of the page, only the VMA in the list of the file. */
function* mapDriverMemory(c: ScenarioContext): KernelPath<void> {
  const { kernel: k } = c;
  const { mm } = c.task('main');
  const vma = mm!.vmas.findExact(c.va(0))!;
  vma.flags |= VM_PFNMAP;
  frame = k.fn.allocPage(k, GFP_KERNEL, FRAME_KERNEL);
  const table = pteTable(k, mm!, c.va(0));
  const lo = (frame << 12) | PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D | PTE_SPECIAL;
  writeEntry(k.memory, pteOffset(table, c.va(0)), lo, 0, mm!.id, c.va(0), LEVEL_PTE);
}

/** The driver revokes it: unmaps it wherever it is mapped, and frees it. */
function* revoke(c: ScenarioContext): KernelPath<void> {
  const { kernel: k } = c;
  yield* k.fn.unmapMappingRange(k, c.inode('dev').mapping, 0, 4096, true);
  k.fn.putPage(k, frame);
}

export default defineBug({
  number: 21,
  id: 'pfnmap-munmap-vs-unmap-range',
  title: 'A driver revokes memory that nobody maps, except a TLB',
  year: '2022',
  summary:
    'Raw frames of a driver are free when no VMA maps them. munmap takes the VMA off the list before it flushes: the driver finds ' +
    'nobody, and frees.',
  evidence: 'Commit b67fbebd4cf9 "mmu_gather: Force tlb-flush VM_PFNMAP vmas" (Linux 5.19), CVE-2022-39188, checked.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'munmap beside revocation',
    summary: 'a mapping of driver memory goes while the driver takes that memory back',
    bound: false,
    files: { dev: 1 },
    setup: [
      { do: 'mmap', at: 0, file: 'dev', shared: true },
      // Its page table, and a neighbour that keeps it.
      { do: 'mmap', at: 1 },
      { do: 'store', at: 1 },
      { do: 'run', name: 'map driver memory', path: mapDriverMemory },
    ],
    threads: {
      toucher: { cpu: 1, steps: [{ do: 'store', at: 0, mayFail: true }] },
      munmap: { cpu: 2, steps: [{ do: 'munmap', at: 0 }] },
      driver: { on: 'kernel', steps: [{ do: 'run', name: 'revoke', path: revoke }] },
    },
  },
  historic: {
    what: 'Linux 5.18: the flush comes with the gather, after the VMA has left the list',
    design: 'linux-6.1',
    driver: 'iommu-v2',
    patches: noFlushAtEnd,
  },
  fixed: {
    what: 'Linux 5.19: VMAs of raw frames are flushed before they are unlinked',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. CPU 1 caches V -> P, a frame of a driver.
2. munmap clears the entry; there is nothing to queue, the flush is still to come.
3. munmap takes the VMA off the list of the file.
4. The driver unmaps P everywhere: it finds no VMA, concludes that nobody maps P, and frees it.
5. P gets a new owner.
6. CPU 1 stores through V -> P.

The lifetime of such a frame hangs on what a look at the list finds, not on a count.`,
});
