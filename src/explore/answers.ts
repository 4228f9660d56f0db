// The answers that an explorer gives when a step asks for a choice: those decided before, then the first alternative of every
// further question. All answers of one step are found by counting up the last one that has an alternative left.

import type { Chooser } from '../sched/scheduler.ts';
import { grown } from './happens-before.ts';

/** Number of alternatives of an answer that was planned before its question was asked. */
const UNKNOWN = 0;

export class Answers implements Chooser {
  /** Answers and numbers of alternatives of the execution, one after the other. */
  values = new Int32Array(64);
  #alternatives = new Int32Array(64);
  /** Answers given so far in this run. */
  at = 0;
  /** Answers that stand: below it they are repeated, from it on they are new. */
  end = 0;

  choose(n: number, _why: number): number {
    const { at } = this;
    if (at < this.end) {
      if (this.#alternatives[at] === UNKNOWN) this.#alternatives[at] = n;
      if (this.#alternatives[at] !== n)
        throw new Error(`it asks for one of ${n}, and for one of ${this.#alternatives[at]} before`);
      this.at++;
      return this.values[at]!;
    }
    if (at === this.values.length) {
      this.values = grown(this.values);
      this.#alternatives = grown(this.#alternatives);
    }
    this.values[at] = 0;
    this.#alternatives[at] = n;
    this.at++;
    this.end++;
    return 0;
  }

  /** Answers from `from` on become the next of their kind. False when there are none left: then they are forgotten. */
  next(from: number): boolean {
    while (this.end > from) {
      const last = this.end - 1;
      if (++this.values[last]! < this.#alternatives[last]!) return true;
      this.end = last;
    }
    return false;
  }

  /** Puts answers there for the step that is made next. */
  plan(answers: readonly number[]): void {
    const { at } = this;
    this.at = this.end;
    for (const answer of answers) {
      this.choose(UNKNOWN, 0);
      this.values[this.end - 1] = answer;
    }
    this.at = at;
  }

  /** Answers [from, to). */
  list(from: number, to: number): number[] {
    return from === to ? [] : [...this.values.subarray(from, to)];
  }

  /** The first answers of the next of the same kind as [from, to). Null: there is none. */
  after(from: number, to: number): number[] | null {
    for (let i = to - 1; i >= from; i--) {
      if (this.values[i]! + 1 < this.#alternatives[i]!) return [...this.values.subarray(from, i), this.values[i]! + 1];
    }
    return null;
  }
}
