// Moving pages between NUMA nodes by a script: move_pages of a run of pages to one node, by the process itself or by another one.

import { ACCESS_WRITE } from '../../hw/walker.ts';
import { doPagesMove } from '../../mm/migrate/move-pages.ts';
import { MPOL_MF_MOVE, MPOL_MF_MOVE_ALL } from '../../mm/syscalls/mempolicy.ts';
import type { KernelPath } from '../../sched/path.ts';
import { CONTROLLER, type Process, type World } from '../world.ts';
import { kernelAccess } from './access.ts';
import { type Args, errorOutcome, type Op, type Outcome } from './outcome.ts';

/** Where the target's arrays end (8 bytes for an address, 4 for a node): status. */
const STATUS_AT = 0x600000000080;

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
  // The answers go to the scratch block, behind the arguments: the first of them may fault.
  if (count > 0 && p.name !== CONTROLLER) yield* kernelAccess(world, p, STATUS_AT + 12 * count, ACCESS_WRITE);
  return result < 0 ? errorOutcome(result) : { ret: result, status: [...status] };
};

export const migrateOps: Readonly<Record<string, Op>> = { move_pages: movePages };
