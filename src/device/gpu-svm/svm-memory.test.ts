// Ranges in memory of an AMD GPU: contents on every way there and back, what stays in RAM, interleavings of one page. And what the driver's
// order of steps breaks, as Linux's does.
import { describe, expect, it } from 'vitest';
import { type GpuWorld, gpuDevice, gpuWorld, mapPages, PAGE, V } from '../../../test/support/gpu-world.ts';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { deviceSubject, search } from '../../../test/support/named-device.ts';
import { NR_brk, NR_munmap } from '../../abi/syscalls.ts';
import { checkWorld } from '../../mm/check-world.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { doClone, doExit } from '../../mm/process/task.ts';
import { CHECK_DEFAULTS, checkScenario } from '../../workload/check/check-operation.ts';
import { scenarioNamed } from '../../workload/check/plan.ts';
import { ACCESS_DONE } from '../accessor.ts';
import type { DeviceConfig } from '../device.ts';

const NAME = 'amdkfd-svm-memory';

const gpu = (config: DeviceConfig['gpuSvm'] = {}): Partial<DeviceConfig> => gpuDevice(NAME, config);

/** Eight pages, in one range; memory for two such. */
function world(): GpuWorld {
  return gpuWorld(gpu({ granularityPages: 8, memoryPages: 16 }), 8);
}

function access({ m, device }: GpuWorld, va: number, isWrite: boolean): void {
  expect(m.run(device.accessor.access(0, va, isWrite, va + PAGE))).toBe(ACCESS_DONE);
}

function load({ m, task }: GpuWorld, va: number, by = task): number {
  return m.run(userLoad(m.kernel, by, va, 4));
}

function state({ device }: GpuWorld): number[] {
  const { used, toGpu, toRam, evictions } = device.driver.memory!;
  return [used, toGpu, toRam, evictions];
}

describe('ranges in memory of the GPU', () => {
  it('a fault sends the whole range, holes too; a CPU that touches a page brings all of it back', () => {
    const w = world();
    for (const page of [0, 3]) w.m.run(userStore(w.m.kernel, w.task, V + page * PAGE, 7 + page, 4));
    access(w, V, false);
    expect(new Int32Array(new Float64Array([w.device.gpu.lastRead]).buffer)[0]).toBe(7);
    expect([state(w), w.device.gpu.tables[0]!.size]).toEqual([[8, 1, 0, 0], 8]);
    access(w, V + 5 * PAGE, true);
    expect([load(w, V), load(w, V + 3 * PAGE), load(w, V + 4 * PAGE)]).toEqual([7, 10, 0]);
    expect(state(w)).toEqual([0, 1, 1, 0]);
    const words = [0, 4].map((i) => load(w, V + 6 * PAGE - 64 + i));
    expect(words).toEqual([...new Uint32Array(new Float64Array([1]).buffer)]);
    checkWorld(w.m.kernel);
  });

  it('when there is no room the range that was sent first goes back; what is larger than the memory stays in RAM', () => {
    const w = world();
    for (const block of [1, 2]) mapPages(w, V + block * 8 * PAGE, 8);
    for (const block of [0, 1, 2]) {
      w.m.run(userStore(w.m.kernel, w.task, V + block * 8 * PAGE, block, 4));
      access(w, V + block * 8 * PAGE, true);
    }
    expect(state(w)).toEqual([16, 3, 1, 1]);
    expect([0, 1, 2].map((block) => load(w, V + block * 8 * PAGE))).toEqual([0, 1, 2]);
    expect(w.device.driver.memory!.used).toBe(0);
    checkWorld(w.m.kernel);
    const large = gpuWorld(gpu({ granularityPages: 8, memoryPages: 4 }), 8);
    access(large, V, true);
    expect([state(large), large.device.gpu.tables[0]!.size]).toEqual([[0, 0, 0, 0], 8]);
  });

  it('the heap stays in RAM', () => {
    const w = world();
    const heap = w.m.run(w.m.call(w.task, NR_brk, 0));
    w.m.run(w.m.call(w.task, NR_brk, heap + 4 * PAGE));
    access(w, heap, true);
    expect(state(w)[0]).toBe(0);
  });

  it('a fork leaves the pages there, for both; unmap and exit give the memory back', () => {
    const w = world();
    w.m.run(userStore(w.m.kernel, w.task, V, 7, 4));
    access(w, V, false);
    const child = w.m.kernel.tasks.get(w.m.run(doClone(w.m.kernel, w.task, 0)))!;
    expect([state(w)[0], load(w, V, child), load(w, V), state(w)[0]]).toEqual([8, 7, 7, 0]);
    w.m.run(doExit(w.m.kernel, child));
    access(w, V, false);
    w.m.run(w.m.call(w.task, NR_munmap, V, 2 * PAGE));
    expect(state(w)[0]).toBe(6);
    w.m.run(doExit(w.m.kernel, w.task));
    w.m.run(w.device.unbind());
    expect(state(w)[0]).toBe(0);
    checkWorld(w.m.kernel);
  });
});

/** With what a deaf device shows: a page that lives in the GPU's memory is neither reclaimed nor moved. */
const OPERATIONS = [
  ['munmap', 'clean'],
  ['madv-dontneed', 'clean'],
  ['mprotect-ro', 'clean'],
  ['mremap-move', 'clean'],
  ['exit', 'clean'],
  ['migrate-from-device', 'clean'],
  ['reclaim', 'not exercised'],
  ['migrate', 'not exercised'],
  ['migrate-to-device', 'not exercised'],
];

it.each(OPERATIONS)('%s: nothing wrong', (name, verdict) => {
  const options = { ...CHECK_DEFAULTS, executions: 150 };
  const r = checkScenario(scenarioNamed(name!), deviceSubject(gpu(), 'linux-6.1'), options)!;
  expect([r.verdict, r.violations, r.lockFindings]).toEqual([verdict, [], []]);
});

it('holes of the faithful driver: what a fork left for reading it maps for writing', () => {
  expect(search(gpu(), 'linux-6.1', { scenario: 'fork' }, () => true)).toMatch(/^I[37]: .* is read-only/);
  expect(search(gpuDevice('amdkfd-svm'), 'linux-6.1', { scenario: 'fork' }, () => true)).toBeNull();
});

it(`random programs: nothing wrong but that (SEED=${SEED})`, () => {
  for (let seed = SEED; seed < SEED + 2; seed++) {
    const device = gpu({ engines: 4, granularityPages: 4, memoryPages: 16 });
    const r = machine({ design: 'linux-6.1', seed, operations: 60, device });
    const others = r.violations.filter((v) => !/entry is read-only/.test(v.text));
    expect(others.map((v) => v.text)).toEqual([]);
    expect(r.deviceWrites).toBeGreaterThan(20);
  }
});
