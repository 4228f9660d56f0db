// userfaultfd calls of a script. The ioctls' structures and the source of a copy lie in the scratch block.

import {
  UFFD_API,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  type UserfaultfdCtx,
} from '../../mm/uffd/context.ts';
import {
  uffdioApi,
  uffdioCopy,
  uffdioRegister,
  uffdioUnregister,
  uffdioWriteprotect,
  uffdioZeropage,
  uffdOf,
  userfaultfd,
} from '../../mm/uffd/ioctl.ts';
import type { Process, World } from '../world.ts';
import { named, nameOf } from './files.ts';
import { fdOf } from './memory.ts';
import { type Args, type Op, valueOutcome } from './outcome.ts';

/** Where the scratch block lies in the target. */
const SCRATCH = 0x600000000000;
/** What the recorder's UFFDIO_API asks for. */
const FEATURES = 0;

function contextOf(world: World, p: Process, args: Args): UserfaultfdCtx {
  const ctx = uffdOf(p.task, fdOf(world, args));
  if (ctx === null) throw new Error(`conformance: ${args.text('fd')} is not a userfaultfd`);
  return ctx;
}

/** The system call and UFFDIO_API. */
const create: Op = function* (world, p, args, call) {
  const fd = userfaultfd(world.kernel, p.task, args.num('flags'));
  if (fd >= 0) uffdioApi(world.kernel, uffdOf(p.task, fd)!, UFFD_API, FEATURES);
  // The recorder's call answers with the result of UFFDIO_API.
  const outcome = named(world, fd, nameOf(call));
  return fd < 0 ? outcome : { ret: 0 };
};

const register: Op = function* (world, p, args) {
  const mode = args.num('mode') & (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
  const ctx = contextOf(world, p, args);
  return valueOutcome(yield* uffdioRegister(world.kernel, ctx, args.num('addr'), args.num('len'), mode));
};

const unregister: Op = function* (world, p, args) {
  const ctx = contextOf(world, p, args);
  return valueOutcome(yield* uffdioUnregister(world.kernel, ctx, args.num('addr'), args.num('len')));
};

const copy: Op = function* (world, p, args) {
  const ctx = contextOf(world, p, args);
  const [start, len] = [args.num('addr'), args.num('len')];
  return valueOutcome(yield* uffdioCopy(world.kernel, p.task, ctx, start, SCRATCH, len, args.num('mode')));
};

const zero: Op = function* (world, p, args) {
  const ctx = contextOf(world, p, args);
  return valueOutcome(yield* uffdioZeropage(world.kernel, ctx, args.num('addr'), args.num('len'), args.num('mode')));
};

const writeProtect: Op = function* (world, p, args) {
  const ctx = contextOf(world, p, args);
  const [start, len] = [args.num('addr'), args.num('len')];
  return valueOutcome(yield* uffdioWriteprotect(world.kernel, ctx, start, len, args.num('mode')));
};

export const uffdOps: Readonly<Record<string, Op>> = {
  userfaultfd: create,
  uffd_register: register,
  uffd_unregister: unregister,
  uffd_copy: copy,
  uffd_zero: zero,
  uffd_wp: writeProtect,
};
