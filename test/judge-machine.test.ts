// The judge over whole machines: kernel, notifier design, driver, IOMMU and device in random interleavings. A correct kernel
// with a correct driver shows no violation that is not a documented gap; the same device without callbacks shows many.
import { describe, expect, test } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../src/abi/mman.ts';
import { NR_mmap, NR_mprotect, NR_munmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import type { JudgeOptions } from '../src/check/context.ts';
import { Judge, type JudgeResults } from '../src/check/judge.ts';
import { createDevice } from '../src/device/device.ts';
import { type KernelConfig, kernelConfig } from '../src/mm/config.ts';
import { touchPage } from '../src/mm/cpu-access.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import { Kernel } from '../src/mm/kernel.ts';
import { notifierHost } from '../src/mm/notifier-host.ts';
import { createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import { profile } from '../src/mm/profile.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { linuxFns } from '../src/mm/table.ts';
import type { Task } from '../src/mm/types.ts';
import { designInfo } from '../src/notifier/designs.ts';
import type { KernelPath } from '../src/sched/path.ts';
import { DONE, RandomChooser } from '../src/sched/scheduler.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const BASE = 0x10000000;
const WINDOW = 24;

interface MachineOptions {
  readonly design: string;
  readonly driver: string;
  readonly seed: number;
  readonly operations: number;
  readonly fns: Partial<KernelFns>;
  readonly judge: Partial<JudgeOptions>;
  readonly config: Partial<KernelConfig>;
}

/** A program of random memory calls beside a device that reads and writes its memory, judged. */
function machine(options: Partial<MachineOptions>): { results: JudgeResults; k: Kernel } {
  const o: MachineOptions = {
    design: 'linux-6.1',
    driver: '',
    seed: SEED,
    operations: 150,
    fns: {},
    judge: {},
    config: {},
    ...options,
  };
  const rng = new Rng(o.seed);
  const chooser = new RandomChooser(new Rng(o.seed * 31 + 7));
  const config = { frames: 1024, cpus: 2, gatherBundle: 2, gatherBatchesMax: 0, swapPages: 256, logCapacity: 8192 };
  const k = new Kernel(
    kernelConfig({ ...config, ...o.config, profile: profile('6.1') }),
    { ...linuxFns, ...o.fns },
    chooser,
  );
  const judge = new Judge({ actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}`, ...o.judge });
  judge.attach(k.memory.log);
  k.design = designInfo(o.design).create(notifierHost(k));
  const device = createDevice(k, { driver: o.driver, workload: { seed: o.seed, writePercent: 50, burstMax: 6 } });
  const task = k.sched.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  expect(k.sched.run(device.bind(task.mm!))).toBe(0);
  k.sched.points = true;
  const program = k.sched.spawn('program', 'cpu', randomProgram(k, task, rng, o.operations));
  const end = k.sched.runUntil(() => program.state === DONE, 3_000_000);
  expect(end).toBe('reached');
  k.sched.points = false;
  k.sched.run(device.unbind());
  judge.finish();
  return { results: judge.results(), k };
}

function* randomProgram(k: Kernel, task: Task, rng: Rng, operations: number): KernelPath<void> {
  const args = new SyscallArgs();
  const call = (nr: number, ...a: number[]): KernelPath<number> =>
    syscall(k, task, nr, args.of(a[0], a[1], a[2], a[3], a[4], a[5]));
  const va = (page: number): number => BASE + page * 4096;
  for (let i = 0; i < operations; i++) {
    const from = rng.below(WINDOW);
    const to = Math.min(WINDOW, from + 1 + rng.below(8));
    const length = (to - from) * 4096;
    const mm = task.mm!;
    switch (rng.below(8)) {
      case 0: {
        const kind = rng.chance(1, 4) ? MAP_SHARED : MAP_PRIVATE;
        yield* call(NR_mmap, va(from), length, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        break;
      }
      case 1:
        yield* call(NR_munmap, va(from), length);
        break;
      case 2:
        yield* call(NR_mprotect, va(from), length, rng.chance(1, 2) ? PROT_READ : PROT_READ | PROT_WRITE);
        break;
      case 3: {
        const vma = mm.vmas.findExact(va(from));
        if (vma === null) break;
        yield* mm.mmapLock.readLock();
        const end = Math.min(vma.end, va(to));
        if (vma.start <= va(from)) yield* k.fn.zapPageRangeSingle(k, vma, va(from), end, true);
        mm.mmapLock.readUnlock();
        break;
      }
      case 4: {
        const pid = yield* doClone(k, task, 0);
        if (pid > 0) yield* doExit(k, k.tasks.get(pid)!);
        break;
      }
      default:
        for (let p = from; p < to; p++) yield* touchPage(k, mm, rng.below(2), va(p), rng.chance(2, 3));
    }
  }
  yield* doExit(k, task);
}

describe('judged machines', () => {
  test('x', () => {
    for (const [design, driver] of [
      ['linux-6.1', ''],
      ['invalidate-range', ''],
      ['linux-2.6.27', ''],
      ['linux-2.6.27', 'iommu-v2-empty-table'],
      ['linux-2.6.27', 'iommu-v2-empty-table-uncounted'],
      ['linux-6.1', 'no-callbacks'],
      ['pinned', ''],
    ] as const) {
      try {
        const t0 = performance.now();
        const { results } = machine({ design, driver });
        const { timelines, violations, residency, ...r } = results;
        console.log(
          design,
          driver,
          JSON.stringify(r),
          violations.map((v) => [v.property, v.gap, v.step, v.text]).slice(0, 5),
          performance.now() - t0,
        );
      } catch (e) {
        console.log(design, driver, e);
      }
    }
  });
});
