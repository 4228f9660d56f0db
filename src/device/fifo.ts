// A queue of messages between two units: they leave in the order in which they came. For an explorer every message is an object of
// its own and so is each end of the queue: putting one in and taking another out commute, two senders do not.

import type { PhysMemory } from '../hw/phys.ts';
import { noteDevice } from './objects.ts';

const HEAD = 0;
const TAIL = 1;

export class Fifo<T> {
  readonly #memory: PhysMemory;
  readonly #owner: number;
  /** PART_* of its messages; the next number is that of its ends. */
  readonly #part: number;
  readonly #items: T[] = [];
  /** Messages put in and taken out so far. */
  #put = 0;
  #taken = 0;

  constructor(memory: PhysMemory, owner: number, part: number) {
    this.#memory = memory;
    this.#owner = owner;
    this.#part = part;
  }

  get length(): number {
    return this.#items.length;
  }

  /** The messages inside, oldest first. */
  get items(): readonly T[] {
    return this.#items;
  }

  /** The same as length > 0, for a reader that is not the only one: others may empty the queue. */
  hasItems(): boolean {
    const f = this.#memory.footprint;
    if (f !== null) {
      noteDevice(f, this.#owner, this.#part + 1, HEAD, false);
      noteDevice(f, this.#owner, this.#part, this.#taken, false);
    }
    return this.#items.length > 0;
  }

  /** Is there a message inside that the predicate holds for? */
  some(predicate: (item: T) => boolean): boolean {
    const f = this.#memory.footprint;
    if (f !== null) {
      noteDevice(f, this.#owner, this.#part + 1, HEAD, false);
      noteDevice(f, this.#owner, this.#part + 1, TAIL, false);
    }
    return this.#items.some(predicate);
  }

  /** Is there room for one more when `limit` fit in? */
  hasRoom(limit: number): boolean {
    const f = this.#memory.footprint;
    // As long as no more than that were ever put in, nobody need look at what was taken out.
    if (f !== null && this.#put >= limit) noteDevice(f, this.#owner, this.#part + 1, HEAD, false);
    return this.#items.length < limit;
  }

  push(item: T): void {
    const f = this.#memory.footprint;
    if (f !== null) {
      noteDevice(f, this.#owner, this.#part + 1, TAIL, true);
      noteDevice(f, this.#owner, this.#part, this.#put, true);
    }
    this.#put++;
    this.#items.push(item);
  }

  /** The oldest message; there is one. */
  shift(): T {
    const f = this.#memory.footprint;
    if (f !== null) {
      noteDevice(f, this.#owner, this.#part + 1, HEAD, true);
      noteDevice(f, this.#owner, this.#part, this.#taken, true);
    }
    this.#taken++;
    return this.#items.shift()!;
  }
}
