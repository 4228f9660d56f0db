// A ring of fixed-width records of doubles, with sinks that see each record as it is written. Off by default: a writer
// tests `on` (one predictable branch) before it calls emit.

import { float64s } from './arena.ts';
import { assert } from './assert.ts';

export interface RecordSink {
  /** The record starts at `at` in `ring` and is overwritten later: read it now. */
  onRecord(ring: Float64Array, at: number): void;
}

export class RecordLog {
  /** True while somebody listens. Set by attach/keep, read by every writer. */
  on = false;
  /** Records written since the start. */
  count = 0;
  /** Written into words 1 and 2 of each record; kept current by the scheduler. */
  step = 0;
  actor = 0;
  readonly words: number;
  readonly capacity: number;
  readonly ring: Float64Array;
  #sinks: RecordSink[] = [];
  #keep = false;

  /** `capacity` records of `words` doubles are kept as history. */
  constructor(words: number, capacity: number) {
    assert(words >= 12 && capacity >= 1, 'RecordLog: room for a record');
    this.words = words;
    this.capacity = capacity;
    this.ring = float64s(words * capacity);
  }

  attach(sink: RecordSink): void {
    this.#sinks.push(sink);
    this.on = true;
  }

  detach(sink: RecordSink): void {
    this.#sinks = this.#sinks.filter((s) => s !== sink);
    this.on = this.#keep || this.#sinks.length > 0;
  }

  /** Records history even without a sink. */
  keep(on: boolean): void {
    this.#keep = on;
    this.on = on || this.#sinks.length > 0;
  }

  emit(
    type: number,
    mm: number,
    start: number,
    end: number,
    pfn: number,
    gen: number,
    a: number,
    b: number,
    c: number,
    d: number,
  ): void {
    const ring = this.ring;
    const at = (this.count % this.capacity) * this.words;
    this.count++;
    ring[at] = type;
    ring[at + 1] = this.step;
    ring[at + 2] = this.actor;
    ring[at + 3] = mm;
    ring[at + 4] = start;
    ring[at + 5] = end;
    ring[at + 6] = pfn;
    ring[at + 7] = gen;
    ring[at + 8] = a;
    ring[at + 9] = b;
    ring[at + 10] = c;
    ring[at + 11] = d;
    const sinks = this.#sinks;
    for (let i = 0; i < sinks.length; i++) sinks[i]!.onRecord(ring, at);
  }

  /** Copies of the last `n` records, oldest first. */
  last(n: number): Float64Array[] {
    const have = Math.min(n, this.count, this.capacity);
    const out: Float64Array[] = [];
    for (let i = this.count - have; i < this.count; i++) {
      const at = (i % this.capacity) * this.words;
      out.push(this.ring.slice(at, at + this.words));
    }
    return out;
  }
}
