// Walkers of all makers for a long time, each under the design that its driver was made for: programs and their children map, protect,
// move, discard, page out and fork what the engines read and write, with little memory, swap, compaction and huge pages; the address
// space is unbound and bound again; every step is chosen by the seed, and the monitors listen. (That every reader finds what was
// written: test/device-data.test.ts.)
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { DEV_RUNNING } from '../abi/events.ts';
import * as M from '../abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../abi/syscalls.ts';
import { Rng } from '../base/rng.ts';
import { Judge } from '../check/judge.ts';
import { userLoad, userStore } from '../mm/cpu-access.ts';
import { compactMemory } from '../mm/migrate/compaction.ts';
import { CLONE_VM, createProcess, doClone, doExit } from '../mm/process/task.ts';
import type { Task } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';
import { createMachine, type Machine } from '../system/machine.ts';
import type { SharedTableDevice } from './shared-table-device.ts';
import type { SvaIommu } from './sva-iommu.ts';

const seed = Number(process.env['SEED'] ?? 1);
const steps = Number(process.env['STEPS'] ?? 15_000);
const PAGE = 4096;
const BASE = 0x10000000;
/** Pages: two blocks that may be huge, and their surroundings. */
const WINDOW = 1032;
const RW = M.PROT_READ | M.PROT_WRITE;

function* program(m: Machine, task: Task, rng: Rng): KernelPath<void> {
  const k = m.kernel;
  const call = (nr: number, ...words: number[]): KernelPath<number> => m.call(task, nr, ...words);
  const advice = [M.MADV_DONTNEED, M.MADV_PAGEOUT, M.MADV_PAGEOUT, M.MADV_COLD, M.MADV_FREE, M.MADV_HUGEPAGE];
  for (;;) {
    // Mostly few pages, which collide with each other.
    const from = rng.chance(1, 4) ? rng.below(WINDOW) : 506 + rng.below(12);
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
    else if (rng.chance(1, 2)) yield* userStore(k, task, va + rng.below(1000) * 4, rng.below(1000), 4);
    else yield* userLoad(k, task, va + rng.below(1000) * 4, 4);
  }
}

function* engine(device: SharedTableDevice<SvaIommu>, e: number, rng: Rng): KernelPath<void> {
  for (;;) {
    const va = BASE + (rng.chance(1, 4) ? rng.below(WINDOW) : 506 + rng.below(12)) * PAGE;
    if (rng.chance(1, 20)) yield* device.ats.fetch(e, va);
    else yield* device.accessor.access(e, va, rng.chance(1, 2), va + 4 * PAGE);
  }
}

function* binder(m: Machine, task: Task): KernelPath<void> {
  for (;;) {
    yield* m.kernel.sched.sleepSteps(1500, 'rebind');
    yield* m.device!.unbind();
    expect(yield* m.device!.bind(task.mm!)).toBe(0);
  }
}

it.each([
  ['amd-iommu-v2', 'linux-6.1'],
  ['intel-svm', 'linux-6.1'],
  ['intel-svm', 'linux-6.12'],
  ['arm-smmu-sva', 'linux-6.12'],
] as const)(
  `%s, %s: ${steps} steps, SEED=${seed}`,
  (name, design) => {
    const kernel = { frames: 1100, swapPages: 8192, cpus: 3, strideOn: 16 };
    // Groups of pages, and a request queue that overflows where that is answered with Success.
    const iommu = { tlbSets: 8, tlbWays: 2, ...(name === 'amd-iommu-v2' ? {} : { pprLogEntries: 4 }) };
    const ats = { engines: 3, atcSets: 4, atcWays: 2, credits: 6, groupPagesMax: 3, refaultBudget: 1_000_000 };
    const m = createMachine({ kernel, design, device: { device: name, hasWorkload: false, iommu, ats }, seed });
    const judge = new Judge();
    judge.attach(m.kernel.memory.log);
    const task = m.run(createProcess(m.kernel, { areas: [] }));
    const device = m.device as SharedTableDevice<SvaIommu>;
    expect(m.run(device.bind(task.mm!))).toBe(0);
    const sibling = m.kernel.tasks.get(m.run(doClone(m.kernel, task, CLONE_VM)))!;
    sibling.cpu = 1;
    const end = m.interleave(
      {
        'program 0': program(m, task, new Rng(seed * 10)),
        'program 1': program(m, sibling, new Rng(seed * 10 + 1)),
        'engine 0': engine(device, 0, new Rng(seed * 10 + 2)),
        'engine 1': engine(device, 1, new Rng(seed * 10 + 3)),
        'engine 2': engine(device, 2, new Rng(seed * 10 + 4)),
        binder: binder(m, task),
      },
      steps,
    );
    expect(end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed, unanswered } = judge.results();
    // An overflow is answered with Success: the device asks again though nothing has changed (L2).
    const found = violations.filter((v) => v.gap === null && v.property !== 'L2');
    expect(found.map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect([device.ats.state, malformed]).toEqual([DEV_RUNNING, 0]);
    expect(unanswered).toBeLessThanOrEqual(ats.credits);
    expect(
      Math.min(deviceReads, deviceWrites, swapOuts, device.ats.invalidations, device.ats.pri.groups),
    ).toBeGreaterThan(0);
    if (process.env['STEPS'])
      console.log(
        name,
        design,
        JSON.stringify(judge.results().byProperty),
        deviceReads,
        deviceWrites,
        swapOuts,
        device.iommu.pprOverflows,
      );
  },
  7_200_000,
);
