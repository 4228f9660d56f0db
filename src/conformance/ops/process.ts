// Processes and threads of a script.

import { ENOENT } from '../../abi/errno.ts';
import { ACCESS_EXEC, ACCESS_WRITE } from '../../hw/walker.ts';
import { userTranslate } from '../../mm/cpu-access.ts';
import { putFiles } from '../../mm/process/files.ts';
import {
  CLONE_FILES,
  CLONE_THREAD,
  CLONE_VFORK,
  CLONE_VM,
  doClone,
  doExec,
  doExit,
  isInVfork,
} from '../../mm/process/task.ts';
import type { KernelPath } from '../../sched/path.ts';
import { OP_END, OP_LATE } from '../recording.ts';
import type { Process, World } from '../world.ts';
import { type Args, errorOutcome, type Op, type Outcome } from './outcome.ts';

/** Where the loop of the target lies. */
const TEXT = 0x400000;

function cloneOp(flags: number): Op {
  return function* (world: World, p: Process, args: Args) {
    const pid = yield* doClone(world.kernel, p.task, flags);
    if (pid < 0) return errorOutcome(pid);
    const task = world.kernel.tasks.get(pid)!;
    // The child goes on in user mode until it stops for the controller: an instruction fetch. The recorder does not watch its
    // address space yet.
    const cpu = world.kernel.cpus[task.cpu]!;
    if ((flags & CLONE_VM) === 0) {
      world.switchTo({ ...p, task });
      yield* userTranslate(world.kernel, task.mm!, cpu, TEXT, ACCESS_EXEC);
    }
    const child = world.addProcess(args.text('child'), task);
    child.execs = p.execs;
    return { ret: child.name };
  };
}

/** do_exit of one task. */
export function* exitTask(world: World, p: Process): KernelPath<void> {
  // exit_mm: the CPU goes on without the address space, which it still has loaded (lazily).
  const { mm } = p.task;
  if (mm !== null && mm.users === 1) mm.cpuMask &= ~(1 << p.task.cpu);
  yield* doExit(world.kernel, p.task);
  world.processes.delete(p.name);
}

/** exit_group or a fatal signal: every thread of the process ends, the one given last. */
export function* exitGroup(world: World, p: Process): KernelPath<void> {
  const others = [...world.processes.values()].filter((o) => o !== p && o.task.tgid === p.task.tgid);
  for (const other of others) yield* exitTask(world, other);
  yield* exitTask(world, p);
}

/** The parent of a vfork goes on. */
const resumed: Op = function* (world, p): KernelPath<Outcome> {
  return { resumed: !isInVfork(world.kernel, p.task) };
};

const exit: Op = function* (world, p, args): KernelPath<Outcome> {
  yield* exitTask(world, p);
  return { exited: args.num('code') };
};

const exitAll: Op = function* (world, p, args): KernelPath<Outcome> {
  yield* exitGroup(world, p);
  return { exited: args.num('code') };
};

const kill: Op = function* (world, _p, args): KernelPath<Outcome> {
  yield* exitGroup(world, world.process(args.text('of')));
  return { killed: args.num('sig') };
};

/** The controller ends: it closes its files, and with them the scratch block. */
const endOfRecording: Op = function* (world, p): KernelPath<Outcome> {
  for (const target of world.processes.values()) if (target !== p) yield* putFiles(world.kernel, target.task.files);
  yield* exitTask(world, p);
  return {};
};

/** The only program that there is; other paths do not exist. Its start code maps and touches what the first process had. */
const execve: Op = function* (world, p, args): KernelPath<Outcome> {
  const layout = world.programs.get(args.text('path'));
  if (layout === undefined) return errorOutcome(-ENOENT);
  const old = p.task.mm;
  if (old !== null && old.users === 1) old.cpuMask &= ~(1 << p.task.cpu);
  const r = yield* doExec(world.kernel, p.task, layout);
  if (r < 0) return errorOutcome(r);
  world.switchTo(p);
  const mm = world.mmOf(p);
  const cpu = world.kernel.cpus[p.task.cpu]!;
  yield* userTranslate(world.kernel, mm, cpu, TEXT, ACCESS_EXEC);
  yield* userTranslate(world.kernel, mm, cpu, mm.startStack, ACCESS_WRITE);
  p.execs++;
  world.nameMm(mm, p.name + "'".repeat(p.execs));
  return { ret: 0 };
};

export const processOps: Readonly<Record<string, Op>> = {
  fork: cloneOp(0),
  vfork: cloneOp(CLONE_VM | CLONE_VFORK),
  [`${OP_LATE}vfork`]: resumed,
  clone_vm: cloneOp(CLONE_VM),
  thread: cloneOp(CLONE_VM | CLONE_FILES | CLONE_THREAD),
  execve,
  exit,
  exit_group: exitAll,
  kill,
  [OP_END]: endOfRecording,
};
