// Pages in memory of the GPU, and pages that it has for itself: contents on every way there and back, interleavings of one page, mistakes.
import { describe, expect, it } from 'vitest';
import { type GpuWorld, gpuDevice, gpuWorld, PAGE, V } from '../../../test/support/gpu-world.ts';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { type Search, search } from '../../../test/support/named-device.ts';
import { NR_munmap } from '../../abi/syscalls.ts';
import { InputError } from '../../base/assert.ts';
import { checkWorld } from '../../mm/check-world.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { doClone, doExit } from '../../mm/process/task.ts';
import { createMachine } from '../../system/machine.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import { ACCESS_DEAD, ACCESS_DONE } from '../accessor.ts';
import { createDevice, type DeviceConfig } from '../device.ts';
import { GPU_MISTAKES } from './mistakes.ts';

const MEMORY: DeviceConfig['gpuSvm'] = { hasMemory: true, memoryPages: 2 };
const ATOMIC: DeviceConfig['gpuSvm'] = { storesAreAtomic: true };

const gpu = (config: DeviceConfig['gpuSvm']): Partial<DeviceConfig> => gpuDevice('gpu-svm', config);
const world = (config: DeviceConfig['gpuSvm'], seed = 1): GpuWorld => gpuWorld(gpu(config), 4, seed);

function store({ m, device }: GpuWorld, va = V): void {
  expect(m.run(device.accessor.access(0, va, true, va + PAGE))).toBe(ACCESS_DONE);
}

function load({ m, task }: GpuWorld, va: number, by = task): number {
  return m.run(userLoad(m.kernel, by, va, 4));
}

/** First word of what an engine's number of stores is, as a double. */
function halfOf(value: number): number {
  return new Uint32Array(new Float64Array([value]).buffer)[1]!;
}

function inMemory({ device }: GpuWorld): number {
  return device.driver.memory!.used;
}

describe('pages in memory of the GPU', () => {
  it('a page that it stores to goes there, and comes back when a CPU touches it: with all that either wrote', () => {
    const w = world(MEMORY);
    w.m.run(userStore(w.m.kernel, w.task, V, 7, 4));
    store(w);
    expect(inMemory(w)).toBe(1);
    expect([load(w, V), load(w, V + PAGE - 60), inMemory(w)]).toEqual([7, halfOf(1), 0]);
    store(w);
    expect([load(w, V), load(w, V + PAGE - 60), w.device.driver.memory!.toGpu]).toEqual([7, halfOf(2), 2]);
    checkWorld(w.m.kernel);
  });

  it('a hole becomes a page there; when the memory is full others go back, in turn', () => {
    const w = world(MEMORY);
    for (let i = 0; i < 4; i++) store(w, V + i * PAGE);
    const { toGpu, evictions } = w.device.driver.memory!;
    expect([inMemory(w), toGpu, evictions]).toEqual([2, 4, 2]);
    expect([0, 1, 2, 3].map((i) => load(w, V + i * PAGE + PAGE - 60))).toEqual([1, 2, 3, 4].map(halfOf));
    checkWorld(w.m.kernel);
  });

  it('fork: parent and child have the contents, and each its own from then on', () => {
    const w = world(MEMORY);
    w.m.run(userStore(w.m.kernel, w.task, V, 7, 4));
    store(w);
    const child = w.m.kernel.tasks.get(w.m.run(doClone(w.m.kernel, w.task, 0)))!;
    store(w);
    expect([load(w, V + PAGE - 60), load(w, V + PAGE - 60, child)]).toEqual([halfOf(2), halfOf(1)]);
    expect([load(w, V), load(w, V, child)]).toEqual([7, 7]);
    w.m.run(doExit(w.m.kernel, child));
    checkWorld(w.m.kernel);
  });

  it('reclaim does not take it; munmap and exit give the memory back', () => {
    const w = world(MEMORY);
    store(w);
    store(w, V + PAGE);
    w.m.run(w.m.kernel.fn.tryToFreePages(w.m.kernel, 64));
    expect(inMemory(w)).toBe(2);
    w.m.run(w.m.call(w.task, NR_munmap, V, PAGE));
    expect([inMemory(w), w.device.gpu.tables[0]!.size]).toEqual([1, 1]);
    w.m.run(doExit(w.m.kernel, w.task));
    w.m.run(w.device.unbind());
    expect(inMemory(w)).toBe(0);
    checkWorld(w.m.kernel);
  });

  it('more memory than the kernel has room for is one clear line', () => {
    const { kernel } = createMachine({ kernel: { frames: 64, devicePrivatePages: 1 }, design: 'linux-6.1' });
    expect(() => createDevice(kernel, gpu(MEMORY))).toThrow(InputError);
  });
});

describe('pages that the GPU has for itself', () => {
  it('no addition is lost while CPUs take the page back and reclaim swaps it out', () => {
    const w = world(ATOMIC, SEED);
    const { m, device } = w;
    const add = function* (engine: number) {
      for (let i = 0; i < 40; i++) yield* device.accessor.access(engine, V, true, V + PAGE);
    };
    const touch = function* () {
      for (let i = 0; i < 40; i++) yield* userStore(m.kernel, w.task, V, i, 4);
    };
    const reclaim = function* () {
      for (let i = 0; i < 10; i++) yield* m.kernel.fn.tryToFreePages(m.kernel, 4);
    };
    expect(m.interleave({ e0: add(0), e1: add(1), program: touch(), reclaim: reclaim() }, 2_000_000)).toBe('reached');
    expect([load(w, V), load(w, V + PAGE - 4)]).toEqual([39, halfOf(80)]);
    checkWorld(m.kernel);
  });
});

describe.each([
  ['memory', { hasMemory: true, memoryPages: 16 }],
  ['atomics', { storesAreAtomic: true }],
  ['both', { hasMemory: true, memoryPages: 16, storesAreAtomic: true }],
])('%s', (_name, config) => {
  it(`random programs: nothing wrong (SEED=${SEED})`, () => {
    const kernel = { devicePrivatePages: 16 };
    const r = machine({
      design: 'linux-6.1',
      seed: SEED,
      operations: 60,
      kernel,
      device: gpu({ engines: 4, ...config }),
    });
    expect(r.violations.map((v) => v.text)).toEqual([]);
    expect(r.deviceWrites).toBeGreaterThan(20);
  });
});

/** The GPU has stored to a page, and stores again while `steps` are done. */
function stored(name: string, program: Scenario['threads'], kernel: Scenario['kernel'] = {}): Scenario {
  return {
    name,
    summary: `${name}, of a page that the GPU stores to`,
    kernel: { devicePrivatePages: 2, ...kernel },
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'store', at: 0, by: 'device' },
    ],
    threads: { ...program, device: { on: 'device', steps: [{ do: 'store', at: 0, mayFail: true }] } },
  };
}

/** A page that is in RAM, and that the GPU is about to store to. */
function wanted(name: string, program: Scenario['threads']): Scenario {
  const s = stored(name, program);
  return { ...s, setup: s.setup!.slice(0, 2) };
}

const DISCARD: Scenario['threads'] = { program: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] } };
const TOUCH: Scenario['threads'] = { program: { steps: [{ do: 'store', at: 0, value: 2 }] } };
const TOUCHED = stored('a CPU touches it', TOUCH);
const SCENARIOS: readonly Scenario[] = [
  stored('munmap', { program: { steps: [{ do: 'munmap', at: 0 }] } }),
  stored('discard', DISCARD),
  wanted('discard, on the way', DISCARD),
  TOUCHED,
  stored('fork', { program: { steps: [{ do: 'fork' }] } }),
  stored('mprotect', { program: { steps: [{ do: 'mprotect', at: 0, prot: 'r' }] } }),
];

describe.each([
  ['memory', MEMORY],
  ['atomics', ATOMIC],
])('interleavings, %s', (_name, config) => {
  it.each(SCENARIOS.map((s) => [s.name, s] as const))('%s', (_s, scenario) => {
    expect(search(gpu(config), 'linux-6.1', { scenario, executions: 150 }, (_, gap) => gap === null)).toBeNull();
  });
});

/** The GPU reads a page, and then stores to it. */
const READ_FIRST: Scenario = {
  ...wanted('read first', TOUCH),
  threads: {
    device: {
      on: 'device',
      steps: [
        { do: 'load', at: 0 },
        { do: 'store', at: 0 },
      ],
    },
  },
};

/** What shows each mistake of this file's mechanisms. */
const SHOWN: Readonly<Record<string, Search>> = {
  'no-migrate-lock': {
    scenario: wanted('two engines', { second: { on: 'device', steps: [{ do: 'load', at: 0 }] } }),
    walks: 600,
  },
  'entries-stay': { scenario: TOUCHED, walks: 100 },
  'maps-before-finalize': { scenario: wanted('discard, on the way', DISCARD), walks: 1000 },
  'touch-unheard': { scenario: TOUCHED, walks: 100 },
  'exclusive-unheard': { scenario: TOUCHED, walks: 200 },
  'atomics-anywhere': { scenario: READ_FIRST, walks: 20 },
};

it.each(Object.entries(SHOWN))('%s is caught, and the faithful driver is not', (name, how) => {
  const { breaks, needs: config = {} } = GPU_MISTAKES.find((m) => m.name === name)!;
  const found = search(
    gpu({ ...config, mistake: name }),
    'linux-6.1',
    how,
    (p, gap) => gap === null && breaks.includes(p),
  );
  expect(found).not.toBeNull();
  expect(search(gpu(config), 'linux-6.1', { ...how, walks: 30 }, (_, gap) => gap === null)).toBeNull();
});

describe('owner-forgotten', () => {
  /** Each round is disturbed by a section, which is its own, and the GPU gives up. The monitor of L1 takes that for rounds lost to changes of
   *  others, and excuses it: what shows is that a store by itself comes to nothing. */
  it.each([
    ['owner-forgotten', ACCESS_DEAD],
    ['', ACCESS_DONE],
  ])('"%s": a store by itself ends with %i', (mistake, wanted) => {
    const w = world({ ...ATOMIC, mistake, deadlineSteps: 100, refaultBudget: 4 });
    let result = -1;
    const path = function* () {
      result = yield* w.device.accessor.access(0, V, true, V + PAGE);
    };
    expect(w.m.interleave({ gpu: path() }, 100_000)).toBe('reached');
    expect(result).toBe(wanted);
  });
});

it('each mistake that needs memory or atomic operations is here', () => {
  const names = GPU_MISTAKES.filter((m) => m.needs !== undefined).map((m) => m.name);
  expect([...Object.keys(SHOWN), 'owner-forgotten'].sort()).toEqual(names.sort());
});
