// GPUs for a long time (test/support/soak.ts): nothing wrong, the GPU goes on, and no byte is lost. The address space is unbound and bound
// again. The right to write of amdkfd's pages that a fork left for reading is its driver's hole (svm-memory.test.ts), and passed over here.
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { PAGE, seed, soak, soakAddress, soakSteps } from '../../../test/support/soak.ts';
import { DEV_RUNNING } from '../../abi/events.ts';
import type { Rng } from '../../base/rng.ts';
import type { Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Machine } from '../../system/machine.ts';
import { ACCESS_DEAD } from '../accessor.ts';
import type { GpuSvmDevice } from './gpu-svm.ts';
import { GPU_ROWS } from './row.ts';

const steps = soakSteps(12_000);

function* engine(device: GpuSvmDevice, e: number, rng: Rng, isOver: () => boolean): KernelPath<void> {
  while (!isOver()) {
    const va = soakAddress(rng);
    expect(yield* device.accessor.access(e, va, rng.chance(1, 2), va + PAGE)).not.toBe(ACCESS_DEAD);
  }
}

function* binder(m: Machine, task: Task, isOver: () => boolean): KernelPath<void> {
  while (!isOver()) {
    yield* m.kernel.sched.sleepSteps(steps / 8, 'rebind');
    yield* m.device!.unbind();
    expect(yield* m.device!.bind(task.mm!)).toBe(0);
  }
}

it.each(GPU_ROWS.map((r) => r.name))(
  `%s: ${steps} steps, SEED=${seed}`,
  (name) => {
    const start = performance.now();
    // Memory that is soon full.
    const memoryPages = name === 'gpu-svm-memory' ? 8 : 64;
    const gpuSvm = { engines: 3, granularityPages: 16, memoryPages, refaultBudget: 1_000_000 };
    const run = soak<GpuSvmDevice>('linux-6.1', { device: name, gpuSvm }, steps, 3, engine, (m, task, isOver) => ({
      binder: binder(m, task, isOver),
    }));
    const { device, judge } = run;
    expect(run.end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = judge.results();
    const isHole = (text: string): boolean => name === 'amdkfd-svm-memory' && /entry is read-only/.test(text);
    // Ranges have one sequence each: a fault is sent back by changes of other pages (L2).
    const isPrice = (property: string): boolean => name.startsWith('amdkfd') && property === 'L2';
    const found = violations.filter((v) => v.gap === null && !isHole(v.text) && !isPrice(v.property));
    expect(found.map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect([device.gpu.state, malformed]).toEqual([DEV_RUNNING, 0]);
    expect(Math.min(deviceReads, deviceWrites, swapOuts)).toBeGreaterThan(0);
    run.finish();
    const { memory } = device.driver;
    if (memory !== null) expect(Math.min(memory.toGpu, memory.toRam, memory.evictions)).toBeGreaterThan(0);
    if (!process.env['STEPS']) return;
    const moved = memory === null ? '' : `to GPU ${memory.toGpu}, to RAM ${memory.toRam}, evicted ${memory.evictions}`;
    const seconds = Math.round((performance.now() - start) / 1000);
    const counts = JSON.stringify({ deviceReads, deviceWrites, swapOuts });
    console.log(name, JSON.stringify(judge.results().byProperty), counts, run.counts(), moved, `${seconds} s`);
  },
  7_200_000,
);
