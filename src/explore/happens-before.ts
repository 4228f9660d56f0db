// Which steps of an execution are ordered, and which are in a race. Vector clocks over recorded footprints: step e comes
// before step f of another thread when a chain of conflicts (one object, one of them writes) and program order leads from
// e to f, or when e let f's thread go on (it was not enabled before e).
//
// Steps are numbered from 1 here: clocks[n * 32 + t] is the last step of thread t that comes before step n, or is it; 0:
// none does. Everything is undone in the opposite order, so that a search over prefixes pays for new steps alone.
//
// Terms as in Abdulla, Aronis, Jonsson and Sagonas, "Source Sets: A Foundation for Optimal Dynamic Partial Order
// Reduction" (JACM 2017): race, notdep, initials.

/** Threads that have a place: one lane of a clock each; lane 31 stays free. */
const LANES = 32;
// What #last holds: by thread the step that enabled it, by thread its last step, by object (its last write, then the last
// read of each thread).
const ENABLER = 0;
const LATEST = LANES;
const OBJECTS = 2 * LANES;

export class HappensBefore {
  #clocks = new Int32Array(16 * LANES);
  /** Thread of each step. */
  #threads = new Int8Array(16);
  #last = new Int32Array(OBJECTS + 8 * LANES);
  /** Old values of #last: (place, value) pairs. */
  #undo = new Int32Array(512);
  #undoTop = 0;
  /** #undoTop before each step. */
  #undoAt = new Int32Array(16);
  /** Threads met so far are below this. */
  #width = 1;
  /** Scratch: by thread, its last step that conflicts. */
  readonly #candidates = new Int32Array(LANES);
  /** Scratch: by thread, its first step in notdep. */
  readonly #firsts = new Int32Array(LANES);
  /** Steps that are in a race with the step ordered last. */
  readonly races = new Int32Array(LANES);
  raceCount = 0;

  /** Places step `n` of `thread` with the footprint data[from..to) after those before it, and finds its races. Nothing is
   *  recorded yet: `commit` does that. */
  order(n: number, thread: number, data: Int32Array, from: number, to: number, objects: number): void {
    this.#makeRoom(n, thread, objects);
    const [clocks, last, candidates] = [this.#clocks, this.#last, this.#candidates];
    const row = n * LANES;
    const latest = last[LATEST + thread]!;
    for (let t = 0; t < this.#width; t++) clocks[row + t] = clocks[latest * LANES + t]!;
    const enabler = last[ENABLER + thread]!;
    if (enabler > latest) this.#join(row, enabler);
    let mask = 0;
    for (let i = from; i < to; i++) {
      const word = data[i]!;
      const place = OBJECTS + (word >> 1) * LANES;
      const write = last[place]!;
      if (write !== 0) {
        const t = this.#threads[write]!;
        if (t !== thread && write > candidates[t]!) {
          candidates[t] = write;
          mask |= 1 << t;
        }
      }
      if ((word & 1) === 0) continue;
      for (let t = 0; t < this.#width; t++) {
        const read = last[place + 1 + t]!;
        if (read > write && t !== thread && read > candidates[t]!) {
          candidates[t] = read;
          mask |= 1 << t;
        }
      }
    }
    this.raceCount = 0;
    while (mask !== 0) mask = this.#latestCandidate(row, mask);
    clocks[row + thread] = n;
  }

  /** Takes the latest of the candidates: in a race unless something later that was taken comes after it. */
  #latestCandidate(row: number, mask: number): number {
    const candidates = this.#candidates;
    let best = 0;
    for (let t = 0; t < this.#width; t++) if (candidates[t]! > candidates[best]!) best = t;
    const step = candidates[best]!;
    candidates[best] = 0;
    if (this.#clocks[row + best]! < step) {
      this.races[this.raceCount++] = step;
      this.#join(row, step);
    }
    return mask & ~(1 << best);
  }

  #join(row: number, step: number): void {
    const clocks = this.#clocks;
    const from = step * LANES;
    for (let t = 0; t < this.#width; t++) {
      const clock = clocks[from + t]!;
      if (clock > clocks[row + t]!) clocks[row + t] = clock;
    }
  }

  /** The step ordered last was made: later ones see it. */
  commit(n: number, thread: number, data: Int32Array, from: number, to: number): void {
    this.#threads[n] = thread;
    this.#undoAt[n] = this.#undoTop;
    if (this.#undoTop + 2 * (to - from) + 4 * LANES > this.#undo.length) this.#growUndo(2 * (to - from) + 4 * LANES);
    this.#set(LATEST + thread, n);
    for (let i = from; i < to; i++) {
      const word = data[i]!;
      this.#set(OBJECTS + (word >> 1) * LANES + ((word & 1) === 0 ? 1 + thread : 0), n);
    }
  }

  /** Step n, the last one, let `threads` go on. */
  enables(n: number, threads: number): void {
    for (let t = 0; threads >>> t !== 0; t++) if (((threads >>> t) & 1) !== 0) this.#set(ENABLER + t, n);
  }

  #set(place: number, value: number): void {
    this.#undo[this.#undoTop++] = place;
    this.#undo[this.#undoTop++] = this.#last[place]!;
    this.#last[place] = value;
  }

  /** Takes back step n, the last one. */
  undo(n: number): void {
    const bottom = this.#undoAt[n]!;
    let top = this.#undoTop;
    while (top > bottom) {
      top -= 2;
      this.#last[this.#undo[top]!] = this.#undo[top + 1]!;
    }
    this.#undoTop = bottom;
  }

  /** Step e is in a race with step n of `thread`, which was ordered last. With v = the steps after e that do not come after e,
   *  and then n: the threads whose step may be the first of v (initials), or 0 when one of them is among `covered`. */
  initials(e: number, n: number, thread: number, covered: number): number {
    const [clocks, threads] = [this.#clocks, this.#threads];
    const racer = threads[e]!;
    let seen = 0;
    let initials = 0;
    for (let k = e + 1; k <= n; k++) {
      const t = k === n ? thread : threads[k]!;
      if (((seen >>> t) & 1) !== 0 || (k < n && clocks[k * LANES + racer]! >= e)) continue;
      if (this.#isFirst(k, seen)) {
        if (((covered >>> t) & 1) !== 0) return 0;
        initials |= 1 << t;
      }
      this.#firsts[t] = k;
      seen |= 1 << t;
    }
    return initials;
  }

  /** Comes none of the first steps of the threads in `seen` before step k? */
  #isFirst(k: number, seen: number): boolean {
    for (let t = 0; seen >>> t !== 0; t++) {
      if (((seen >>> t) & 1) !== 0 && this.#clocks[k * LANES + t]! >= this.#firsts[t]!) return false;
    }
    return true;
  }

  #makeRoom(n: number, thread: number, objects: number): void {
    if (thread >= this.#width) this.#width = thread + 1;
    if (n >= this.#threads.length) {
      this.#clocks = grown(this.#clocks);
      this.#threads = grown(this.#threads);
      this.#undoAt = grown(this.#undoAt);
    }
    while (OBJECTS + objects * LANES > this.#last.length) this.#last = grown(this.#last);
  }

  #growUndo(room: number): void {
    while (this.#undoTop + room > this.#undo.length) this.#undo = grown(this.#undo);
  }
}

/** A copy of twice the size. */
export function grown<T extends Int32Array | Int8Array>(array: T): T {
  const copy = array instanceof Int32Array ? new Int32Array(array.length * 2) : new Int8Array(array.length * 2);
  copy.set(array);
  return copy as T;
}
