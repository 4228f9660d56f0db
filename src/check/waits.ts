// Who holds which lock and who waits for whom, from the lock events of one run. Asked when nothing can go on: then it names the
// cycle that was reached (I60). What other schedules could reach is the business of lock-order.ts.

import { E_LOCK, E_LOCK_CONTENDED, E_UNLOCK, EV_A, EV_ACTOR, EV_B, EV_TYPE } from '../abi/events.ts';
import type { RecordSink } from '../base/record-log.ts';

/** A thread that waits for a lock, and one that holds it. */
export interface WaitEdge {
  readonly waiter: number;
  readonly lockClass: number;
  readonly instance: number;
  readonly holder: number;
}

const CLASS = 2 ** 32;

export class Waits implements RecordSink {
  /** By thread: locks (class * 2^32 + instance) taken and not dropped, oldest first. */
  readonly #held = new Map<number, number[]>();
  /** By thread: the lock that it wanted and has not got. */
  readonly #wanted = new Map<number, number>();

  onRecord(r: Float64Array, at: number): void {
    const type = r[at + EV_TYPE];
    if (type !== E_LOCK && type !== E_UNLOCK && type !== E_LOCK_CONTENDED) return;
    const actor = r[at + EV_ACTOR]!;
    const lock = r[at + EV_A]! * CLASS + r[at + EV_B]!;
    if (type === E_LOCK_CONTENDED) {
      this.#wanted.set(actor, lock);
      return;
    }
    let held = this.#held.get(actor);
    if (held === undefined) this.#held.set(actor, (held = []));
    if (type === E_LOCK) {
      if (this.#wanted.size > 0) this.#wanted.delete(actor);
      held.push(lock);
    } else {
      const i = held.lastIndexOf(lock);
      if (i >= 0) held.splice(i, 1);
    }
  }

  /** Threads that the thread waits for, and for which lock; empty when it waits for no lock. */
  waitsOf(waiter: number): WaitEdge[] {
    const wanted = this.#wanted.get(waiter);
    if (wanted === undefined) return [];
    const lockClass = Math.floor(wanted / CLASS);
    const lock = { lockClass, instance: wanted - lockClass * CLASS };
    const holders = [...this.#held].filter(([, locks]) => locks.includes(wanted));
    return holders.map(([holder]) => ({ waiter, ...lock, holder })).sort((a, b) => a.holder - b.holder);
  }

  /** Threads that wait for each other in a circle, beginning with the lowest; null when there is none. */
  cycle(): readonly WaitEdge[] | null {
    for (const start of [...this.#wanted.keys()].sort((a, b) => a - b)) {
      const found = this.#cycleFrom(start, start, []);
      if (found !== null) return found;
    }
    return null;
  }

  #cycleFrom(start: number, thread: number, path: readonly WaitEdge[]): readonly WaitEdge[] | null {
    for (const edge of this.waitsOf(thread)) {
      if (edge.holder === start) return [...path, edge];
      if (path.some((e) => e.waiter === edge.holder)) continue;
      const found = this.#cycleFrom(start, edge.holder, [...path, edge]);
      if (found !== null) return found;
    }
    return null;
  }
}

/** What each thread of a deadlock waits for. */
export interface WaitNames {
  readonly actor: (actor: number) => string;
  readonly lock: (lockClass: number) => string;
  /** What the thread waits for where it is no lock. */
  readonly waitsFor: (actor: number) => string;
}

/** "a waits for mmap_lock, which b holds; b waits for driver lock, which a holds": the cycle, or what each of `threads` and those
 *  that they wait for wait for. */
export function describeWaits(waits: Waits, threads: readonly number[], names: WaitNames): string {
  const cycle = waits.cycle();
  if (cycle !== null) return cycle.map((e) => edgeText(e, names)).join('; ');
  const told: number[] = [];
  const parts: string[] = [];
  for (let queue = [...threads]; queue.length > 0; ) {
    const t = queue.shift()!;
    if (told.includes(t)) continue;
    told.push(t);
    const edges = waits.waitsOf(t);
    parts.push(...edges.map((e) => edgeText(e, names)));
    if (edges.length === 0) parts.push(`${names.actor(t)} waits for ${names.waitsFor(t)}`);
    queue = [...queue, ...edges.map((e) => e.holder)];
  }
  return parts.join('; ');
}

function edgeText({ waiter, lockClass, holder }: WaitEdge, names: WaitNames): string {
  const who = holder === waiter ? 'it holds itself' : `${names.actor(holder)} holds`;
  return `${names.actor(waiter)} waits for the ${names.lock(lockClass)}, which ${who}`;
}
