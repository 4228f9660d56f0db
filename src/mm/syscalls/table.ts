// The system-call table: dispatch by number (arch/x86/entry/syscalls/syscall_64.tbl). Calls whose arguments point to structures
// in user memory are functions of their own: doExec, memfdCreate, truncatePath, processMadvise.

import { ENOSYS } from '../../abi/errno.ts';
import { E_SYSCALL, E_SYSCALL_END } from '../../abi/events.ts';
import * as NR from '../../abi/syscalls.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Task } from '../types.ts';
import type { SyscallArgs } from './args.ts';
import { sysBrk } from './brk.ts';
import { sysClone, sysExit, sysExitGroup, sysFork, sysVfork } from './fork.ts';
import { sysMadvise } from './madvise.ts';
import { sysFallocate, sysFsync, sysFtruncate } from './memfd.ts';
import { sysMincore } from './mincore.ts';
import { sysMlock, sysMlock2, sysMlockall, sysMunlock, sysMunlockall } from './mlock.ts';
import { sysMmap } from './mmap.ts';
import { sysMprotect, sysPkeyAlloc, sysPkeyFree, sysPkeyMprotect } from './mprotect.ts';
import { sysMremap } from './mremap.ts';
import { sysMseal } from './mseal.ts';
import { sysMsync } from './msync.ts';
import { sysMunmap } from './munmap.ts';
import { sysPrctl } from './prctl.ts';
import { sysRemapFilePages } from './remap-file-pages.ts';
import { sysShmat, sysShmctl, sysShmdt, sysShmget } from './shm.ts';

type Syscall = (k: Kernel, task: Task, args: SyscallArgs) => KernelPath<number>;

const TABLE: (Syscall | undefined)[] = [];
TABLE[NR.NR_mmap] = sysMmap;
TABLE[NR.NR_munmap] = sysMunmap;
TABLE[NR.NR_mprotect] = sysMprotect;
TABLE[NR.NR_brk] = sysBrk;
TABLE[NR.NR_pkey_mprotect] = sysPkeyMprotect;
TABLE[NR.NR_pkey_alloc] = sysPkeyAlloc;
TABLE[NR.NR_pkey_free] = sysPkeyFree;
TABLE[NR.NR_mremap] = sysMremap;
TABLE[NR.NR_msync] = sysMsync;
TABLE[NR.NR_mincore] = sysMincore;
TABLE[NR.NR_madvise] = sysMadvise;
TABLE[NR.NR_shmget] = sysShmget;
TABLE[NR.NR_shmat] = sysShmat;
TABLE[NR.NR_shmctl] = sysShmctl;
TABLE[NR.NR_shmdt] = sysShmdt;
TABLE[NR.NR_clone] = sysClone;
TABLE[NR.NR_fork] = sysFork;
TABLE[NR.NR_vfork] = sysVfork;
TABLE[NR.NR_exit] = sysExit;
TABLE[NR.NR_exit_group] = sysExitGroup;
TABLE[NR.NR_fsync] = sysFsync;
TABLE[NR.NR_fdatasync] = sysFsync;
TABLE[NR.NR_ftruncate] = sysFtruncate;
TABLE[NR.NR_mlock] = sysMlock;
TABLE[NR.NR_mlock2] = sysMlock2;
TABLE[NR.NR_munlock] = sysMunlock;
TABLE[NR.NR_mlockall] = sysMlockall;
TABLE[NR.NR_munlockall] = sysMunlockall;
TABLE[NR.NR_prctl] = sysPrctl;
TABLE[NR.NR_remap_file_pages] = sysRemapFilePages;
TABLE[NR.NR_fallocate] = sysFallocate;
TABLE[NR.NR_mseal] = sysMseal;

/** The path of system call `nr` for `task`. It reads `args` now: they may be used again at once. The path returns a value
 *  or address >= 0, or -errno; -ENOSYS for a number that is not modelled. */
export function syscall(k: Kernel, task: Task, nr: number, args: SyscallArgs): KernelPath<number> {
  const body = TABLE[nr];
  if (body === undefined) return done(-ENOSYS);
  k.sched.current.owner = task;
  if (k.memory.log.on) return announced(k, task, nr, args, body(k, task, args));
  return body(k, task, args);
}

function* announced(
  k: Kernel,
  task: Task,
  nr: number,
  args: SyscallArgs,
  path: KernelPath<number>,
): KernelPath<number> {
  const mm = task.mm === null ? 0 : task.mm.id;
  const [first, second, third, fourth] = [args.num(0), args.num(1), args.num(2), args.num(3)];
  k.memory.log.emit(E_SYSCALL, mm, first, second, 0, 0, nr, third, fourth, task.cpu);
  const result = yield* path;
  k.memory.log.emit(E_SYSCALL_END, mm, result, 0, 0, 0, nr, 0, 0, task.cpu);
  return result;
}
