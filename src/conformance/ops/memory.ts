// Memory system calls of a script.

import { VM_FAULT_HWPOISON } from '../../abi/mman.ts';
import {
  NR_brk,
  NR_madvise,
  NR_mincore,
  NR_mlock,
  NR_mlock2,
  NR_mlockall,
  NR_mmap,
  NR_mprotect,
  NR_mremap,
  NR_msync,
  NR_munlock,
  NR_munlockall,
  NR_munmap,
} from '../../abi/syscalls.ts';
import * as C from '../../workload/strace/constants.ts';
import type { World } from '../world.ts';
import { signalOutcome } from './access.ts';
import { type Args, addressOutcome, type Op, valueOutcome } from './outcome.ts';

/** A descriptor by the name that the script gave it, or a number. */
export function fdOf(world: World, args: Args, name = 'fd'): number {
  const word = args.word(name);
  return typeof word === 'number' ? word : (world.fds.get(word) ?? Number(word));
}

const mmap: Op = function* (world, p, args) {
  const prot = args.flags('prot', C.PROT);
  const flags = args.flags('flags', C.MAP);
  const fd = fdOf(world, args);
  const r = yield* world.syscall(p, NR_mmap, args.word('addr'), args.word('len'), prot, flags, fd, args.word('off'));
  return addressOutcome(r);
};

const munmap: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_munmap, args.word('addr'), args.word('len')));
};

const mprotect: Op = function* (world, p, args) {
  const prot = args.flags('prot', C.PROT);
  return valueOutcome(yield* world.syscall(p, NR_mprotect, args.word('addr'), args.word('len'), prot));
};

const mremap: Op = function* (world, p, args) {
  const flags = args.flags('flags', C.MREMAP);
  const words = [args.word('old_addr'), args.word('old_len'), args.word('new_len'), flags, args.word('new_addr')];
  return addressOutcome(yield* world.syscall(p, NR_mremap, ...words));
};

const madvise: Op = function* (world, p, args) {
  const advice = args.flags('advice', C.MADV);
  const { kernel } = world;
  kernel.memoryErrorAt = -1;
  const outcome = valueOutcome(yield* world.syscall(p, NR_madvise, args.word('addr'), args.word('len'), advice));
  if (kernel.memoryErrorAt < 0) return outcome;
  return { ...outcome, ...signalOutcome(world, kernel.memoryErrorAt, VM_FAULT_HWPOISON) };
};

const brk: Op = function* (world, p, args) {
  return addressOutcome(yield* world.syscall(p, NR_brk, args.word('addr')));
};

const msync: Op = function* (world, p, args) {
  const flags = args.flags('flags', C.MS);
  return valueOutcome(yield* world.syscall(p, NR_msync, args.word('addr'), args.word('len'), flags));
};

const mlock: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_mlock, args.word('addr'), args.word('len')));
};

const mlock2: Op = function* (world, p, args) {
  const flags = args.flags('flags', C.MLOCK2);
  return valueOutcome(yield* world.syscall(p, NR_mlock2, args.word('addr'), args.word('len'), flags));
};

const munlock: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_munlock, args.word('addr'), args.word('len')));
};

const mlockall: Op = function* (world, p, args) {
  return valueOutcome(yield* world.syscall(p, NR_mlockall, args.flags('flags', C.MCL)));
};

const munlockall: Op = function* (world, p) {
  return valueOutcome(yield* world.syscall(p, NR_munlockall));
};

/** Where the scratch block lies in the target, which is in place. */
const SCRATCH = 0x600000000000;

/** The vector is in the scratch block; its bytes stand in the record. */
const mincore: Op = function* (world, p, args) {
  const vec = new Uint8Array(Math.ceil(args.num('len') / 4096));
  const r = yield* world.syscall(p, NR_mincore, args.word('addr'), args.word('len'), SCRATCH);
  if (r < 0) return { ...valueOutcome(r), vec: '' };
  yield* world.kernel.fn.accessRemoteVm(world.kernel, world.mmOf(p), SCRATCH, vec, false);
  return { ...valueOutcome(r), vec: vec.join('') };
};

export const memoryOps: Readonly<Record<string, Op>> = {
  mmap,
  munmap,
  mprotect,
  mremap,
  madvise,
  brk,
  msync,
  mlock,
  mlock2,
  munlock,
  mlockall,
  munlockall,
  mincore,
};
