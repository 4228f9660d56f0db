// What several system calls share at their edge: the end-of-call work, the state that decides on populating.

import { VM_LOCKED } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct } from '../types.ts';
import { vmUnacctMemory } from '../vma/account.ts';

/** Has the running call something to do at its end? */
export function hasTaskWork(k: Kernel): boolean {
  return k.delayedFput.length > 0 || k.uffdEvents.length > 0;
}

/** task_work, and what a call announces to userfaultfd monitors when it has dropped mmapLock. The last put of a nameless file's last open file happens on the way out of the system call. */
export function* runTaskWork(k: Kernel): KernelPath<void> {
  if (k.uffdEvents.length > 0) yield* k.fn.sendUffdEvents(k);
  for (let inode = k.delayedFput.pop(); inode !== undefined; inode = k.delayedFput.pop()) {
    vmUnacctMemory(k, inode.chargedPages);
    inode.chargedPages = 0;
    if (inode.uffd !== null) yield* k.fn.userfaultfdRelease(k, inode.uffd);
    yield* k.fn.evictInode(k, inode);
    if (inode.isSysv) k.shm.forget(inode);
    k.inodes.delete(inode.id);
  }
}

/** MCL_FUTURE: are new mappings locked? */
export function locksFuture(mm: MmStruct): boolean {
  return (mm.defFlags & VM_LOCKED) !== 0;
}
