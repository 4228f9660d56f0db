// What the searches that do not claim to see every execution have in common: limits, books, and the answers to what a step asks.

import type { Rng } from '../base/rng.ts';
import type { Answerer, Execution } from './execution.ts';
import type { Finding, Schedule } from './world.ts';

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

/** A finding, and the first schedule that led to it. */
export interface Witness {
  readonly finding: Finding;
  /** Ends with the step of the finding. */
  readonly schedule: Schedule;
}

export interface SearchResult {
  readonly executions: number;
  /** Steps over all executions. */
  readonly steps: number;
  /** Executions with a finding. */
  readonly withFindings: number;
  /** Executions cut at stepsMax. */
  readonly cut: number;
  /** First of each property and documented gap, in the order found. */
  readonly witnesses: readonly Witness[];
  /** The search saw all that it set out to see; false when a limit ended it. */
  readonly isComplete: boolean;
}

/** What makes two findings the same kind: a gap of the real kernel is another one than a violation of its property. */
export interface Goal {
  readonly property: string;
  readonly gap: number | null;
}

export function goalOf(finding: Finding): Goal {
  return { property: finding.property, gap: finding.gap };
}

export function isGoal(finding: Finding, goal: Goal): boolean {
  return finding.property === goal.property && finding.gap === goal.gap;
}

/** Books of a search. */
export class Tally {
  readonly stepsMax: number;
  readonly answersMax: number;
  executions = 0;
  steps = 0;
  withFindings = 0;
  cut = 0;
  readonly witnesses: Witness[] = [];
  readonly #limits: SearchLimits;

  constructor(limits: SearchLimits) {
    this.#limits = limits;
    this.stepsMax = limits.stepsMax ?? 10_000;
    this.answersMax = limits.answersMax ?? 1;
  }

  /** May another execution begin? */
  goesOn(): boolean {
    return this.executions < this.#limits.executions && this.#limits.goOn?.() !== false;
  }

  /** Ends the execution and notes it. Its findings. */
  ended(execution: Execution): readonly Finding[] {
    this.executions++;
    this.steps += execution.length;
    if (execution.enabled !== 0) this.cut++;
    const findings = execution.end();
    if (findings.length > 0) this.withFindings++;
    for (const finding of findings) {
      if (this.witnesses.some((w) => isGoal(w.finding, finding))) continue;
      this.witnesses.push({ finding, schedule: execution.schedule(finding.step) });
    }
    return findings;
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
    if (left === 0 || !rng.chance(1, 8)) return 0;
    left--;
    return 1 + rng.below(n - 1);
  };
}
