// amdkfd's driver: ranges made on faults and split by unmaps, eviction with and without retry faults; random programs, judged; operations
// of one page, exhaustively; each mistake is found by a property that it names. And what the faithful driver gets wrong, as Linux does.
import { describe, expect, it } from 'vitest';
import { type GpuWorld, gpuDevice, gpuWorld, LOOKED_UP, mapPages, PAGE, V } from '../../../test/support/gpu-world.ts';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { deviceSubject, type Search, search } from '../../../test/support/named-device.ts';
import { MADV_DONTNEED } from '../../abi/mman.ts';
import { NR_madvise, NR_munmap } from '../../abi/syscalls.ts';
import { CHECK_DEFAULTS, checkScenario } from '../../workload/check/check-operation.ts';
import { scenarioNamed } from '../../workload/check/plan.ts';
import { runCell } from '../../workload/matrix/cell.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import { ACCESS_DONE, ACCESS_INVALID } from '../accessor.ts';
import type { SvmDriver } from './svm-driver.ts';
import { SVM_MISTAKES } from './svm-mistakes.ts';

const RETRY = 'amdkfd-svm';
const NO_RETRY = 'amdkfd-svm-no-retry';

interface World extends GpuWorld {
  readonly driver: SvmDriver;
}

function world(name: string, pages = 8): World {
  const w = gpuWorld(gpuDevice(name, { granularityPages: 512 }), pages);
  return { ...w, driver: w.device.driver as SvmDriver };
}

function access({ m, device }: World, page: number, isWrite = false): number {
  return m.run(device.accessor.access(0, V + page * PAGE, isWrite, 0));
}

/** Pages of each range, first to last. */
function ranges({ driver }: World): number[][] {
  return driver.ranges.map((r) => [(r.start - V) / PAGE, (r.end - V) / PAGE - 1]);
}

function munmap(w: World, page: number, pages: number): void {
  w.m.run(w.m.call(w.task, NR_munmap, V + page * PAGE, pages * PAGE));
  w.m.kernel.sched.runUntil(() => w.driver.ranges.every((r) => !r.isQueued && r.children.length === 0), 1000);
}

describe('ranges', () => {
  it('a fault makes one of what its VMA has of the block, and maps all of it', () => {
    const w = world(RETRY);
    expect([access(w, 3), ranges(w), w.device.gpu.tables[0]!.size]).toEqual([ACCESS_DONE, [[0, 7]], 8]);
    expect([access(w, 7, true), w.driver.faults]).toEqual([ACCESS_DONE, 1]);
    mapPages(w, V + 510 * PAGE, 8);
    expect([access(w, 512), access(w, 511), ranges(w)]).toEqual([
      ACCESS_DONE,
      ACCESS_DONE,
      [
        [0, 7],
        [510, 511],
        [512, 517],
      ],
    ]);
  });

  it.each([
    [0, 2, [[2, 7]]],
    [6, 2, [[0, 5]]],
    [
      3,
      2,
      [
        [0, 2],
        [5, 7],
      ],
    ],
    [0, 8, []],
  ])('unmapping %i pages from %i splits it, and each part has a notifier of its own', (first, pages, left) => {
    const w = world(RETRY);
    access(w, 0);
    munmap(w, first, pages);
    expect([ranges(w), w.device.gpu.tables[0]!.size]).toEqual([left, 8 - pages]);
    expect(w.driver.ranges.map((r) => [r.notifier.start, r.notifier.last + 1])).toEqual(
      w.driver.ranges.map((r) => [r.start, r.end]),
    );
    expect(access(w, first)).toBe(ACCESS_INVALID);
  });

  it('unbound: no ranges, no subscribers', () => {
    const w = world(RETRY);
    access(w, 0, true);
    w.m.run(w.device.unbind());
    expect([ranges(w), w.device.gpu.tables[0]!.size, w.task.mm!.count]).toEqual([[], 0, 1]);
  });
});

describe('eviction', () => {
  it('with retry faults the entries go, and the next access maps the range again', () => {
    const w = world(RETRY);
    access(w, 0);
    w.m.run(w.m.call(w.task, NR_madvise, V, 2 * PAGE, MADV_DONTNEED));
    expect([w.device.gpu.tables[0]!.size, w.device.gpu.isSuspended]).toEqual([6, false]);
    expect([access(w, 0), w.device.gpu.tables[0]!.size, w.driver.faults]).toEqual([ACCESS_DONE, 8, 2]);
  });

  it('without them the queues stop, and go on when every range is mapped again', () => {
    const w = world(NO_RETRY);
    access(w, 0, true);
    w.m.run(w.m.call(w.task, NR_madvise, V, 2 * PAGE, MADV_DONTNEED));
    expect([w.device.gpu.tables[0]!.size, w.device.gpu.isSuspended, w.driver.evictions]).toEqual([8, true, 1]);
    expect([access(w, 0), w.driver.faults, w.driver.restorations]).toEqual([ACCESS_DONE, 1, 1]);
    expect(w.device.gpu.isSuspended).toBe(false);
  });
});

describe.each([RETRY, NO_RETRY])('%s', (name) => {
  it(`random programs: nothing wrong (SEED=${SEED})`, () => {
    for (let seed = SEED; seed < SEED + 2; seed++) {
      const device = gpuDevice(name, { engines: 4, granularityPages: 4 });
      const r = machine({ design: 'linux-6.1', seed, operations: 60, device });
      expect(r.violations.map((v) => v.text)).toEqual([]);
      expect(r.deviceReads + r.deviceWrites).toBeGreaterThan(50);
    }
  });
});

const OPERATIONS = ['munmap', 'munmap-neighbour', 'madv-dontneed', 'mprotect-ro', 'fork', 'reclaim', 'exit', 'migrate'];

it.each([RETRY, NO_RETRY].flatMap((name) => OPERATIONS.map((operation) => [name, operation] as const)))(
  '%s, %s: every interleaving is in order, and deaf it is not',
  (name, operation) => {
    const options = { ...CHECK_DEFAULTS, executions: 3000 };
    const r = checkScenario(scenarioNamed(operation), deviceSubject(gpuDevice(name), 'linux-6.1'), options)!;
    expect([r.verdict, r.exhaustive, r.lockFindings]).toEqual(['clean', true, []]);
  },
);

/** Of a range of two pages one goes, and then the contents of the other. */
const SPLIT: Scenario = {
  name: 'split',
  summary: 'a range is split by an unmap in its middle, then the upper part is discarded',
  setup: [
    { do: 'mmap', at: 0, pages: 3 },
    { do: 'store', at: 2 },
    { do: 'load', at: 2, by: 'device' },
    { do: 'munmap', at: 1 },
  ],
  threads: {
    program: { steps: [{ do: 'madvise', at: 2, advice: 'dontneed' }] },
    device: { on: 'device', steps: [{ do: 'load', at: 2 }] },
  },
};

/** Written back, which takes the right to write, and again while the range is being restored. */
const WRITTEN_BACK_TWICE: Scenario = {
  name: 'written back twice',
  summary: 'a file page that the GPU stores to is written back twice',
  setup: [
    { do: 'mmap', at: 0, shared: true, file: 'f' },
    { do: 'store', at: 0 },
    { do: 'store', at: 0, by: 'device' },
  ],
  threads: {
    sync: {
      on: 'kernel',
      steps: [
        { do: 'fsync', file: 'f' },
        { do: 'fsync', file: 'f' },
      ],
    },
    device: { on: 'device', steps: [{ do: 'store', at: 0 }] },
  },
};

/** Two ranges, each discarded by a thread of its own. */
const TWO_RANGES: Scenario = {
  name: 'two ranges',
  summary: 'pages of two ranges are discarded at the same time',
  setup: [
    { do: 'mmap', at: 0, pages: 2 },
    { do: 'store', at: 0 },
    { do: 'store', at: 1 },
    { do: 'load', at: 0, by: 'device' },
    { do: 'load', at: 1, by: 'device' },
  ],
  threads: {
    first: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    second: { on: 'kernel', steps: [{ do: 'madvise', at: 1, advice: 'dontneed' }] },
    device: { on: 'device', steps: [{ do: 'load', at: 1 }] },
  },
};

/** A part of a range is unmapped, while reclaim takes a page of what is split off. */
const SPLIT_RECLAIMED: Scenario = {
  name: 'split, reclaimed',
  summary: 'a range is split by an unmap in its middle while its upper part is reclaimed',
  setup: [
    { do: 'mmap', at: 0, pages: 3 },
    { do: 'store', at: 2 },
    { do: 'load', at: 2, by: 'device' },
    { do: 'madvise', at: 2, advice: 'cold' },
  ],
  threads: {
    program: { steps: [{ do: 'munmap', at: 1 }] },
    kernel: { on: 'kernel', steps: [{ do: 'reclaim', pages: 1 }] },
    device: { on: 'device', steps: [{ do: 'load', at: 2 }] },
  },
};

const anything = (): boolean => true;

/** What the order of the driver's steps allows. */
describe('holes of the faithful driver', () => {
  it('without retry faults the second eviction returns while the first still stops the queues', () => {
    expect(search(gpuDevice(NO_RETRY), 'linux-6.1', { scenario: TWO_RANGES, walks: 400 }, anything)).toMatch(
      /^I[1458]: /,
    );
    expect(search(gpuDevice(RETRY), 'linux-6.1', { scenario: TWO_RANGES, walks: 400 }, anything)).toBeNull();
  });

  it('a process that has no user left and has not released yet is passed over, and its queues run', () => {
    expect(search(gpuDevice(RETRY), 'linux-6.1', { scenario: 'exit+reclaim', preemptions: 2 }, anything)).toMatch(
      /^I[15]: /,
    );
  });

  it('mutexes are taken for the OOM reaper, which must not sleep: documented gap 10', () => {
    expect(search(gpuDevice(RETRY), 'linux-6.1', { scenario: 'oom-reap' }, anything)).toMatch(
      /^I44 gap 10: .*prange.lock/,
    );
    const r = runCell(RETRY, 'linux-6.1', {
      operations: ['oom-reap'],
      seeds: [1],
      executions: 20,
      steps: 2000,
      exhaustive: false,
    });
    expect([r.verdict, r.gaps]).toEqual(['gap', [10]]);
  });

  it.each([RETRY, NO_RETRY])(
    '%s: a part split off hears nothing of a section that is open when it gets a notifier',
    (name) => {
      const how = { scenario: SPLIT_RECLAIMED, walks: 1000 };
      expect(search(gpuDevice(name, { granularityPages: 4 }), 'linux-6.1', how, anything)).toMatch(/^I[157]: /);
    },
  );
});

describe('mistakes', () => {
  const SHOWN: Readonly<Record<string, Search>> = {
    deaf: { scenario: 'munmap' },
    'no-retry-check': { scenario: LOOKED_UP },
    'no-tlb-flush': { scenario: 'madv-dontneed' },
    'child-unheard': { scenario: SPLIT },
    'no-release': { scenario: 'exit' },
    'queues-run': { scenario: 'madv-dontneed' },
    'evictions-forgotten': { scenario: WRITTEN_BACK_TWICE },
    'put-in-callback': { scenario: 'exit+reclaim', walks: 1500 },
  };

  it('each is listed', () => {
    expect(Object.keys(SHOWN).sort()).toEqual(SVM_MISTAKES.map((m) => m.name).sort());
  });

  it.each(Object.entries(SHOWN))('%s is caught', (name, how) => {
    const { breaks, hasRetryFaults } = SVM_MISTAKES.find((m) => m.name === name)!;
    const isWanted = (p: string, gap: number | null): boolean => gap === null && breaks.includes(p);
    const device = gpuDevice(hasRetryFaults ? RETRY : NO_RETRY, {
      mistake: name,
      granularityPages: name === 'child-unheard' ? 4 : 1,
    });
    expect(search(device, 'linux-6.1', how, isWanted)).not.toBeNull();
  });
});
