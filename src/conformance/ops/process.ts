// Processes and threads of a script.

import { putFiles } from '../../mm/process/files.ts';
import { CLONE_FILES, CLONE_VFORK, CLONE_VM, doClone, doExit } from '../../mm/process/task.ts';
import type { KernelPath } from '../../sched/path.ts';
import { OP_END } from '../recording.ts';
import type { Process, World } from '../world.ts';
import { type Args, errorOutcome, type Op, type Outcome } from './outcome.ts';

const CLONE_THREAD = 0x10000;

function cloneOp(flags: number): Op {
  return function* (world: World, p: Process, args: Args) {
    const pid = yield* doClone(world.kernel, p.task, flags);
    if (pid < 0) return errorOutcome(pid);
    const child = world.addProcess(args.text('child'), world.kernel.tasks.get(pid)!);
    child.execs = p.execs;
    return { ret: child.name };
  };
}

/** do_exit of one task. */
export function* exitTask(world: World, p: Process): KernelPath<void> {
  // exit_mm: the CPU goes on without the address space, which it still has loaded (lazily).
  const { mm } = p.task;
  if (mm !== null) mm.cpuMask &= ~(1 << p.task.cpu);
  yield* doExit(world.kernel, p.task);
  world.processes.delete(p.name);
}

const exit: Op = function* (world, p, args): KernelPath<Outcome> {
  yield* exitTask(world, p);
  return { exited: args.num('code') };
};

const kill: Op = function* (world, _p, args): KernelPath<Outcome> {
  yield* exitTask(world, world.process(args.text('of')));
  return { killed: args.num('sig') };
};

/** The controller ends: it closes its files, and with them the scratch block. */
const endOfRecording: Op = function* (world, p): KernelPath<Outcome> {
  for (const target of world.processes.values()) if (target !== p) yield* putFiles(world.kernel, target.task.files);
  yield* exitTask(world, p);
  return {};
};

export const processOps: Readonly<Record<string, Op>> = {
  fork: cloneOp(0),
  vfork: cloneOp(CLONE_VM | CLONE_VFORK),
  clone_vm: cloneOp(CLONE_VM),
  thread: cloneOp(CLONE_VM | CLONE_FILES | CLONE_THREAD),
  exit,
  exit_group: exit,
  kill,
  [OP_END]: endOfRecording,
};
