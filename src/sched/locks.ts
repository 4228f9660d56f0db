// Locks of the kernel. Order (outer first), as in Linux's mm/rmap.c:
//
//   ksm_thread_mutex (only ksmd takes mmapLock inside it)
//   mmapLock (rwsem)
//     invalidateLock (rwsem, file mapping)
//       page lock
//         iMmapRwsem (rwsem, file mapping)
//           anonVmaLock (rwsem)
//             ptl (spinlock of one page-table page), mm.pageTableLock (upper levels)
//               driver locks taken inside callbacks (their classes: sched/lock-classes)
//               swap, LRU, zone (never held across a point: no object)
//
// An uncontended lock is a plain try; only a contended one, or a run with points on, is a generator. Acquire and release
// are announced (E_LOCK, E_UNLOCK) when events are on, and that a lock is wanted when it is contended (E_LOCK_CONTENDED): the
// lock-order monitor judges the wish, so that it needs no deadlock to see one. tryX is the fast half of a lock that would wait;
// what gives up when the lock is taken is called trylock, and orders nothing.

import { E_LOCK, E_LOCK_CONTENDED, E_UNLOCK } from '../abi/events.ts';
import { LOCKF_EXCLUSIVE, LOCKF_SPIN, LOCKF_TRYLOCK } from '../abi/locks.ts';
import { int32s } from '../base/arena.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LOCK } from '../base/footprint.ts';
import type { AtomicPath, KernelPath } from './path.ts';
import { P_LOCK, P_SLEEP, P_SPIN } from './points.ts';
import { type Scheduler, SLEEPING, SPINNING, type Thread, WaitQueue, WaitQueues } from './scheduler.ts';

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

  /** The fast half of readLock. */
  tryRead(): boolean {
    if (this.sched.footprint !== null) this.#touchRead();
    if (!this.#takeRead()) return false;
    if (this.sched.log.on) this.#note(E_LOCK, 0);
    return true;
  }

  /** The fast half of writeLock. */
  tryWrite(): boolean {
    if (this.sched.footprint !== null) this.#touch();
    if (this.count !== 0) return false;
    this.count = -1;
    if (this.sched.log.on) this.#note(E_LOCK, LOCKF_EXCLUSIVE);
    return true;
  }

  /** down_read_trylock. */
  readTrylock(): boolean {
    if (this.sched.footprint !== null) this.#touchRead();
    if (!this.#takeRead()) return false;
    if (this.sched.log.on) this.#note(E_LOCK, LOCKF_TRYLOCK);
    return true;
  }

  /** down_write_trylock. */
  writeTrylock(): boolean {
    if (this.sched.footprint !== null) this.#touch();
    if (this.count !== 0) return false;
    this.count = -1;
    if (this.sched.log.on) this.#note(E_LOCK, LOCKF_EXCLUSIVE | LOCKF_TRYLOCK);
    return true;
  }

  #takeRead(): boolean {
    if (this.count < 0 || this.#writersWaiting > 0) return false;
    this.count++;
    return true;
  }

  /** down_read. Callers on hot paths write: if (s.points || !lock.tryRead()) yield* lock.readLock(). */
  *readLock(): KernelPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.tryRead()) {
      if (this.sched.log.on) this.#note(E_LOCK_CONTENDED, 0);
      this.#queue.add(this.sched.current);
      this.sched.prepareWaitOnly(SLEEPING, this.sched.lockClasses.name(this.lockClass));
      yield P_SLEEP;
    }
  }

  /** down_write. */
  *writeLock(): KernelPath<void> {
    if (this.sched.points) yield P_LOCK;
    if (this.sched.footprint !== null) this.#touch();
    this.#writersWaiting++;
    // The first attempt holds back later readers, even if it fails.
    for (let isAgain = false; !this.tryWrite(); isAgain = true) {
      if (this.sched.log.on) this.#note(E_LOCK_CONTENDED, LOCKF_EXCLUSIVE);
      this.#queue.add(this.sched.current);
      this.sched.prepareWait(SLEEPING, this.sched.lockClasses.name(this.lockClass));
      this.sched.hasOnlyWaited = isAgain;
      yield P_SLEEP;
    }
    this.#writersWaiting--;
  }

  readUnlock(): void {
    assert(this.count > 0, 'Rwsem.readUnlock: held for reading');
    if (this.sched.footprint !== null) this.#touchRead();
    this.count--;
    if (this.sched.log.on) this.#note(E_UNLOCK, 0);
    if (this.count === 0) this.#queue.wakeAll(this.sched);
  }

  writeUnlock(): void {
    assert(this.count === -1, 'Rwsem.writeUnlock: held for writing');
    if (this.sched.footprint !== null) this.#touch();
    this.count = 0;
    if (this.sched.log.on) this.#note(E_UNLOCK, LOCKF_EXCLUSIVE);
    this.#queue.wakeAll(this.sched);
  }

  /** downgrade_write: the writer becomes a reader (announced as a drop and a take, between which nothing happens; it cannot
   *  wait, so the take is a trylock's). */
  downgrade(): void {
    assert(this.count === -1, 'Rwsem.downgrade: held for writing');
    if (this.sched.footprint !== null) this.#touch();
    this.count = 1;
    if (this.sched.log.on) {
      this.#note(E_UNLOCK, LOCKF_EXCLUSIVE);
      this.#note(E_LOCK, LOCKF_TRYLOCK);
    }
    this.#queue.wakeAll(this.sched);
  }

  get isWriteLocked(): boolean {
    return this.count === -1;
  }

  get isLocked(): boolean {
    return this.count !== 0;
  }

  /** Readers commute with each other, unless somebody waits: then who comes next, and who is woken, depends on their order. */
  #touchRead(): void {
    const isAlone = this.count < 0 || this.#writersWaiting > 0 || !this.#queue.isEmpty;
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + this.instance, isAlone);
  }

  #touch(): void {
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + this.instance, true);
  }

  #note(type: number, flags: number): void {
    this.sched.log.emit(type, 0, 0, 0, 0, 0, this.lockClass, this.instance, flags, 0);
  }
}

/** struct mutex: one holder; sleeps. */
export class Mutex {
  readonly sched: Scheduler;
  readonly lockClass: number;
  readonly instance: number;
  #holder: Thread | null = null;
  readonly #queue = new WaitQueue();

  constructor(sched: Scheduler, lockClass: number, instance: number) {
    this.sched = sched;
    this.lockClass = lockClass;
    this.instance = instance;
  }

  get isLocked(): boolean {
    return this.#holder !== null;
  }

  get isHeldByCurrent(): boolean {
    return this.#holder === this.sched.current;
  }

  /** mutex_trylock. */
  trylock(): boolean {
    return this.#take(LOCKF_EXCLUSIVE | LOCKF_TRYLOCK);
  }

  /** mutex_lock. */
  *lock(): KernelPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.#take(LOCKF_EXCLUSIVE)) {
      if (this.sched.log.on) this.#note(E_LOCK_CONTENDED, LOCKF_EXCLUSIVE);
      this.#queue.add(this.sched.current);
      this.sched.prepareWaitOnly(SLEEPING, this.sched.lockClasses.name(this.lockClass));
      yield P_SLEEP;
    }
  }

  unlock(): void {
    assert(this.#holder === this.sched.current, 'Mutex.unlock: held by this thread');
    this.#touch();
    this.#holder = null;
    if (this.sched.log.on) this.#note(E_UNLOCK, LOCKF_EXCLUSIVE);
    this.#queue.wakeAll(this.sched);
  }

  #take(flags: number): boolean {
    this.#touch();
    if (this.#holder !== null) return false;
    this.#holder = this.sched.current;
    if (this.sched.log.on) this.#note(E_LOCK, flags);
    return true;
  }

  #touch(): void {
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + this.instance, true);
  }

  #note(type: number, flags: number): void {
    this.sched.log.emit(type, 0, 0, 0, 0, 0, this.lockClass, this.instance, flags, 0);
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
    this.#holder = int32s(count);
  }

  tryLock(i: number): boolean {
    if (this.sched.footprint !== null) this.#touch(i);
    if (this.#holder[i] !== 0) return false;
    const t = this.sched.current;
    this.#holder[i] = t.id + 1;
    t.atomicDepth++;
    if (this.sched.log.on) this.#note(E_LOCK, i);
    return true;
  }

  /** spin_lock. Callers on hot paths write: if (s.points || !locks.tryLock(i)) yield* locks.lock(i). */
  *lock(i: number): AtomicPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.tryLock(i)) {
      if (this.sched.log.on) this.#note(E_LOCK_CONTENDED, i);
      this.#queues.add(i, this.sched.current);
      this.sched.prepareWaitOnly(SPINNING, this.sched.lockClasses.name(this.lockClass));
      yield P_SPIN;
    }
  }

  unlock(i: number): void {
    const t = this.sched.current;
    assert(this.#holder[i] === t.id + 1, 'SpinLocks.unlock: held by this thread');
    if (this.sched.footprint !== null) this.#touch(i);
    this.#holder[i] = 0;
    t.atomicDepth--;
    if (this.sched.log.on) this.#note(E_UNLOCK, i);
    if (!this.#queues.isEmpty) this.#queues.wakeAll(i, this.sched);
  }

  #touch(i: number): void {
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + i, true);
  }

  #note(type: number, i: number): void {
    this.sched.log.emit(type, 0, 0, 0, 0, 0, this.lockClass, i, LOCKF_EXCLUSIVE | LOCKF_SPIN, 0);
  }

  isLocked(i: number): boolean {
    return this.#holder[i] !== 0;
  }

  isHeldByCurrent(i: number): boolean {
    return this.#holder[i] === this.sched.current.id + 1;
  }
}
