// Whole machine: a program that maps, writes, protects, unmaps and forks, while a device works in its memory, in random
// interleavings. Each design must show what it is known for, judged by the monitors from the record.

import { describe, expect, test } from 'vitest';
import { EBUSY } from '../abi/errno.ts';
import { CB_ARCH_INVALIDATE_SECONDARY_TLBS, CB_INVALIDATE_RANGE, DEV_FAILED, DEV_RUNNING } from '../abi/events.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MM_ANONPAGES,
  MREMAP_MAYMOVE,
  PROT_READ,
  PROT_WRITE,
} from '../abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../abi/syscalls.ts';
import { Rng } from '../base/rng.ts';
import { Judge, type JudgeResults } from '../check/judge.ts';
import { type KernelConfig, kernelConfig } from '../mm/config.ts';
import { userLoad, userStore } from '../mm/cpu-access.ts';
import { Kernel } from '../mm/kernel.ts';
import { notifierHost } from '../mm/notifier-host.ts';
import { createProcess, doClone, doExit } from '../mm/process/task.ts';
import { profile } from '../mm/profile.ts';
import { SyscallArgs } from '../mm/syscalls/args.ts';
import { syscall } from '../mm/syscalls/table.ts';
import { linuxFns } from '../mm/table.ts';
import type { Task } from '../mm/types.ts';
import { designInfo } from '../notifier/designs.ts';
import { seedOf } from '../notifier/test-host.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_SYSCALL } from '../sched/points.ts';
import { RandomChooser, WaitQueue } from '../sched/scheduler.ts';
import type { DeviceStats } from './accessor.ts';
import { ACCESS_DONE, ACCESS_INVALID } from './accessor.ts';
import { createDevice, type Device, type DeviceConfig } from './device.ts';

const PAGE = 4096;

interface Run {
  readonly results: JudgeResults;
  readonly stats: DeviceStats;
  readonly wrongData: number;
}

interface Wrong {
  count: number;
}

/** A sibling thread that fills an area of its own and gives it back, again and again: sections beside the program's. */
function* sibling(k: Kernel, task: Task, area: number, rounds: number): KernelPath<void> {
  const pages = 12;
  const args = new SyscallArgs();
  for (let round = 0; round < rounds && task.mm !== null; round++) {
    for (let p = 0; p < pages; p++) yield* userStore(k, task, area + p * PAGE, round, 4);
    yield* syscall(k, task, NR_madvise, args.of(area, pages * PAGE, MADV_DONTNEED));
    yield P_SYSCALL;
  }
}

/** A child that checks what it inherited, writes some of it, and goes. */
function* child(k: Kernel, task: Task, at: number, pages: number, first: number, wrong: Wrong): KernelPath<void> {
  for (let p = 0; p < pages; p += 3) {
    if ((yield* userLoad(k, task, at + p * PAGE, 4)) !== first + p) wrong.count++;
    if (p % 2 === 0) yield* userStore(k, task, at + p * PAGE, 7, 4);
  }
  yield* doExit(k, task);
}

/** A program of `rounds` rounds: an area is mapped, written, treated in some way, read back and unmapped. */
function* program(k: Kernel, task: Task, rng: Rng, rounds: number, wrong: Wrong): KernelPath<void> {
  const args = new SyscallArgs();
  const call = (nr: number, ...n: number[]): KernelPath<number> =>
    syscall(k, task, nr, args.of(n[0], n[1], n[2], n[3], n[4], n[5]));
  for (let round = 0; round < rounds; round++) {
    const pages = 4 + rng.below(28);
    const length = pages * PAGE;
    const prot = PROT_READ | PROT_WRITE;
    const first = round * 100;
    let at = yield* call(NR_mmap, 0, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (let p = 0; p < pages; p++) yield* userStore(k, task, at + p * PAGE, first + p, 4);
    yield P_SYSCALL;
    const treatment = rng.below(5);
    if (treatment === 0) {
      yield* call(NR_mprotect, at, length, PROT_READ);
      yield P_SYSCALL;
      yield* call(NR_mprotect, at, length, prot);
    } else if (treatment === 1) {
      const pid = yield* doClone(k, task, 0);
      if (pid > 0) k.sched.spawn('child', 'cpu', child(k, k.tasks.get(pid)!, at, pages, first, wrong));
      for (let p = 0; p < pages; p += 2) yield* userStore(k, task, at + p * PAGE, first + p, 4);
    } else if (treatment === 2) {
      at = yield* call(NR_mremap, at, length, length * 2, MREMAP_MAYMOVE);
      yield* call(NR_munmap, at + length, length);
    } else if (treatment === 3) {
      yield* call(NR_madvise, at, length, rng.chance(1, 2) ? MADV_PAGEOUT : MADV_COLD);
    }
    for (let p = 0; p < pages; p++) {
      if ((yield* userLoad(k, task, at + p * PAGE, 4)) !== first + p) wrong.count++;
    }
    if (rng.chance(1, 2)) {
      yield* call(NR_madvise, at, (pages >> 1) * PAGE, MADV_DONTNEED);
      for (let p = 0; p < pages >> 1; p++) {
        if ((yield* userLoad(k, task, at + p * PAGE, 4)) !== 0) wrong.count++;
      }
    }
    yield* call(NR_munmap, at, length);
    yield P_SYSCALL;
  }
}

interface Options {
  readonly kernel?: Partial<KernelConfig>;
  readonly rounds?: number;
  /** A second thread of the program. */
  readonly hasSibling?: boolean;
  /** False: kernel paths run from wait to wait. */
  readonly points?: boolean;
}

const STACK = { start: 0x7ffffffde000, end: 0x7ffffffff000, perms: 'rw-p', offset: 0, path: '[stack]' };
const AREA = { start: 0x10000000, end: 0x10010000, perms: 'rw-p', offset: 0, path: '' };

function runWith(seed: number, design: string, config: Partial<DeviceConfig>, options: Options = {}): Run {
  // Batches of 4 pages: pages are freed inside sections, as Linux does from 9,698 on.
  const small = {
    frames: 1024,
    gatherBundle: 4,
    gatherBatchEntries: 4,
    gatherBatchesMax: 1,
    strideOn: 4,
    swapPages: 512,
  };
  const k = new Kernel(kernelConfig({ ...small, ...options.kernel }), linuxFns, new RandomChooser(new Rng(seed)));
  k.design = designInfo(design).create(notifierHost(k));
  const judge = new Judge();
  k.memory.log.attach(judge);
  const task = k.sched.run(createProcess(k, { areas: [AREA, STACK], startBrk: 0x600000 }));
  const device: Device = createDevice(k, {
    ...config,
    iommu: { staleWalksLand: false, ...config.iommu },
    ats: { atcSets: 8, atcWays: 2, engines: 3, staleStoresLand: false, ...config.ats },
    workload: { seed, burstMax: 24, ...config.workload },
  });
  const wrong: Wrong = { count: 0 };
  const mm = task.mm!;
  expect(k.sched.run(device.bind(mm))).toBe(0);
  k.sched.points = options.points ?? true;
  let threads = options.hasSibling === true ? 2 : 1;
  let isDone = false;
  const rounds = options.rounds ?? 4;
  function* main(): KernelPath<void> {
    yield* program(k, task, new Rng(seed + 77), rounds, wrong);
    threads--;
    yield* k.sched.waitUntil(() => threads === 0, ended, 'threads');
    yield* doExit(k, task);
    yield* device.unbind();
    device.workload.isStopped = true;
    isDone = true;
  }
  const ended = new WaitQueue();
  function* other(): KernelPath<void> {
    yield* sibling(k, task, AREA.start, rounds * 2);
    threads--;
    ended.wakeAll(k.sched);
  }
  k.sched.spawn('program', 'cpu', main());
  if (options.hasSibling === true) k.sched.spawn('sibling', 'cpu', other());
  expect(k.sched.runUntil(() => isDone, 3_000_000)).toBe('reached');
  expect(mm.pinnedVm).toBe(0);
  expect(k.mms.has(mm.id)).toBe(false);
  return { results: judge.results(), stats: device.stats(), wrongData: wrong.count };
}

interface Sum {
  /** Violations by property. */
  readonly violations: Record<string, number>;
  accesses: number;
  windows: number;
  refaultsMax: number;
  failed: number;
  orphanPagesMax: number;
  pinnedPagesMax: number;
  registrationsRefused: number;
  flushCallbacks: number;
  wrongData: number;
}

function sumOf(seeds: number, design: string, config: Partial<DeviceConfig>, options?: Options): Sum {
  const first = seedOf(1);
  const sum: Sum = {
    violations: {},
    accesses: 0,
    windows: 0,
    refaultsMax: 0,
    failed: 0,
    orphanPagesMax: 0,
    pinnedPagesMax: 0,
    registrationsRefused: 0,
    flushCallbacks: 0,
    wrongData: 0,
  };
  for (let seed = first; seed < first + seeds; seed++) {
    const { results, stats, wrongData } = runWith(seed, design, config, options);
    for (const [property, n] of Object.entries(results.byProperty)) {
      sum.violations[property] = (sum.violations[property] ?? 0) + n;
    }
    sum.accesses += stats.reads + stats.writes;
    sum.windows += results.windows;
    sum.refaultsMax = Math.max(sum.refaultsMax, stats.refaultsMax);
    if (stats.state === DEV_FAILED) sum.failed++;
    else expect(stats.state).toBe(DEV_RUNNING);
    sum.orphanPagesMax = Math.max(sum.orphanPagesMax, stats.orphanPagesMax);
    sum.pinnedPagesMax = Math.max(sum.pinnedPagesMax, stats.pinnedPagesMax);
    sum.registrationsRefused += stats.registrationsRefused;
    sum.flushCallbacks += stats.callbacks[CB_INVALIDATE_RANGE] ?? 0;
    sum.flushCallbacks += stats.callbacks[CB_ARCH_INVALIDATE_SECONDARY_TLBS] ?? 0;
    sum.wrongData += wrongData;
  }
  return sum;
}

/** Safety: use of a freed frame or table, stale permissions and mappings. */
function safety(sum: Sum): string[] {
  return Object.keys(sum.violations).filter((p) => !p.startsWith('L'));
}

const LONG_SECTIONS: Options = { hasSibling: true, kernel: { strideOn: 1 } };

describe('drivers that flush before pages are freed', () => {
  for (const [design, version] of [
    ['invalidate-range', '6.1'],
    ['linux-6.1', '6.1'],
    ['linux-6.6', '6.6'],
    ['linux-6.12', '6.12'],
  ] as const) {
    test(`${design}: nothing at all is violated, with two threads of the program`, () => {
      for (const strideOn of [1, 4]) {
        const options = { hasSibling: true, kernel: { strideOn, profile: profile(version) } };
        const sum = sumOf(25, design, { ats: { refaultBudget: 4 } }, options);
        expect(sum.violations).toEqual({});
        expect({ failed: sum.failed, wrong: sum.wrongData }).toEqual({ failed: 0, wrong: 0 });
        // The danger was there: frames were freed that the device had translated.
        expect(sum.windows).toBeGreaterThan(500);
        expect(sum.accesses).toBeGreaterThan(5000);
        expect(sum.flushCallbacks).toBeGreaterThan(500);
      }
    });
  }

  test('groups of page requests: as safe, and each page of a group is served', () => {
    const sum = sumOf(30, 'linux-6.1', { ats: { groupPagesMax: 4, credits: 4 } }, { hasSibling: true });
    expect(safety(sum)).toEqual([]);
    expect(sum.failed).toBe(0);
  });
});

describe('drivers of 2.6.27', () => {
  test('flush at start and end: pages freed inside a section are used, and so are freed page tables', () => {
    const sum = sumOf(30, 'linux-2.6.27', { driver: 'iommu-flush-start-end' });
    expect(sum.violations['I1']).toBeGreaterThan(0);
    expect(sum.violations['I2']).toBeGreaterThan(0);
    expect(sum.wrongData).toBe(0);
  });

  test('empty table: no freed page is used, but the device faults in vain and gives up', () => {
    const driver = 'iommu-v2-empty-table';
    const patient = sumOf(60, 'linux-2.6.27', { driver, ats: { refaultBudget: 1000 } }, LONG_SECTIONS);
    expect(patient.violations['I1']).toBeUndefined();
    expect(patient.violations['L2']).toBeGreaterThan(0);
    expect(patient.refaultsMax).toBeGreaterThan(2);
    const impatient = sumOf(30, 'linux-2.6.27', { driver, ats: { refaultBudget: 2 } }, LONG_SECTIONS);
    expect(impatient.failed).toBeGreaterThan(5);
    // It may lose one round to each change of the page without a reason to complain; some fail by no more than that.
    expect(impatient.violations['L1']).toBeGreaterThan(5);
    expect(impatient.violations['L1']).toBeLessThanOrEqual(impatient.failed);
  });

  test('empty table without a count of sections: the end of one ends the protection of the other', () => {
    const config = { driver: 'iommu-v2-empty-table-uncounted', ats: { refaultBudget: 1000 } };
    let isFound = false;
    for (let seed = 1; seed <= 400 && !isFound; seed++) {
      isFound = runWith(seed, 'linux-2.6.27', config, LONG_SECTIONS).results.byProperty['I1'] !== undefined;
    }
    expect(isFound).toBe(true);
  });
});

test('without callbacks everything goes wrong', () => {
  const sum = sumOf(10, 'linux-6.1', { driver: 'no-callbacks' });
  expect(safety(sum)).toEqual(expect.arrayContaining(['I1', 'I2', 'I3', 'I4', 'I12']));
});

describe('pinned pages', () => {
  test('no freed page is used; what the program unmapped stays as orphans until it is deregistered', () => {
    const sum = sumOf(20, 'pinned', {}, { hasSibling: true });
    expect(sum.violations['I1']).toBeUndefined();
    expect(sum.violations['I24']).toBeUndefined();
    expect(sum.orphanPagesMax).toBeGreaterThan(10);
    expect({ refused: sum.registrationsRefused, wrong: sum.wrongData }).toEqual({ refused: 0, wrong: 0 });
  });

  test('RLIMIT_MEMLOCK without CAP_IPC_LOCK: registrations over the limit are refused', () => {
    const base = kernelConfig();
    const kernel = { capIpcLock: false, rlimits: { ...base.rlimits, memlock: 20 * PAGE } };
    const sum = sumOf(10, 'pinned', {}, { kernel });
    expect(sum.registrationsRefused).toBeGreaterThan(0);
    expect(sum.pinnedPagesMax).toBeLessThanOrEqual(20);
    expect(sum.accesses).toBeGreaterThan(0);
  });
});

test('without points: the same program and device, from wait to wait', () => {
  for (const design of ['linux-6.1', 'linux-2.6.27', 'pinned']) {
    const sum = sumOf(10, design, {}, { hasSibling: true, points: false, rounds: 8 });
    expect({ design, wrong: sum.wrongData, failed: sum.failed }).toEqual({ design, wrong: 0, failed: 0 });
    expect(sum.accesses).toBeGreaterThan(1000);
    if (design === 'linux-6.1') expect(sum.violations).toEqual({});
  }
});

test('a run is a function of its seed', () => {
  for (const design of ['linux-6.1', 'linux-2.6.27', 'pinned']) {
    const [a, b, c] = [5, 5, 6].map((seed) => runWith(seed, design, {}, { hasSibling: true }));
    expect(b).toEqual(a);
    expect(c!.results.steps).not.toBe(a!.results.steps);
  }
});

test('bind: one address space at a time; after unbind the device is told that nothing is accessible', () => {
  const k = new Kernel(kernelConfig({ frames: 512 }), linuxFns, new RandomChooser(new Rng(1)));
  k.design = designInfo('linux-6.1').create(notifierHost(k));
  const task = k.sched.run(createProcess(k, { areas: [AREA, STACK], startBrk: 0x600000 }));
  const mm = task.mm!;
  const device = createDevice(k);
  device.workload.isStopped = true;
  expect(k.sched.run(device.bind(mm))).toBe(0);
  expect(k.sched.run(device.bind(mm))).toBe(-EBUSY);
  expect(mm.notifiers!.hasSubscribers).toBe(true);
  expect(k.sched.run(device.accessor.access(0, AREA.start, true, AREA.end))).toBe(ACCESS_DONE);
  expect(k.sched.run(device.accessor.access(0, AREA.end, false, AREA.end + PAGE))).toBe(ACCESS_INVALID);
  expect(mm.rss[MM_ANONPAGES]).toBe(1);
  k.sched.run(device.unbind());
  expect(mm.notifiers!.hasSubscribers).toBe(false);
  expect(k.sched.run(device.accessor.access(0, AREA.start, true, AREA.end))).toBe(ACCESS_INVALID);
  expect(device.stats()).toMatchObject({ writes: 1, reads: 0, pageRequests: 3, answersInvalid: 2, state: DEV_RUNNING });
  expect(k.sched.run(device.bind(mm))).toBe(0);
  expect(k.sched.run(device.accessor.access(0, AREA.start, true, AREA.end))).toBe(ACCESS_DONE);
  expect(device.stats().pageRequests).toBe(3);
  expect(() => createDevice(k, { driver: 'iommu-sva' })).toThrow(/"iommu-sva" is none of iommu-v2, .*no-callbacks/);
});
