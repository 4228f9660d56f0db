// Threads of one address space, a forked one, kswapd, ksmd and khugepaged, interleaved at every point by seeded chance, with
// memory short. Judges: no CPU reaches a frame through a stale translation, nobody sleeps with a spinlock held, nothing
// hangs, and when all is quiet every count is right.
import { expect, it } from 'vitest';
import { E_CPU_ACCESS } from '../abi/events.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_HUGEPAGE,
  MADV_MERGEABLE,
  MADV_PAGEOUT,
  MADV_UNMERGEABLE,
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
import { DONE, RandomChooser, SLEEPING } from '../sched/scheduler.ts';
import { checkWorld } from './check-world.ts';
import { type KernelConfig, kernelConfig } from './config.ts';
import { userLoad, userStore } from './cpu-access.ts';
import { wakeKhugepaged } from './huge/khugepaged.ts';
import { Kernel } from './kernel.ts';
import { setKsmRun } from './ksm/scan.ts';
import { PG_LRU, PG_SWAPCACHE } from './page/pages.ts';
import { CLONE_VM, createProcess, doClone } from './process/task.ts';
import { SyscallArgs } from './syscalls/args.ts';
import { syscall } from './syscalls/table.ts';
import { linuxFns } from './table.ts';
import type { Task } from './types.ts';

const seed = Number(process.env['SEED'] ?? 11);
const PAGE = 4096;

interface World {
  readonly base: number;
  readonly pages: number;
  /** Pages that one call or a run of accesses spans at most. */
  readonly span: number;
  readonly advice: readonly number[];
  readonly config: Partial<KernelConfig>;
  readonly rounds: number;
  readonly steps: number;
}

const WATERMARKS = { watermarkMin: 4, watermarkLow: 20, watermarkHigh: 28 };
/** A window across a 1 GiB boundary, small pages. */
const SMALL: World = {
  base: 0x3fff0000,
  pages: 48,
  span: 12,
  advice: [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_MERGEABLE, MADV_UNMERGEABLE],
  config: { frames: 80, swapPages: 600, ...WATERMARKS },
  rounds: 12,
  steps: 120,
};
/** Three blocks of 2 MiB. */
const HUGE: World = {
  base: 0x40000000,
  pages: 3 * 512,
  span: 700,
  advice: [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE, MADV_MERGEABLE],
  config: { frames: 2600, swapPages: 6000, thpEnabled: 'always', ...WATERMARKS },
  rounds: 4,
  steps: 60,
};

/** A thread's life: system calls and accesses whose results it does not look at. Few values are stored, so that pages are equal. */
function* live(k: Kernel, task: Task, rng: Rng, w: World): KernelPath<void> {
  const args = new SyscallArgs();
  const call = (nr: number, ...a: number[]): KernelPath<number> =>
    syscall(k, task, nr, args.of(a[0], a[1], a[2], a[3], a[4], a[5]));
  for (let i = 0; i < w.steps; i++) {
    const start = w.base + rng.below(w.pages) * PAGE;
    const len = (1 + rng.below(w.span)) * PAGE;
    const kind = rng.below(20);
    if (kind < 3) {
      const type = rng.chance(1, 4) ? MAP_SHARED : MAP_PRIVATE;
      yield* call(NR_mmap, start, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | type, -1, 0);
    } else if (kind < 4) {
      yield* call(NR_munmap, start, len);
    } else if (kind < 6) {
      yield* call(NR_mprotect, start, len, rng.chance(1, 2) ? PROT_READ : PROT_READ | PROT_WRITE);
    } else if (kind < 7) {
      const to = w.base + rng.below(w.pages) * PAGE;
      yield* call(NR_mremap, start, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    } else if (kind < 11) {
      yield* call(NR_madvise, start, len, w.advice[rng.below(w.advice.length)]!);
    } else if (kind < 12) {
      wakeKhugepaged(k);
    } else {
      const step = len > 64 * PAGE ? 16 * PAGE : PAGE;
      for (let a = start; a < start + len; a += step) {
        if (rng.chance(2, 3)) yield* userStore(k, task, a, rng.below(3));
        else yield* userLoad(k, task, a);
      }
    }
  }
}

/** Slots that hold more than a page which reclaim may have back at any time: one whose lock somebody held when its last user left. */
function slotsInUse(k: Kernel): number {
  const { flags, refcount, mapcount } = k.pages;
  let idle = 0;
  for (let pfn = 0; pfn < k.pages.count; pfn++) {
    const isCached = (flags[pfn]! & (PG_SWAPCACHE | PG_LRU)) === (PG_SWAPCACHE | PG_LRU);
    if (isCached && refcount[pfn] === 1 && mapcount[pfn] === 0) idle++;
  }
  return k.swap.used - idle;
}

function runRound(w: World, round: number): void {
  const rng = new Rng(seed * 100 + round);
  const config = kernelConfig({ cpus: 2, strideOn: 3, gatherBatchEntries: 6, ...w.config });
  const k = new Kernel(config, linuxFns, new RandomChooser(rng));
  let stale = 0;
  k.memory.log.attach({
    onRecord: (ring, at) => {
      if (ring[at] === E_CPU_ACCESS && ring[at + 7] !== ring[at + 8]) stale++;
    },
  });
  const areas = [{ start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' }];
  const first = k.sched.run(createProcess(k, { areas, startBrk: 0x600000 }));
  const flags = MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE;
  const args = new SyscallArgs().of(w.base, w.pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
  k.sched.run(syscall(k, first, NR_mmap, args));
  for (let i = 0; i < w.pages; i += 2) k.sched.run(userStore(k, first, w.base + i * PAGE, i & 255));
  const sibling = k.tasks.get(k.sched.run(doClone(k, first, CLONE_VM)))!;
  const child = k.tasks.get(k.sched.run(doClone(k, first, 0)))!;
  sibling.cpu = 1;
  const sleepers: string[] = [];
  k.sched.onAtomicSleep = (t) => sleepers.push(`${t.name}: ${t.waitingFor}`);
  k.sched.points = true;
  k.sched.spawn('kswapd', 'kernel', k.fn.kswapd(k), true);
  k.sched.spawn('ksmd', 'kernel', k.fn.ksmd(k), true);
  k.sched.spawn('khugepaged', 'kernel', k.fn.khugepaged(k), true);
  setKsmRun(k, true);
  const threads = [first, sibling, child].map((task, i) =>
    k.sched.spawn(`task ${i}`, 'cpu', live(k, task, new Rng(seed * 1000 + round * 10 + i), w)),
  );
  const end = k.sched.runUntil(() => threads.every((t) => t.state === DONE), 3_000_000);
  const stand = threads.map((t) => `${t.name} ${t.state} ${t.waitingFor}`).join(', ');
  expect(`${round}: ${end} ${end === 'reached' ? '' : stand}`).toBe(`${round}: reached `);
  // The background threads get to see everything, and come to rest.
  const seen = k.sched.runUntil(() => k.ksm.isEmpty || k.ksm.fullScans > 0, 1_000_000);
  expect(`${round}: ${seen}`).toBe(`${round}: reached`);
  setKsmRun(k, false);
  const daemons = [...k.sched.daemons];
  const rest = k.sched.runUntil(() => daemons.every((t) => t.state === SLEEPING), 1_000_000);
  expect(`${round}: ${rest}`).toBe(`${round}: reached`);
  expect([sleepers, stale]).toEqual([[], 0]);
  k.sched.points = false;
  checkWorld(k);
  for (const task of [first, sibling, child]) k.sched.run(syscall(k, task, NR_exit, new SyscallArgs().of(0)));
  // A scanner that stands in an address space keeps its mm_struct until it goes on.
  k.sched.run(k.fn.ksmDoScan(k, 4096));
  k.sched.run(k.fn.khugepagedScan(k, k.huge.pagesToScan));
  checkWorld(k);
  expect([k.mms.size, slotsInUse(k)]).toEqual([0, 0]);
}

for (const [name, world] of [
  ['small pages', SMALL],
  ['huge pages', HUGE],
] as const) {
  it(`interleaved threads leave a consistent world: ${name} (SEED=${seed})`, () => {
    for (let round = 0; round < world.rounds; round++) runRound(world, round);
  });
}
