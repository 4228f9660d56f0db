// Long runs of a device beside programs: they and their children map, protect, move, discard, page out and fork what its engines read and
// write, with little memory, swap, compaction and huge pages. Every step is chosen by the seed, and the monitors listen; whatever a CPU or
// the device reads is compared with what was stored last (soak-data.ts).
//
// STEPS is the number of steps (1000000: the full size), SEED the first seed.
import { expect } from 'vitest';
import * as M from '../../src/abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../../src/abi/syscalls.ts';
import { Rng } from '../../src/base/rng.ts';
import { Judge } from '../../src/check/judge.ts';
import type { Device, DeviceConfig } from '../../src/device/device.ts';
import { userLoad, userStore } from '../../src/mm/cpu-access.ts';
import type { Kernel } from '../../src/mm/kernel.ts';
import { compactMemory } from '../../src/mm/migrate/compaction.ts';
import { CLONE_VM, createProcess, doClone, doExit } from '../../src/mm/process/task.ts';
import type { Task } from '../../src/mm/types.ts';
import type { KernelPath } from '../../src/sched/path.ts';
import { DONE } from '../../src/sched/scheduler.ts';
import { createMachine, type Machine } from '../../src/system/machine.ts';
import { SoakData } from './soak-data.ts';

export const seed = Number(process.env['SEED'] ?? 1);
export const PAGE = 4096;
export const BASE = 0x10000000;
/** Pages: three blocks that may be huge, and what comes after. Programs and engines collide where the first two meet. */
export const WINDOW = 1544;
const ADVICE = [M.MADV_DONTNEED, M.MADV_PAGEOUT, M.MADV_PAGEOUT, M.MADV_COLD, M.MADV_FREE, M.MADV_HUGEPAGE];
/** Pages of a huge page. */
const BLOCK = 512;
const RW = M.PROT_READ | M.PROT_WRITE;
/** Where a child stores: nobody's word. */
const CHILD_WORD = 4008;
/** Steps in which everybody comes to a stop. */
const STOPPING = 5_000_000;
const KERNEL = { frames: 2100, swapPages: 8192, cpus: 3, strideOn: 16 };

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

/** What a soak leaves out, and why, is said where it is run. */
export interface SoakOptions {
  /** Programs take away the right to write (mprotect). */
  readonly protects: boolean;
  /** Programs move memory (mremap). */
  readonly moves: boolean;
}

/** One of the two threads of the process, which run until `isOver`. */
class Program {
  readonly #m: Machine;
  readonly #task: Task;
  readonly #rng: Rng;
  readonly #data: SoakData;
  readonly #o: SoakOptions;
  /** Of sixteen words of a page every other is this thread's. */
  readonly #first: number;
  #next = 1;

  constructor(m: Machine, task: Task, number: number, data: SoakData, o: SoakOptions) {
    this.#m = m;
    this.#task = task;
    this.#rng = new Rng(seed * 10 + number);
    this.#data = data;
    this.#o = o;
    this.#first = number;
  }

  #call(nr: number, ...words: number[]): KernelPath<number> {
    return this.#m.call(this.#task, nr, ...words);
  }

  *run(isOver: () => boolean): KernelPath<void> {
    const k = this.#m.kernel;
    const rng = this.#rng;
    // While memory is in one piece.
    yield* this.#block(1);
    while (!isOver()) {
      const from = pageOf(rng);
      const pages = Math.min(WINDOW - from, 1 + rng.below(4));
      const va = BASE + from * PAGE;
      const roll = rng.below(24);
      if (roll < 4) yield* this.#replace(va, pages, roll === 3);
      else if (roll < 5) yield* this.#protect(va, pages);
      else if (roll < 6) yield* this.#move(va);
      else if (roll < 10) yield* this.#advise(va, pages);
      else if (roll < 11) yield* this.#fork(va);
      else if (roll < 12) yield* k.fn.tryToFreePages(k, 8);
      else if (roll < 13 && rng.chance(1, 8)) yield* compactMemory(k);
      else if (roll < 14 && rng.chance(1, 6)) yield* this.#block(rng.below(3));
      else yield* this.#access(4);
    }
  }

  /** A block is mapped anew (0), or for huge pages, if there are any (1), or stored to from end to end (2). */
  *#block(what: number): KernelPath<void> {
    const rng = this.#rng;
    const va = BASE + rng.below(3) * BLOCK * PAGE;
    if (what < 2) {
      yield* this.#replace(va, BLOCK, false);
      yield* this.#call(NR_madvise, va, BLOCK * PAGE, what === 1 ? M.MADV_HUGEPAGE : M.MADV_NOHUGEPAGE);
    }
    if (what > 0) for (let i = 0; i < BLOCK; i += what === 1 ? 64 : 4) yield* this.#store(va + i * PAGE);
  }

  *#access(count: number): KernelPath<void> {
    const rng = this.#rng;
    for (let i = 0; i < count; i++) {
      const va = BASE + pageOf(rng) * PAGE;
      if (rng.chance(1, 2)) yield* this.#store(va);
      else yield* userLoad(this.#m.kernel, this.#task, va + rng.below(1000) * 4, 4);
    }
  }

  *#store(va: number): KernelPath<void> {
    const at = va + (this.#first + 2 * this.#rng.below(8)) * 62 * 4;
    const value = this.#next++;
    if ((yield* userStore(this.#m.kernel, this.#task, at, value, 4)) === 0) this.#data.stored(at, value);
  }

  /** Other memory in its place, or none. */
  *#replace(va: number, pages: number, isUnmapped: boolean): KernelPath<void> {
    const anonymous = M.MAP_FIXED | M.MAP_ANONYMOUS | (this.#rng.chance(1, 3) ? M.MAP_SHARED : M.MAP_PRIVATE);
    const change = this.#data.begin(va, pages * PAGE);
    if (isUnmapped) yield* this.#call(NR_munmap, va, pages * PAGE);
    else yield* this.#call(NR_mmap, va, pages * PAGE, RW, anonymous, -1, 0);
    this.#data.end(change);
  }

  *#protect(va: number, pages: number): KernelPath<void> {
    const prot = this.#rng.chance(1, 2) ? M.PROT_READ : RW;
    if (this.#o.protects) yield* this.#call(NR_mprotect, va, pages * PAGE, prot);
  }

  *#move(va: number): KernelPath<void> {
    const to = BASE + this.#rng.below(WINDOW) * PAGE;
    if (!this.#o.moves || to === va) return;
    const change = this.#data.begin(va, PAGE, to);
    const result = yield* this.#call(NR_mremap, va, PAGE, PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, to);
    this.#data.end(change, result === to);
  }

  *#advise(va: number, pages: number): KernelPath<void> {
    const advice = ADVICE[this.#rng.below(ADVICE.length)]!;
    const change = advice === M.MADV_DONTNEED || advice === M.MADV_FREE ? this.#data.begin(va, pages * PAGE) : null;
    yield* this.#call(NR_madvise, va, pages * PAGE, advice);
    if (change !== null) this.#data.end(change);
  }

  *#fork(va: number): KernelPath<void> {
    const k = this.#m.kernel;
    const pid = yield* doClone(k, this.#task, 0);
    if (pid <= 0) return;
    const child = k.tasks.get(pid)!;
    yield* userStore(k, child, va + CHILD_WORD, 1, 4);
    yield* doExit(k, child);
  }
}

export interface Soak<D extends Device> {
  readonly m: Machine;
  readonly device: D;
  readonly end: string;
  readonly judge: Judge;
  readonly data: SoakData;
  /** What there was to get wrong, in words. */
  counts(): string;
  /** Everybody stops, engines too (those that ask `isOver`); then the device reads every word that was stored. */
  finish(): void;
}

/** Counts pages migrated and huge pages faulted in, from now on. */
function countEvents(k: Kernel): { migrated: number; hugePages: number } {
  const counted = { migrated: 0, hugePages: 0 };
  const { unmapAndMove, doHugePmdAnonymousPage } = k.fn;
  k.fn.unmapAndMove = function* (...a) {
    const result = yield* unmapAndMove(...a);
    if (result === 0) counted.migrated++;
    return result;
  };
  k.fn.doHugePmdAnonymousPage = function* (...a) {
    const result = yield* doHugePmdAnonymousPage(...a);
    if (result === 0) counted.hugePages++;
    return result;
  };
  return counted;
}

/** Runs two threads of a process and `engines` of the device, which is bound to it, for `steps` steps. `extra`: more threads, by name.
 *  What engines and the others do ends soon after `isOver` says so, if the soak is to be finished. */
export function soak<D extends Device>(
  design: string,
  config: Partial<DeviceConfig>,
  steps: number,
  engines: number,
  engine: (device: D, e: number, rng: Rng, isOver: () => boolean) => KernelPath<void>,
  extra: (m: Machine, task: Task, isOver: () => boolean) => Record<string, KernelPath<void>> = () => ({}),
  options: Partial<SoakOptions> = {},
): Soak<D> {
  const m = createMachine({ kernel: KERNEL, design, device: { ...config, hasWorkload: false }, seed });
  const { kernel: k } = m;
  const judge = new Judge();
  judge.attach(k.memory.log);
  const task = m.run(createProcess(k, { areas: [] }));
  const device = m.device as D;
  const events = countEvents(k);
  expect(m.run(device.bind(task.mm!))).toBe(0);
  const data = new SoakData(k, task.mm!.id);
  const sibling = k.tasks.get(m.run(doClone(k, task, CLONE_VM)))!;
  sibling.cpu = 1;
  let hasEnded = false;
  const isOver = (): boolean => hasEnded;
  const o: SoakOptions = { protects: true, moves: true, ...options };
  const threads: Record<string, KernelPath<void>> = {
    'program 0': new Program(m, task, 0, data, o).run(isOver),
    'program 1': new Program(m, sibling, 1, data, o).run(isOver),
  };
  for (let e = 0; e < engines; e++) threads[`engine ${e}`] = engine(device, e, new Rng(seed * 10 + 2 + e), isOver);
  Object.assign(threads, extra(m, task, isOver));
  const end = m.interleave(threads, steps);
  const mustBeRight = (): void => {
    if (data.firstWrong !== '') throw new Error(`SEED=${seed}: ${data.firstWrong}`);
  };
  mustBeRight();
  const finish = (): void => {
    hasEnded = true;
    k.sched.points = true;
    const working = k.sched.threads.filter((t) => t.name in threads);
    const stopped = k.sched.runUntil(() => working.every((t) => t.state === DONE), STOPPING);
    k.sched.points = false;
    const waiting = working.filter((t) => t.state !== DONE).map((t) => `${t.name}: ${t.waitingFor}`);
    expect([stopped, ...waiting]).toEqual(['reached']);
    m.run(data.last(device));
    mustBeRight();
    expect(Math.min(data.comparedByPrograms, data.comparedByDevice, data.readInTheEnd)).toBeGreaterThan(0);
  };
  const counts = (): string => {
    const { comparedByPrograms, comparedByDevice, movedPages, readInTheEnd } = data;
    return JSON.stringify({ ...events, comparedByPrograms, comparedByDevice, movedPages, readInTheEnd });
  };
  return { m, device, end, judge, data, counts, finish };
}
