// Operations on pages of 2 MiB: transparent ones, and those of the hugetlb pool. Their machines have the frames that such pages want: 2048, of
// which an execution clears only those that it uses.

import {
  COLLAPSIBLE,
  deviceLoads,
  HUGE,
  HUGE_SHMEM,
  HUGE_ZERO,
  HUGETLB,
  HUGETLB_SHARED,
  HUGETLB_SHARED_TABLE,
  SHARED_AT,
} from './bases.ts';
import { LOAD, type Operation, op, STORE } from './operation.ts';

export const HUGE_OPERATIONS: readonly Operation[] = [
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
  op('khugepaged', 'khugepaged gathers small pages into a huge one', COLLAPSIBLE, [], {
    ...STORE,
    setup: [{ do: 'madvise', at: 0, pages: 512, advice: 'hugepage' }],
    thread: { on: 'kernel', steps: [{ do: 'khugepaged' }] },
  }),
  op('thp-pageout', 'writes a huge page to swap', HUGE, [{ do: 'madvise', at: 0, pages: 512, advice: 'pageout' }], {
    ...STORE,
    kernel: { swapPages: 1024 },
    // Each of 512 entries is flushed by itself.
    bounds: { steps: 20_000, executions: 100 },
  }),
  op(
    'thp-cold-part',
    'makes a part of a huge page look old: splits the page',
    HUGE,
    [{ do: 'madvise', at: 0, advice: 'cold' }],
    STORE,
  ),
  op('thp-migrate', 'moves a huge page to another NUMA node', HUGE, [], {
    ...STORE,
    kernel: { frames: 4096, numaNodes: 2 },
    // Designs that know only single pages tell 512 of them.
    bounds: { steps: 20_000, executions: 1_000 },
    thread: { on: 'kernel', steps: [{ do: 'move-pages', at: 0 }] },
  }),
  op('thp-soft-dirty', 'write-protects a huge page to learn of writes', HUGE, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'soft-dirty' }] },
  }),
  op(
    'thp-memory-failure',
    'takes a broken part of a huge page away',
    HUGE,
    [{ do: 'madvise', at: 0, advice: 'hwpoison' }],
    STORE,
  ),
  op(
    'thp-soft-offline',
    'moves a part of a huge page off a frame that will break',
    HUGE,
    [{ do: 'madvise', at: 0, advice: 'soft-offline' }],
    STORE,
  ),
  op(
    'thp-shmem-munmap',
    'unmaps a huge page of shared memory',
    HUGE_SHMEM,
    [{ do: 'munmap', at: 0, pages: 512 }],
    STORE,
  ),
  op(
    'thp-shmem-remove',
    'punches a hole into a huge page of shared memory',
    HUGE_SHMEM,
    [{ do: 'madvise', at: 0, advice: 'remove' }],
    STORE,
  ),
  op(
    'hugetlb-fault',
    'writes memory of the hugetlb pool for the first time',
    HUGETLB,
    [{ do: 'store', at: 0, value: 2 }],
    {
      ...LOAD,
      base: { ...HUGETLB, name: 'hugetlb, empty', setup: HUGETLB.setup.slice(0, 1) },
    },
  ),
  op('hugetlb-munmap', 'unmaps a page of the hugetlb pool', HUGETLB, [{ do: 'munmap', at: 0, pages: 512 }], STORE),
  op(
    'hugetlb-dontneed',
    'drops a page of the hugetlb pool',
    HUGETLB,
    [{ do: 'madvise', at: 0, pages: 512, advice: 'dontneed' }],
    STORE,
  ),
  op(
    'hugetlb-mprotect',
    'takes the right to write a page of the hugetlb pool',
    HUGETLB,
    [{ do: 'mprotect', at: 0, pages: 512, prot: 'r' }],
    STORE,
  ),
  op(
    'hugetlb-mremap',
    'moves a page of the hugetlb pool',
    HUGETLB,
    [{ do: 'mremap', at: 0, pages: 512, to: 1024 }],
    STORE,
  ),
  op(
    'hugetlb-fork',
    'write-protects a page of the hugetlb pool and shares it',
    HUGETLB,
    [{ do: 'fork', as: 'child' }],
    STORE,
  ),
  op(
    'hugetlb-cow',
    'writes a shared page of the hugetlb pool: copies it',
    HUGETLB,
    [{ do: 'store', at: 0, value: 2 }],
    {
      ...STORE,
      setup: [{ do: 'fork', as: 'child' }, ...deviceLoads(0)],
    },
  ),
  op(
    'hugetlb-remove',
    'punches a page of the hugetlb pool out of its file',
    HUGETLB_SHARED,
    [{ do: 'madvise', at: 0, pages: 512, advice: 'remove' }],
    STORE,
  ),
  op('hugetlb-migrate', 'moves a page of the hugetlb pool to another NUMA node', HUGETLB, [], {
    ...STORE,
    kernel: { frames: 4096, numaNodes: 2 },
    thread: { on: 'kernel', steps: [{ do: 'move-pages', at: 0 }] },
  }),
  op(
    'hugetlb-unshare-unmap',
    'unmaps a block whose page table another process shares',
    HUGETLB_SHARED_TABLE,
    [{ do: 'munmap', at: SHARED_AT, pages: 512 }],
    {
      device: [{ do: 'store', at: SHARED_AT }],
    },
  ),
  op(
    'hugetlb-unshare-protect',
    'takes the right to write where another process shares the page table',
    HUGETLB_SHARED_TABLE,
    [{ do: 'mprotect', at: SHARED_AT, pages: 512, prot: 'r' }],
    {
      device: [{ do: 'store', at: SHARED_AT }],
    },
  ),
];
