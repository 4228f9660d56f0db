// Moving pages between NUMA nodes by a script: move_pages of a run of pages to one node, by the process itself or by another one.

import { doPagesMove } from '../../mm/migrate/move-pages.ts';
import { MPOL_MF_MOVE, MPOL_MF_MOVE_ALL } from '../../mm/syscalls/mempolicy.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Process, World } from '../world.ts';
import { type Args, errorOutcome, type Op, type Outcome } from './outcome.ts';

const MOVE_FLAGS = new Map([
  ['MPOL_MF_MOVE', MPOL_MF_MOVE],
  ['MPOL_MF_MOVE_ALL', MPOL_MF_MOVE_ALL],
]);

/** The process that a call works on: its caller, or the one that `of` names. */
function targetOf(world: World, p: Process, args: Args): Process {
  return args.has('of') ? world.process(args.text('of')) : p;
}

const movePages: Op = function* (world, p, args): KernelPath<Outcome> {
  const count = args.num('pages');
  const start = args.num('addr');
  const addresses = Array.from({ length: count }, (_, i) => start + i * 4096);
  const targets = addresses.map(() => args.num('node'));
  const status = new Int32Array(count);
  const all = (args.flags('flags', MOVE_FLAGS) & MPOL_MF_MOVE_ALL) !== 0;
  const mm = world.mmOf(targetOf(world, p, args));
  const result = yield* doPagesMove(world.kernel, mm, addresses, targets, status, all);
  return result < 0 ? errorOutcome(result) : { ret: result, status: [...status] };
};

export const migrateOps: Readonly<Record<string, Op>> = { move_pages: movePages };
