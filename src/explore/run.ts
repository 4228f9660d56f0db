// One execution of a Program, recorded as it goes: who stepped, which answers each step got, who could have stepped. All
// strategies drive their executions through this, so that what they found replays.

import { Footprint } from '../base/footprint.ts';
import { lowest } from './nodes.ts';
import { type Choice, type Finding, type Program, type Schedule, THREADS_MAX, type World } from './world.ts';

/** Answers a step's question: an integer in [0, n). `why` is one of CHOOSE_* (sched/scheduler). */
export type Answerer = (n: number, why: number) => number;

/** Always the first alternative. */
export const firstAnswer: Answerer = () => 0;

const NONE: readonly number[] = [];

/** Steps that a thread is kept from going on, at most, where nobody prefers another one: who polls must not keep the others
 *  from what it waits for. */
const PATIENCE = 300;

export class Run {
  readonly world: World;
  /** What the last step touched. */
  readonly footprint = new Footprint();
  readonly threads: number[] = [];
  /** Threads that could have made each step. */
  readonly couldStep: number[] = [];
  /** Answers of each step, and how many alternatives there were. */
  readonly answers: (readonly number[])[] = [];
  readonly alternatives: (readonly number[])[] = [];
  #given: number[] = [];
  #offered: number[] = [];
  #fixed = NONE;
  #enabled = 0;
  /** By thread: when it was let go on last (a number of steps), and since when it has been kept from it. */
  readonly #wokenAt = new Int32Array(THREADS_MAX);
  readonly #keptSince = new Int32Array(THREADS_MAX);
  readonly #answer: Answerer;

  constructor(program: Program, answer: Answerer = firstAnswer) {
    this.#answer = answer;
    this.world = program.build({ choose: (n, why) => this.#choose(n, why) }, this.footprint);
    this.#noteEnabled();
    this.footprint.clear();
  }

  #noteEnabled(): void {
    const enabled = this.world.enabled();
    const now = this.threads.length;
    for (let fresh = enabled & ~this.#enabled; fresh !== 0; fresh &= fresh - 1) {
      const t = lowest(fresh);
      this.#wokenAt[t] = now;
      this.#keptSince[t] = now;
    }
    this.#enabled = enabled;
  }

  #choose(n: number, why: number): number {
    const fixed = this.#fixed[this.#given.length];
    const a = fixed === undefined ? this.#answer(n, why) : Math.min(fixed, n - 1);
    if (!Number.isInteger(a) || a < 0 || a >= n) throw new Error(`run: answer ${a} is not below ${n}`);
    this.#given.push(a);
    this.#offered.push(n);
    return a;
  }

  /** Steps made. */
  get length(): number {
    return this.threads.length;
  }

  /** Threads that can step now. */
  get enabled(): number {
    return this.#enabled;
  }

  /** Thread of the last step, -1 before the first. */
  get last(): number {
    return this.threads.length === 0 ? -1 : this.threads[this.threads.length - 1]!;
  }

  /** One step of a thread that can step; its first questions get `answers` (the last alternative instead of one that does not
   *  exist), further ones are asked. True: it only found that it must wait. */
  step(thread: number, answers: readonly number[] = NONE): boolean {
    this.#fixed = answers;
    this.footprint.clear();
    this.couldStep.push(this.#enabled);
    this.threads.push(thread);
    const hasWaited = this.world.step(thread);
    if (this.#given.length === 0) {
      this.answers.push(NONE);
      this.alternatives.push(NONE);
    } else {
      this.answers.push(this.#given);
      this.alternatives.push(this.#offered);
      this.#given = [];
      this.#offered = [];
    }
    this.#noteEnabled();
    this.#keptSince[thread] = this.threads.length;
    return hasWaited;
  }

  /** The thread that could go on for so long that it must now, whatever a strategy prefers; -1: none. */
  get kept(): number {
    let chosen = -1;
    let oldest = this.threads.length - PATIENCE;
    for (let set = this.#enabled; set !== 0; set &= set - 1) {
      const t = lowest(set);
      if (this.#keptSince[t]! >= oldest) continue;
      oldest = this.#keptSince[t]!;
      chosen = t;
    }
    return chosen;
  }

  /** Who goes on when nobody is preempted: the thread of the last step; when it waits or has ended, the one that was woken last,
   *  so that a question is followed to its answer; whoever was kept from it for too long before either. */
  get usual(): number {
    const { last, kept } = this;
    if (kept >= 0) return kept;
    if (last >= 0 && (this.#enabled & (1 << last)) !== 0) return last;
    let chosen = lowest(this.#enabled);
    for (let set = this.#enabled; set !== 0; set &= set - 1)
      if (this.#wokenAt[lowest(set)]! > this.#wokenAt[chosen]!) chosen = lowest(set);
    return chosen;
  }

  /** Ends it where it stands: cut when somebody could go on. */
  end(): readonly Finding[] {
    return this.world.end(this.#enabled !== 0);
  }

  schedule(length = this.threads.length): Schedule {
    return this.threads.slice(0, length).map((thread, i): Choice => ({ thread, answers: this.answers[i]! }));
  }
}

/** Switches away from a thread that could have gone on. */
export function countPreemptions(threads: readonly number[], couldStep: readonly number[]): number {
  let n = 0;
  for (let i = 1; i < threads.length; i++) {
    const before = threads[i - 1]!;
    if (threads[i] !== before && (couldStep[i]! & (1 << before)) !== 0) n++;
  }
  return n;
}
