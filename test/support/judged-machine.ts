// A judged machine: kernel, notifier design, driver, IOMMU and device in random interleavings, beside two program threads of
// random memory calls in one address space, and reclaim. The result is what the judge derives from the events. A run may have
// livepatches, and a mutant that changes the design or the driver once they are made.
import { expect } from 'vitest';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../../src/abi/syscalls.ts';
import { Rng } from '../../src/base/rng.ts';
import { Judge, type JudgeResults } from '../../src/check/judge.ts';
import { createDevice, type Device, type DeviceConfig, memoryPagesOf } from '../../src/device/device.ts';
import { type KernelConfig, kernelConfig } from '../../src/mm/config.ts';
import { touchPage } from '../../src/mm/cpu-access.ts';
import type { KernelFns } from '../../src/mm/fns.ts';
import { Kernel } from '../../src/mm/kernel.ts';
import { notifierHost } from '../../src/mm/notifier-host.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone, doExit } from '../../src/mm/process/task.ts';
import { profile } from '../../src/mm/profile.ts';
import { SyscallArgs } from '../../src/mm/syscalls/args.ts';
import { syscall } from '../../src/mm/syscalls/table.ts';
import { linuxFns } from '../../src/mm/table.ts';
import type { Task } from '../../src/mm/types.ts';
import { designInfo } from '../../src/notifier/designs.ts';
import type { KernelPath } from '../../src/sched/path.ts';
import { type Chooser, DONE, RandomChooser } from '../../src/sched/scheduler.ts';

export const SEED = Number(process.env['SEED'] ?? 1);
export const BASE = 0x10000000 + 0x200000 - 12 * 4096;
const WINDOW = 24;

/** One program thread: a path of memory calls in `task`. */
export type Program = (k: Kernel, task: Task, cpu: number, rng: Rng, operations: number) => KernelPath<void>;

export interface MachineOptions {
  readonly design: string;
  readonly driver: string;
  readonly seed: number;
  readonly operations: number;
  readonly stepsMax: number;
  /** Percent of the device's bursts that write. */
  readonly writePercent: number;
  readonly withDevice: boolean;
  readonly withReclaim: boolean;
  readonly kernel: Partial<KernelConfig>;
  readonly device: Partial<DeviceConfig>;
  readonly fns: Partial<KernelFns>;
  /** What the two threads of the program do. */
  readonly programs: readonly [Program, Program];
  /** Changes the design or the driver before anything runs. */
  readonly mutate: ((k: Kernel, device: Device | null) => void) | null;
  /** Who chooses; null: seeded chance. */
  readonly chooser: Chooser | null;
  /** Looks at the kernel when programs and device are gone. */
  readonly atEnd: ((k: Kernel) => void) | null;
  /** A property whose first violation, unless a documented gap, ends the run. */
  readonly until: string | null;
}

const DEFAULTS: Omit<MachineOptions, 'programs'> = {
  design: 'linux-6.1',
  driver: '',
  seed: SEED,
  operations: 150,
  stepsMax: 5_000_000,
  writePercent: 50,
  withDevice: true,
  withReclaim: true,
  kernel: {},
  device: {},
  fns: {},
  mutate: null,
  until: null,
  chooser: null,
  atEnd: null,
};

/** Was the property violated, apart from documented gaps? */
export function isFound(results: JudgeResults, property: string): boolean {
  return results.violations.some((v) => v.property === property && v.gap === null);
}

/** One run, judged. */
export function machine(options: Partial<MachineOptions>): JudgeResults {
  const o: MachineOptions = { ...DEFAULTS, programs: [randomProgram, randomProgram], ...options };
  const rng = new Rng(o.seed);
  const chooser = o.chooser ?? new RandomChooser(new Rng(o.seed * 31 + 7));
  const limits = { frames: 1024, cpus: 2, gatherBundle: 2, gatherBatchesMax: 0, swapPages: 256, logCapacity: 8192 };
  const devicePrivatePages = o.withDevice ? memoryPagesOf(o.device) : 0;
  const config = kernelConfig({ ...limits, profile: profile('6.1'), devicePrivatePages, ...o.kernel });
  const k = new Kernel(config, { ...linuxFns, ...o.fns }, chooser);
  const judge = new Judge({ actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}` });
  judge.attach(k.memory.log);
  k.design = designInfo(o.design).create(notifierHost(k));
  const task = k.sched.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  const workload = { seed: o.seed, writePercent: o.writePercent, burstMax: 6 };
  const device = o.withDevice ? createDevice(k, { driver: o.driver, workload, ...o.device }) : null;
  o.mutate?.(k, device);
  if (device !== null) expect(k.sched.run(device.bind(task.mm!))).toBe(0);
  k.sched.points = true;
  // A second task of the same address space, and reclaim, run beside it.
  const pid = k.sched.run(doClone(k, task, CLONE_VM | CLONE_FILES));
  const threads = [task, k.tasks.get(pid)!].map((t, i) =>
    k.sched.spawn(`program ${i}`, 'cpu', o.programs[i]!(k, t, i, rng, o.operations)),
  );
  const isDone = (): boolean => threads.every((t) => t.state === DONE);
  const reclaim = o.withReclaim ? k.sched.spawn('reclaim', 'kernel', reclaimer(k, isDone), true) : null;
  let seen = 0;
  const isOver = (): boolean => {
    if (o.until !== null && judge.violationCount > seen) {
      seen = judge.violationCount;
      if (isFound(judge.results(), o.until)) return true;
    }
    return isDone();
  };
  const end = k.sched.runUntil(isOver, o.stepsMax);
  if (!isDone()) {
    // Cut because the violation was found, or because a broken kernel never gets to the end.
    if (o.until !== null || Object.keys(o.fns).length > 0 || o.mutate !== null) return judge.results();
    const waiting = k.sched.threads.filter((t) => t.waitingFor !== '').map((t) => `${t.name}: ${t.waitingFor}`);
    throw new Error(`SEED=${o.seed} ${o.design} ${o.driver}: ${end}, ${waiting.join('; ')}`);
  }
  k.sched.points = false;
  if (device !== null) k.sched.run(device.unbind());
  judge.finish();
  if (o.atEnd !== null) {
    // Reclaim may stand in the middle of a batch. A page of the swap cache that it held when the last entry went stays for the next
    // pass, as in Linux.
    if (reclaim !== null) expect(k.sched.runUntil(() => reclaim.state === DONE, 100_000)).toBe('reached');
    k.sched.run(k.fn.tryToFreePages(k, k.pages.count));
    o.atEnd(k);
  }
  return judge.results();
}

function* reclaimer(k: Kernel, isDone: () => boolean): KernelPath<void> {
  while (!isDone()) {
    yield* k.sched.sleepSteps(300, 'pause');
    yield* k.fn.tryToFreePages(k, 2);
  }
}

/** Random memory calls in a window of two page tables. */
export function* randomProgram(k: Kernel, task: Task, cpu: number, rng: Rng, operations: number): KernelPath<void> {
  const args = new SyscallArgs();
  const call = (nr: number, ...a: number[]): KernelPath<number> =>
    syscall(k, task, nr, args.of(a[0], a[1], a[2], a[3], a[4], a[5]));
  const va = (page: number): number => BASE + page * 4096;
  for (let i = 0; i < operations; i++) {
    const from = rng.below(WINDOW);
    const to = Math.min(WINDOW, from + 1 + rng.below(8));
    const length = (to - from) * 4096;
    const mm = task.mm!;
    switch (rng.below(12)) {
      case 0:
      case 1: {
        const kind = rng.chance(1, 4) ? MAP_SHARED : MAP_PRIVATE;
        yield* call(NR_mmap, va(from), length, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        break;
      }
      case 2:
        yield* call(NR_munmap, va(from), length);
        break;
      case 3:
        yield* call(NR_mprotect, va(from), length, rng.chance(1, 2) ? PROT_READ : PROT_READ | PROT_WRITE);
        break;
      case 4:
        yield* call(NR_madvise, va(from), length, [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT][rng.below(4)]!);
        break;
      case 5: {
        const target = rng.below(WINDOW - (to - from));
        const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
        yield* call(NR_mremap, va(from), length, length, flags, va(target));
        break;
      }
      case 6: {
        const pid = yield* doClone(k, task, 0);
        if (pid > 0) yield* doExit(k, k.tasks.get(pid)!);
        break;
      }
      default:
        for (let p = from; p < to; p++) yield* touchPage(k, mm, cpu, va(p), rng.chance(2, 3));
    }
  }
  yield* doExit(k, task);
}

/** Runs of several seeds. */
export function machines(options: Partial<MachineOptions>, runs: number): JudgeResults[] {
  return Array.from({ length: runs }, (_, i) => machine({ ...options, seed: SEED * 100 + i }));
}

export function sum(results: readonly JudgeResults[], of: (r: JudgeResults) => number): number {
  return results.reduce((n, r) => n + of(r), 0);
}
