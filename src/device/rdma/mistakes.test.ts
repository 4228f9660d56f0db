// Each mistake of the on-demand driver is found, and by what; in the same runs nothing is found with the faithful driver. And one hole
// that the faithful driver has, as Linux has it.
import { describe, expect, it } from 'vitest';
import { exploreRdma } from '../../../test/support/explore-rdma.ts';
import { EBUSY } from '../../abi/errno.ts';
import {
  MADV_DONTNEED,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../abi/mman.ts';
import { NR_madvise, NR_mmap } from '../../abi/syscalls.ts';
import { userLoad } from '../../mm/cpu-access.ts';
import { createProcess } from '../../mm/process/task.ts';
import type { KernelPath } from '../../sched/path.ts';
import { createMachine } from '../../system/machine.ts';
import type { ScenarioContext } from '../../workload/scenario/context.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import { MISTAKES } from './mistakes.ts';
import type { RdmaDevice } from './rdma.ts';

const PAGE = 4096;

/** advise_mr of page 0 through the view's region. */
function prefetch(isWrite: boolean, isFault: boolean): (c: ScenarioContext) => KernelPath<void> {
  return function* (c) {
    const device = c.device as RdmaDevice;
    yield* device.driver.prefetch(device.accessor.writing!.key.id, c.va(0), PAGE, isWrite, isFault);
  };
}

/** A read-only page is prefetched without faults through a region that may be written. */
const PREFETCH: Scenario = {
  name: 'prefetch',
  summary: 'a prefetch without faults of a page that is mapped read-only',
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'load', at: 0 },
  ],
  threads: {
    prefetch: { steps: [{ do: 'run', name: 'advise_mr', path: prefetch(true, false) }] },
    device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
  },
};

/** The device has written a page; it is prefetched to be read; it is reclaimed. */
function prefetchedForReading(isPrefetched: boolean): Scenario {
  return {
    name: 'prefetch for reading',
    summary: 'a page that the device has written is prefetched to be read, then reclaimed',
    setup: [
      { do: 'mmap', at: 0, shared: true },
      { do: 'load', at: 0 },
      { do: 'store', at: 0, by: 'device' },
      ...(isPrefetched ? [{ do: 'run', name: 'advise_mr', path: prefetch(false, true) } as const] : []),
    ],
    threads: {
      pageout: { steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] },
      device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
    },
  };
}

const FOUND: readonly (readonly [mistake: string, where: string | Scenario, property: string])[] = [
  ['deaf', 'munmap', 'I1'],
  ['no-retry-check', 'munmap', 'I5'],
  ['no-read-begin', 'madv-dontneed', 'I1'],
  ['set-seq-after-unlock', 'munmap', 'I5'],
  ['unmap-before-zap', 'munmap', 'I14'],
  ['cache-not-flushed', 'munmap', 'I1'],
  ['cache-flushed-first', 'munmap', 'I1'],
  ['dma-not-awaited', 'munmap', 'I1'],
  ['dirty-not-transferred', 'munmap', 'I20a'],
  ['rights-of-region', PREFETCH, 'I7'],
  ['sleeps-for-reaper', 'oom-reap', 'I44'],
  ['refuses-nothing', 'oom-reap', 'I1'],
  ['last-page-forgotten', 'munmap', 'I1'],
];

describe.each(FOUND)('%s', (mistake, where, property) => {
  it(`is found as ${property}`, () => {
    expect(exploreRdma(where, { mistake }, 'linux-6.1', 300).found).toContain(property);
  });
});

it('none of it with the faithful driver', () => {
  for (const where of new Set(FOUND.map(([, w]) => w)))
    expect(exploreRdma(where, {})).toEqual({ exhaustive: true, found: [] });
});

it('every mistake stands in this test', () => {
  const tested = new Set([...FOUND.map(([mistake]) => mistake), 'deadline-ignored']);
  expect(MISTAKES.map((m) => m.name).filter((name) => !tested.has(name))).toEqual([]);
});

/** A fault of 16 pages whose entries somebody discards all the time; result of the fault, or 'limit'. */
function interruptedFault(mistake: string): number | string {
  const rdma = { mistake, deadlineSteps: 400 };
  const m = createMachine({
    kernel: { frames: 256 },
    design: 'linux-6.1',
    device: { device: 'rdma-odp', hasWorkload: false, rdma },
  });
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  const device = m.device as RdmaDevice;
  m.run(device.bind(task.mm!));
  const va = 0x10000000;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  m.run(m.call(task, NR_mmap, va, 16 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
  let result: number | string = 'limit';
  function* fault(): KernelPath<void> {
    result = yield* device.driver.pageFault(device.accessor.writing!.key.id, va, 16 * PAGE, true);
  }
  function* discard(): KernelPath<void> {
    while (result === 'limit') yield* m.call(task, NR_madvise, va, 16 * PAGE, MADV_DONTNEED);
  }
  m.interleave({ fault: fault(), 'discard 1': discard(), 'discard 2': discard() }, 20_000);
  return result;
}

it('a fault that is interrupted for ever is given up at its deadline; deadline-ignored goes on', () => {
  expect(interruptedFault('')).toBe(-EBUSY);
  expect(interruptedFault('deadline-ignored')).toBe('limit');
});

/** What the program reads where the device has stored 1, after the page was paged out. */
function readBack(isPrefetched: boolean): number {
  const m = createMachine({
    kernel: { frames: 256, swapPages: 64 },
    design: 'linux-6.1',
    device: { device: 'rdma-odp', hasWorkload: false, rdma: { alwaysWrite: true } },
  });
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  const device = m.device as RdmaDevice;
  m.run(device.bind(task.mm!));
  const va = 0x10000000;
  const flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
  m.run(m.call(task, NR_mmap, va, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
  m.run(userLoad(m.kernel, task, va, 4));
  m.run(device.accessor.access(0, va, true, va + PAGE));
  if (isPrefetched) m.run(device.driver.prefetch(device.accessor.writing!.key.id, va, PAGE, false, true));
  m.run(m.call(task, NR_madvise, va, PAGE, MADV_PAGEOUT));
  // The upper half of the double 1.
  return m.run(userLoad(m.kernel, task, va + PAGE - 60, 4));
}

describe('a hole of Linux', () => {
  it('the store is gone', () => {
    expect([readBack(false), readBack(true)]).toEqual([0x3ff00000, 0]);
  });

  it('a prefetch for reading takes the right to write from a page and forgets that the device has used it', () => {
    expect(exploreRdma(prefetchedForReading(false), { alwaysWrite: true }).found).toEqual([]);
    expect(exploreRdma(prefetchedForReading(true), { alwaysWrite: true }).found).toContain('I20a');
  });
});
