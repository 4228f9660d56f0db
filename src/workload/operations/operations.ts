// The memory-management operations under which drivers are checked. An operation is one thread's steps on top of a base: what
// is mapped, and what the device holds, before it begins. Two operations with one base make a pair of threads.
//
// Adding one: a row here. It then appears in `shootdown check`, in the matrix, in the tests and in the documentation.

import type { Scenario, Step, ThreadScript } from '../scenario/scenario.ts';

/** What stands before an operation begins. */
export interface Base {
  readonly name: string;
  /** What the device is about to use: pages of its accesses, in order. */
  readonly pages: readonly number[];
  /** Does the device store too? */
  readonly isWritable: boolean;
  readonly setup: readonly Step[];
  readonly kernel?: Scenario['kernel'];
  readonly files?: Scenario['files'];
  readonly memfds?: Scenario['memfds'];
}

export interface Operation {
  readonly name: string;
  /** What happens, in a line. */
  readonly summary: string;
  readonly base: Base;
  /** The thread that does it; other threads of the operation by name. */
  readonly thread: ThreadScript;
  readonly others?: Readonly<Record<string, ThreadScript>>;
  /** Accesses of the device instead of the base's. */
  readonly device?: readonly Step[];
  /** Beside the base's. */
  readonly kernel?: Scenario['kernel'];
  /** Steps added to the setup of the base. */
  readonly setup?: readonly Step[];
  /** May be paired with any other: it needs nothing but a page. */
  readonly isAnyBase?: boolean;
  /** Left out: the device is bound before the setup. */
  readonly bound?: boolean;
}

const deviceLoads = (...pages: number[]): Step[] => pages.map((at) => ({ do: 'load', at, by: 'device' }));

/** One private page, written by the program and read by the device. */
export const ANON: Base = {
  name: 'anon',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The same, on another NUMA node than the CPUs. */
const ANON_FAR: Base = {
  ...ANON,
  name: 'anon, on another NUMA node',
  kernel: { numaNodes: 2 },
  setup: [...ANON.setup.slice(0, 2), { do: 'move-pages', at: 0 }, ...deviceLoads(0)],
};

/** The same, in a page table with a neighbour that stays. */
const ANON_NEIGHBOUR: Base = {
  name: 'anon, neighbour stays',
  pages: [1],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0, pages: 2 }, { do: 'store', at: 0 }, { do: 'store', at: 1 }, ...deviceLoads(1)],
};

/** Three pages: more than a gather holds, so that it is flushed and freed before the section ends. */
const ANON_BATCH: Base = {
  name: 'anon, three pages',
  pages: [0],
  isWritable: true,
  setup: [
    { do: 'mmap', at: 0, pages: 3 },
    { do: 'store', at: 0 },
    { do: 'store', at: 1 },
    { do: 'store', at: 2 },
    ...deviceLoads(0),
  ],
};

/** A read-only private page. */
const ANON_READ_ONLY: Base = {
  name: 'anon, read-only',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, { do: 'mprotect', at: 0, prot: 'r' }, ...deviceLoads(0)],
};

/** The zero page, mapped by a read. */
const ZERO_PAGE: Base = {
  name: 'zero page',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A page shared copy-on-write with a child. */
const SHARED_WITH_CHILD: Base = {
  name: 'anon, shared with a child',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, { do: 'fork', as: 'child' }, ...deviceLoads(0)],
};

/** A shared file page, dirty. */
const FILE_SHARED: Base = {
  name: 'file, shared',
  pages: [0],
  isWritable: true,
  files: { f: 2 },
  setup: [{ do: 'mmap', at: 0, pages: 2, file: 'f', shared: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A private file page, written: a copy of the program's own. */
const FILE_PRIVATE: Base = {
  name: 'file, private',
  pages: [0],
  isWritable: true,
  files: { f: 2 },
  setup: [{ do: 'mmap', at: 0, pages: 2, file: 'f' }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A private page in swap. */
const SWAPPED: Base = {
  name: 'anon, swapped out',
  pages: [0],
  isWritable: true,
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
    { do: 'madvise', at: 0, advice: 'pageout' },
  ],
};

/** A page that a userfaultfd monitor will hear of when it is written. */
const UFFD_WP: Base = {
  name: 'anon, write-protected by userfaultfd',
  pages: [0],
  isWritable: false,
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
    { do: 'uffd-register', at: 0, mode: 'wp' },
    { do: 'uffd-protect', at: 0 },
    ...deviceLoads(0),
  ],
};

/** Two pages with the same contents, which KSM has seen once. */
const ANON_EQUAL: Base = {
  name: 'anon, two equal pages',
  pages: [0],
  isWritable: true,
  setup: [
    { do: 'mmap', at: 0, pages: 2 },
    { do: 'store', at: 0 },
    { do: 'store', at: 1 },
    { do: 'madvise', at: 0, pages: 2, advice: 'mergeable' },
    { do: 'ksm' },
    ...deviceLoads(0),
  ],
};

/** A page that is not there, for which faults ask a monitor, who has one to give. */
const UFFD_MISSING: Base = {
  name: 'anon, missing, watched by userfaultfd',
  pages: [0],
  isWritable: false,
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'mmap', at: 2 },
    { do: 'store', at: 2 },
    { do: 'store', at: 0 },
    ...deviceLoads(0),
    { do: 'uffd-register', at: 0, mode: 'missing' },
  ],
};

/** The same, merged. */
const KSM_PAGE: Base = {
  ...ANON_EQUAL,
  name: 'KSM page',
  setup: [...ANON_EQUAL.setup.slice(0, -2), { do: 'ksm', scans: 3 }, ...deviceLoads(0)],
};

/** A page of a program's text. */
const TEXT: Base = {
  name: 'file, private, executable',
  pages: [0],
  isWritable: false,
  files: { f: 1 },
  setup: [{ do: 'mmap', at: 0, file: 'f', prot: 'rx' }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** Memory in which a block of 2 MiB can be had, and memory that gets one when it can. */
const HUGE_KERNEL: NonNullable<Scenario['kernel']> = { frames: 2048, thpEnabled: 'always' };

/** A block of 2 MiB that one entry maps, written by the program and read by the device. */
const HUGE: Base = {
  name: 'huge page',
  pages: [0],
  isWritable: true,
  kernel: HUGE_KERNEL,
  setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The huge zero page, mapped by a read. */
const HUGE_ZERO: Base = {
  ...HUGE,
  name: 'huge zero page',
  setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A small page in a block that could be huge. */
const COLLAPSIBLE: Base = {
  ...HUGE,
  name: 'small page in an empty block',
  kernel: { ...HUGE_KERNEL, thpEnabled: 'madvise' },
  setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The same, and khugepaged may have it. */
const ADVISED: Base = {
  ...COLLAPSIBLE,
  name: 'small page in an empty block, advised',
  setup: [
    ...COLLAPSIBLE.setup.slice(0, -1),
    { do: 'madvise', at: 0, pages: 512, advice: 'hugepage' },
    ...deviceLoads(0),
  ],
};

/** A huge page of shared memory that one entry maps. */
const SHMEM_HUGE: Base = {
  name: 'huge page of shared memory',
  pages: [0],
  isWritable: true,
  kernel: { ...HUGE_KERNEL, thpEnabled: 'madvise', shmemHuge: 'always' },
  memfds: { f: 512 },
  setup: [{ do: 'mmap', at: 0, pages: 512, file: 'f', shared: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The same, mapped private and only read. */
const SHMEM_PRIVATE: Base = {
  ...SHMEM_HUGE,
  name: 'huge page of shared memory, private',
  setup: [{ do: 'mmap', at: 0, pages: 512, file: 'f' }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A small page of shared memory, in a block that may be huge by now. */
const SHMEM_COLLAPSIBLE: Base = {
  ...SHMEM_HUGE,
  name: 'small page of shared memory in an empty block',
  kernel: { ...SHMEM_HUGE.kernel, shmemHuge: 'advise' },
  setup: [
    { do: 'mmap', at: 0, pages: 512, file: 'f', shared: true },
    { do: 'store', at: 0 },
    { do: 'madvise', at: 0, pages: 512, advice: 'hugepage' },
    ...deviceLoads(0),
  ],
};

/** A huge page of shared memory that was collapsed through another mapping; here a small entry maps it. */
const SHMEM_PTE_MAPPED: Base = {
  ...SHMEM_HUGE,
  name: 'huge page of shared memory, mapped by a small entry',
  kernel: { ...SHMEM_HUGE.kernel, shmemHuge: 'advise' },
  setup: [
    { do: 'mmap', at: 0, pages: 512, file: 'f', shared: true },
    { do: 'store', at: 0 },
    { do: 'mmap', at: 1024, pages: 512, file: 'f', shared: true },
    { do: 'load', at: 1024 },
    { do: 'madvise', at: 1024, pages: 512, advice: 'collapse' },
    { do: 'munmap', at: 1024, pages: 512 },
    { do: 'madvise', at: 0, pages: 512, advice: 'hugepage' },
    { do: 'store', at: 0 },
    ...deviceLoads(0),
  ],
};

/** A machine on which a second device has memory of its own. */
const ANON_DEVICE_MEMORY: Base = { ...ANON, name: 'anon, device memory', kernel: { devicePrivatePages: 2 } };

function op(name: string, summary: string, base: Base, steps: Step[], more: Partial<Operation> = {}): Operation {
  return { name, summary, base, thread: { steps }, ...more };
}

/** Reclaim finds the page old: it was not used since the kernel looked last. */
const reclaim: Partial<Operation> = {
  isAnyBase: true,
  setup: [{ do: 'madvise', at: 0, advice: 'cold' }],
  thread: { on: 'kernel', steps: [{ do: 'reclaim', pages: 1 }] },
};

/** A device that only stores, or only loads: what keeps an operation of many steps small enough to be explored to the end. */
const STORE: Partial<Operation> = { device: [{ do: 'store', at: 0 }] };
const LOAD: Partial<Operation> = { device: [{ do: 'load', at: 0 }] };

/** Another process moves the page. */
const migrates: Partial<Operation> = {
  ...STORE,
  kernel: { numaNodes: 2 },
  thread: { on: 'kernel', steps: [{ do: 'move-pages', at: 0 }] },
};

/** The device's owner takes it off the address space, from another process. */
const OWNER: ThreadScript = { on: 'kernel', steps: [{ do: 'unbind' }] };

/** All operations, in the order of reports. */
export const OPERATIONS: readonly Operation[] = [
  op('munmap', 'unmaps the page and its page table', ANON, [{ do: 'munmap', at: 0 }]),
  op('munmap-neighbour', 'unmaps one of two pages of a table', ANON_NEIGHBOUR, [{ do: 'munmap', at: 1 }]),
  op('munmap-two', 'unmaps two pages, of which the device uses the second', ANON_NEIGHBOUR, [
    { do: 'munmap', at: 0, pages: 2 },
  ]),
  op('munmap-batch', 'unmaps more pages than one gather holds', ANON_BATCH, [{ do: 'munmap', at: 0, pages: 3 }]),
  op('map-fixed', 'maps another page over it', ANON, [{ do: 'mmap', at: 0 }]),
  op('mprotect-ro', 'takes the right to write', ANON, [{ do: 'mprotect', at: 0, prot: 'r' }]),
  op('mprotect-none', 'takes every right', ANON, [{ do: 'mprotect', at: 0, prot: 'none' }]),
  op('mprotect-rw', 'gives the right to write', ANON_READ_ONLY, [{ do: 'mprotect', at: 0, prot: 'rw' }]),
  op('mremap-move', 'moves the page within its table', ANON_NEIGHBOUR, [{ do: 'mremap', at: 1, to: 3 }]),
  op('mremap-move-table', 'moves a whole page table', ANON, [{ do: 'mremap', at: 0, pages: 512, to: 1024 }], {
    base: { ...ANON, setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'store', at: 0 }, ...deviceLoads(0)] },
  }),
  op('mremap-grow', 'grows the mapping where it is', ANON, [{ do: 'mremap', at: 0, newPages: 2 }]),
  op('mremap-shrink', 'cuts the mapping', ANON_NEIGHBOUR, [{ do: 'mremap', at: 0, pages: 2, newPages: 1 }]),
  op('mremap-dontunmap', 'moves the page, leaves the mapping', ANON, [{ do: 'mremap', at: 0, to: 3, dontUnmap: true }]),
  op('madv-dontneed', 'drops the contents', ANON, [{ do: 'madvise', at: 0, advice: 'dontneed' }], STORE),
  op(
    'madv-dontneed-two',
    'two threads drop neighbouring pages',
    ANON_NEIGHBOUR,
    [{ do: 'madvise', at: 1, advice: 'dontneed' }],
    { others: { neighbour: { cpu: 1, steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] } } },
  ),
  op('madv-free', 'lets the contents go when memory is short', ANON, [{ do: 'madvise', at: 0, advice: 'free' }]),
  op('madv-free-reclaim', 'reclaims a page that MADV_FREE gave up', ANON, [], {
    ...reclaim,
    ...STORE,
    setup: [{ do: 'madvise', at: 0, advice: 'free' }],
  }),
  op('madv-cold', 'makes the page look old', ANON, [{ do: 'madvise', at: 0, advice: 'cold' }]),
  op('swap-out', 'writes the page to swap', ANON, [{ do: 'madvise', at: 0, advice: 'pageout' }], {
    ...STORE,
  }),
  op('swap-in', 'reads the page back from swap', SWAPPED, [{ do: 'store', at: 0, value: 2 }]),
  op('swapoff', 'brings every page back from swap; then the page is unmapped', SWAPPED, [
    { do: 'swapoff' },
    { do: 'munmap', at: 0 },
  ]),
  op('cow-copy', 'writes a page that a child shares: copies it', SHARED_WITH_CHILD, [{ do: 'store', at: 0, value: 2 }]),
  op(
    'cow-reuse',
    'writes a page that was shared: takes it over',
    SHARED_WITH_CHILD,
    [{ do: 'store', at: 0, value: 2 }],
    {
      setup: [{ do: 'exit', task: 'child' }, ...deviceLoads(0)],
    },
  ),
  op('zero-page-write', 'writes a page that was the zero page', ZERO_PAGE, [{ do: 'store', at: 0, value: 2 }]),
  op('file-cow', 'writes a private file page: copies it', FILE_PRIVATE, [{ do: 'store', at: 0, value: 2 }]),
  op('fork', 'write-protects the page and shares it', ANON, [{ do: 'fork', as: 'child' }]),
  op(
    'fork-write',
    'forks, then writes: the child keeps the old contents',
    ANON,
    [
      { do: 'fork', as: 'child' },
      { do: 'store', at: 0, value: 2 },
    ],
    STORE,
  ),
  op('exit', 'the process ends', ANON, [{ do: 'exit' }]),
  op('truncate', 'the file page goes', FILE_SHARED, [{ do: 'truncate', file: 'f', pages: 0 }]),
  op('hole-punch', 'a hole takes the file page', FILE_SHARED, [{ do: 'punch', file: 'f', page: 0 }], STORE),
  op('zero-range', 'the file page goes, for zeros', FILE_SHARED, [{ do: 'zero', file: 'f', page: 0 }], STORE),
  op(
    'collapse-range',
    'the file page goes, and the rest of the file moves',
    FILE_SHARED,
    [{ do: 'collapse', file: 'f', page: 0 }],
    STORE,
  ),
  op('writeback', 'write-protects the file page to write it back', FILE_SHARED, [{ do: 'fsync', file: 'f' }]),
  op('reclaim', 'reclaims the page', ANON, [], reclaim),
  op('reclaim-file', 'reclaims the file page', FILE_SHARED, [], {
    ...reclaim,
    setup: [{ do: 'fsync', file: 'f' }, ...reclaim.setup!],
  }),
  op('migrate', 'moves the page to another NUMA node', ANON, [], migrates),
  op('migrate-shared', 'moves a page that a child shares to another NUMA node', SHARED_WITH_CHILD, [], migrates),
  op('mbind-move', 'binds the page to another NUMA node and moves it there', ANON, [{ do: 'mbind', at: 0 }], {
    ...STORE,
    kernel: { numaNodes: 2 },
  }),
  op(
    'numa-hint',
    'NUMA balancing takes every right; the next access takes the page along to its own node',
    ANON_FAR,
    [
      { do: 'numa-scan', at: 0 },
      { do: 'store', at: 0, value: 2 },
    ],
    LOAD,
  ),
  op('compact', 'moves pages together', ANON, [], {
    ...LOAD,
    thread: { on: 'kernel', steps: [{ do: 'compact' }] },
  }),
  op('memory-failure', 'takes a broken page away', ANON, [{ do: 'madvise', at: 0, advice: 'hwpoison' }]),
  op('soft-offline', 'moves the page off a frame that will break', ANON, [
    { do: 'madvise', at: 0, advice: 'soft-offline' },
  ]),
  op('migrate-to-device', 'moves the page to memory of another device', ANON_DEVICE_MEMORY, [], {
    thread: { on: 'kernel', steps: [{ do: 'to-device', at: 0 }] },
    ...STORE,
  }),
  op('device-exclusive', 'another device has the page for itself for a while', ANON, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'exclusive', at: 0 }] },
  }),
  op('ksm-merge', 'KSM puts one page in the place of two equal ones', ANON_EQUAL, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'ksm' }] },
  }),
  op('ksm-break', 'writes a page that KSM shares: copies it', KSM_PAGE, [{ do: 'store', at: 0, value: 2 }], STORE),
  op(
    'ksm-unmerge',
    'gives every place of a KSM page its own again',
    KSM_PAGE,
    [{ do: 'madvise', at: 0, pages: 2, advice: 'unmergeable' }],
    LOAD,
  ),
  op('soft-dirty', 'write-protects everything to learn of writes', ANON, [], {
    isAnyBase: true,
    thread: { on: 'kernel', steps: [{ do: 'soft-dirty' }] },
  }),
  op('page-idle', 'marks the page idle', ANON, [], { thread: { on: 'kernel', steps: [{ do: 'idle', at: 0 }] } }),
  op('remote-write', 'a debugger writes a page that a child shares: copies it', SHARED_WITH_CHILD, [], {
    thread: { on: 'kernel', steps: [{ do: 'poke', at: 0, value: 2 }] },
  }),
  op('uprobe', 'puts a breakpoint into a copy of the page', TEXT, [], {
    thread: { on: 'kernel', steps: [{ do: 'probe', file: 'f' }] },
  }),
  op('uprobe-remove', 'takes the breakpoint away: the entry goes', TEXT, [], {
    thread: { on: 'kernel', steps: [{ do: 'unprobe', file: 'f' }] },
    setup: [{ do: 'probe', file: 'f' }, ...deviceLoads(0)],
  }),
  op('register', 'the driver registers while the page goes', ANON, [{ do: 'madvise', at: 0, advice: 'dontneed' }], {
    base: {
      ...ANON,
      setup: [
        { do: 'mmap', at: 0 },
        { do: 'store', at: 0 },
      ],
    },
    bound: false,
    ...LOAD,
    others: { owner: { cpu: 1, steps: [{ do: 'bind' }] } },
  }),
  op('unregister', 'the driver unregisters while the page goes', ANON, [{ do: 'madvise', at: 0, advice: 'dontneed' }], {
    ...LOAD,
    others: { owner: { cpu: 1, steps: [{ do: 'unbind' }] } },
  }),
  op('uffd-protect', 'a userfaultfd monitor takes the right to write', ANON, [{ do: 'uffd-protect', at: 0 }], {
    setup: [{ do: 'uffd-register', at: 0, mode: 'wp' }],
    ...STORE,
  }),
  op(
    'uffd-unprotect',
    'a write waits until the monitor gives the right back',
    UFFD_WP,
    [{ do: 'store', at: 0, value: 2 }],
    {
      others: { monitor: { cpu: 1, steps: [{ do: 'uffd-unprotect', at: 0 }] } },
    },
  ),
  op('uffd-copy', 'drops a page; the next access waits until a monitor has filled it', UFFD_MISSING, [
    { do: 'madvise', at: 0, advice: 'dontneed' },
    { do: 'uffd-copy', at: 0, from: 2 },
  ]),
  op(
    'uffd-unregister',
    'the monitor lets go; the page is written again only after a fault',
    ANON,
    [{ do: 'uffd-unregister', at: 0 }],
    {
      setup: [{ do: 'uffd-register', at: 0, mode: 'wp' }, ...deviceLoads(0)],
      ...STORE,
    },
  ),
  op('oom-reap', 'takes the page of a killed process, waiting for nobody', ANON, [{ do: 'mrelease' }], {
    setup: [{ do: 'kill' }],
    thread: { on: 'kernel', steps: [{ do: 'mrelease' }] },
    ...STORE,
  }),
  op('thp-fault', 'writes an empty block: a huge page', HUGE, [{ do: 'store', at: 0, value: 2 }], {
    base: { ...HUGE, name: 'empty block', setup: [{ do: 'mmap', at: 0, pages: 512 }] },
    ...LOAD,
  }),
  op('thp-munmap', 'unmaps a huge page', HUGE, [{ do: 'munmap', at: 0, pages: 512 }], STORE),
  op('thp-munmap-part', 'cuts a huge page: splits its mapping', HUGE, [{ do: 'munmap', at: 0 }], STORE),
  op('thp-dontneed-part', 'drops a part of a huge page', HUGE, [{ do: 'madvise', at: 0, advice: 'dontneed' }], STORE),
  op(
    'thp-mprotect',
    'takes the right to write a huge page',
    HUGE,
    [{ do: 'mprotect', at: 0, pages: 512, prot: 'r' }],
    STORE,
  ),
  op('thp-mremap', 'moves a huge page by its entry', HUGE, [{ do: 'mremap', at: 0, pages: 512, to: 1024 }], STORE),
  op('thp-fork', 'write-protects a huge page and shares it', HUGE, [{ do: 'fork', as: 'child' }], STORE),
  op(
    'thp-cow',
    'writes a shared huge page: splits its mapping and copies a part',
    HUGE,
    [{ do: 'store', at: 0, value: 2 }],
    {
      setup: [{ do: 'fork', as: 'child' }, ...deviceLoads(0)],
      ...STORE,
    },
  ),
  op('thp-zero-write', 'writes the huge zero page', HUGE_ZERO, [{ do: 'store', at: 0, value: 2 }], STORE),
  op(
    'thp-collapse',
    'gathers small pages into a huge one',
    COLLAPSIBLE,
    [{ do: 'madvise', at: 0, pages: 512, advice: 'collapse' }],
    STORE,
  ),
  op('khugepaged', 'khugepaged gathers small pages into a huge one', ADVISED, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'khugepaged' }] },
  }),
  op(
    'shmem-thp-fault',
    'drops a part of a huge page of shared memory: its entry goes, and the next access maps it whole again',
    SHMEM_HUGE,
    [
      { do: 'madvise', at: 0, advice: 'dontneed' },
      { do: 'store', at: 0, value: 2 },
    ],
    LOAD,
  ),
  op(
    'shmem-thp-cow',
    'writes a private mapping of a huge page of shared memory: its entry goes, for a small copy',
    SHMEM_PRIVATE,
    [{ do: 'store', at: 0, value: 2 }],
    STORE,
  ),
  op(
    'shmem-thp-munmap-part',
    'cuts a huge page of shared memory: its entry goes',
    SHMEM_HUGE,
    [{ do: 'munmap', at: 0 }],
    STORE,
  ),
  op(
    'shmem-thp-mremap',
    'moves a huge page of shared memory by its entry',
    SHMEM_HUGE,
    [{ do: 'mremap', at: 0, pages: 512, to: 1024 }],
    STORE,
  ),
  op(
    'shmem-thp-truncate',
    'cuts a file: its huge page goes',
    SHMEM_HUGE,
    [{ do: 'truncate', file: 'f', pages: 0 }],
    LOAD,
  ),
  op(
    'shmem-thp-punch',
    'a hole takes a part of a huge page: splits it',
    SHMEM_HUGE,
    [{ do: 'punch', file: 'f', page: 0 }],
    LOAD,
  ),
  op(
    'shmem-collapse',
    'gathers small pages of shared memory into a huge one',
    SHMEM_COLLAPSIBLE,
    [{ do: 'madvise', at: 0, pages: 512, advice: 'collapse' }],
    LOAD,
  ),
  op('shmem-khugepaged', 'khugepaged gathers small pages of shared memory into a huge one', SHMEM_COLLAPSIBLE, [], {
    ...LOAD,
    thread: { on: 'kernel', steps: [{ do: 'khugepaged' }] },
  }),
  op(
    'shmem-retract',
    'takes away the page table in front of a huge page, and maps it whole',
    SHMEM_PTE_MAPPED,
    [{ do: 'madvise', at: 0, pages: 512, advice: 'collapse' }],
    STORE,
  ),
  op('exit-unregister', 'the driver unregisters while the process ends', ANON, [{ do: 'exit' }], {
    ...LOAD,
    others: { owner: OWNER },
  }),
];

/** Operations that are also tried against each other: the names of two with one base. */
export const PAIRS: readonly (readonly [string, string])[] = [
  ['munmap', 'fork'],
  ['munmap', 'reclaim'],
  ['munmap', 'madv-dontneed'],
  ['madv-dontneed', 'madv-dontneed'],
  ['madv-free', 'reclaim'],
  ['mprotect-ro', 'reclaim'],
  ['mprotect-ro', 'fork'],
  ['fork', 'reclaim'],
  ['swap-out', 'munmap'],
  ['map-fixed', 'reclaim'],
  ['mremap-dontunmap', 'reclaim'],
  ['truncate', 'writeback'],
  ['truncate', 'reclaim-file'],
  ['hole-punch', 'writeback'],
  ['cow-copy', 'reclaim'],
  ['munmap', 'soft-dirty'],
  ['fork', 'soft-dirty'],
];

/** The operation of that name; undefined when there is none. */
export function operationOf(name: string): Operation | undefined {
  return OPERATIONS.find((o) => o.name === name);
}

/** What the device does when nothing else is said: uses what it holds, then stores. */
function deviceSteps(base: Base): Step[] {
  const steps: Step[] = base.pages.map((at) => ({ do: 'load', at }));
  return base.isWritable ? [...steps, ...base.pages.map((at): Step => ({ do: 'store', at }))] : steps;
}

/** The operation as a scenario: its threads, and the device at work. */
export function scenarioOf(o: Operation): Scenario {
  return {
    name: o.name,
    summary: o.summary,
    ...(o.base.kernel === undefined && o.kernel === undefined ? {} : { kernel: { ...o.base.kernel, ...o.kernel } }),
    ...(o.base.files === undefined ? {} : { files: o.base.files }),
    ...(o.base.memfds === undefined ? {} : { memfds: o.base.memfds }),
    ...(o.bound === undefined ? {} : { bound: o.bound }),
    setup: [...o.base.setup, ...(o.setup ?? [])],
    threads: { [o.name]: o.thread, ...o.others, device: { on: 'device', steps: o.device ?? deviceSteps(o.base) } },
  };
}

/** Both operations at once, each a thread of the process (or of the kernel); the base of the first. */
export function pairScenario(a: Operation, b: Operation): Scenario {
  const name = `${a.name}+${b.name}`;
  const first = a.name === b.name ? `${a.name} 1` : a.name;
  const second = a.name === b.name ? `${b.name} 2` : b.name;
  return {
    ...scenarioOf(a),
    name,
    summary: `${a.summary}; meanwhile: ${b.summary}`,
    setup: [...a.base.setup, ...(a.setup ?? []), ...(b.setup ?? [])],
    threads: {
      [first]: a.thread,
      [second]: b.thread,
      ...a.others,
      ...b.others,
      device: { on: 'device', steps: deviceSteps(a.base) },
    },
  };
}
