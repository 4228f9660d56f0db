// DAMON as a script drives it: writes to files below /sys/kernel/mm/damon/admin, and time that passes.

import { EBUSY, EINVAL } from '../../abi/errno.ts';
import { Rng } from '../../base/rng.ts';
import { DamonContext, DamonRegion, damonAdvance, damonStop } from '../../mm/track/damon.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { World } from '../world.ts';
import { type Op, type Outcome, valueOutcome } from './outcome.ts';
import { writeAdminFile } from './reclaim.ts';

const ADMIN = '/sys/kernel/mm/damon/admin/kdamonds/';

/** The files that were written, and the context that runs. */
class DamonFiles {
  readonly values = new Map<string, string>();
  running: DamonContext | null = null;

  number(name: string, otherwise: number): number {
    const text = this.values.get(name);
    return text === undefined ? otherwise : Number(text);
  }
}

const files = new WeakMap<World, DamonFiles>();

function filesOf(world: World): DamonFiles {
  let known = files.get(world);
  if (known === undefined) files.set(world, (known = new DamonFiles()));
  return known;
}

/** damon_sysfs_turn_damon_on: 0 or -EBUSY (running), -EINVAL (no target). Addresses are fixed (fvaddr) or given. */
function* turnOn(world: World, damon: DamonFiles): KernelPath<number> {
  if (damon.running !== null) return -EBUSY;
  const target = '0/contexts/0/targets/0/';
  const name = damon.values.get(`${target}pid_target`)?.replace(/^@/, '') ?? '';
  const mm = world.processes.get(name)?.task.mm ?? null;
  if (mm === null) return -EINVAL;
  const regions: DamonRegion[] = [];
  for (let i = 0; i < damon.number(`${target}regions/nr_regions`, 0); i++) {
    const at = `${target}regions/${i}/`;
    regions.push(new DamonRegion(damon.number(`${at}start`, 0), damon.number(`${at}end`, 0)));
  }
  const context = new DamonContext(mm, regions, new Rng(1));
  const intervals = '0/contexts/0/monitoring_attrs/intervals/';
  context.sampleUs = damon.number(`${intervals}sample_us`, context.sampleUs);
  context.aggregateUs = damon.number(`${intervals}aggr_us`, context.aggregateUs);
  damon.running = context;
  yield* damonAdvance(world.kernel, context, 0);
  return 0;
}

const writeFile: Op = function* (world, p, args, call): KernelPath<Outcome> {
  const path = args.text('path');
  if (!path.startsWith(ADMIN)) return yield* writeAdminFile(world, p, args, call);
  const damon = filesOf(world);
  const name = path.slice(ADMIN.length);
  const value = args.text('value');
  if (name !== '0/state') {
    damon.values.set(name, value);
    return { ret: 0 };
  }
  if (value === 'on') return valueOutcome(yield* turnOn(world, damon));
  if (damon.running === null) return valueOutcome(-EINVAL);
  yield* damonStop(world.kernel, damon.running);
  damon.running = null;
  return { ret: 0 };
};

/** The controller sleeps; what runs by the clock runs meanwhile. */
const sleep: Op = function* (world, _p, args): KernelPath<Outcome> {
  const { running } = filesOf(world);
  if (running !== null) yield* damonAdvance(world.kernel, running, args.num('ms') * 1000);
  return {};
};

export const damonOps: Readonly<Record<string, Op>> = { write_file: writeFile, sleep };
