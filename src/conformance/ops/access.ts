// Loads and stores of a script: loops of one-byte accesses, from the CPU through its TLB.

import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_HWPOISON,
  VM_FAULT_SIGBUS,
} from '../../abi/mman.ts';
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE } from '../../hw/walker.ts';
import { userTranslate } from '../../mm/cpu-access.ts';
import type { KernelPath } from '../../sched/path.ts';
import { hex } from '../record.ts';
import type { Process, World } from '../world.ts';
import type { Op, Outcome } from './outcome.ts';

const BUS_MCEERR_AR = 4;
const FAULT_KERNEL = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE;

/** siginfo of an access that failed. */
export function signalOutcome(world: World, va: number, failed: number): Outcome {
  const isBus = (failed & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON)) !== 0;
  const code = (failed & VM_FAULT_HWPOISON) !== 0 ? BUS_MCEERR_AR : world.kernel.faultCode;
  return { signal: isBus ? 'SIGBUS' : 'SIGSEGV', addr: hex(va), code };
}

/** Physical address of an access by the process, or the negative of VM_FAULT_* bits. */
export function access(world: World, p: Process, va: number, kind: number): KernelPath<number> {
  return userTranslate(world.kernel, world.mmOf(p), world.kernel.cpus[p.task.cpu]!, va, kind);
}

const read: Op = function* (world, p, args) {
  const [start, count, step] = [args.num('addr'), args.num('count'), args.num('step')];
  let last = 0;
  for (let i = 0; i < count; i++) {
    const at = yield* access(world, p, start + i * step, ACCESS_READ);
    if (at < 0) return { left: count - i, ...signalOutcome(world, start + i * step, -at) };
    last = world.kernel.memory.bytes[at]!;
  }
  return { last };
};

const write: Op = function* (world, p, args) {
  const [start, count, step] = [args.num('addr'), args.num('count'), args.num('step')];
  for (let i = 0; i < count; i++) {
    const at = yield* access(world, p, start + i * step, ACCESS_WRITE);
    if (at < 0) return { left: count - i, ...signalOutcome(world, start + i * step, -at) };
    world.kernel.memory.bytes[at] = args.num('val');
  }
  return {};
};

const execTouch: Op = function* (world, p, args) {
  const at = yield* access(world, p, args.num('addr'), ACCESS_EXEC);
  return at < 0 ? signalOutcome(world, args.num('addr'), -at) : {};
};

export const accessOps: Readonly<Record<string, Op>> = { read, write, exec_touch: execTouch };

/** The same by the kernel for the process (copy_from_user, copy_to_user): the fault does not say that it came from user mode. */
export function* kernelAccess(world: World, p: Process, va: number, kind: number): KernelPath<number> {
  const { kernel } = world;
  const [mm, cpu] = [world.mmOf(p), kernel.cpus[p.task.cpu]!];
  const flags = kind === ACCESS_WRITE ? FAULT_KERNEL | FAULT_FLAG_WRITE : FAULT_KERNEL;
  for (;;) {
    const at = cpu.translate(va, kind);
    if (at >= 0) return at;
    const failed = (yield* kernel.fn.doUserAddrFault(kernel, mm, va, flags)) & VM_FAULT_ERROR;
    if (failed !== 0) return -failed;
  }
}
