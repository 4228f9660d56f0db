// What the searches that do not claim to see every execution have in common: limits, books, and the answers to what a step asks.

import type { Rng } from '../base/rng.ts';
import { type Witness, Witnesses } from './explore.ts';
import { findNoProgress } from './liveness.ts';
import type { Answerer, Run } from './run.ts';
import type { Finding, Program } from './world.ts';

export interface SearchLimits {
  /** Executions at most. */
  readonly executions: number;
  /** Steps after which an execution is cut; 10000 when left out. */
  readonly stepsMax?: number;
  /** Answers other than the first alternative (a failed allocation, a delay) in one execution; 1 when left out. */
  readonly answersMax?: number;
  /** Asked before each execution: false ends the search. */
  readonly goOn?: () => boolean;
}

export interface SearchResult {
  readonly executions: number;
  /** Steps over all executions. */
  readonly steps: number;
  /** Executions with a finding. */
  readonly withFindings: number;
  /** Executions cut at stepsMax. */
  readonly cut: number;
  /** The best of each property, tag and gap (fewest steps, then fewest switches, then first); they end with the finding. */
  readonly witnesses: readonly Witness[];
  /** The search saw all that it set out to see; false when a limit ended it. */
  readonly isComplete: boolean;
}

/** Executions cut at stepsMax of which it is asked whether they would ever end: that takes many steps. */
const CUT_JUDGED = 2;

/** Books of a search. */
export class Tally {
  readonly stepsMax: number;
  readonly answersMax: number;
  executions = 0;
  steps = 0;
  withFindings = 0;
  cut = 0;
  readonly #witnesses = new Witnesses();
  readonly #program: Program;
  readonly #limits: SearchLimits;

  constructor(program: Program, limits: SearchLimits) {
    this.#program = program;
    this.#limits = limits;
    this.stepsMax = limits.stepsMax ?? 10_000;
    this.answersMax = limits.answersMax ?? 1;
  }

  /** May another execution begin? */
  goesOn(): boolean {
    return this.executions < this.#limits.executions && this.#limits.goOn?.() !== false;
  }

  /** Ends the execution and notes it. Its findings. */
  ended(execution: Run): readonly Finding[] {
    this.executions++;
    this.steps += execution.length;
    let findings = execution.end();
    this.#witnesses.add(findings, () => execution.schedule());
    if (execution.enabled !== 0 && ++this.cut <= CUT_JUDGED) {
      const stuck = findNoProgress(this.#program, execution.schedule());
      if (stuck !== null) {
        this.#witnesses.add([stuck.finding], () => stuck.schedule);
        findings = [...findings, stuck.finding];
      }
    }
    if (findings.length > 0) this.withFindings++;
    return findings;
  }

  get witnesses(): Witness[] {
    return this.#witnesses.list();
  }

  result(isComplete: boolean): SearchResult {
    const { executions, steps, withFindings, cut, witnesses } = this;
    return { executions, steps, withFindings, cut, witnesses, isComplete };
  }
}

/** Answers by chance: one in eight is another than the first alternative, `max` of them at most. */
export function answerRarely(rng: Rng, max: number): Answerer {
  let left = max;
  return (n) => {
    if (n === 1 || left === 0 || !rng.chance(1, 8)) return 0;
    left--;
    return 1 + rng.below(n - 1);
  };
}
