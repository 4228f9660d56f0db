// From any schedule that ends in a finding to the one that is shown: fewest steps until the finding, then fewest context
// switches, then the lexicographically first list of threads, then of answers.
//
//   1  the witness is cut behind the finding, reduced to what happens before it (causality.ts), and ordered with the fewest switches
//   2  local search: without a block of steps, without the last steps of a thread, finished earlier; skipping what cannot be followed
//   3  the same from the first finding of a delay-bounded search, which knows nothing of the witness
//   4  all executions that are shorter (shortest.ts), within the budget
//
// When 4 ends by itself the result depends on the program and the goal alone, on no witness: isCanonical. Otherwise it is the best
// that was seen. Whatever comes out was executed, and showed the finding at its last step.

import { InputError } from '../base/assert.ts';
import { boundedSearch } from './bounded.ts';
import { coneOfLast, fewestSwitches, orderOf } from './causality.ts';
import { countBits } from './enumerate.ts';
import { countSwitches } from './explore.ts';
import { type Goal, GoalWatch, isGoal } from './goal.ts';
import { findNoProgress } from './liveness.ts';
import { replay } from './replay.ts';
import { countPreemptions, Run } from './run.ts';
import { shortestExecutions } from './shortest.ts';
import type { Choice, Finding, Program, Schedule } from './world.ts';

export interface MinimiseOptions {
  /** Executions at most, over all parts; 5000 when left out. */
  readonly executions?: number;
  /** Answers other than the first alternative in one execution; as many as the witness has when left out. */
  readonly answersMax?: number;
  readonly goOn?: () => boolean;
}

export interface Minimal {
  readonly schedule: Schedule;
  readonly finding: Finding;
  readonly steps: number;
  /** Context switches: steps of another thread than the one before. */
  readonly switches: number;
  /** Switches away from a thread that could have gone on. */
  readonly preemptions: number;
  /** No execution is better; false: the budget did not suffice to know. */
  readonly isCanonical: boolean;
  readonly executions: number;
}

/** An execution that reaches the goal with its last step. */
interface Candidate {
  readonly schedule: Schedule;
  readonly finding: Finding;
  readonly switches: number;
  readonly preemptions: number;
}

/** The minimal schedule for the goal that the budget allows to find. Throws ScheduleError where the program cannot follow
 *  `witness`, InputError where it does not reach the goal. */
export function minimise(program: Program, witness: Schedule, goal: Goal, options: MinimiseOptions = {}): Minimal {
  const { findings, schedule: whole } = replay(program, witness);
  if (!findings.some((f) => isGoal(f, goal))) {
    const stuck = minimalNoProgress(program, witness, goal);
    if (stuck !== null) return stuck;
    throw new InputError(`minimise: ${program.name}: the schedule shows no finding of ${goal.property}`);
  }
  const m = new Minimiser(program, goal, options.executions ?? 5_000, options.goOn ?? (() => true));
  const answersMax = options.answersMax ?? Math.max(1, otherAnswers(whole));
  m.improve(m.follow(whole)!);
  m.searchAnew(answersMax);
  const isCanonical = m.searchShorter(answersMax);
  const { schedule, finding, switches, preemptions } = m.best!;
  const { executions } = m;
  return { schedule, finding, steps: schedule.length, switches, preemptions, isCanonical, executions };
}

/** Where the goal is a want of progress that no monitor of the program reports (liveness.ts): the shortest beginning, and one round. */
function minimalNoProgress(program: Program, witness: Schedule, goal: Goal): Minimal | null {
  const stuck = findNoProgress(program, witness);
  if (stuck === null || !isGoal(stuck.finding, goal)) return null;
  const { finding, schedule } = stuck;
  const { steps, switches, preemptions } = replay(program, schedule);
  return { schedule, finding, steps, switches, preemptions, isCanonical: false, executions: 0 };
}

/** Delays at most in the search of part 3. */
const DELAYS = 2;

class Minimiser {
  readonly #program: Program;
  readonly #goal: Goal;
  readonly #executionsMax: number;
  readonly #goOn: () => boolean;
  executions = 0;
  best: Candidate | null = null;
  /** Every order with the fewest switches that was looked for was found. */
  #isExact = true;

  constructor(program: Program, goal: Goal, executionsMax: number, goOn: () => boolean) {
    this.#program = program;
    this.#goal = goal;
    this.#executionsMax = executionsMax;
    this.#goOn = goOn;
  }

  get #left(): number {
    return this.#goOn() ? Math.max(0, this.#executionsMax - this.executions) : 0;
  }

  /** Follows the choices as far as they can be followed, leaving out those that cannot; then, where `runsOn` is a thread, goes on
   *  with it without preemption. The execution up to the goal; null when it is not reached within `stepsMax`. */
  follow(schedule: Schedule, runsOn = -1, stepsMax = Number.POSITIVE_INFINITY): Candidate | null {
    this.executions++;
    const execution = new Run(this.#program);
    const watch = new GoalWatch(execution, this.#goal);
    for (const { thread, answers } of schedule) {
      if (execution.length >= stepsMax) return null;
      if ((execution.enabled & (1 << thread)) === 0) continue;
      execution.step(thread, answers);
      if (watch.isReached()) return this.#candidate(execution);
    }
    if (runsOn < 0) return null;
    for (let isFirst = true; execution.enabled !== 0 && execution.length < stepsMax; isFirst = false) {
      const canBegin = isFirst && (execution.enabled & (1 << runsOn)) !== 0;
      execution.step(canBegin ? runsOn : execution.usual);
      if (watch.isReached()) return this.#candidate(execution);
    }
    return null;
  }

  #candidate(execution: Run): Candidate {
    const finding = execution.end().find((f) => isGoal(f, this.#goal))!;
    const { threads, couldStep } = execution;
    const preemptions = countPreemptions(threads, couldStep);
    const schedule = execution.schedule();
    return { schedule, finding, switches: countSwitches(schedule, schedule.length), preemptions };
  }

  /** The same execution without what does not happen before the goal, in the order with the fewest switches. */
  #tidy(c: Candidate): Candidate {
    this.executions++;
    const order = orderOf(this.#program, c.schedule);
    let best = c;
    for (const places of [coneOfLast(order), order.threads.map((_, i) => i)]) {
      const sorted = fewestSwitches(order, places);
      if (sorted === null) this.#isExact = false;
      const tidy = this.follow((sorted ?? places).map((i) => c.schedule[i]!));
      if (tidy === null) continue;
      if (compare(tidy, best) < 0) best = tidy;
      break;
    }
    return best;
  }

  /** Local search from the candidate. */
  improve(candidate: Candidate): void {
    let c = this.#tidy(candidate);
    for (let better: Candidate | null = c; better !== null; ) {
      if (this.best === null || compare(c, this.best) < 0) this.best = c;
      better = this.#left > 0 ? this.#firstBetter(c) : null;
      if (better !== null) c = this.#tidy(better);
    }
  }

  #firstBetter(c: Candidate): Candidate | null {
    for (const shorter of shorterSchedules(c.schedule)) {
      if (this.#left === 0) return null;
      const found = this.follow(shorter, -1, c.schedule.length);
      if (found !== null && compare(found, c) < 0) return found;
    }
    // Earlier completion: the first steps as they are, then one thread as far as it gets.
    const threads = c.schedule.reduce((set, { thread }) => set | (1 << thread), 0);
    for (let length = 0; length < c.schedule.length && countBits(threads) > 1; length++) {
      for (let t = 0; t < 31; t++) {
        if ((threads & (1 << t)) === 0) continue;
        if (this.#left === 0) return null;
        const found = this.follow(c.schedule.slice(0, length), t, c.schedule.length);
        if (found !== null && compare(found, c) < 0) return found;
      }
    }
    return null;
  }

  /** What a search finds that does not begin with the witness. */
  searchAnew(answersMax: number): void {
    const executions = Math.floor(this.#left / 4);
    const limits = { executions, answersMax, goOn: this.#goOn, stopsAt: this.#goal };
    const result = boundedSearch(this.#program, { ...limits, bound: DELAYS, count: 'delays' });
    this.executions += result.executions;
    const found = result.witnesses.find((w) => isGoal(w.finding, this.#goal));
    const c = found === undefined ? null : this.follow(found.schedule);
    if (c !== null) this.improve(c);
  }

  /** Does the goal show at the last step whether or not the execution is over there? */
  #showsBeforeEnd(schedule: Schedule): boolean {
    this.executions++;
    const run = new Run(this.#program);
    for (const { thread, answers } of schedule) run.step(thread, answers);
    return run.world.end(true).some((f) => isGoal(f, this.#goal));
  }

  /** Everything that is shorter than the best, or as short. True when all of it was seen. */
  searchShorter(answersMax: number): boolean {
    const stepsMax = this.best!.schedule.length;
    // Is it a finding of the end? Then nobody can go on, and who waits belongs to it.
    const mayWait = !this.#showsBeforeEnd(this.best!.schedule);
    const limits = { stepsMax, executions: this.#left, answersMax, mayWait, goOn: this.#goOn };
    const shortest = shortestExecutions(this.#program, this.#goal, limits);
    this.executions += shortest.executions;
    for (const schedule of shortest.schedules) {
      const c = this.#tidy(this.follow(schedule)!);
      if (compare(c, this.best!) < 0) this.best = c;
    }
    return shortest.isComplete && this.#isExact;
  }
}

/** Below 0 when `a` is the better one to show. */
function compare(a: Candidate, b: Candidate): number {
  if (a.schedule.length !== b.schedule.length) return a.schedule.length - b.schedule.length;
  if (a.switches !== b.switches) return a.switches - b.switches;
  for (let i = 0; i < a.schedule.length; i++) {
    const d = a.schedule[i]!.thread - b.schedule[i]!.thread;
    if (d !== 0) return d;
  }
  for (let i = 0; i < a.schedule.length; i++) {
    const [x, y] = [a.schedule[i]!.answers, b.schedule[i]!.answers];
    for (let n = 0; n < Math.max(x.length, y.length); n++) {
      const d = (x[n] ?? 0) - (y[n] ?? 0);
      if (d !== 0) return d;
    }
  }
  return 0;
}

/** The schedule without one of its parts: a block of one thread, the last steps of a thread, the last step of a block, an answer. */
function* shorterSchedules(schedule: Schedule): Generator<Schedule> {
  for (let end = schedule.length; end > 0; ) {
    let start = end - 1;
    while (start > 0 && schedule[start - 1]!.thread === schedule[start]!.thread) start--;
    yield [...schedule.slice(0, start), ...schedule.slice(end)];
    if (end - start > 1) yield [...schedule.slice(0, end - 1), ...schedule.slice(end)];
    end = start;
  }
  for (const thread of new Set(schedule.map((choice) => choice.thread))) {
    const places = schedule.flatMap((choice, i) => (choice.thread === thread ? [i] : []));
    for (const first of places) yield schedule.filter((choice, i) => choice.thread !== thread || i < first);
  }
  for (let i = 0; i < schedule.length; i++) {
    if (schedule[i]!.answers.some((a) => a !== 0))
      yield schedule.map((choice, at): Choice => (at === i ? { thread: choice.thread, answers: [] } : choice));
  }
}

/** Answers other than the first alternative. */
function otherAnswers(schedule: Schedule): number {
  return schedule.reduce((n, { answers }) => n + answers.filter((a) => a !== 0).length, 0);
}
