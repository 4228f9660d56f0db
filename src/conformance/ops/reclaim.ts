// Swap, memory cgroups and reclaim: what the controller of a script does as the administrator.

import { EAGAIN, EINVAL } from '../../abi/errno.ts';
import { dropCaches } from '../../mm/file/drop-caches.ts';
import { compactMemory } from '../../mm/migrate/compaction.ts';
import { memoryReclaim, setMemoryHigh, setMemoryMax } from '../../mm/reclaim/memcg.ts';
import { swapoff } from '../../mm/swap/swapoff.ts';
import { errorOutcome, type Op, valueOutcome } from './outcome.ts';

const UNITS: Readonly<Record<string, number>> = { K: 1024, M: 1 << 20, G: 1 << 30 };

/** "2M", "4096", "max" in pages, rounded down as page_counter_memparse does. */
function pagesOf(text: string): number {
  const match = /^(\d+)([KMG]?)$/.exec(text);
  if (match === null) return Number.POSITIVE_INFINITY;
  return Math.floor((Number(match[1]) * (UNITS[match[2]!] ?? 1)) / 4096);
}

const swapoffOp: Op = function* (world) {
  return valueOutcome(yield* swapoff(world.kernel));
};

const memoryReclaimOp: Op = function* (world, _p, args) {
  const r = yield* memoryReclaim(world.kernel, world.group, pagesOf(args.text('bytes')));
  return r === -EAGAIN ? errorOutcome(r) : { ret: r };
};

/** A write to a file of a memory cgroup or of /proc/sys/vm; to any other: nothing happens. */
export const writeAdminFile: Op = function* (world, _p, args) {
  const [path, value] = [args.text('path'), args.text('value')];
  if (path === '') return errorOutcome(-EINVAL);
  if (path.endsWith('/memory.max')) yield* setMemoryMax(world.kernel, world.group, pagesOf(value));
  else if (path.endsWith('/memory.high')) yield* setMemoryHigh(world.kernel, world.group, pagesOf(value));
  else if (path.endsWith('/drop_caches')) dropCaches(world.kernel, Number(value));
  else if (path === '/proc/sys/vm/compact_memory') yield* compactMemory(world.kernel);
  return { ret: 0 };
};

export const reclaimOps: Readonly<Record<string, Op>> = {
  swapoff: swapoffOp,
  memory_reclaim: memoryReclaimOp,
};
