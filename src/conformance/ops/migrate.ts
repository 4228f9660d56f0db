// Moving pages between NUMA nodes by a script: move_pages of a run of pages to one node, by the process itself or by another one.

import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
} from '../../abi/mman.ts';
import { ACCESS_WRITE } from '../../hw/walker.ts';
import { doPagesMove, type OnStore } from '../../mm/migrate/move-pages.ts';
import { MPOL_MF_MOVE, MPOL_MF_MOVE_ALL } from '../../mm/numa/queue-pages.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Process, World } from '../world.ts';
import { type Args, errorOutcome, type Op, type Outcome } from './outcome.ts';

/** Where the scratch block lies in the target. */
const SCRATCH = 0x600000000000;

const MOVE_FLAGS = new Map([
  ['MPOL_MF_MOVE', MPOL_MF_MOVE],
  ['MPOL_MF_MOVE_ALL', MPOL_MF_MOVE_ALL],
]);

/** The process that a call works on: its caller, or the one that `of` names. */
function targetOf(world: World, p: Process, args: Args): Process {
  return args.has('of') ? world.process(args.text('of')) : p;
}

/** The status words stand in the scratch block, behind the addresses and the nodes; the kernel's stores there may fault. */
function statusStore(world: World, p: Process, count: number): OnStore {
  const { kernel } = world;
  const mm = world.mmOf(p);
  const flags = FAULT_FLAG_WRITE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE;
  return function* (from, to) {
    for (let i = from; i < to; i++) {
      const va = SCRATCH + 20 * count + 4 * i;
      while (kernel.cpus[p.task.cpu]!.translate(va, ACCESS_WRITE) < 0)
        if (((yield* kernel.fn.doUserAddrFault(kernel, mm, va, flags)) & VM_FAULT_ERROR) !== 0) return;
    }
  };
}

const movePages: Op = function* (world, p, args): KernelPath<Outcome> {
  const count = args.num('pages');
  const start = args.num('addr');
  const addresses = Array.from({ length: count }, (_, i) => start + i * 4096);
  const targets = addresses.map(() => args.num('node'));
  const status = new Int32Array(count);
  const all = (args.flags('flags', MOVE_FLAGS) & MPOL_MF_MOVE_ALL) !== 0;
  const mm = world.mmOf(targetOf(world, p, args));
  const store = p === targetOf(world, p, args) ? statusStore(world, p, count) : null;
  const result = yield* doPagesMove(world.kernel, mm, addresses, targets, status, all, store);
  return result < 0 ? errorOutcome(result) : { ret: result, status: [...status] };
};

export const migrateOps: Readonly<Record<string, Op>> = { move_pages: movePages };
