// Sleepable RCU (kernel/rcu/srcutree.c): readers may sleep; synchronize waits until every reader that began before it has
// ended. One domain serves all MMU notifiers, as in Linux.

import { assert } from '../base/assert.ts';
import type { KernelPath } from './path.ts';
import { type Scheduler, WaitQueue } from './scheduler.ts';

export class Srcu {
  readonly #sched: Scheduler;
  /** Open read sections by epoch parity (srcu_idx). */
  readonly #readers = [0, 0];
  #index = 0;
  readonly #queue = new WaitQueue();

  constructor(sched: Scheduler) {
    this.#sched = sched;
  }

  /** Opens a read section; the index goes to readUnlock. */
  readLock(): number {
    this.#readers[this.#index]!++;
    return this.#index;
  }

  readUnlock(index: number): void {
    assert(this.#readers[index]! > 0, 'Srcu.readUnlock: section is open');
    this.#readers[index]!--;
    if (this.#readers[index] === 0) this.#queue.wakeAll(this.#sched);
  }

  /** synchronize_srcu: every section open now has ended when this returns. */
  *synchronize(): KernelPath<void> {
    // Flip twice, so that a reader counted under either index is waited for.
    for (let round = 0; round < 2; round++) {
      const old = this.#index;
      this.#index ^= 1;
      yield* this.#sched.waitUntil(() => this.#readers[old] === 0, this.#queue, 'SRCU grace period');
    }
  }
}
