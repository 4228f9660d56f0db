// A GPU of the table of devices with a process on it, and what its tests have in common.
import { expect } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts';
import { NR_mmap } from '../../src/abi/syscalls.ts';
import type { DeviceConfig } from '../../src/device/device.ts';
import { GPU_SVM_SMALL, type GpuSvmConfig } from '../../src/device/gpu-svm/config.ts';
import type { GpuSvmDevice } from '../../src/device/gpu-svm/gpu-svm.ts';
import { createProcess } from '../../src/mm/process/task.ts';
import type { Task } from '../../src/mm/types.ts';
import { createMachine, type Machine } from '../../src/system/machine.ts';
import type { Scenario } from '../../src/workload/scenario/scenario.ts';

export const PAGE = 4096;
export const RW = PROT_READ | PROT_WRITE;
/** Where the process has its pages. */
export const V = 0x10000000;

/** A GPU in sizes for exploration. */
export function gpuDevice(device: string, config: Partial<GpuSvmConfig> = {}): Partial<DeviceConfig> {
  return { device, gpuSvm: { ...GPU_SVM_SMALL, ...config } };
}

export interface GpuWorld {
  readonly m: Machine;
  readonly task: Task;
  readonly device: GpuSvmDevice;
}

/** The GPU on a process with `pages` pages at V. */
export function gpuWorld(device: Partial<DeviceConfig>, pages = 4, seed = 1): GpuWorld {
  const kernel = { frames: 256, swapPages: 64 };
  const m = createMachine({ kernel, design: 'linux-6.1', device: { ...device, hasWorkload: false }, seed });
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  const w = { m, task, device: m.device as GpuSvmDevice };
  expect(m.run(w.device.bind(task.mm!))).toBe(0);
  mapPages(w, V, pages);
  return w;
}

export function mapPages({ m, task }: GpuWorld, va: number, pages: number): void {
  expect(m.run(m.call(task, NR_mmap, va, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0))).toBe(va);
}

/** The GPU looks a page up that it does not have, while the program discards it. */
export const LOOKED_UP: Scenario = {
  name: 'looked up',
  summary: 'the program discards a page that the GPU is looking up',
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
  ],
  threads: {
    program: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
  },
};
