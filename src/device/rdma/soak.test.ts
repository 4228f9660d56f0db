// The on-demand device for a long time: programs and their children map, protect, move, discard, page out and fork what its engines read and
// write, with little memory, swap, and huge pages; every step is chosen by the seed, and the monitors listen.
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { DEV_RUNNING } from '../../abi/events.ts';
import * as M from '../../abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { Judge } from '../../check/judge.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { compactMemory } from '../../mm/migrate/compaction.ts';
import { CLONE_VM, createProcess, doClone, doExit } from '../../mm/process/task.ts';
import type { Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { createMachine, type Machine } from '../../system/machine.ts';
import type { RdmaDevice } from './rdma.ts';

const seed = Number(process.env['SEED'] ?? 1);
const steps = Number(process.env['STEPS'] ?? 30_000);
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

function* engine(device: RdmaDevice, e: number, rng: Rng): KernelPath<void> {
  for (;;) {
    const va = BASE + (rng.chance(1, 4) ? rng.below(WINDOW) : 506 + rng.below(12)) * PAGE;
    yield* device.accessor.access(e, va, rng.chance(1, 2), va + PAGE);
  }
}

it.each([
  ['linux-6.1', false],
  ['linux-6.1', true],
  ['invalidate-range', false],
] as const)(
  `%s, always for write %s: ${steps} steps, SEED=${seed}`,
  (design, alwaysWrite) => {
    const rdma = { alwaysWrite, childPages: 512, rnrRetries: 1_000_000 };
    const kernel = { frames: 1100, swapPages: 8192, cpus: 3, strideOn: 16 };
    const m = createMachine({ kernel, design, device: { device: 'rdma-odp', hasWorkload: false, rdma }, seed });
    const judge = new Judge();
    judge.attach(m.kernel.memory.log);
    const task = m.run(createProcess(m.kernel, { areas: [] }));
    const device = m.device as RdmaDevice;
    expect(m.run(device.bind(task.mm!))).toBe(0);
    const sibling = m.kernel.tasks.get(m.run(doClone(m.kernel, task, CLONE_VM)))!;
    sibling.cpu = 1;
    const end = m.interleave(
      {
        'program 0': program(m, task, new Rng(seed * 10)),
        'program 1': program(m, sibling, new Rng(seed * 10 + 1)),
        'engine 0': engine(device, 0, new Rng(seed * 10 + 2)),
        'engine 1': engine(device, 1, new Rng(seed * 10 + 3)),
      },
      steps,
    );
    expect(end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = judge.results();
    const found = violations.filter((v) => v.gap === null && v.kind === 'safety');
    expect(found.map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect([device.nic.state, malformed]).toEqual([DEV_RUNNING, 0]);
    expect(Math.min(deviceReads, deviceWrites, swapOuts, device.driver.invalidations)).toBeGreaterThan(0);
  },
  7_200_000,
);
