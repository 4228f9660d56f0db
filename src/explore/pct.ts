// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010). Threads get random priorities; the
// highest one that can go on does; at d - 1 random steps the thread that made the step falls below all others. A bug of depth
// d (d ordered pairs of steps suffice for it) is met by each run with a probability of at least
//
//   1 / (n * k^(d-1))         n threads that step, k steps of an execution
//
// whatever else the program does. k must not be below the length of an execution: it is measured first, and executions that turn
// out longer are counted.

import type { Rng } from '../base/rng.ts';
import { countBits } from './enumerate.ts';
import { lowest } from './nodes.ts';
import { runRng } from './random.ts';
import { Run } from './run.ts';
import { answerRarely, type SearchLimits, type SearchResult, Tally } from './search.ts';
import { type Program, THREADS_MAX } from './world.ts';

export interface PctOptions extends SearchLimits {
  readonly seed: number;
  /** d; 3 when left out. */
  readonly depth?: number;
  /** k; measured by eight runs when left out. */
  readonly steps?: number;
  /** Number of the first run, 0 when left out. */
  readonly from?: number;
}

export interface PctResult extends SearchResult {
  readonly depth: number;
  /** Threads that made a step. */
  readonly threads: number;
  /** k as it was used. */
  readonly stepsAssumed: number;
  /** Executions with more steps: for a bug behind step k the guarantee does not hold. */
  readonly longer: number;
  /** Probability, at least, with which one run meets a given bug of this depth. */
  readonly guarantee: number;
  /** The same for all runs together. */
  readonly reached: number;
}

const MEASURING_RUNS = 8;

/** `executions` runs, the measuring ones among them. Run i depends on seed, depth, steps and i alone. */
export function pct(program: Program, options: PctOptions): PctResult {
  const tally = new Tally(program, options);
  const depth = options.depth ?? 3;
  const from = options.from ?? 0;
  let stepsAssumed = options.steps ?? 0;
  let threads = 0;
  let longer = 0;
  const measuring = options.steps === undefined ? MEASURING_RUNS : 0;
  let runs = 0;
  for (let i = -measuring; tally.goesOn(); i++) {
    const rng = runRng(options.seed, i < 0 ? i - 1 : from + i);
    const execution = runByPriority(program, rng, i < 0 ? 1 : depth, stepsAssumed, tally);
    threads |= execution.threads.reduce((set, t) => set | (1 << t), 0);
    if (i < 0) stepsAssumed = Math.max(stepsAssumed, execution.length);
    else {
      runs++;
      if (execution.length > stepsAssumed) longer++;
    }
    tally.ended(execution);
  }
  const n = Math.max(1, countBits(threads));
  const guarantee = 1 / (n * Math.max(1, stepsAssumed) ** (depth - 1));
  const reached = 1 - (1 - guarantee) ** runs;
  return { ...tally.result(false), depth, threads: n, stepsAssumed, longer, guarantee, reached };
}

function runByPriority(program: Program, rng: Rng, depth: number, steps: number, tally: Tally): Run {
  const priority = shuffled(rng).map((p) => p + depth);
  // Step number -> the priority to which the thread falls that makes it.
  const falls = new Map<number, number>();
  for (let i = 1; i < depth; i++) falls.set(1 + rng.below(Math.max(1, steps)), i);
  const execution = new Run(program, answerRarely(rng, tally.answersMax));
  while (execution.enabled !== 0 && execution.length < tally.stepsMax) {
    const thread = execution.kept >= 0 ? execution.kept : highest(execution.enabled, priority);
    execution.step(thread);
    const fall = falls.get(execution.length);
    if (fall !== undefined) priority[thread] = fall;
  }
  return execution;
}

/** 0 ... THREADS_MAX - 1 in a random order: any threads among them are in a random order too. */
function shuffled(rng: Rng): number[] {
  const list = Array.from({ length: THREADS_MAX }, (_, i) => i);
  for (let i = list.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}

function highest(set: number, priority: readonly number[]): number {
  let best = lowest(set);
  for (; set !== 0; set &= set - 1) if (priority[lowest(set)]! > priority[best]!) best = lowest(set);
  return best;
}
