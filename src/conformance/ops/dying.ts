// Processes that are killed while they are in the middle of something, and what other processes then take from them.

import { MADV_DONTNEED } from '../../abi/mman.ts';
import { NR_madvise } from '../../abi/syscalls.ts';
import { sendSigkill } from '../../mm/oom/kill.ts';
import { processMrelease } from '../../mm/oom/reap.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Process, World } from '../world.ts';
import { type Op, type Outcome, valueOutcome } from './outcome.ts';
import { exitGroup } from './process.ts';

const SIGKILL = 9;

/** The target's own path: MADV_DONTNEED, in which a notifier sleeps; then the signal that came meanwhile. */
function* adviseThenDie(world: World, p: Process, start: number, len: number): KernelPath<void> {
  yield* world.syscall(p, NR_madvise, start, len, MADV_DONTNEED);
  yield* exitGroup(world, p);
}

/** madvise(MADV_DONTNEED) of the target sleeps inside invalidate_range_start; then it gets SIGKILL. */
const oomreap: Op = function* (world, _p, args): KernelPath<Outcome> {
  const target = world.process(args.text('of'));
  const { sched } = world.kernel;
  world.sleepInStart.isOn = true;
  world.switchTo(target);
  const thread = sched.spawn(target.name, 'cpu', adviseThenDie(world, target, args.num('addr'), args.num('len')));
  while (thread.path !== null && sched.runnableCount > 0) sched.step();
  sendSigkill(world.kernel, target.task);
  world.switchTo(world.process('ctl'));
  return { killed: SIGKILL };
};

/** Afterwards the sleeping notifier is woken, and the target goes on to its end. */
const mrelease: Op = function* (world, p, args): KernelPath<Outcome> {
  const target = world.processes.get(args.text('of'));
  const result = yield* processMrelease(world.kernel, target?.task ?? null, args.num('flags'));
  if (target !== undefined && world.sleepInStart.isOn) {
    world.switchTo(target);
    world.sleepInStart.wake(world.kernel.sched);
    world.settle();
    world.switchTo(p);
  }
  return valueOutcome(result);
};

export const dyingOps: Readonly<Record<string, Op>> = { oomreap, process_mrelease: mrelease };
