// Steps of scenarios that others do to an address space, if it is still there: writes of a debugger and of another process, looks at what
// was used, advice, pins of another driver, and what an administrator sets.

import { MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT, MADV_WILLNEED } from '../../abi/mman.ts';
import { InputError } from '../../base/assert.ts';
import { Rng } from '../../base/rng.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../../mm/gup/flags.ts';
import { unpinUserPage } from '../../mm/gup/gup.ts';
import { khugepagedScan } from '../../mm/huge/khugepaged.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { followMappedPage } from '../../mm/ksm/follow.ts';
import { doMigratePages } from '../../mm/numa/migrate-nodes.ts';
import { memCgroupAttach } from '../../mm/reclaim/mem-cgroup.ts';
import { newMemCgroup, setMemoryMax } from '../../mm/reclaim/memcg.ts';
import { setLruGen } from '../../mm/reclaim/mglru.ts';
import { processMadvise } from '../../mm/syscalls/madvise.ts';
import { processVm } from '../../mm/syscalls/process-vm.ts';
import { CLEAR_REFS_ALL, CLEAR_REFS_SOFT_DIRTY, clearRefs } from '../../mm/track/clear-refs.ts';
import { DamonContext, DamonRegion, damonAdvance, damonStop } from '../../mm/track/damon.ts';
import { pageIdleSet } from '../../mm/track/page-idle.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { ScenarioContext } from './context.ts';
import type { AdminStep, MadviseStep, OutsideStep, PinStep } from './scenario.ts';

const PAGE = 4096;

/** Runs `path` with a user of the task's address space held; does nothing when that is gone. */
function* withMm(k: Kernel, mm: MmStruct | null, path: (mm: MmStruct) => KernelPath<unknown>): KernelPath<void> {
  if (mm === null || mm.users === 0) return;
  mm.users++;
  yield* path(mm);
  yield* k.fn.mmPut(k, mm);
}

export function outsideStep(c: ScenarioContext, step: OutsideStep, task: Task): KernelPath<void> {
  return withMm(c.kernel, task.mm, (mm) => outside(c, step, task, mm));
}

function* outside(c: ScenarioContext, step: OutsideStep, task: Task, mm: MmStruct): KernelPath<void> {
  const k = c.kernel;
  const va = c.va(step.at ?? 0);
  switch (step.do) {
    case 'soft-dirty':
      yield* clearRefs(k, mm, CLEAR_REFS_SOFT_DIRTY);
      return;
    case 'referenced':
      yield* clearRefs(k, mm, CLEAR_REFS_ALL);
      return;
    case 'damon':
      yield* damonSample(k, mm, va);
      return;
    case 'poke':
      yield* k.fn.accessRemoteVm(k, mm, va, bytesOf(step.value), true, true);
      return;
    case 'vm-write': {
      // What is written comes from memory of the writer's own, which is not told of here: zeros.
      const local = { count: 1, pieces: [{ base: Number.NaN, length: 4 }] };
      const remote = { count: 1, pieces: [{ base: va, length: 4 }] };
      yield* processVm(k, task, task, local, remote, 0, true);
      return;
    }
    case 'idle': {
      const pfn = yield* followMappedPage(k, mm, va);
      if (pfn === 0) return;
      yield* pageIdleSet(k, pfn);
      k.fn.putPage(k, pfn);
    }
  }
}

function bytesOf(value = 1): Uint8Array {
  return Uint8Array.of(value, value >> 8, value >> 16, value >> 24);
}

/** One sample of one page: made old, and looked at again. */
function* damonSample(k: Kernel, mm: MmStruct, va: number): KernelPath<void> {
  const context = new DamonContext(mm, [new DamonRegion(va, va + PAGE)], new Rng(1));
  yield* damonAdvance(k, context, 0);
  yield* damonStop(k, context);
}

const GENTLE: Readonly<Record<string, number>> = {
  cold: MADV_COLD,
  pageout: MADV_PAGEOUT,
  willneed: MADV_WILLNEED,
  collapse: MADV_COLLAPSE,
};

/** process_madvise by another process, which takes only advice that destroys nothing. */
export function remoteMadvise(c: ScenarioContext, step: MadviseStep, task: Task): KernelPath<void> {
  const advice = GENTLE[step.advice];
  if (advice === undefined) throw new InputError(`scenario: remote madvise does not take "${step.advice}"`);
  const range = [[c.va(step.at), (step.pages ?? 1) * PAGE]] as const;
  return withMm(c.kernel, task.mm, () => processMadvise(c.kernel, task, task, range, advice, 0));
}

/** Frames that a scenario's other driver has pinned, by address. */
const pinned = new WeakMap<ScenarioContext, Map<number, number>>();

export function* pinStep(c: ScenarioContext, step: PinStep, task: Task): KernelPath<void> {
  const k = c.kernel;
  let pins = pinned.get(c);
  if (pins === undefined) pinned.set(c, (pins = new Map()));
  const start = c.va(step.at);
  const count = step.pages ?? 1;
  if (step.do === 'unpin') {
    for (let va = start; va < start + count * PAGE; va += PAGE) {
      const pfn = pins.get(va);
      if (pfn !== undefined) unpinUserPage(k, pfn, true);
      pins.delete(va);
    }
    return;
  }
  const taken = pins;
  yield* withMm(k, task.mm, function* (mm) {
    const out = new Int32Array(count);
    const lock = mm.mmapLock;
    if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    const got = yield* k.fn.pinUserPages(k, mm, start, count, FOLL_WRITE | FOLL_LONGTERM, out);
    lock.readUnlock();
    for (let i = 0; i < got; i++) taken.set(start + i * PAGE, out[i]!);
  });
}

export function* adminStep(c: ScenarioContext, step: AdminStep, task: Task): KernelPath<void> {
  const k = c.kernel;
  switch (step.do) {
    case 'lru-gen':
      setLruGen(k, true);
      return;
    case 'khugepaged':
      yield* khugepagedScan(k, step.pages ?? k.huge.pagesToScan);
      return;
    case 'migrate-pages':
      if (k.nodes.length === 1) throw new InputError('scenario: kernel.numaNodes says how many nodes there are');
      yield* withMm(k, task.mm, (mm) => doMigratePages(k, mm, [0], [k.nodes.length - 1], true));
      return;
    case 'memory-max': {
      const { mm } = task;
      if (mm === null) return;
      if (mm.memcg === 0) memCgroupAttach(k, mm, newMemCgroup(k));
      // Some time has passed: batches are on their lists, and the worker that flushes statistics every two seconds has run.
      k.reclaim.drainJoining();
      k.reclaim.flushStatsNow();
      yield* setMemoryMax(k, k.reclaim.groups[mm.memcg]!, step.pages ?? 1);
    }
  }
}
