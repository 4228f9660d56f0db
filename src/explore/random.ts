// Random walks: at every step each thread that can go on is equally likely. No guarantee, no memory, cheap: for soaking. Walk
// number i depends on the seed and i alone, so that jobs that share a range of walks find what one job finds.

import { Rng } from '../base/rng.ts';
import { bitAt, countBits } from './enumerate.ts';
import { Run } from './run.ts';
import { answerRarely, type SearchLimits, type SearchResult, Tally } from './search.ts';
import type { Program } from './world.ts';

export interface RandomOptions extends SearchLimits {
  readonly seed: number;
  /** Number of the first walk, 0 when left out. */
  readonly from?: number;
}

/** `executions` random walks of the program. */
export function randomWalk(program: Program, options: RandomOptions): SearchResult {
  const tally = new Tally(program, options);
  for (let i = options.from ?? 0; tally.goesOn(); i++) {
    const rng = runRng(options.seed, i);
    const execution = new Run(program, answerRarely(rng, tally.answersMax));
    while (execution.enabled !== 0 && execution.length < tally.stepsMax)
      execution.step(bitAt(execution.enabled, rng.below(countBits(execution.enabled))));
    tally.ended(execution);
  }
  return tally.result(false);
}

/** The random numbers of run i. */
export function runRng(seed: number, i: number): Rng {
  return new Rng(Math.imul(seed, 0x9e3779b1) ^ Math.imul(i + 1, 0x85ebca6b));
}
