// The mirroring device of scripts: ioctls on /dev/hmm_dmirror0.

import type { KernelPath } from '../../sched/path.ts';
import { Dmirror, type DmirrorResult } from '../dmirror.ts';
import type { Process, World } from '../world.ts';
import { errorOutcome, type Op, type Outcome } from './outcome.ts';

const devices = new WeakMap<object, Dmirror>();

function* deviceOf(world: World, p: Process): KernelPath<Dmirror> {
  const mm = world.mmOf(p);
  let device = devices.get(mm);
  if (device === undefined) {
    device = yield* Dmirror.open(world.kernel, mm, world.design.intervals);
    devices.set(mm, device);
  }
  return device;
}

function run(device: Dmirror, cmd: string, start: number, end: number): KernelPath<DmirrorResult> {
  switch (cmd) {
    case 'migrate_to_dev':
      return device.migrateToDevice(start, end);
    case 'migrate_to_sys':
      return device.migrateToSystem(start, end);
    case 'exclusive':
      return device.exclusive(start, end);
    case 'read':
      return device.access(start, end, false);
    case 'write':
      return device.access(start, end, true);
    default:
      throw new Error(`conformance: hmm command ${cmd} is not modelled`);
  }
}

const hmm: Op = function* (world, p, args): KernelPath<Outcome> {
  const device = yield* deviceOf(world, p);
  const start = args.num('addr');
  const end = start + args.num('pages') * 4096;
  const cmd = args.text('cmd');
  const { result, cpages, faults } =
    cmd === 'check_exclusive' ? device.checkExclusive(start, end) : yield* run(device, cmd, start, end);
  return { ...(result < 0 ? errorOutcome(result) : { ret: result }), cpages, faults };
};

export const hmmOps: Readonly<Record<string, Op>> = { hmm };
