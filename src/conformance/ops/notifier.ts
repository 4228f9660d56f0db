// Calls of the recorder's kernel module: registering and removing notifiers.

import { EBUSY, EINVAL } from '../../abi/errno.ts';
import type { MmuNotifier } from '../../notifier/subscriptions.ts';
import type { NotifierMode } from '../notifiers.ts';
import type { World } from '../world.ts';
import { type Args, errorOutcome, type Op, valueOutcome } from './outcome.ts';

function modeOf(args: Args): NotifierMode {
  return { omit: args.list('omit'), young: args.num('young'), eagain: args.num('eagain') };
}

function notifier(world: World, args: Args) {
  const n = world.notifiers.get(args.num('id'));
  if (n === undefined) throw new Error(`conformance: no notifier ${args.num('id')}`);
  return n;
}

function interval(world: World, args: Args) {
  const n = world.intervals.get(args.num('id'));
  if (n === undefined) throw new Error(`conformance: no interval notifier ${args.num('id')}`);
  return n;
}

const register: Op = function* (world, p, args) {
  // The recorder's module keeps one notifier for each number.
  if (world.notifiers.get(args.num('id'))?.mn.isHashed === true) return errorOutcome(-EBUSY);
  const n = world.newNotifier(args.num('id'), modeOf(args));
  world.notifiers.set(n.id, n);
  if (n.tlb !== null) yield* world.design.list.register(n.tlb as MmuNotifier<never>, world.mmOf(p));
  return valueOutcome(yield* world.design.list.register(n.mn, world.mmOf(p)));
};

const unregister: Op = function* (world, _p, args) {
  // The recorder's module looks its number up.
  const { mn, tlb } = world.notifiers.get(args.num('id')) ?? { mn: undefined, tlb: null };
  if (mn === undefined || mn.mm === null) return errorOutcome(-EINVAL);
  if (tlb !== null && tlb.mm !== null) yield* world.design.list.unregister(tlb as MmuNotifier<never>, tlb.mm);
  yield* world.design.list.unregister(mn, mn.mm);
  return { ret: 0 };
};

const get: Op = function* (world, p, args) {
  const id = args.num('id');
  const n = world.notifiers.get(id) ?? world.newNotifier(id, modeOf(args));
  world.notifiers.set(id, n);
  const r = yield* world.design.list.get(n.ops, world.mmOf(p));
  return typeof r === 'number' ? errorOutcome(r) : { ret: 0 };
};

const put: Op = function* (world, _p, args) {
  world.design.list.put(notifier(world, args).mn as MmuNotifier<never>);
  return { ret: 0 };
};

/** Waits for every free_notifier. */
const synchronize: Op = function* (world) {
  yield* world.design.list.synchronize();
  return { ret: 0 };
};

const mode: Op = function* (world, _p, args) {
  notifier(world, args).mode.eagain = args.num('mode');
  return { ret: 0 };
};

const insert: Op = function* (world, p, args) {
  const n = world.newInterval(args.num('id'));
  const r = yield* world.design.intervals.insert(n.sub, world.mmOf(p), args.num('start'), args.num('len'));
  if (r >= 0) world.intervals.set(n.id, n);
  return valueOutcome(r);
};

const remove: Op = function* (world, _p, args) {
  yield* world.design.intervals.remove(interval(world, args).sub);
  return { ret: 0 };
};

const readBegin: Op = function* (world, _p, args) {
  const n = interval(world, args);
  n.seq = yield* world.design.intervals.readBegin(n.sub);
  return { ret: n.seq };
};

const readRetry: Op = function* (world, _p, args) {
  const n = interval(world, args);
  return { ret: world.design.intervals.readRetry(n.sub, n.seq) ? 1 : 0 };
};

export const notifierOps: Readonly<Record<string, Op>> = {
  mmu_notifier_register: register,
  mmu_notifier_unregister: unregister,
  mmu_notifier_get: get,
  mmu_notifier_put: put,
  put,
  mmu_notifier_synchronize: synchronize,
  sync: synchronize,
  mode,
  mmu_interval_notifier_insert: insert,
  mmu_interval_notifier_remove: remove,
  iv_remove: remove,
  mmu_interval_read_begin: readBegin,
  mmu_interval_read_retry: readRetry,
};
