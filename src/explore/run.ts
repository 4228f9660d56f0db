// One execution of a Program, recorded as it goes: who stepped, which answers each step got, who could have stepped. All
// strategies drive their executions through this, so that what they found replays.

import { Footprint } from '../base/footprint.ts';
import { lowest } from './dpor.ts';
import type { Choice, Finding, Program, Schedule, World } from './world.ts';

/** Answers a step's question: an integer in [0, n). `why` is one of CHOOSE_* (sched/scheduler). */
export type Answerer = (n: number, why: number) => number;

/** Always the first alternative. */
export const firstAnswer: Answerer = () => 0;

const NONE: readonly number[] = [];

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
  #enabled: number;
  readonly #answer: Answerer;

  constructor(program: Program, answer: Answerer = firstAnswer) {
    this.#answer = answer;
    this.world = program.build({ choose: (n, why) => this.#choose(n, why) }, this.footprint);
    this.#enabled = this.world.enabled();
    this.footprint.clear();
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
    this.#enabled = this.world.enabled();
    return hasWaited;
  }

  /** Ends it where it stands: cut when somebody could go on. */
  end(): readonly Finding[] {
    return this.world.end(this.#enabled !== 0);
  }

  schedule(length = this.threads.length): Schedule {
    return this.threads.slice(0, length).map((thread, i): Choice => ({ thread, answers: this.answers[i]! }));
  }
}

/** Steps that a thread makes in a stretch, where nobody prefers another one, before it is the turn of the next: a thread that
 *  polls must not keep the others from what it waits for. */
const STRETCH_MAX = 200;

/** Goes on without preempting anybody: a thread runs until it waits or ends, then it is the turn of the next in a circle. */
export class StayOn {
  #thread: number;
  #stretch = 0;

  constructor(last: number) {
    this.#thread = last;
  }

  /** Who steps; `enabled` is not empty. */
  next(enabled: number): number {
    const canStay = this.#thread >= 0 && (enabled & (1 << this.#thread)) !== 0;
    if (canStay && this.#stretch < STRETCH_MAX) {
      this.#stretch++;
      return this.#thread;
    }
    this.#stretch = 1;
    return (this.#thread = nextInCircle(enabled, this.#thread));
  }

  /** Another thread was chosen: it is the one that stays now. */
  moveTo(thread: number): void {
    this.#thread = thread;
    this.#stretch = 1;
  }
}

/** The first thread of the set after `thread`, counted in a circle. */
export function nextInCircle(set: number, thread: number): number {
  const later = thread < 0 ? set : set & ~((2 << thread) - 1);
  return lowest(later === 0 ? set : later);
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
