// The system-call table: dispatch by number (arch/x86/entry/syscalls/syscall_64.tbl).

import { ENOSYS } from '../../abi/errno.ts';
import { E_SYSCALL, E_SYSCALL_END } from '../../abi/events.ts';
import {
  NR_brk,
  NR_mmap,
  NR_mprotect,
  NR_munmap,
  NR_pkey_alloc,
  NR_pkey_free,
  NR_pkey_mprotect,
} from '../../abi/syscalls.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Task } from '../types.ts';
import type { SyscallArgs } from './args.ts';
import { sysBrk } from './brk.ts';
import { done } from './edge.ts';
import { sysMmap } from './mmap.ts';
import { sysMprotect, sysPkeyAlloc, sysPkeyFree, sysPkeyMprotect } from './mprotect.ts';
import { sysMunmap } from './munmap.ts';

type Syscall = (k: Kernel, task: Task, args: SyscallArgs) => KernelPath<number>;

const TABLE: (Syscall | undefined)[] = [];
TABLE[NR_mmap] = sysMmap;
TABLE[NR_munmap] = sysMunmap;
TABLE[NR_mprotect] = sysMprotect;
TABLE[NR_brk] = sysBrk;
TABLE[NR_pkey_mprotect] = sysPkeyMprotect;
TABLE[NR_pkey_alloc] = sysPkeyAlloc;
TABLE[NR_pkey_free] = sysPkeyFree;

/** The path of system call `nr` for `task`. It reads `args` now: they may be used again at once. The path returns a value
 *  or address >= 0, or -errno; -ENOSYS for a number that is not modelled. */
export function syscall(k: Kernel, task: Task, nr: number, args: SyscallArgs): KernelPath<number> {
  const body = TABLE[nr];
  if (body === undefined) return done(-ENOSYS);
  if (k.memory.log.on) return announced(k, task, nr, args.num(0), args.num(1), body(k, task, args));
  return body(k, task, args);
}

/** Is the system call modelled? */
export function hasSyscall(nr: number): boolean {
  return TABLE[nr] !== undefined;
}

function* announced(
  k: Kernel,
  task: Task,
  nr: number,
  first: number,
  second: number,
  path: KernelPath<number>,
): KernelPath<number> {
  const mm = task.mm === null ? 0 : task.mm.id;
  k.memory.log.emit(E_SYSCALL, mm, first, second, 0, 0, nr, 0, 0, task.cpu);
  const result = yield* path;
  k.memory.log.emit(E_SYSCALL_END, mm, result, 0, 0, 0, nr, 0, 0, task.cpu);
  return result;
}
