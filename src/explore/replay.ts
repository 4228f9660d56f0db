// Replays a schedule. Equal choices make equal executions, so that a finding comes back at the same step; where the schedule
// cannot be followed (it belongs to another program, or the program changed) the answer names the step and why.

import { InputError } from '../base/assert.ts';
import { countSwitches } from './explore.ts';
import { countPreemptions, Run } from './run.ts';
import { type Finding, type Program, type Schedule, THREADS_MAX, type World } from './world.ts';

/** A schedule that the program cannot follow. */
export class ScheduleError extends InputError {
  /** Step at which it cannot be followed, from 1. */
  readonly step: number;
  readonly thread: number;

  constructor(message: string, step: number, thread: number) {
    super(message);
    this.step = step;
    this.thread = thread;
  }
}

export interface ReplayOptions {
  /** Behind the last choice: stop (the default), or run to the end, without preemption (Run.usual) and with first answers. */
  readonly isCompleted?: boolean;
  /** Steps of the whole execution before a completed one is cut; 100000 when left out. */
  readonly stepsMax?: number;
  /** Called after each step, which is numbered from 1. */
  readonly onStep?: (step: number, thread: number, execution: Run) => void;
}

export interface Replayed {
  readonly findings: readonly Finding[];
  /** What was executed, with the answers that a completion added. */
  readonly schedule: Schedule;
  /** Steps made. */
  readonly steps: number;
  readonly switches: number;
  readonly preemptions: number;
  /** Somebody could have gone on. */
  readonly isCut: boolean;
  readonly world: World;
}

/** Runs `program` along `schedule`. Answers that a step asks for beyond those listed are the first alternative.
 *  Throws ScheduleError where a thread cannot step, or an answer is out of range or not asked for. */
export function replay(program: Program, schedule: Schedule, options: ReplayOptions = {}): Replayed {
  let answers: readonly number[] = [];
  let used = 0;
  let step = 0;
  let thread = -1;
  const fail = (why: string): never => {
    throw new ScheduleError(`schedule for ${program.name}: step ${step}: ${why}`, step, thread);
  };
  const execution = new Run(program, (n) => {
    if (used >= answers.length) return 0;
    const a = answers[used++]!;
    if (!Number.isInteger(a) || a < 0 || a >= n) fail(`answer ${used} is ${a}, but there are ${n} alternatives`);
    return a;
  });
  const { world } = execution;
  for (const choice of schedule) {
    step++;
    ({ thread, answers } = choice);
    used = 0;
    if (!isIn(execution.enabled, thread)) fail(cannotStep(world, execution.enabled, thread));
    execution.step(thread);
    if (answers.some((a, i) => i >= used && a !== 0))
      fail(`${answers.length} answers are given, but ${used} are asked for`);
    options.onStep?.(step, thread, execution);
  }
  if (options.isCompleted === true) {
    answers = [];
    const stepsMax = options.stepsMax ?? 100_000;
    while (execution.enabled !== 0 && execution.length < stepsMax) {
      thread = execution.usual;
      execution.step(thread);
      options.onStep?.(++step, thread, execution);
    }
  }
  const isCut = execution.enabled !== 0;
  const done = execution.schedule();
  return {
    findings: execution.end(),
    schedule: done,
    steps: execution.length,
    switches: countSwitches(done, done.length),
    preemptions: countPreemptions(execution.threads, execution.couldStep),
    isCut,
    world,
  };
}

function isIn(set: number, thread: number): boolean {
  return Number.isInteger(thread) && thread >= 0 && thread < THREADS_MAX && (set & (1 << thread)) !== 0;
}

function cannotStep(world: World, enabled: number, thread: number): string {
  if (enabled === 0) return `thread ${thread} is to go on, but the execution is over`;
  const able: string[] = [];
  for (let i = 0; i < THREADS_MAX; i++) if (isIn(enabled, i)) able.push(`${i} (${world.threadName(i)})`);
  return `thread ${thread} cannot go on here; those that can: ${able.join(', ')}`;
}
