// What stands before an operation of the check begins: what is mapped, and what the device has used of it. Two operations with one base
// make a pair.

import { userLoad } from '../../mm/cpu-access.ts';
import { BASE, HEAP, type Scenario, type Step } from '../scenario/scenario.ts';

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

export const deviceLoads = (...pages: number[]): Step[] => pages.map((at) => ({ do: 'load', at, by: 'device' }));

/** One private page, written by the program and read by the device. */
export const ANON: Base = {
  name: 'anon',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The same, on another NUMA node than the CPUs. */
export const ANON_FAR: Base = {
  ...ANON,
  name: 'anon, on another NUMA node',
  kernel: { numaNodes: 2 },
  setup: [...ANON.setup.slice(0, 2), { do: 'move-pages', at: 0 }, ...deviceLoads(0)],
};

/** The same, in a page table with a neighbour that stays. */
export const ANON_NEIGHBOUR: Base = {
  name: 'anon, neighbour stays',
  pages: [1],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0, pages: 2 }, { do: 'store', at: 0 }, { do: 'store', at: 1 }, ...deviceLoads(1)],
};

/** Three pages: more than a gather holds, so that it is flushed and freed before the section ends. */
export const ANON_BATCH: Base = {
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
export const ANON_READ_ONLY: Base = {
  name: 'anon, read-only',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, { do: 'mprotect', at: 0, prot: 'r' }, ...deviceLoads(0)],
};

/** The zero page, mapped by a read. */
export const ZERO_PAGE: Base = {
  name: 'zero page',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A page shared copy-on-write with a child. */
export const SHARED_WITH_CHILD: Base = {
  name: 'anon, shared with a child',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, { do: 'fork', as: 'child' }, ...deviceLoads(0)],
};

/** A shared file page, dirty. */
export const FILE_SHARED: Base = {
  name: 'file, shared',
  pages: [0],
  isWritable: true,
  files: { f: 2 },
  setup: [{ do: 'mmap', at: 0, pages: 2, file: 'f', shared: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A private file page, written: a copy of the program's own. */
export const FILE_PRIVATE: Base = {
  name: 'file, private',
  pages: [0],
  isWritable: true,
  files: { f: 2 },
  setup: [{ do: 'mmap', at: 0, pages: 2, file: 'f' }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** The program's own copy of a private file page. */
export const FILE_COPY: Base = {
  ...FILE_PRIVATE,
  name: 'file, private, written',
  setup: [{ do: 'mmap', at: 0, pages: 2, file: 'f' }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A page of shared memory, which goes to swap as private ones do. */
export const SHARED_MEMORY: Base = {
  name: 'shared memory',
  pages: [0],
  isWritable: true,
  setup: [{ do: 'mmap', at: 0, shared: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A page of a SysV segment. */
export const SEGMENT: Base = {
  ...SHARED_MEMORY,
  name: 'SysV segment',
  setup: [{ do: 'shmat', at: 0 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The ring of an AIO context. */
export const RING: Base = {
  ...SHARED_MEMORY,
  name: 'AIO ring',
  setup: [{ do: 'io-setup', at: 0 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** Two pages of the heap. */
export const HEAP_PAGES: Base = {
  name: 'heap',
  pages: [HEAP],
  isWritable: true,
  setup: [{ do: 'brk', pages: 2 }, { do: 'store', at: HEAP }, ...deviceLoads(HEAP)],
};

/** A private page of a task whose memory is limited. */
export const ANON_LIMITED: Base = {
  ...ANON,
  name: 'anon, in a memory cgroup',
  setup: [{ do: 'memory-max', pages: 1000 }, ...ANON.setup],
};

/** A private page in swap. */
export const SWAPPED: Base = {
  name: 'anon, swapped out',
  pages: [0],
  isWritable: true,
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
    { do: 'madvise', at: 0, advice: 'pageout' },
  ],
};

/** A page that was in swap and has been read: its copy there is kept until somebody stores to it. */
export const IN_SWAP_CACHE: Base = {
  ...SWAPPED,
  name: 'anon, read back from swap',
  setup: [...SWAPPED.setup, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A page that a userfaultfd monitor will hear of when it is written. */
export const UFFD_WP: Base = {
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
export const ANON_EQUAL: Base = {
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
export const UFFD_MISSING: Base = {
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
export const KSM_PAGE: Base = {
  ...ANON_EQUAL,
  name: 'KSM page',
  setup: [...ANON_EQUAL.setup.slice(0, -2), { do: 'ksm', scans: 3 }, ...deviceLoads(0)],
};

/** A page of a program's text. */
export const TEXT: Base = {
  name: 'file, private, executable',
  pages: [0],
  isWritable: false,
  files: { f: 1 },
  setup: [{ do: 'mmap', at: 0, file: 'f', prot: 'rx' }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** Memory in which a block of 2 MiB can be had, and memory that gets one when it can. */
export const HUGE_KERNEL: NonNullable<Scenario['kernel']> = { frames: 2048, thpEnabled: 'always' };

/** A block of 2 MiB that one entry maps, written by the program and read by the device. */
export const HUGE: Base = {
  name: 'huge page',
  pages: [0],
  isWritable: true,
  kernel: HUGE_KERNEL,
  setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The huge zero page, mapped by a read. */
export const HUGE_ZERO: Base = {
  ...HUGE,
  name: 'huge zero page',
  setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A small page in a block that could be huge. */
export const COLLAPSIBLE: Base = {
  ...HUGE,
  name: 'small page in an empty block',
  kernel: { ...HUGE_KERNEL, thpEnabled: 'madvise' },
  setup: [{ do: 'mmap', at: 0, pages: 512 }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A machine on which a second device has memory of its own. */
export const ANON_DEVICE_MEMORY: Base = { ...ANON, name: 'anon, device memory', kernel: { devicePrivatePages: 2 } };

/** A page that has gone to memory of another device. */
export const IN_DEVICE_MEMORY: Base = {
  ...ANON_DEVICE_MEMORY,
  name: 'anon, in device memory',
  setup: [...ANON.setup, { do: 'to-device', at: 0 }],
};

/** A huge page of shared memory. */
export const HUGE_SHMEM: Base = {
  ...HUGE,
  name: 'huge page of shared memory',
  kernel: { ...HUGE_KERNEL, shmemHuge: 'always' },
  setup: [{ do: 'mmap', at: 0, pages: 512, shared: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A huge page of a file in memory. */
export const HUGE_MEMFD: Base = {
  ...HUGE_SHMEM,
  name: 'huge page of a memfd',
  memfds: { f: 512 },
  setup: [{ do: 'mmap', at: 0, pages: 512, file: 'f', shared: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** The same, mapped private and only read. */
export const HUGE_MEMFD_PRIVATE: Base = {
  ...HUGE_MEMFD,
  name: 'huge page of a memfd, private',
  setup: [{ do: 'mmap', at: 0, pages: 512, file: 'f' }, { do: 'load', at: 0 }, ...deviceLoads(0)],
};

/** A small page of shared memory, in a block that may be huge by now. */
export const COLLAPSIBLE_SHMEM: Base = {
  ...HUGE_SHMEM,
  name: 'small page of shared memory in an empty block',
  kernel: { ...HUGE_KERNEL, thpEnabled: 'madvise', shmemHuge: 'advise' },
  setup: [
    { do: 'mmap', at: 0, pages: 512, shared: true },
    { do: 'store', at: 0 },
    { do: 'madvise', at: 0, pages: 512, advice: 'hugepage' },
    ...deviceLoads(0),
  ],
};

/** A huge page of a memfd that was collapsed through another mapping; here a small entry maps it. */
export const PTE_MAPPED_MEMFD: Base = {
  ...COLLAPSIBLE_SHMEM,
  name: 'huge page of a memfd, mapped by a small entry',
  memfds: { f: 512 },
  setup: [
    { do: 'mmap', at: 0, pages: 512, file: 'f', shared: true },
    { do: 'store', at: 0 },
    { do: 'mmap', at: 1024, pages: 512, file: 'f', shared: true },
    { do: 'load', at: 1024 },
    { do: 'madvise', at: 1024, pages: 512, advice: 'collapse' },
    { do: 'munmap', at: 1024, pages: 512 },
    { do: 'store', at: 0 },
    ...deviceLoads(0),
  ],
};

/** Memory of which two pages of 2 MiB are in the hugetlb pool. */
const HUGETLB_KERNEL: NonNullable<Scenario['kernel']> = { frames: 2048, hugePages: 2 };

/** A private page of the hugetlb pool. */
export const HUGETLB: Base = {
  name: 'hugetlb',
  pages: [0],
  isWritable: true,
  kernel: HUGETLB_KERNEL,
  setup: [{ do: 'mmap', at: 0, pages: 512, hugetlb: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** A shared one. */
export const HUGETLB_SHARED: Base = {
  ...HUGETLB,
  name: 'hugetlb, shared',
  setup: [{ do: 'mmap', at: 0, pages: 512, shared: true, hugetlb: true }, { do: 'store', at: 0 }, ...deviceLoads(0)],
};

/** First page of a block of 1 GiB. */
export const SHARED_AT = (0x40000000 - BASE) / 4096;

/** A block of 1 GiB of shared memory of the pool, whose page table a child uses too. */
export const HUGETLB_SHARED_TABLE: Base = {
  ...HUGETLB,
  name: 'hugetlb, shared page table',
  pages: [SHARED_AT],
  setup: [
    { do: 'mmap', at: SHARED_AT, pages: 1 << 18, shared: true, hugetlb: true, noReserve: true },
    { do: 'store', at: SHARED_AT },
    { do: 'fork', as: 'child' },
    { do: 'run', name: 'the child reads', path: (c) => userLoad(c.kernel, c.task('child'), c.va(SHARED_AT), 4) },
    ...deviceLoads(SHARED_AT),
  ],
};
