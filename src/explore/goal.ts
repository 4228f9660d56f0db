// What a search is for: a finding of a kind.

import type { Run } from './run.ts';
import type { Finding } from './world.ts';

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

/** Asks after each step whether the goal is reached. */
export class GoalWatch {
  readonly #execution: Run;
  readonly #goal: Goal;
  #seen: number;

  constructor(execution: Run, goal: Goal) {
    this.#execution = execution;
    this.#goal = goal;
    this.#seen = 0;
  }

  /** Did the last step reach it? What only the end shows is reached by the last step of an execution that is over. */
  isReached(): boolean {
    const execution = this.#execution;
    const count = execution.world.findingCount();
    if (count === this.#seen && execution.enabled !== 0) return false;
    this.#seen = count;
    return execution.end().some((f) => isGoal(f, this.#goal));
  }
}
