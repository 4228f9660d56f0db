// The GPU with the minimal driver: step by step; random programs, judged; operations of one page, exhaustively; each mistake is found by a
// property that it names.
import { describe, expect, it } from 'vitest';
import { type GpuWorld, gpuDevice, gpuWorld, LOOKED_UP, PAGE, RW, V } from '../../../test/support/gpu-world.ts';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { deviceSubject, type Search, search } from '../../../test/support/named-device.ts';
import { PROT_READ } from '../../abi/mman.ts';
import { NR_mprotect, NR_munmap } from '../../abi/syscalls.ts';
import { InputError } from '../../base/assert.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { createMachine } from '../../system/machine.ts';
import { CHECK_DEFAULTS, checkScenario } from '../../workload/check/check-operation.ts';
import { scenarioNamed } from '../../workload/check/plan.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import { ACCESS_DONE, ACCESS_INVALID } from '../accessor.ts';
import type { DeviceConfig } from '../device.ts';
import { GPU_MISTAKES } from './mistakes.ts';

const gpu = (config: DeviceConfig['gpuSvm'] = {}): Partial<DeviceConfig> => gpuDevice('gpu-svm', config);
const world = (): GpuWorld => gpuWorld(gpu());

function access({ m, device }: GpuWorld, va: number, isWrite: boolean): number {
  return m.run(device.accessor.access(0, va, isWrite, va + PAGE));
}

describe('step by step', () => {
  it('a page is looked up once, with the rights that it has', () => {
    const w = world();
    w.m.run(userStore(w.m.kernel, w.task, V, 7, 4));
    expect([access(w, V, false), access(w, V, true), w.device.driver.faults]).toEqual([ACCESS_DONE, ACCESS_DONE, 1]);
    expect(new Int32Array(new Float64Array([w.device.gpu.lastRead]).buffer)[0]).toBe(7);
  });

  it('a page that is only read is the zero page, and is copied when it is stored to', () => {
    const w = world();
    expect([access(w, V, false), w.device.gpu.tables[0]!.find(V)!.pfn]).toEqual([ACCESS_DONE, w.m.kernel.zeroPfn]);
    expect([access(w, V, true), w.device.driver.faults]).toEqual([ACCESS_DONE, 2]);
    expect(w.device.gpu.tables[0]!.find(V)!.pfn).not.toBe(w.m.kernel.zeroPfn);
  });

  it('what the GPU stores the program reads, after its page was taken away and came back', () => {
    const w = world();
    access(w, V, true);
    w.m.run(w.m.call(w.task, NR_mprotect, V, PAGE, PROT_READ));
    expect([access(w, V, true), access(w, V, false)]).toEqual([ACCESS_INVALID, ACCESS_DONE]);
    w.m.run(w.m.call(w.task, NR_mprotect, V, PAGE, RW));
    expect(access(w, V, true)).toBe(ACCESS_DONE);
    const words = [0, 4].map((i) => w.m.run(userLoad(w.m.kernel, w.task, V + PAGE - 64 + i, 4)));
    expect(words).toEqual([...new Uint32Array(new Float64Array([2]).buffer)]);
  });

  it('unmapped memory is refused; what is mapped there later is other memory', () => {
    const w = world();
    access(w, V, true);
    w.m.run(w.m.call(w.task, NR_munmap, V, PAGE));
    expect([w.device.gpu.tables[0]!.size, access(w, V, false)]).toEqual([0, ACCESS_INVALID]);
  });

  it('unbound: nothing is left of it', () => {
    const w = world();
    access(w, V, true);
    w.m.run(w.device.unbind());
    expect([w.device.gpu.tables[0]!.size, w.task.mm!.count, access(w, V, false)]).toEqual([0, 1, ACCESS_INVALID]);
  });

  it('an unknown mistake, and a design without intervals, are one clear line', () => {
    const device = gpu({ mistake: 'sloth' });
    expect(() => createMachine({ design: 'linux-6.1', device })).toThrow(/"sloth" is not one of/);
    expect(() => createMachine({ design: 'linux-2.6.27', device: gpu() })).toThrow(InputError);
  });
});

describe.each(['linux-6.1', 'linux-6.6', 'linux-6.12'])('%s', (design) => {
  it(`random programs: nothing wrong (SEED=${SEED})`, () => {
    for (let seed = SEED; seed < SEED + 2; seed++) {
      const r = machine({ design, seed, operations: 80, device: gpu({ engines: 4 }) });
      expect(r.violations.map((v) => v.text)).toEqual([]);
      expect(r.deviceReads + r.deviceWrites).toBeGreaterThan(50);
    }
  });
});

const OPERATIONS = [
  'munmap',
  'mprotect-ro',
  'mremap-move',
  'madv-dontneed',
  'madv-free-reclaim',
  'fork',
  'exit',
  'writeback',
  'reclaim',
  'migrate',
  'migrate-to-device',
  'device-exclusive',
  'oom-reap',
];

it.each(OPERATIONS)('%s: every interleaving is in order, and deaf it is not', (name) => {
  const r = checkScenario(scenarioNamed(name), deviceSubject(gpu(), 'linux-6.1'), {
    ...CHECK_DEFAULTS,
    executions: 4000,
  })!;
  expect([r.verdict, r.exhaustive, r.lockFindings]).toEqual(['clean', true, []]);
});

/** The GPU has a page to write to that the program gives up and stores nothing more to; it is reclaimed. */
const STORED_AFTER_FREE: Scenario = {
  name: 'stored after free',
  summary: 'the GPU stores to a page that MADV_FREE gave up, and it is reclaimed',
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
    { do: 'madvise', at: 0, advice: 'free' },
    { do: 'store', at: 0, by: 'device' },
  ],
  threads: { kernel: { on: 'kernel', steps: [{ do: 'reclaim', pages: 1 }] } },
};

/** The same, and the OOM reaper takes the page. */
const LOOKED_UP_REAPED: Scenario = {
  ...LOOKED_UP,
  name: 'looked up, reaped',
  summary: 'the OOM reaper takes a page that the GPU is looking up',
  setup: [...LOOKED_UP.setup!, { do: 'kill' }],
  threads: {
    reaper: { on: 'kernel', steps: [{ do: 'mrelease' }] },
    device: { on: 'device', steps: [{ do: 'load', at: 0, mayFail: true }] },
  },
};

describe('mistakes', () => {
  const SHOWN: Readonly<Record<string, Search>> = {
    deaf: { scenario: 'munmap' },
    'no-retry-check': { scenario: LOOKED_UP },
    'no-read-begin': { scenario: 'madv-dontneed' },
    'set-seq-after-unlock': { scenario: LOOKED_UP },
    'no-tlb-flush': { scenario: 'munmap' },
    'flush-not-awaited': { scenario: 'munmap' },
    'flush-first': { scenario: 'munmap' },
    'always-writable': { scenario: 'fork' },
    'no-dirty': { scenario: STORED_AFTER_FREE },
    'every-migration-own': { scenario: 'migrate-to-device' },
    'foreign-memory': { scenario: 'migrate-to-device' },
    'refuses-nothing': { scenario: LOOKED_UP_REAPED },
    'sleeps-for-reaper': { scenario: 'oom-reap' },
  };

  it('each is listed', () => {
    const names = GPU_MISTAKES.filter((m) => m.needs === undefined).map((m) => m.name);
    expect(Object.keys(SHOWN).sort()).toEqual(names.sort());
  });

  it.each(Object.entries(SHOWN))('%s is caught, and the faithful driver is not', (name, how) => {
    const { breaks } = GPU_MISTAKES.find((m) => m.name === name)!;
    const isWanted = (p: string, gap: number | null): boolean => gap === null && breaks.includes(p);
    expect(search(gpu({ mistake: name }), 'linux-6.1', how, isWanted)).not.toBeNull();
    expect(search(gpu(), 'linux-6.1', how, (_, gap) => gap === null)).toBeNull();
  });
});
