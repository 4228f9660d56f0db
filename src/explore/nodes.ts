// The stack of a search: node n stands before step n of the execution at hand (steps are numbered from 1). One array for each
// thing that a node knows; sets of threads are bits.

import { grown } from './happens-before.ts';

const LANES = 32;

export class Nodes {
  /** Thread whose step is being tried; -1: none. */
  thread = new Int32Array(16);
  /** Threads that can step. */
  enabled = new Int32Array(16);
  /** Threads whose step leads to nothing new. */
  sleep = new Int32Array(16);
  /** Those of them that would only find that they must wait. */
  waiting = new Int32Array(16);
  /** Threads whose subtrees are finished. */
  done = new Int32Array(16);
  /** Threads that must be tried, and those that were. */
  backtrack = new Int32Array(16);
  /** First answer of the node's step. */
  answersAt = new Int32Array(16);
  /** Top of the footprint stack when the node was opened. */
  stackAt = new Int32Array(16);
  /** Where the union of the footprints of the node's step starts, over the answers tried so far. */
  unionAt = new Int32Array(16);
  /** Where the footprint of the node's step starts, for the answer that is tried. */
  eventAt = new Int32Array(16);
  /** By node and thread: footprints of those that sleep or are done. */
  from = new Int32Array(16 * LANES);
  to = new Int32Array(16 * LANES);

  /** Makes node n one about which nothing is known. */
  open(n: number, enabled: number, answersAt: number, stackAt: number): void {
    if (n >= this.thread.length) this.#grow();
    this.thread[n] = -1;
    this.enabled[n] = enabled;
    this.sleep[n] = 0;
    this.waiting[n] = 0;
    this.done[n] = 0;
    this.backtrack[n] = 0;
    this.answersAt[n] = answersAt;
    this.stackAt[n] = stackAt;
  }

  /** Threads that must be tried at node n and were not. */
  left(n: number): number {
    return this.backtrack[n]! & ~this.done[n]! & ~this.sleep[n]!;
  }

  /** At node n the thread sleeps (or is done), with the footprint [from, to). */
  keep(n: number, thread: number, from: number, to: number): void {
    this.from[n * LANES + thread] = from;
    this.to[n * LANES + thread] = to;
  }

  putToSleep(n: number, thread: number, isWaiting: boolean): void {
    this.sleep[n]! |= 1 << thread;
    if (isWaiting) this.waiting[n]! |= 1 << thread;
  }

  fromOf(n: number, thread: number): number {
    return this.from[n * LANES + thread]!;
  }

  toOf(n: number, thread: number): number {
    return this.to[n * LANES + thread]!;
  }

  #grow(): void {
    this.thread = grown(this.thread);
    this.enabled = grown(this.enabled);
    this.sleep = grown(this.sleep);
    this.waiting = grown(this.waiting);
    this.done = grown(this.done);
    this.backtrack = grown(this.backtrack);
    this.answersAt = grown(this.answersAt);
    this.stackAt = grown(this.stackAt);
    this.unionAt = grown(this.unionAt);
    this.eventAt = grown(this.eventAt);
    this.from = grown(this.from);
    this.to = grown(this.to);
  }
}

/** Number of the lowest bit. */
export function lowest(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}
