// explore(): runs every interleaving of a program that a bound allows, one for each class of equivalent ones, and keeps the
// shortest witness of each thing that the monitors found.

import { COMPLETE, CUT, Dpor, FINISHED } from './dpor.ts';
import type { Finding, Program, Schedule, World } from './world.ts';

export interface ExploreOptions {
  /** Complete (or cut) executions to run at most. Default: no bound. */
  readonly executionsMax?: number;
  /** Steps after which an execution is cut. Default 10,000. */
  readonly stepsMax?: number;
  /** Asked after every run: false stops the exploration (time is over, Ctrl-C ...). */
  readonly goOn?: () => boolean;
  /** Sees every complete or cut execution. false stops the exploration. */
  readonly visit?: (execution: Execution) => boolean | void;
}

/** An execution, as long as the visitor looks at it. */
export interface Execution {
  /** Its number, from 1. */
  readonly number: number;
  readonly findings: readonly Finding[];
  readonly isCut: boolean;
  /** The world at its end. */
  readonly world: World;
  /** Its choices. */
  schedule(): Schedule;
}

/** A finding, and the best schedule that led to it: the fewest steps, then the fewest switches, then the first. */
export interface Witness {
  readonly finding: Finding;
  /** Ends with the step of the finding. */
  readonly schedule: Schedule;
  /** Context switches of the schedule. */
  readonly switches: number;
}

export interface ExploreResult {
  /** Every interleaving was seen, or one equivalent to it: nothing was cut, nobody stopped. */
  readonly exhaustive: boolean;
  /** Why it ended: 'finished' whenever nothing was left to run. */
  readonly stopped: 'finished' | 'executions' | 'goOn' | 'visitor';
  /** Complete or cut executions. */
  readonly executions: number;
  /** Those of them that reached stepsMax. */
  readonly cut: number;
  /** Runs that were given up: equivalent to one seen before. */
  readonly blocked: number;
  /** Steps of all runs, repeated prefixes among them. */
  readonly steps: number;
  /** Of each property, tag and gap. */
  readonly findings: readonly Witness[];
}

const STEPS_MAX = 10_000;

/** Explores `program`. Deterministic: the same program and options give the same executions in the same order. */
export function explore(program: Program, options: ExploreOptions = {}): ExploreResult {
  const { executionsMax = Number.POSITIVE_INFINITY, stepsMax = STEPS_MAX, goOn, visit } = options;
  const dpor = new Dpor(program, stepsMax);
  const best = new Witnesses();
  let stopped: ExploreResult['stopped'] | null = null;
  while (stopped === null) {
    const outcome = dpor.next();
    if (outcome === FINISHED) stopped = 'finished';
    else if (outcome === COMPLETE || outcome === CUT) {
      const world = dpor.world!;
      const findings = world.end(outcome === CUT);
      if (findings.length > 0) best.add(findings, () => dpor.schedule());
      if (visit !== undefined) {
        const execution = {
          number: dpor.executions,
          findings,
          isCut: outcome === CUT,
          world,
          schedule: () => dpor.schedule(),
        };
        if (visit(execution) === false) stopped = 'visitor';
      }
      if (dpor.executions >= executionsMax) stopped ??= 'executions';
    }
    if (goOn !== undefined && stopped === null && !goOn()) stopped = 'goOn';
  }
  const { executions, cut, blocked, steps } = dpor;
  const exhaustive = stopped === 'finished' && cut === 0;
  return { exhaustive, stopped, executions, cut, blocked, steps, findings: best.list() };
}

/** The best witness of each property, tag and gap. */
export class Witnesses {
  readonly #best = new Map<string, Witness>();

  /** Findings of one execution. */
  add(findings: readonly Finding[], schedule: () => Schedule): void {
    let choices: Schedule | null = null;
    for (const finding of findings) {
      if (this.#isLonger(finding)) continue;
      choices ??= schedule();
      const prefix = choices.slice(0, finding.step);
      this.offer({ finding, schedule: prefix, switches: countSwitches(prefix, finding.step) });
    }
  }

  #isLonger(finding: Finding): boolean {
    const best = this.#best.get(keyOf(finding));
    return best !== undefined && best.finding.step < finding.step;
  }

  /** Keeps the witness if there is no better one. */
  offer(witness: Witness): void {
    const key = keyOf(witness.finding);
    const best = this.#best.get(key);
    if (best !== undefined) {
      const difference = best.finding.step - witness.finding.step || best.switches - witness.switches;
      if (difference <= 0) return;
    }
    this.#best.set(key, witness);
  }

  /** In the order of property, tag and gap. */
  list(): Witness[] {
    return [...this.#best].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, witness]) => witness);
  }
}

function keyOf(finding: Finding): string {
  return `${finding.property} ${finding.tag} ${finding.gap}`;
}

/** How often another thread steps than the one before, in the first `steps` steps. */
export function countSwitches(schedule: Schedule, steps: number): number {
  let switches = 0;
  for (let i = 1; i < schedule.length && i < steps; i++) {
    if (schedule[i]!.thread !== schedule[i - 1]!.thread) switches++;
  }
  return switches;
}
