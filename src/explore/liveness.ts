// What a safety monitor cannot see: an execution that never ends, or a thread that never gets anything done. Both only count
// where the scheduling is fair, and a search that is cut was often merely unfair. So the judgement is careful:
//
//   livelock    behind the schedule neither a round of one step each, nor the usual scheduler (Run.usual), nor random ones come to
//               an end within a bound many times longer than an execution. The part that repeats is named
//   starvation  in the round, a thread steps again and again and completes nothing, while others complete many operations
//               (World.completed)
//
// Findings are of property L1: an access that the address space permits completes.

import { Rng } from '../base/rng.ts';
import { bitAt, countBits } from './enumerate.ts';
import { lowest } from './nodes.ts';
import { Run } from './run.ts';
import type { Finding, Program, Schedule } from './world.ts';

export interface LivenessOptions {
  /** Fair steps behind the schedule, of each scheduler; 3000 when left out. */
  readonly steps?: number;
  /** Steps of a thread that completes nothing ... */
  readonly starvedSteps?: number;
  /** ... while others complete so many operations, before it counts as starved; 500 and 20 when left out. */
  readonly operations?: number;
}

export interface NoProgress {
  readonly finding: Finding;
  /** Leads into it: the shortest beginning of the schedule from which nobody gets out, and the first round of what repeats. */
  readonly schedule: Schedule;
  /** Threads that go round. */
  readonly threads: readonly number[];
  /** Steps of the part that repeats; 0 when none was recognised. */
  readonly period: number;
}

const RANDOM_RUNS = 2;
/** Repetitions before a part counts as what repeats. */
const REPEATS = 8;

/** What keeps the program from ending behind the schedule, which it can follow; null when it ends, as it nearly always does. */
export function findNoProgress(program: Program, schedule: Schedule, options: LivenessOptions = {}): NoProgress | null {
  const steps = options.steps ?? 3000;
  if (!isStuckBehind(program, schedule, steps)) return findStarvation(program, schedule, options);
  // The shortest beginning from which nobody gets out: what is in it stays in it.
  let [low, high] = [0, schedule.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isStuckBehind(program, schedule.slice(0, middle), steps)) high = middle;
    else low = middle + 1;
  }
  const beginning = schedule.slice(0, high);
  const run = follow(program, beginning);
  const marks = goRound(run, steps);
  const { period, from } = repetition(marks);
  const length = period === 0 ? run.length : beginning.length + from + period;
  const tail = period === 0 ? run.threads.slice(-Math.floor(steps / 2)) : run.threads.slice(-period);
  const threads = [...new Set(tail)].sort((a, b) => a - b);
  const names = listed(threads.map((t) => run.world.threadName(t)));
  const go = threads.length === 1 ? 'goes' : 'go';
  const what = period === 0 ? `${go} round` : `${go} round: the same ${period} steps again and again`;
  const sentence = `Nothing comes to an end: ${names} ${what}, in fair order, for ${steps} steps.`;
  const finding = livelock(sentence, length);
  return { finding, schedule: run.schedule(length), threads, period };
}

function livelock(sentence: string, step: number): Finding {
  return { property: 'L1', tag: 'LIVELOCK', kind: 'liveness', gap: null, sentence, step };
}

/** Does no fair scheduler end it? */
function isStuckBehind(program: Program, schedule: Schedule, steps: number): boolean {
  const round = follow(program, schedule);
  goRound(round, steps);
  if (isOver(round)) return false;
  const usual = follow(program, schedule);
  for (let i = 0; i < steps && usual.enabled !== 0; i++) usual.step(usual.usual);
  if (isOver(usual)) return false;
  for (let seed = 1; seed <= RANDOM_RUNS; seed++) {
    const rng = new Rng(seed);
    const random = follow(program, schedule);
    for (let i = 0; i < steps && random.enabled !== 0; i++)
      random.step(bitAt(random.enabled, rng.below(countBits(random.enabled))));
    if (isOver(random)) return false;
  }
  return true;
}

/** Nobody can go on, or only what never ends by nature. */
function isOver(run: Run): boolean {
  return run.enabled === 0 || run.world.isDone?.() === true;
}

function follow(program: Program, schedule: Schedule): Run {
  const run = new Run(program);
  for (const { thread, answers } of schedule) run.step(thread, answers);
  return run;
}

/** One step of each thread that can step, in a circle. A mark of each step: who, and what it touched. */
function goRound(run: Run, steps: number): number[] {
  const marks: number[] = [];
  while (marks.length < steps && run.enabled !== 0) {
    const thread = nextInCircle(run.enabled, run.last);
    run.step(thread);
    let mark = Math.imul(thread + 1, 0x9e3779b1);
    const { footprint } = run;
    for (let i = 0; i < footprint.length; i++) {
      mark = Math.imul(mark ^ footprint.identity(i), 0x01000193);
      mark = Math.imul(mark ^ (footprint.kind(i) * 2 + (footprint.isWrite(i) ? 1 : 0)), 0x01000193);
    }
    marks.push(mark);
  }
  return marks;
}

/** The first thread of the set after `thread`, counted in a circle. */
function nextInCircle(set: number, thread: number): number {
  const later = thread < 0 ? set : set & ~((2 << thread) - 1);
  return lowest(later === 0 ? set : later);
}

/** Length of the shortest part with which the marks end, REPEATS times at least, and where it begins. 0: there is none. */
function repetition(marks: readonly number[]): { readonly period: number; readonly from: number } {
  for (let period = 1; period * REPEATS <= marks.length; period++) {
    let from = marks.length - period;
    while (from > 0 && marks[from - 1] === marks[from - 1 + period]) from--;
    if (marks.length - from >= period * REPEATS) return { period, from };
  }
  return { period: 0, from: 0 };
}

/** A thread that gets nothing done in the round while others do. */
function findStarvation(program: Program, schedule: Schedule, options: LivenessOptions): NoProgress | null {
  const { steps = 3000, starvedSteps = 500, operations = 20 } = options;
  const run = follow(program, schedule);
  const { world } = run;
  if (world.completed === undefined) return null;
  const completed = (t: number): number => world.completed!(t);
  // By thread: its own steps since it completed something, what it had completed then, and what all had.
  const own = new Map<number, { steps: number; done: number; all: number }>();
  let all = 0;
  for (let i = 0; i < steps && run.enabled !== 0; i++) {
    const t = nextInCircle(run.enabled, run.last);
    const before = completed(t);
    run.step(t);
    const now = completed(t);
    all += now - before;
    const since = own.get(t);
    if (since === undefined || now !== since.done) own.set(t, { steps: 0, done: now, all });
    else if (++since.steps > starvedSteps && all - since.all >= operations) {
      const name = world.threadName(t);
      const sentence =
        `${name} made ${since.steps} steps in fair order and completed nothing, while others completed ` +
        `${all - since.all} operations.`;
      return { finding: livelock(sentence, run.length), schedule: run.schedule(), threads: [t], period: 0 };
    }
  }
  return null;
}

/** "a", "a and b", "a, b and c". */
function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
