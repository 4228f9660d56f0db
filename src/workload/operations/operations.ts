// The memory-management operations under which drivers are checked. An operation is one thread's steps on top of a base: what
// is mapped, and what the device holds, before it begins. Two operations with one base make a pair of threads.
//
// Adding one: a row here. It then appears in `shootdown check`, in the matrix, in the tests and in the documentation.

import { profile } from '../../mm/profile.ts';
import type { Scenario, Step, ThreadScript } from '../scenario/scenario.ts';
import {
  ANON,
  ANON_BATCH,
  ANON_DEVICE_MEMORY,
  ANON_EQUAL,
  ANON_FAR,
  ANON_LIMITED,
  ANON_NEIGHBOUR,
  ANON_READ_ONLY,
  type Base,
  deviceLoads,
  FILE_COPY,
  FILE_PRIVATE,
  FILE_SHARED,
  HEAP_PAGES,
  IN_DEVICE_MEMORY,
  IN_SWAP_CACHE,
  KSM_PAGE,
  RING,
  SEGMENT,
  SHARED_MEMORY,
  SHARED_WITH_CHILD,
  SWAPPED,
  TEXT,
  UFFD_MISSING,
  UFFD_WP,
  ZERO_PAGE,
} from './bases.ts';
import { HUGE_OPERATIONS } from './huge-operations.ts';
import { LOAD, type Operation, op, STORE } from './operation.ts';

/** Reclaim finds the page old: it was not used since the kernel looked last. */
const reclaim: Partial<Operation> = {
  isAnyBase: true,
  setup: [{ do: 'madvise', at: 0, advice: 'cold' }],
  thread: { on: 'kernel', steps: [{ do: 'reclaim', pages: 1 }] },
};

/** Another process moves the page. */
const migrates: Partial<Operation> = {
  ...STORE,
  kernel: { numaNodes: 2 },
  thread: { on: 'kernel', steps: [{ do: 'move-pages', at: 0 }] },
};

/** Guard regions came with 6.13. */
const GUARD_KERNEL: Operation['kernel'] = { profile: profile('6.18') };

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
  op('brk-shrink', 'gives the heap back', HEAP_PAGES, [{ do: 'brk', pages: 0 }]),
  op('shmdt', 'detaches a SysV segment', SEGMENT, [{ do: 'shmdt', at: 0 }], STORE),
  op('io-destroy', 'ends an AIO context: its ring goes', RING, [{ do: 'io-destroy', at: 0 }], STORE),
  op(
    'remap-file-pages',
    'shows another page of the file',
    FILE_SHARED,
    [{ do: 'remap-file-pages', at: 0, filePage: 1 }],
    LOAD,
  ),
  op('mprotect-ro', 'takes the right to write', ANON, [{ do: 'mprotect', at: 0, prot: 'r' }]),
  op('mprotect-none', 'takes every right', ANON, [{ do: 'mprotect', at: 0, prot: 'none' }]),
  op(
    'pkey-mprotect',
    'takes the right to write, and gives the page a protection key',
    ANON,
    [{ do: 'mprotect', at: 0, prot: 'r', key: true }],
    {
      kernel: { pkeys: true },
    },
  ),
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
  op(
    'madv-dontneed-locked',
    'drops the contents of locked memory',
    ANON,
    [{ do: 'madvise', at: 0, advice: 'dontneed-locked' }],
    {
      ...STORE,
      setup: [{ do: 'mlock', at: 0 }],
    },
  ),
  op(
    'madv-remove',
    'takes the file page away through its mapping',
    FILE_SHARED,
    [{ do: 'madvise', at: 0, advice: 'remove' }],
    STORE,
  ),
  op(
    'guard-install',
    'puts a guard region in place of the page',
    ANON,
    [{ do: 'madvise', at: 0, advice: 'guard-install' }],
    {
      kernel: GUARD_KERNEL,
    },
  ),
  op(
    'guard-remove',
    'takes a guard region away; the next access finds zeros',
    ANON,
    [
      { do: 'madvise', at: 0, advice: 'guard-remove' },
      { do: 'store', at: 0, value: 2 },
    ],
    {
      kernel: GUARD_KERNEL,
      ...STORE,
      setup: [{ do: 'madvise', at: 0, advice: 'guard-install' }],
    },
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
  op(
    'swap-out-again',
    'writes a page to swap whose copy there was still good until the device stored to it',
    IN_SWAP_CACHE,
    [{ do: 'madvise', at: 0, advice: 'pageout' }],
    { ...STORE },
  ),
  op('process-madvise', 'another process has the page written to swap', ANON, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'madvise', at: 0, advice: 'pageout', remote: true }] },
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
  op(
    'populate-write',
    'has a page that a child shares made writable: copies it',
    SHARED_WITH_CHILD,
    [{ do: 'madvise', at: 0, advice: 'populate-write' }],
    STORE,
  ),
  op(
    'populate-read',
    'has a page read back from swap',
    SWAPPED,
    [{ do: 'madvise', at: 0, advice: 'populate-read' }],
    STORE,
  ),
  op('mlock', 'locks a page that a child shares: copies it', SHARED_WITH_CHILD, [{ do: 'mlock', at: 0 }], STORE),
  op(
    'mlock2',
    'locks a page when it is used next, then writes it: copies it',
    SHARED_WITH_CHILD,
    [
      { do: 'mlock-onfault', at: 0 },
      { do: 'store', at: 0, value: 2 },
    ],
    STORE,
  ),
  op('mlockall', 'locks everything: copies what a child shares', SHARED_WITH_CHILD, [{ do: 'mlockall' }], STORE),
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
  op(
    'fork-pinned',
    'forks while another driver has the page pinned: copies it for the child',
    ANON,
    [{ do: 'fork', as: 'child' }],
    {
      setup: [{ do: 'pin', at: 0 }],
    },
  ),
  op('exec', 'another program takes the place of this one', ANON, [{ do: 'exec' }]),
  op('exit', 'the process ends', ANON, [{ do: 'exit' }]),
  op('truncate', 'the file page goes', FILE_SHARED, [{ do: 'truncate', file: 'f', pages: 0 }]),
  op(
    'truncate-private',
    "the file page goes, and with it the program's own copy",
    FILE_COPY,
    [{ do: 'truncate', file: 'f', pages: 0 }],
    STORE,
  ),
  op('hole-punch', 'a hole takes the file page', FILE_SHARED, [{ do: 'punch', file: 'f', page: 0 }], STORE),
  op('zero-range', 'the file page goes, for zeros', FILE_SHARED, [{ do: 'zero', file: 'f', page: 0 }], STORE),
  op(
    'collapse-range',
    'the file page goes, and the rest of the file moves',
    FILE_SHARED,
    [{ do: 'collapse', file: 'f', page: 0 }],
    STORE,
  ),
  op(
    'insert-range',
    'the rest of the file moves, and its pages go',
    FILE_SHARED,
    [{ do: 'insert', file: 'f', page: 0 }],
    STORE,
  ),
  op('writeback', 'write-protects the file page to write it back', FILE_SHARED, [{ do: 'fsync', file: 'f' }]),
  op('msync', 'writes the file page back: write-protects it', FILE_SHARED, [{ do: 'msync', at: 0 }]),
  op('reclaim', 'reclaims the page', ANON, [], reclaim),
  op('reclaim-file', 'reclaims the file page', FILE_SHARED, [], {
    ...reclaim,
    setup: [{ do: 'fsync', file: 'f' }, ...reclaim.setup!],
  }),
  op('reclaim-shmem', 'writes a page of shared memory to swap', SHARED_MEMORY, [], { ...reclaim, ...STORE }),
  op('reclaim-generations', 'reclaims the page by generations', ANON, [], {
    ...reclaim,
    // Generations count on swap only when it has room for a batch.
    kernel: { swapPages: 128 },
    setup: [{ do: 'lru-gen' }, ...reclaim.setup!],
  }),
  op('memory-max', 'the limit of a memory cgroup falls below what it uses', ANON_LIMITED, [], {
    ...STORE,
    setup: reclaim.setup!,
    thread: { on: 'kernel', steps: [{ do: 'memory-max', pages: 1 }] },
  }),
  op('migrate', 'moves the page to another NUMA node', ANON, [], migrates),
  op('migrate-shared', 'moves a page that a child shares to another NUMA node', SHARED_WITH_CHILD, [], migrates),
  op('migrate-file', 'moves a file page to another NUMA node', FILE_SHARED, [], migrates),
  op('migrate-shmem', 'moves a page of shared memory to another NUMA node', SHARED_MEMORY, [], migrates),
  op('migrate-pages', 'moves all pages of the process to another NUMA node', ANON, [], {
    ...migrates,
    thread: { on: 'kernel', steps: [{ do: 'migrate-pages' }] },
  }),
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
  op(
    'memory-failure-file',
    'takes a broken page of a file away',
    FILE_SHARED,
    [{ do: 'madvise', at: 0, advice: 'hwpoison' }],
    STORE,
  ),
  op('soft-offline', 'moves the page off a frame that will break', ANON, [
    { do: 'madvise', at: 0, advice: 'soft-offline' },
  ]),
  op('migrate-to-device', 'moves the page to memory of another device', ANON_DEVICE_MEMORY, [], {
    thread: { on: 'kernel', steps: [{ do: 'to-device', at: 0 }] },
    ...STORE,
  }),
  op(
    'migrate-from-device',
    'touches a page that is in memory of another device: it comes back',
    IN_DEVICE_MEMORY,
    [{ do: 'store', at: 0, value: 2 }],
    STORE,
  ),
  op('device-exclusive', 'another device has the page for itself for a while', ANON, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'exclusive', at: 0 }] },
  }),
  op('exclusive-ends', 'touches a page that another device has for itself', ANON, [{ do: 'store', at: 0, value: 2 }], {
    ...STORE,
    setup: [{ do: 'exclusive', at: 0 }],
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
  op('clear-refs', 'takes accessed bits away to learn of uses', ANON, [], {
    thread: { on: 'kernel', steps: [{ do: 'referenced' }] },
  }),
  op('damon', 'takes a sample of the use of the page', ANON, [], {
    thread: { on: 'kernel', steps: [{ do: 'damon', at: 0 }] },
  }),
  op('page-idle', 'marks the page idle', ANON, [], { thread: { on: 'kernel', steps: [{ do: 'idle', at: 0 }] } }),
  op('remote-write', 'a debugger writes a page that a child shares: copies it', SHARED_WITH_CHILD, [], {
    thread: { on: 'kernel', steps: [{ do: 'poke', at: 0, value: 2 }] },
  }),
  op('process-vm-write', 'another process writes a page that a child shares: copies it', SHARED_WITH_CHILD, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'vm-write', at: 0 }] },
  }),
  op('pin', 'another driver pins a page that a child shares: copies it', SHARED_WITH_CHILD, [], {
    ...STORE,
    thread: { on: 'kernel', steps: [{ do: 'pin', at: 0 }] },
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
  op(
    'uffd-protect',
    'a userfaultfd monitor takes the right to write, and gives it back',
    ANON,
    [
      { do: 'uffd-protect', at: 0 },
      { do: 'uffd-unprotect', at: 0 },
    ],
    { setup: [{ do: 'uffd-register', at: 0, mode: 'wp' }], ...STORE },
  ),
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
  op('uffd-zeropage', 'drops a page; the next access waits until a monitor has said that it is zeros', UFFD_MISSING, [
    { do: 'madvise', at: 0, advice: 'dontneed' },
    { do: 'uffd-zeropage', at: 0 },
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
  op('oom-reap-exit', 'takes the page of a killed process while that ends', ANON, [{ do: 'exit' }], {
    ...STORE,
    setup: [{ do: 'kill' }],
    others: { reaper: { on: 'kernel', steps: [{ do: 'mrelease' }] } },
  }),
  ...HUGE_OPERATIONS,
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
    ...(o.bounds === undefined ? {} : { bounds: o.bounds }),
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
