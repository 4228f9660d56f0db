// Locks of the kernel. Order (outer first), as in Linux's mm/rmap.c:
//
//   mmapLock (rwsem)
//     invalidateLock (rwsem, file mapping)
//       page lock
//         iMmapRwsem (rwsem, file mapping)
//           anonVmaLock (rwsem)
//             ptl (spinlock of one page-table page), mm.pageTableLock (upper levels)
//               driver locks taken inside callbacks
//               swap, LRU, zone (never held across a point: no object)
//
// An uncontended lock is a plain try; only a contended one, or a run with points on, is a generator. Acquire and release
// are announced (E_LOCK, E_UNLOCK) when events are on.

import { E_LOCK, E_UNLOCK } from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LOCK } from '../base/footprint.ts';
import type { AtomicPath, KernelPath } from './path.ts';
import { P_LOCK, P_SLEEP, P_SPIN } from './points.ts';
import { type Scheduler, SLEEPING, SPINNING, WaitQueue, WaitQueues } from './scheduler.ts';

// Lock classes, in rank order.
export const LOCK_MMAP = 1;
export const LOCK_INVALIDATE = 2;
export const LOCK_PAGE = 3;
export const LOCK_I_MMAP = 4;
export const LOCK_ANON_VMA = 5;
export const LOCK_PTL = 6;
export const LOCK_DRIVER = 7;
export const LOCK_NAMES: readonly string[] = [
  '',
  'mmap_lock',
  'invalidate_lock',
  'page lock',
  'i_mmap_rwsem',
  'anon_vma lock',
  'page-table lock',
  'driver lock',
];

/** rw_semaphore: many readers or one writer; sleeps; a waiting writer holds back later readers. */
export class Rwsem {
  readonly sched: Scheduler;
  readonly lockClass: number;
  readonly instance: number;
  /** > 0: readers; -1: a writer. */
  count = 0;
  #writersWaiting = 0;
  readonly #queue = new WaitQueue();

  constructor(sched: Scheduler, lockClass: number, instance: number) {
    this.sched = sched;
    this.lockClass = lockClass;
    this.instance = instance;
  }

  tryRead(): boolean {
    if (this.sched.footprint !== null) this.#touch();
    if (this.count < 0 || this.#writersWaiting > 0) return false;
    this.count++;
    if (this.sched.log.on) this.#note(E_LOCK, 0);
    return true;
  }

  tryWrite(): boolean {
    if (this.sched.footprint !== null) this.#touch();
    if (this.count !== 0) return false;
    this.count = -1;
    if (this.sched.log.on) this.#note(E_LOCK, 1);
    return true;
  }

  /** down_read. Callers on hot paths write: if (s.points || !lock.tryRead()) yield* lock.readLock(). */
  *readLock(): KernelPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.tryRead()) {
      this.#queue.add(this.sched.current);
      this.sched.prepareWait(SLEEPING, LOCK_NAMES[this.lockClass]!);
      yield P_SLEEP;
    }
  }

  /** down_write. */
  *writeLock(): KernelPath<void> {
    if (this.sched.points) yield P_LOCK;
    if (this.sched.footprint !== null) this.#touch();
    this.#writersWaiting++;
    while (!this.tryWrite()) {
      this.#queue.add(this.sched.current);
      this.sched.prepareWait(SLEEPING, LOCK_NAMES[this.lockClass]!);
      yield P_SLEEP;
    }
    this.#writersWaiting--;
  }

  readUnlock(): void {
    assert(this.count > 0, 'Rwsem.readUnlock: held for reading');
    if (this.sched.footprint !== null) this.#touch();
    this.count--;
    if (this.sched.log.on) this.#note(E_UNLOCK, 0);
    if (this.count === 0) this.#queue.wakeAll(this.sched);
  }

  writeUnlock(): void {
    assert(this.count === -1, 'Rwsem.writeUnlock: held for writing');
    if (this.sched.footprint !== null) this.#touch();
    this.count = 0;
    if (this.sched.log.on) this.#note(E_UNLOCK, 1);
    this.#queue.wakeAll(this.sched);
  }

  /** downgrade_write: the writer becomes a reader (announced as a drop and a take, between which nothing happens). */
  downgrade(): void {
    assert(this.count === -1, 'Rwsem.downgrade: held for writing');
    if (this.sched.footprint !== null) this.#touch();
    this.count = 1;
    if (this.sched.log.on) {
      this.#note(E_UNLOCK, 1);
      this.#note(E_LOCK, 0);
    }
    this.#queue.wakeAll(this.sched);
  }

  get isWriteLocked(): boolean {
    return this.count === -1;
  }

  get isLocked(): boolean {
    return this.count !== 0;
  }

  /** Readers too: whether the lock is free, and who is woken, depends on how many there are. */
  #touch(): void {
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + this.instance, true);
  }

  #note(type: number, exclusive: number): void {
    this.sched.log.emit(type, 0, 0, 0, 0, 0, this.lockClass, this.instance, exclusive, 0);
  }
}

/** A set of spinlocks by index (one for each page-table page), without an object each. Holder: thread id + 1; 0 free. */
export class SpinLocks {
  readonly sched: Scheduler;
  readonly lockClass: number;
  readonly #holder: Int32Array;
  /** Who waits, by lock: an unlock wakes nobody else. */
  readonly #queues = new WaitQueues();

  constructor(sched: Scheduler, lockClass: number, count: number) {
    this.sched = sched;
    this.lockClass = lockClass;
    this.#holder = new Int32Array(count);
  }

  tryLock(i: number): boolean {
    if (this.sched.footprint !== null) this.#touch(i);
    if (this.#holder[i] !== 0) return false;
    const t = this.sched.current;
    this.#holder[i] = t.id + 1;
    t.atomicDepth++;
    if (this.sched.log.on) this.sched.log.emit(E_LOCK, 0, 0, 0, 0, 0, this.lockClass, i, 1, 0);
    return true;
  }

  /** spin_lock. Callers on hot paths write: if (s.points || !locks.tryLock(i)) yield* locks.lock(i). */
  *lock(i: number): AtomicPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.tryLock(i)) {
      this.#queues.add(i, this.sched.current);
      this.sched.prepareWait(SPINNING, LOCK_NAMES[this.lockClass]!);
      yield P_SPIN;
    }
  }

  unlock(i: number): void {
    const t = this.sched.current;
    assert(this.#holder[i] === t.id + 1, 'SpinLocks.unlock: held by this thread');
    if (this.sched.footprint !== null) this.#touch(i);
    this.#holder[i] = 0;
    t.atomicDepth--;
    if (this.sched.log.on) this.sched.log.emit(E_UNLOCK, 0, 0, 0, 0, 0, this.lockClass, i, 1, 0);
    if (!this.#queues.isEmpty) this.#queues.wakeAll(i, this.sched);
  }

  #touch(i: number): void {
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + i, true);
  }

  isLocked(i: number): boolean {
    return this.#holder[i] !== 0;
  }

  isHeldByCurrent(i: number): boolean {
    return this.#holder[i] === this.sched.current.id + 1;
  }
}
