// Sleepable RCU (kernel/rcu/srcutree.c): readers may sleep; synchronize waits until every reader that began before it has
// ended. One domain serves all MMU notifiers, as in Linux.
//
// Linux counts readers under two indices and lets one grace period at a time flip them (srcu_gp_mutex), so a reader that
// began late may be waited for too. Here each synchronize begins an epoch of its own: it waits for the readers that it
// must wait for, and for no other.

import { SLEEP_CALLBACKS } from '../abi/locks.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LOCK } from '../base/footprint.ts';
import type { KernelPath } from './path.ts';
import { type Scheduler, WaitQueue } from './scheduler.ts';

export class Srcu {
  readonly #sched: Scheduler;
  /** Open read sections of epochs #first, #first + 1 ...; the last is the current epoch. */
  readonly #readers = [0];
  #first = 0;
  readonly #queue = new WaitQueue();

  constructor(sched: Scheduler) {
    this.#sched = sched;
  }

  /** Readers commute with each other, not with synchronize. */
  #touch(isWrite: boolean): void {
    this.#sched.footprint?.note(OBJ_LOCK, 0, isWrite);
  }

  /** Opens a read section; the index (its epoch) goes to readUnlock. */
  readLock(): number {
    if (this.#sched.footprint !== null) this.#touch(false);
    const last = this.#readers.length - 1;
    this.#readers[last]!++;
    return this.#first + last;
  }

  readUnlock(index: number): void {
    if (this.#sched.footprint !== null) this.#touch(false);
    const at = index - this.#first;
    assert(this.#readers[at]! > 0, 'Srcu.readUnlock: section is open');
    this.#readers[at]!--;
    if (at === 0) this.#retire();
  }

  /** Epochs before the oldest open section are over. */
  #retire(): void {
    if (this.#readers.length === 1 || this.#readers[0] !== 0) return;
    while (this.#readers.length > 1 && this.#readers[0] === 0) {
      this.#readers.shift();
      this.#first++;
    }
    this.#queue.wakeAll(this.#sched);
  }

  #isPast(epoch: number): boolean {
    this.#touch(true);
    return this.#first > epoch;
  }

  /** synchronize_srcu: every section open now has ended when this returns. */
  *synchronize(): KernelPath<void> {
    this.#sched.mightSleep(SLEEP_CALLBACKS, 'SRCU grace period');
    this.#touch(true);
    const mine = this.#first + this.#readers.length - 1;
    this.#readers.push(0);
    this.#retire();
    yield* this.#sched.waitUntil(() => this.#isPast(mine), this.#queue, 'SRCU grace period');
  }
}
