// All interleavings of a small program, each one, without any reduction: what the reduced search is held against. And how
// many there are in a large one: Knuth's estimate (Mathematics of Computation 29, 1975): a random walk from the root that
// meets d1, d2, ... ways to go on stands for d1 * d2 * ... leaves; the mean over many walks is unbiased.

import { Footprint } from '../base/footprint.ts';
import type { Rng } from '../base/rng.ts';
import type { Chooser } from '../sched/scheduler.ts';
import { Answers } from './answers.ts';
import type { Program, World } from './world.ts';

export interface Enumeration {
  /** False: `executionsMax` was reached. */
  readonly isComplete: boolean;
  /** Interleavings: different lists of choices. */
  readonly executions: number;
  /** Those that were cut at stepsMax. */
  readonly cut: number;
}

/** Runs every interleaving of `program`, in the order of thread numbers and answers. */
export function enumerate(
  program: Program,
  visit: (world: World, isCut: boolean) => void,
  executionsMax = Number.POSITIVE_INFINITY,
  stepsMax = 1000,
): Enumeration {
  const footprint = new Footprint();
  // The choice of a thread is one more question with numbered answers.
  const answers = new Answers();
  let executions = 0;
  let cut = 0;
  do {
    if (executions === executionsMax) return { isComplete: false, executions, cut };
    answers.at = 0;
    const world = program.build(answers, footprint);
    let steps = 0;
    let enabled = world.enabled();
    for (; enabled !== 0 && steps < stepsMax; enabled = world.enabled()) {
      footprint.clear();
      world.step(bitAt(enabled, answers.choose(countBits(enabled), 0)));
      steps++;
    }
    executions++;
    if (enabled !== 0) cut++;
    visit(world, enabled !== 0);
  } while (answers.next(0));
  return { isComplete: true, executions, cut };
}

export interface Estimate {
  /** Interleavings, about. */
  readonly mean: number;
  /** 95 % confidence interval of the mean (normal approximation; the lower end is at least the largest number certain: 1). */
  readonly low: number;
  readonly high: number;
  readonly walks: number;
}

/** Knuth's estimate of the number of interleavings from random walks. */
export function estimateInterleavings(program: Program, rng: Rng, walks: number, stepsMax = 10_000): Estimate {
  const footprint = new Footprint();
  let leaves = 1;
  const chooser: Chooser = {
    choose(n) {
      leaves *= n;
      return rng.below(n);
    },
  };
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < walks; i++) {
    leaves = 1;
    const world = program.build(chooser, footprint);
    let steps = 0;
    for (let enabled = world.enabled(); enabled !== 0 && steps < stepsMax; enabled = world.enabled()) {
      footprint.clear();
      world.step(bitAt(enabled, chooser.choose(countBits(enabled), 0)));
      steps++;
    }
    sum += leaves;
    squares += leaves * leaves;
  }
  const mean = sum / walks;
  const variance = Math.max(0, squares / walks - mean * mean) * (walks / Math.max(1, walks - 1));
  const half = 1.96 * Math.sqrt(variance / walks);
  return { mean, low: Math.max(1, mean - half), high: mean + half, walks };
}

export function countBits(mask: number): number {
  let n = 0;
  for (; mask !== 0; mask &= mask - 1) n++;
  return n;
}

/** Number of the i-th set bit, from the lowest. */
export function bitAt(mask: number, i: number): number {
  for (; i > 0; i--) mask &= mask - 1;
  return 31 - Math.clz32(mask & -mask);
}
