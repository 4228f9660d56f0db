// The judge over whole machines: kernel, notifier design, driver, IOMMU and device in random interleavings. A correct kernel
// with a correct driver shows no violation that is not a documented gap; the same device without callbacks shows many.
import { describe, expect, test } from 'vitest';
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
} from '../src/abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { Judge, type JudgeResults } from '../src/check/judge.ts';
import { createDevice } from '../src/device/device.ts';
import { kernelConfig } from '../src/mm/config.ts';
import { touchPage } from '../src/mm/cpu-access.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import { Kernel } from '../src/mm/kernel.ts';
import { notifierHost } from '../src/mm/notifier-host.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import { profile } from '../src/mm/profile.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { linuxFns } from '../src/mm/table.ts';
import type { Task } from '../src/mm/types.ts';
import { designInfo } from '../src/notifier/designs.ts';
import type { KernelPath } from '../src/sched/path.ts';
import { DONE, RandomChooser } from '../src/sched/scheduler.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const BASE = 0x10000000 + 0x200000 - 12 * 4096;
const WINDOW = 24;

interface MachineOptions {
  readonly design: string;
  readonly driver: string;
  readonly seed: number;
  readonly operations: number;
  readonly stepsMax: number;
  /** Percent of the device's bursts that write. */
  readonly writePercent: number;
  readonly withDevice: boolean;
  readonly fns: Partial<KernelFns>;
}

/** A program of random memory calls beside a device that reads and writes its memory, judged. */
function machine(options: Partial<MachineOptions>): JudgeResults {
  const o: MachineOptions = {
    design: 'linux-6.1',
    driver: '',
    seed: SEED,
    operations: 150,
    stepsMax: 5_000_000,
    writePercent: 50,
    withDevice: true,
    fns: {},
    ...options,
  };
  const rng = new Rng(o.seed);
  const chooser = new RandomChooser(new Rng(o.seed * 31 + 7));
  const config = { frames: 1024, cpus: 2, gatherBundle: 2, gatherBatchesMax: 0, swapPages: 256, logCapacity: 8192 };
  const k = new Kernel(kernelConfig({ ...config, profile: profile('6.1') }), { ...linuxFns, ...o.fns }, chooser);
  const judge = new Judge({ actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}` });
  judge.attach(k.memory.log);
  k.design = designInfo(o.design).create(notifierHost(k));
  const task = k.sched.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  const workload = { seed: o.seed, writePercent: o.writePercent, burstMax: 6 };
  const device = o.withDevice ? createDevice(k, { driver: o.driver, workload }) : null;
  if (device !== null) expect(k.sched.run(device.bind(task.mm!))).toBe(0);
  k.sched.points = true;
  // A second task of the same address space, and reclaim, run beside it.
  const pid = k.sched.run(doClone(k, task, CLONE_VM | CLONE_FILES));
  const threads = [task, k.tasks.get(pid)!].map((t, i) =>
    k.sched.spawn(`program ${i}`, 'cpu', randomProgram(k, t, i, rng, o.operations)),
  );
  const isDone = (): boolean => threads.every((t) => t.state === DONE);
  k.sched.spawn('reclaim', 'kernel', reclaimer(k, isDone), true);
  const end = k.sched.runUntil(isDone, o.stepsMax);
  // A broken kernel may never get to the end.
  if (Object.keys(o.fns).length > 0 && end !== 'reached') return judge.results();
  expect(end, `SEED=${o.seed} ${o.design} ${o.driver}`).toBe('reached');
  k.sched.points = false;
  if (device !== null) k.sched.run(device.unbind());
  judge.finish();
  return judge.results();
}

function* reclaimer(k: Kernel, isDone: () => boolean): KernelPath<void> {
  while (!isDone()) {
    yield* k.sched.sleepSteps(300, 'pause');
    yield* k.fn.tryToFreePages(k, 2);
  }
}

/** Random memory calls in a window of two page tables. */
function* randomProgram(k: Kernel, task: Task, cpu: number, rng: Rng, operations: number): KernelPath<void> {
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
function machines(options: Partial<MachineOptions>, runs: number): JudgeResults[] {
  return Array.from({ length: runs }, (_, i) => machine({ ...options, seed: SEED * 100 + i }));
}

function sum(results: readonly JudgeResults[], of: (r: JudgeResults) => number): number {
  return results.reduce((n, r) => n + of(r), 0);
}

describe(`judged machines (SEED=${SEED})`, () => {
  test.each(['linux-6.1', 'invalidate-range'])(
    '%s with its driver: nothing but documented gaps, many windows',
    (design) => {
      for (const r of machines({ design }, 4)) {
        expect(r.violations.filter((v) => v.gap === null)).toEqual([]);
        expect([r.unexplained, r.livenessFindings, r.unannouncedStores, r.malformed, r.uncovered]).toEqual([
          0, 0, 0, 0, 0,
        ]);
        expect(['safe', 'gap']).toContain(r.verdict);
        expect(r.windows).toBeGreaterThan(20);
        expect(r.deviceWrites).toBeGreaterThan(100);
      }
    },
  );

  test('the same device without callbacks: frames are freed under it and read', () => {
    const runs = machines({ driver: 'no-callbacks', writePercent: 0 }, 4);
    expect(runs.map((r) => r.verdict)).toEqual(['unsafe', 'unsafe', 'unsafe', 'unsafe']);
    expect(sum(runs, (r) => r.staleReads)).toBeGreaterThan(10);
    expect(sum(runs, (r) => r.windowsOpen)).toBeGreaterThan(10);
    const properties = new Set(runs.flatMap((r) => Object.keys(r.byProperty)));
    for (const id of ['I1', 'I2', 'I5', 'I12']) expect(properties).toContain(id);
  });

  test('linux-2.6.27, flush at start and end: frames of forced flushes are used after they are freed', () => {
    const runs = machines({ design: 'linux-2.6.27', driver: 'iommu-flush-start-end' }, 4);
    expect(sum(runs, (r) => r.byProperty['I1'] ?? 0)).toBeGreaterThan(0);
    const forced = runs.flatMap((r) => r.windowCauses).filter((c) => c.cause.endsWith('forced flush'));
    expect(forced.some((c) => c.open > 0)).toBe(true);
  });

  test('linux-2.6.27, empty table inside sections: no stale access, but the device faults in a row', () => {
    const runs = machines({ design: 'linux-2.6.27', driver: 'iommu-v2-empty-table' }, 4);
    expect(sum(runs, (r) => r.staleReads + r.staleWrites)).toBe(0);
    expect(sum(runs, (r) => r.byProperty['L2'] ?? 0)).toBeGreaterThan(0);
  });

  test('pinned: no page is freed under the device, but pages stay that nobody maps', () => {
    const runs = machines({ design: 'pinned' }, 3);
    expect(runs.flatMap((r) => r.violations).filter((v) => v.gap === null)).toEqual([]);
    expect(sum(runs, (r) => r.staleReads + r.staleWrites + r.windowsOpen)).toBe(0);
    expect(sum(runs, (r) => r.orphaned)).toBeGreaterThan(0);
  });

  test('a kernel that does not flush the CPUs is found', () => {
    const [r] = machines({ fns: { *flushTlbMmRange() {} }, withDevice: false, stepsMax: 20_000 }, 1);
    expect(r!.byProperty['I1c']).toBeGreaterThan(0);
  });

  test('a fork that does not flush the CPUs is found', () => {
    const runs = machines({ fns: { *flushTlbMm() {} }, withDevice: false }, 3);
    expect(sum(runs, (r) => r.byProperty['I3c'] ?? 0)).toBeGreaterThan(0);
  });

  test('a kernel without a device', () => {
    for (const r of machines({ withDevice: false }, 2)) {
      expect([r.violations, r.verdict]).toEqual([[], 'not exercised']);
    }
  });

  test('a kernel that forgets an end is found', () => {
    const [r] = machines({ fns: { *mmuNotifierInvalidateRangeEnd() {} } }, 1);
    expect(r!.byProperty['I40']).toBeGreaterThan(0);
    expect(r!.violations.find((v) => v.property === 'I40')!.text).toContain('without leaving section');
  });
});
