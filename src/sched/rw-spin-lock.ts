// rwlock_t: a spinlock with many readers or one writer (KVM's mmu_lock on x86). Holders may not sleep. Announced as other locks
// are (sched/locks); a waiting writer does not hold back readers, as with the kernel's rwlock in its reader-friendly form.

import { E_LOCK, E_LOCK_CONTENDED, E_UNLOCK } from '../abi/events.ts';
import { LOCKF_EXCLUSIVE, LOCKF_SPIN } from '../abi/locks.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LOCK } from '../base/footprint.ts';
import type { AtomicPath } from './path.ts';
import { P_LOCK, P_SPIN } from './points.ts';
import { type Scheduler, SPINNING, WaitQueue } from './scheduler.ts';

export class RwSpinLock {
  readonly sched: Scheduler;
  readonly lockClass: number;
  readonly instance: number;
  /** > 0: readers; -1: a writer. */
  count = 0;
  readonly #queue = new WaitQueue();

  constructor(sched: Scheduler, lockClass: number, instance: number) {
    this.sched = sched;
    this.lockClass = lockClass;
    this.instance = instance;
  }

  /** The fast half of readLock. */
  tryRead(): boolean {
    this.#touch(this.count < 0 || !this.#queue.isEmpty);
    if (this.count < 0) return false;
    this.count++;
    this.#hold(1, 0);
    return true;
  }

  /** The fast half of writeLock. */
  tryWrite(): boolean {
    this.#touch(true);
    if (this.count !== 0) return false;
    this.count = -1;
    this.#hold(1, LOCKF_EXCLUSIVE);
    return true;
  }

  /** read_lock. */
  *readLock(): AtomicPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.tryRead()) {
      this.#wait(0);
      yield P_SPIN;
    }
  }

  /** write_lock. */
  *writeLock(): AtomicPath<void> {
    if (this.sched.points) yield P_LOCK;
    while (!this.tryWrite()) {
      this.#wait(LOCKF_EXCLUSIVE);
      yield P_SPIN;
    }
  }

  readUnlock(): void {
    assert(this.count > 0, 'RwSpinLock.readUnlock: held for reading');
    this.#touch(!this.#queue.isEmpty);
    this.count--;
    this.#hold(-1, 0);
    if (this.count === 0) this.#queue.wakeAll(this.sched);
  }

  writeUnlock(): void {
    assert(this.count === -1, 'RwSpinLock.writeUnlock: held for writing');
    this.#touch(true);
    this.count = 0;
    this.#hold(-1, LOCKF_EXCLUSIVE);
    this.#queue.wakeAll(this.sched);
  }

  get isWriteLocked(): boolean {
    return this.count === -1;
  }

  /** rwlock_is_contended: somebody spins. */
  get isContended(): boolean {
    this.#touch(true);
    return !this.#queue.isEmpty;
  }

  #hold(by: 1 | -1, flags: number): void {
    const { sched } = this;
    sched.current.atomicDepth += by;
    if (sched.log.on) this.#note(by > 0 ? E_LOCK : E_UNLOCK, flags);
  }

  #wait(flags: number): void {
    const { sched } = this;
    if (sched.log.on) this.#note(E_LOCK_CONTENDED, flags);
    this.#queue.add(sched.current);
    sched.prepareWaitOnly(SPINNING, sched.lockClasses.name(this.lockClass));
  }

  #touch(isWrite: boolean): void {
    this.sched.footprint?.note(OBJ_LOCK, this.lockClass * 0x1000000 + this.instance, isWrite);
  }

  #note(type: number, flags: number): void {
    this.sched.log.emit(type, 0, 0, 0, 0, 0, this.lockClass, this.instance, flags | LOCKF_SPIN, 0);
  }
}
