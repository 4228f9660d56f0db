// Soak of the GRU and of XPMEM with work of their own: programs store words, have the device copy them from page to page, and read them
// back; meanwhile memory is short, and pages are swapped, moved between nodes, compacted, gathered into huge pages, shared with
// children that exit, and dropped. No word is lost or changed on its way, and the judge finds nothing.
//
// STEPS=1000000 is the full size (steps of the scheduler for each world). A failure names SEED and world.
import { expect, it } from 'vitest';
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../src/abi/mman.ts';
import { NR_madvise, NR_mmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { Judge } from '../src/check/judge.ts';
import { ACCESS_DONE, type Accessor } from '../src/device/accessor.ts';
import { checkWorld } from '../src/mm/check-world.ts';
import type { KernelConfig } from '../src/mm/config.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { compactMemory } from '../src/mm/migrate/compaction.ts';
import { doPagesMove } from '../src/mm/migrate/move-pages.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import type { Task } from '../src/mm/types.ts';
import type { KernelPath } from '../src/sched/path.ts';
import { DONE } from '../src/sched/scheduler.ts';
import { createMachine } from '../src/system/machine.ts';

const seed = Number(process.env['SEED'] ?? 1);
const steps = Number(process.env['STEPS'] ?? 40_000);
const PAGE = 4096;
const BASE = 0x10000000;
/** Pages of each of the two programs' windows. */
const WINDOW = 24;
/** High half of every word, so that the eight bytes are an ordinary number. */
const HIGH = 0x3ff00000;

/** A device that copies words for a program. */
interface Copier extends Accessor {
  readonly lastRead: number;
  word(engine: number, va: number, isWrite: boolean, value: number): KernelPath<number>;
}

interface Kind {
  readonly name: string;
  readonly device: object;
  readonly kernel: Partial<KernelConfig>;
  readonly flags: number;
}

const GRU = { device: 'gru', gru: { contextsPerChiplet: 1, asids: 6, purgePagesMax: 8 } };
const XPMEM = { device: 'xpmem', xpmem: { latencySteps: 1 } };
const SHORT = { frames: 110, swapPages: 256, numaNodes: 1 };
const NODES = { frames: 240, swapPages: 256, numaNodes: 2 };
const HUGE = { frames: 2048, swapPages: 256, thpEnabled: 'always' as const };
const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
const SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;

const KINDS: readonly Kind[] = [GRU, XPMEM].flatMap((device) => [
  { name: `${device.device}, little memory`, device, kernel: SHORT, flags: PRIVATE },
  { name: `${device.device}, shared memory, two nodes`, device, kernel: NODES, flags: SHARED },
  { name: `${device.device}, huge pages`, device, kernel: HUGE, flags: PRIVATE },
]);

class World {
  readonly k: Kernel;
  readonly copier: Copier;
  isOver = false;
  copied = 0;
  wrong: string[] = [];

  constructor(k: Kernel, copier: Copier) {
    this.k = k;
    this.copier = copier;
  }

  call(task: Task, nr: number, ...a: number[]): KernelPath<number> {
    return syscall(this.k, task, nr, new SyscallArgs().of(a[0], a[1], a[2], a[3], a[4], a[5]));
  }

  /** Stores, copies by the device, reads back, in the window of program `which`, with its engines. */
  *program(task: Task, which: number, rng: Rng): KernelPath<void> {
    const { k } = this;
    const base = BASE + which * WINDOW * PAGE;
    for (let value = which + 1; !this.isOver; value += 2) {
      const from = base + rng.below(WINDOW) * PAGE + rng.below(400) * 8;
      const to = base + rng.below(WINDOW) * PAGE + rng.below(400) * 8;
      if (rng.chance(1, 12)) yield* this.call(task, NR_madvise, to - (to % PAGE), PAGE, MADV_DONTNEED);
      if ((yield* userStore(k, task, from, value, 4)) < 0) continue;
      if ((yield* userStore(k, task, from + 4, HIGH, 4)) < 0) continue;
      const engine = which + 2 * rng.below(this.copier.engineCount >> 1);
      if ((yield* this.copier.word(engine, from, false, 0)) !== ACCESS_DONE) continue;
      const word = this.copier.lastRead;
      if ((yield* this.copier.word(engine, to, true, word)) !== ACCESS_DONE) continue;
      const lo = yield* userLoad(k, task, to, 4);
      const hi = yield* userLoad(k, task, to + 4, 4);
      if (lo < 0 || hi < 0) continue;
      if (lo !== value || hi !== HIGH) this.wrong.push(`${to.toString(16)}: ${lo} ${hi}, not ${value}`);
      this.copied++;
    }
  }

  /** Whatever leaves contents alone. */
  *disturber(task: Task, rng: Rng): KernelPath<void> {
    const { k } = this;
    while (!this.isOver) {
      const page = rng.below(2 * WINDOW);
      const pages = 1 + rng.below(Math.min(6, 2 * WINDOW - page));
      const va = BASE + page * PAGE;
      const roll = rng.below(10);
      if (roll < 4) yield* this.call(task, NR_madvise, va, pages * PAGE, rng.chance(2, 3) ? MADV_PAGEOUT : MADV_COLD);
      else if (roll < 6) {
        const pid = yield* doClone(k, task, 0);
        if (pid > 0) yield* doExit(k, k.tasks.get(pid)!);
      } else if (roll < 7) yield* this.call(task, NR_madvise, BASE, 512 * PAGE, MADV_COLLAPSE);
      else if (roll < 8) yield* compactMemory(k);
      else if (k.nodes.length > 1) {
        const to = [rng.below(k.nodes.length)];
        yield* doPagesMove(k, task.mm!, [va], to, new Int32Array(1), true);
      } else yield* k.fn.tryToFreePages(k, 2);
    }
  }
}

it.each(KINDS)(`$name (SEED=${seed}, STEPS=${steps})`, ({ device, kernel, flags }) => {
  const limits = { cpus: 2, strideOn: 2, gatherBundle: 2, logCapacity: 4096 };
  const m = createMachine({
    kernel: { ...limits, ...kernel },
    design: 'linux-6.1',
    device: { hasWorkload: false, ...device },
    seed,
  });
  const k = m.kernel;
  const judge = new Judge({ actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}` });
  judge.attach(k.memory.log);
  const task = m.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  expect(m.run(m.call(task, NR_mmap, BASE, 512 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0))).toBe(BASE);
  expect(m.run(m.device!.bind(task.mm!))).toBe(0);
  const others = [0, 1].map(() => k.tasks.get(m.run(doClone(k, task, CLONE_VM | CLONE_FILES)))!);
  others[0]!.cpu = 1;
  const world = new World(k, m.device!.accessor as Copier);
  k.sched.points = true;
  const threads = [
    k.sched.spawn('program 0', 'cpu', world.program(task, 0, new Rng(seed * 8))),
    k.sched.spawn('program 1', 'cpu', world.program(others[0]!, 1, new Rng(seed * 8 + 1))),
    k.sched.spawn('disturber', 'cpu', world.disturber(others[1]!, new Rng(seed * 8 + 2))),
  ];
  expect(k.sched.runUntil(() => world.wrong.length > 0, steps)).toBe('limit');
  world.isOver = true;
  expect(k.sched.runUntil(() => threads.every((t) => t.state === DONE), 2_000_000)).toBe('reached');
  k.sched.points = false;
  m.run(m.device!.unbind());
  for (const t of [...others, task]) m.run(doExit(k, t));
  judge.finish();
  expect(world.wrong).toEqual([]);
  const { violations, deviceReads, deviceWrites, swapOuts } = judge.results();
  expect(violations.map((v) => v.text)).toEqual([]);
  expect(world.copied).toBeGreaterThan(steps / 4000);
  expect(deviceReads + deviceWrites).toBeGreaterThan(world.copied);
  if (kernel === SHORT) expect(swapOuts).toBeGreaterThan(0);
  checkWorld(k);
});
