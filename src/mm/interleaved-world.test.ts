// Threads of one address space, a forked one and kswapd, interleaved at every point by seeded chance, with memory short. Judges:
// no CPU reaches a frame through a stale translation, nobody sleeps with a spinlock held, nothing hangs, and when all
// is quiet every count is right.
import { expect, it } from 'vitest';
import { E_CPU_ACCESS } from '../abi/events.ts';
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
} from '../abi/mman.ts';
import { NR_exit, NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../abi/syscalls.ts';
import { Rng } from '../base/rng.ts';
import type { KernelPath } from '../sched/path.ts';
import { DONE, RandomChooser } from '../sched/scheduler.ts';
import { checkWorld } from './check-world.ts';
import { kernelConfig } from './config.ts';
import { userLoad, userStore } from './cpu-access.ts';
import { Kernel } from './kernel.ts';
import { CLONE_VM, createProcess, doClone } from './process/task.ts';
import { SyscallArgs } from './syscalls/args.ts';
import { syscall } from './syscalls/table.ts';
import { linuxFns } from './table.ts';
import type { Task } from './types.ts';

const seed = Number(process.env['SEED'] ?? 11);
const PAGE = 4096;
const BASE = 0x3fff0000; // a window across a 1 GiB boundary
const PAGES = 48;

/** A thread's life: system calls and accesses whose results it does not look at. */
function* live(k: Kernel, task: Task, rng: Rng, steps: number): KernelPath<void> {
  const args = new SyscallArgs();
  const call = (nr: number, ...a: number[]): KernelPath<number> =>
    syscall(k, task, nr, args.of(a[0], a[1], a[2], a[3], a[4], a[5]));
  for (let i = 0; i < steps; i++) {
    const start = BASE + rng.below(PAGES) * PAGE;
    const len = (1 + rng.below(12)) * PAGE;
    const kind = rng.below(20);
    if (kind < 3) {
      const type = rng.chance(1, 4) ? MAP_SHARED : MAP_PRIVATE;
      yield* call(NR_mmap, start, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | type, -1, 0);
    } else if (kind < 4) {
      yield* call(NR_munmap, start, len);
    } else if (kind < 6) {
      yield* call(NR_mprotect, start, len, rng.chance(1, 2) ? PROT_READ : PROT_READ | PROT_WRITE);
    } else if (kind < 7) {
      const to = BASE + rng.below(PAGES) * PAGE;
      yield* call(NR_mremap, start, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    } else if (kind < 11) {
      const advice = [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT][rng.below(4)]!;
      yield* call(NR_madvise, start, len, advice);
    } else {
      for (let a = start; a < start + len; a += PAGE) {
        if (rng.chance(2, 3)) yield* userStore(k, task, a, rng.below(256));
        else yield* userLoad(k, task, a);
      }
    }
  }
}

it(`interleaved threads leave a consistent world (SEED=${seed})`, () => {
  for (let round = 0; round < 12; round++) {
    const rng = new Rng(seed * 100 + round);
    const config = kernelConfig({
      frames: 80,
      swapPages: 600,
      cpus: 2,
      strideOn: 3,
      gatherBatchEntries: 6,
      watermarkMin: 4,
      watermarkLow: 20,
      watermarkHigh: 28,
    });
    const k = new Kernel(config, linuxFns, new RandomChooser(rng));
    let stale = 0;
    k.memory.log.attach({
      onRecord: (ring, at) => {
        if (ring[at] === E_CPU_ACCESS && ring[at + 7] !== ring[at + 8]) stale++;
      },
    });
    const areas = [{ start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' }];
    const first = k.sched.run(createProcess(k, { areas, startBrk: 0x600000 }));
    const prepare = syscall(
      k,
      first,
      NR_mmap,
      new SyscallArgs().of(BASE, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0),
    );
    k.sched.run(prepare);
    for (let i = 0; i < PAGES; i += 2) k.sched.run(userStore(k, first, BASE + i * PAGE, i));
    const sibling = k.tasks.get(k.sched.run(doClone(k, first, CLONE_VM)))!;
    const child = k.tasks.get(k.sched.run(doClone(k, first, 0)))!;
    sibling.cpu = 1;
    const sleepers: string[] = [];
    k.sched.onAtomicSleep = (t) => sleepers.push(`${t.name}: ${t.waitingFor}`);
    k.sched.points = true;
    k.sched.spawn('kswapd', 'kernel', k.fn.kswapd(k), true);
    const threads = [first, sibling, child].map((task, i) =>
      k.sched.spawn(`task ${i}`, 'cpu', live(k, task, new Rng(seed * 1000 + round * 10 + i), 120)),
    );
    const end = k.sched.runUntil(() => threads.every((t) => t.state === DONE), 3_000_000);
    const stand = threads.map((t) => `${t.name} ${t.state} ${t.waitingFor}`).join(', ');
    expect(`${round}: ${end} ${end === 'reached' ? '' : stand}`).toBe(`${round}: reached `);
    // kswapd may stand in the middle of a batch.
    k.sched.runUntil(() => !k.reclaim.kswapdWanted, 1_000_000);
    expect([sleepers, stale]).toEqual([[], 0]);
    k.sched.points = false;
    checkWorld(k);
    for (const task of [first, sibling, child]) k.sched.run(syscall(k, task, NR_exit, new SyscallArgs().of(0)));
    checkWorld(k);
    expect([k.mms.size, k.swap.used]).toEqual([0, 0]);
  }
});
