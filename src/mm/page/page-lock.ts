// The page lock (PG_LOCKED, mm/filemap.c): one bit per page, of a compound page the head's, and a wait queue while somebody waits.
// Sleeps; taken below mmapLock and above the rmap locks. Who waits for a huge page that is split meanwhile gets the lock of the
// small page that he named.

import { E_LOCK, E_LOCK_CONTENDED, E_UNLOCK } from '../../abi/events.ts';
import { LOCK_PAGE, LOCKF_EXCLUSIVE, LOCKF_TRYLOCK } from '../../abi/locks.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_LOCK, P_SLEEP } from '../../sched/points.ts';
import { SLEEPING } from '../../sched/scheduler.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from './compound.ts';
import { PG_LOCKED } from './pages.ts';

/** trylock_page. */
export function tryLockPage(k: Kernel, pfn: number): boolean {
  return take(k, pfn, LOCKF_EXCLUSIVE | LOCKF_TRYLOCK);
}

/** The fast half of lock_page. */
export function lockPageFast(k: Kernel, pfn: number): boolean {
  return take(k, pfn, LOCKF_EXCLUSIVE);
}

function take(k: Kernel, page: number, lockFlags: number): boolean {
  const pfn = compoundHead(k.pages, page);
  const footprint = k.memory.footprint;
  if (footprint !== null) footprint.note(OBJ_PAGE, pfn, true);
  const flags = k.pages.flags;
  if ((flags[pfn]! & PG_LOCKED) !== 0) return false;
  flags[pfn] = flags[pfn]! | PG_LOCKED;
  const log = k.memory.log;
  if (log.on) log.emit(E_LOCK, 0, 0, 0, 0, 0, LOCK_PAGE, pfn, lockFlags, 0);
  return true;
}

/** lock_page. Hot callers write: if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn). */
export function* lockPage(k: Kernel, page: number): KernelPath<void> {
  if (k.sched.points) yield P_LOCK;
  while (!lockPageFast(k, page)) {
    const pfn = compoundHead(k.pages, page);
    const log = k.memory.log;
    if (log.on) log.emit(E_LOCK_CONTENDED, 0, 0, 0, 0, 0, LOCK_PAGE, pfn, LOCKF_EXCLUSIVE, 0);
    k.pageLockQueues.add(pfn, k.sched.current);
    k.sched.prepareWaitOnly(SLEEPING, 'page lock');
    yield P_SLEEP;
  }
}

/** unlock_page. */
export function unlockPage(k: Kernel, page: number): void {
  const pfn = compoundHead(k.pages, page);
  const footprint = k.memory.footprint;
  if (footprint !== null) footprint.note(OBJ_PAGE, pfn, true);
  const flags = k.pages.flags;
  assert((flags[pfn]! & PG_LOCKED) !== 0, 'unlockPage: page is locked');
  flags[pfn] = flags[pfn]! & ~PG_LOCKED;
  const log = k.memory.log;
  if (log.on) log.emit(E_UNLOCK, 0, 0, 0, 0, 0, LOCK_PAGE, pfn, LOCKF_EXCLUSIVE, 0);
  if (!k.pageLockQueues.isEmpty) k.pageLockQueues.wakeAll(pfn, k.sched);
}

/** unlock_page of a small page that was a tail of a locked huge page until now: nobody took its lock by itself, but somebody may have
 *  come to wait for it since. */
export function unlockTail(k: Kernel, pfn: number): void {
  const footprint = k.memory.footprint;
  if (footprint !== null) footprint.note(OBJ_PAGE, pfn, true);
  const flags = k.pages.flags;
  flags[pfn] = flags[pfn]! & ~PG_LOCKED;
  if (!k.pageLockQueues.isEmpty) k.pageLockQueues.wakeAll(pfn, k.sched);
}
