// Calls of a script that say which CPU runs a thread, and advice and keys.

import { NR_pkey_alloc, NR_pkey_free, NR_pkey_mprotect } from '../../abi/syscalls.ts';
import { ACCESS_READ, ACCESS_WRITE } from '../../hw/walker.ts';
import { processMadvise } from '../../mm/syscalls/madvise.ts';
import * as C from '../../workload/strace/constants.ts';
import { OP_LATE } from '../recording.ts';
import { access, signalOutcome } from './access.ts';
import { errorOutcome, type Op, valueOutcome } from './outcome.ts';

const madvise: Op = function* (world, p, args) {
  const advice = args.flags('advice', C.MADV);
  const target = world.processes.get(args.text('of'))?.task ?? null;
  const ranges = [[args.num('addr'), args.num('len')]] as const;
  return valueOutcome(yield* processMadvise(world.kernel, p.task, target, ranges, advice, 0));
};

const pkeyAlloc: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_pkey_alloc, args.num('flags'), args.num('rights')));
};

const pkeyFree: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_pkey_free, args.num('pkey')));
};

const pkeyMprotect: Op = function* (world, p, args) {
  const prot = args.flags('prot', C.PROT);
  const words = [args.word('addr'), args.word('len'), prot, args.num('pkey')];
  return valueOutcome(yield* world.syscall(p, NR_pkey_mprotect, ...words));
};

/** The thread runs on that CPU from now on. */
const setAffinity: Op = function* (world, p, args) {
  const cpu = args.num('cpu');
  if (cpu >= world.kernel.cpus.length) return errorOutcome(-22);
  p.task.cpu = cpu;
  world.switchTo(p);
  return { ret: 0 };
};

/** The thread adds to a byte in a loop, in the background: its CPU runs the address space until the loop has ended. */
const spin: Op = function* (world, p, args) {
  const va = args.num('addr');
  for (const kind of [ACCESS_READ, ACCESS_WRITE]) {
    const at = yield* access(world, p, va, kind);
    if (at < 0) return signalOutcome(world, va, -at);
  }
  world.spinning.add(p);
  return {};
};

const spinEnds: Op = function* (world, p) {
  world.spinning.delete(p);
  return {};
};

export const remoteOps: Readonly<Record<string, Op>> = {
  process_madvise: madvise,
  pkey_alloc: pkeyAlloc,
  pkey_free: pkeyFree,
  pkey_mprotect: pkeyMprotect,
  sched_setaffinity: setAffinity,
  spinbg: spin,
  [`${OP_LATE}spinbg`]: spinEnds,
};
