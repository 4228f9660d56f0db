import {
  defineBug,
  defineDriver,
  entryWord,
  FRAME_TABLE,
  GFP_KERNEL,
  type KernelPath,
  LEVEL_PGD,
  LEVEL_PMD,
  LEVEL_PUD,
  P_TABLE_UNLINKED,
  PTE_P,
  PTE_RW,
  PTE_US,
  type ScenarioContext,
  type WalkerHw,
  writeEntry,
} from 'shootdown';

/** First address of the kernel's half, 48 bits of it. */
const KERNEL = 0x800000000000;
const POINTER = PTE_P | PTE_RW | PTE_US;

/** The IOMMU of the machine, and the tables that map KERNEL: PUD, PMD and PTE. */
let iommu: WalkerHw;
let tables: number[] = [];

const driver = defineDriver({
  name: 'sva',
  design: 'linux-6.6',
  device: 'walker',
  create(hw) {
    iommu = hw;
    return {
      *archInvalidateSecondaryTlbs(start, end) {
        yield* hw.flushRange(start, end);
      },
      *release() {
        yield* hw.tearDown();
      },
    };
  },
});

/** The upper half of the process's root maps the kernel, with tables that all processes share. */
function* mapKernel(c: ScenarioContext): KernelPath<void> {
  const { kernel: k } = c;
  const { mm } = c.task('main');
  tables = [0, 1, 2].map(() => k.fn.allocPage(k, GFP_KERNEL, FRAME_TABLE));
  for (const table of tables) k.memory.zero(table);
  const words = [entryWord(mm!.pgd, 256), entryWord(tables[0]!, 0), entryWord(tables[1]!, 0)];
  const levels = [LEVEL_PGD, LEVEL_PUD, LEVEL_PMD];
  words.forEach((word, i) => {
    writeEntry(k.memory, word, (tables[i]! << 12) | POINTER, 0, mm!.id, KERNEL, levels[i]!);
  });
}

/** vfree of the last mapping under a table: pmd_free_pte_page. No notifier covers the kernel's half. */
function* freeKernelTable(c: ScenarioContext, flushesIommu: boolean): KernelPath<void> {
  const { kernel: k } = c;
  const { mm } = c.task('main');
  writeEntry(k.memory, entryWord(tables[1]!, 0), 0, 0, mm!.id, KERNEL, LEVEL_PMD);
  yield P_TABLE_UNLINKED;
  for (const cpu of k.cpus) cpu.invalidateAll(mm!.id);
  if (flushesIommu) yield* iommu.flushAll();
  yield P_TABLE_UNLINKED;
  k.fn.putPage(k, tables[2]!);
}

/** A stray access of the device to the kernel's half. */
function* strayAccess(c: ScenarioContext): KernelPath<void> {
  yield* c.device!.accessor.access(0, KERNEL, false, KERNEL + 4096);
}

function scenario(flushesIommu: boolean) {
  return {
    name: 'a kernel mapping goes',
    summary: 'a page table of the kernel’s half is freed while a device makes stray accesses there',
    setup: [{ do: 'run', name: 'map the kernel', path: mapKernel }],
    threads: {
      vfree: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'free the table', path: (c: ScenarioContext) => freeKernelTable(c, flushesIommu) }],
      },
      device: { on: 'kernel', steps: [{ do: 'run', name: 'stray access', path: strayAccess }] },
    },
  } as const;
}

const revision = { design: 'linux-6.6', driver } as const;

export default defineBug({
  number: 32,
  id: 'sva-kernel-table-reuse',
  title: 'Page tables of the kernel are freed under an IOMMU that caches them',
  year: '2025',
  summary:
    'A device bound to a process also walks the kernel’s half of its table; notifiers cover user addresses only.',
  evidence:
    'Commit e37d5a2d60a3 "iommu/sva: invalidate stale IOTLB entries for kernel address space", checked; stable kernels switched SVA off ' +
    'on x86 meanwhile (CVE-2025-71089).',
  tag: 'UAF-TABLE',
  steps: '5',
  scenario: scenario(false),
  historic: { what: 'Linux 6.17: CPUs are flushed, then the table is freed', ...revision },
  fixed: { what: 'tables of the kernel are queued, IOMMUs flushed, then freed', ...revision, scenario: scenario(true) },
  story: `
1. A stray access of the device makes the IOMMU walk a kernel address; it caches the pointer to table T.
2. The kernel frees the mapping: it takes T out of the tree, flushes the CPUs and frees T.
3. T gets a new owner.
4. The device touches the address again: the walk begins at T.
5. The IOMMU reads data as entries, and may set accessed bits in it.

The CPUs had the same gap until 2018 (5e0fb5df2ee8).`,
});
