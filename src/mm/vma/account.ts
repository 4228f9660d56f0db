// Accounting of an address space: its page counters, RLIMIT_AS/DATA/MEMLOCK, and the overcommit policy.
// Kernel: vm_stat_account, may_expand_vm, mlock_future_check (mm/mmap.c), __vm_enough_memory (mm/util.c). Guarded by mmapLock
// (write); k.committed is a global counter.

import { EAGAIN, ENOMEM } from '../../abi/errno.ts';
import { VM_LOCKED } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct } from '../types.ts';
import { isDataMapping, isExecMapping, isStackMapping } from './flags.ts';

const ADMIN_RESERVE_PAGES = 2048; // 8 MiB
const USER_RESERVE_PAGES = 32768; // 128 MiB

/** vm_stat_account: `pages` (negative when they go) of a VMA with these flags. */
export function vmStatAccount(mm: MmStruct, flags: number, pages: number): void {
  mm.totalVm += pages;
  if (isExecMapping(flags)) mm.execVm += pages;
  else if (isStackMapping(flags)) mm.stackVm += pages;
  else if (isDataMapping(flags)) mm.dataVm += pages;
}

/** may_expand_vm: RLIMIT_AS, and RLIMIT_DATA for data mappings. */
export function mayExpandVm(mm: MmStruct, flags: number, pages: number): boolean {
  if (mm.totalVm + pages > Math.floor(mm.limits.as / 4096)) return false;
  return !(isDataMapping(flags) && mm.dataVm + pages > Math.floor(mm.limits.data / 4096));
}

/** __vm_enough_memory: charges `pages` to the machine, or refuses. Returns 0 or -ENOMEM (nothing charged). */
export function vmEnoughMemory(k: Kernel, mm: MmStruct, pages: number): number {
  const { overcommitMode: mode, ramPages, overcommitRatio } = k.config;
  const swapPages = k.swap.pages;
  k.committed += pages;
  if (mode === 1) return 0;
  if (mode === 0) {
    if (pages <= ramPages + swapPages) return 0;
  } else {
    let allowed = Math.floor((ramPages * overcommitRatio) / 100) + swapPages;
    if (!mm.limits.capSysAdmin) allowed -= ADMIN_RESERVE_PAGES;
    allowed -= Math.min(Math.floor(mm.totalVm / 32), USER_RESERVE_PAGES);
    if (k.committed < allowed) return 0;
  }
  k.committed -= pages;
  return -ENOMEM;
}

/** vm_unacct_memory. */
export function vmUnacctMemory(k: Kernel, pages: number): void {
  k.committed -= pages;
}

/** mlock_future_check: may `pages` more be locked? Returns 0 or -EAGAIN. */
export function mlockFutureCheck(mm: MmStruct, flags: number, pages: number): number {
  if ((flags & VM_LOCKED) === 0 || mm.limits.capIpcLock) return 0;
  return mm.lockedVm + pages > Math.floor(mm.limits.memlock / 4096) ? -EAGAIN : 0;
}

/** can_do_mlock. */
export function canDoMlock(mm: MmStruct): boolean {
  return mm.limits.memlock !== 0 || mm.limits.capIpcLock;
}
