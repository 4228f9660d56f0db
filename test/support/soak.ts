// Long runs of a device beside programs: they and their children map, protect, move, discard, page out and fork what its engines read and
// write, with little memory, swap, compaction and huge pages. Every step is chosen by the seed, and the monitors listen. Where the data is
// watched, what programs and engines store is compared with what either finds.
//
// STEPS is the number of steps (1000000: the full size), SEED the first seed.
import { expect } from 'vitest';
import * as M from '../../src/abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../../src/abi/syscalls.ts';
import { Rng } from '../../src/base/rng.ts';
import { Judge } from '../../src/check/judge.ts';
import type { Device, DeviceConfig } from '../../src/device/device.ts';
import { touchPage, userLoad, userStore } from '../../src/mm/cpu-access.ts';
import { compactMemory } from '../../src/mm/migrate/compaction.ts';
import { CLONE_VM, createProcess, doClone, doExit } from '../../src/mm/process/task.ts';
import type { Task } from '../../src/mm/types.ts';
import type { KernelPath } from '../../src/sched/path.ts';
import { createMachine, type Machine } from '../../src/system/machine.ts';
import { DataWatch, type Ranges } from '../../src/workload/compare/data-watch.ts';

export const seed = Number(process.env['SEED'] ?? 1);
export const PAGE = 4096;
const BASE = 0x10000000;
/** Pages: two blocks that may be huge, and their surroundings. */
const WINDOW = 1032;
const RW = M.PROT_READ | M.PROT_WRITE;
const KERNEL = { frames: 1100, swapPages: 8192, cpus: 3, strideOn: 16 };

/** Steps of a run; `fallback` where the environment names none. */
export function soakSteps(fallback: number): number {
  return Number(process.env['STEPS'] ?? fallback);
}

/** A page of the window: mostly one of few, so that programs and engines collide. */
function pageOf(rng: Rng): number {
  return rng.chance(1, 4) ? rng.below(WINDOW) : 506 + rng.below(12);
}

/** Where an engine goes next. */
export function soakAddress(rng: Rng): number {
  return BASE + pageOf(rng) * PAGE;
}

/** What a call discards, or may put in another place. */
function lostBy(nr: number, words: readonly number[]): Ranges {
  const [va, length] = [words[0]!, words[1]!];
  if (nr === NR_mprotect) return [];
  if (nr === NR_madvise) return [M.MADV_DONTNEED, M.MADV_FREE].includes(words[2]!) ? [[va, va + length]] : [];
  const target: Ranges = nr === NR_mremap ? [[words[4]!, words[4]! + words[2]!]] : [];
  return [[va, va + length], ...target];
}

/** A load or store of the program where its data is watched. */
function* touch(m: Machine, task: Task, va: number, isWrite: boolean, data: DataWatch): KernelPath<void> {
  const failed = yield* touchPage(m.kernel, task.mm!, task.cpu, va, isWrite);
  if (failed === 0) data.touched(task.mm!, task, va, isWrite);
}

function* program(m: Machine, task: Task, rng: Rng, data: DataWatch | null): KernelPath<void> {
  const k = m.kernel;
  const call = function* (nr: number, ...words: number[]): KernelPath<number> {
    const key = {};
    data?.giveUp(key, lostBy(nr, words));
    const result = yield* m.call(task, nr, ...words);
    data?.giveUp(key, null);
    return result;
  };
  const advice = [M.MADV_DONTNEED, M.MADV_PAGEOUT, M.MADV_PAGEOUT, M.MADV_COLD, M.MADV_FREE, M.MADV_HUGEPAGE];
  for (;;) {
    const from = pageOf(rng);
    const pages = rng.chance(1, 10) ? Math.min(WINDOW - from, 512) : Math.min(WINDOW - from, 1 + rng.below(4));
    const va = BASE + from * PAGE;
    const roll = rng.below(24);
    const anonymous = M.MAP_FIXED | M.MAP_ANONYMOUS;
    if (roll < 3)
      yield* call(NR_mmap, va, pages * PAGE, RW, anonymous | (rng.chance(1, 3) ? M.MAP_SHARED : M.MAP_PRIVATE), -1, 0);
    else if (roll < 4) yield* call(NR_munmap, va, pages * PAGE);
    else if (roll < 5) yield* call(NR_mprotect, va, pages * PAGE, rng.chance(1, 2) ? M.PROT_READ : RW);
    else if (roll < 6)
      yield* call(NR_mremap, va, PAGE, PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, BASE + rng.below(WINDOW) * PAGE);
    else if (roll < 11) yield* call(NR_madvise, va, pages * PAGE, advice[rng.below(advice.length)]!);
    else if (roll < 12) {
      const pid = yield* doClone(k, task, 0);
      if (pid > 0) {
        const child = k.tasks.get(pid)!;
        yield* userStore(k, child, va, 1, 4);
        yield* doExit(k, child);
      }
    } else if (roll < 13) yield* k.fn.tryToFreePages(k, 8);
    else if (roll < 14 && rng.chance(1, 8)) yield* compactMemory(k);
    else if (data !== null) yield* touch(m, task, va, rng.chance(1, 2), data);
    else if (rng.chance(1, 2)) yield* userStore(k, task, va + rng.below(1000) * 4, rng.below(1000), 4);
    else yield* userLoad(k, task, va + rng.below(1000) * 4, 4);
  }
}

export interface Soak<D extends Device> {
  readonly device: D;
  readonly end: string;
  readonly judge: Judge;
  /** Null where the data is not watched. */
  readonly data: DataWatch | null;
}

/** Runs two threads of a process and `engines` of the device, which is bound to it, for `steps` steps. `extra`: more threads, by name. */
export function soak<D extends Device>(
  design: string,
  config: Partial<DeviceConfig>,
  steps: number,
  engines: number,
  engine: (device: D, e: number, rng: Rng) => KernelPath<void>,
  extra: (m: Machine, task: Task) => Record<string, KernelPath<void>> = () => ({}),
  watchesData = false,
): Soak<D> {
  const m = createMachine({ kernel: KERNEL, design, device: { ...config, hasWorkload: false }, seed });
  const judge = new Judge();
  judge.attach(m.kernel.memory.log);
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  const device = m.device as D;
  expect(m.run(device.bind(task.mm!))).toBe(0);
  const data = watchesData ? new DataWatch(m.kernel) : null;
  if (data !== null) {
    m.kernel.memory.log.attach(data);
    data.watch(task.mm!);
  }
  const sibling = m.kernel.tasks.get(m.run(doClone(m.kernel, task, CLONE_VM)))!;
  sibling.cpu = 1;
  const threads: Record<string, KernelPath<void>> = {
    'program 0': program(m, task, new Rng(seed * 10), data),
    'program 1': program(m, sibling, new Rng(seed * 10 + 1), data),
  };
  for (let e = 0; e < engines; e++) threads[`engine ${e}`] = engine(device, e, new Rng(seed * 10 + 2 + e));
  const end = m.interleave({ ...threads, ...extra(m, task) }, steps);
  // The others go on meanwhile: a thread that never ends must come to a point.
  if (data !== null) m.interleave({ last: data.last(task) }, 1_000_000);
  return { device, end, judge, data };
}
