// One operation (or a scenario of the user's own) with one driver: explore, judge each property against the same device without
// callbacks, minimise what was found.
//
//   1. every execution, up to the order of steps that do not touch, within the bound (explore/dpor)
//   2. where that did not end: executions by random priorities beside (explore/pct)
//   3. the null subject in the same way: what it violates was exercised
//
// The verdict of a cell is then a matter of sets; nothing here knows an operation or a property by name.

import { LockOrder } from '../../check/lock-order.ts';
import { explore, type Witness } from '../../explore/explore.ts';
import { goalOf, isGoal } from '../../explore/goal.ts';
import { pct } from '../../explore/pct.ts';
import { randomWalk } from '../../explore/random.ts';
import type { Program, Schedule } from '../../explore/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { scenarioProgram } from '../scenario/scenario-world.ts';
import type { Subject } from '../scenario/subject.ts';
import { describeViolation, scheduleText } from './describe-violation.ts';
import {
  type Bounds,
  type CellVerdict,
  type LockFinding,
  type OperationResult,
  type ViolationReport,
  verdictOfCells,
} from './results.ts';

export interface CheckOptions {
  /** Executions of one operation at most, of each of the driver and of the null driver. */
  readonly executions: number;
  /** Steps of one execution at most. */
  readonly steps: number;
  /** Random executions where the bound ended the exploration. */
  readonly randomRuns: number;
  readonly seed: number;
  /** Asked every few executions with the number so far: false stops. */
  readonly goOn?: (executions: number) => boolean;
  /** Keep a passing execution. */
  readonly showPassing?: boolean;
  /** Put around each program: a guard for drivers that never return. */
  readonly guard?: (program: Program) => Program;
}

export const CHECK_DEFAULTS: CheckOptions = { executions: 20_000, steps: 2_000, randomRuns: 200, seed: 1 };

/** What exploring one program showed. */
interface Seen {
  readonly witnesses: readonly Witness[];
  readonly executions: number;
  readonly steps: number;
  readonly exhaustive: boolean;
  /** Executions in which the device held a translation of an affected page. */
  readonly held: number;
  readonly passing: Schedule | null;
  readonly isStopped: boolean;
  readonly program: Program;
}

/** Explores scenario and subject within the options. */
function exploreScenario(scenario: Scenario, subject: Subject, options: CheckOptions): Seen {
  let held = 0;
  const inner = scenarioProgram(scenario, subject, {
    atEnd: (world) => {
      if (world.judge.wasAtStake) held++;
    },
  });
  const program = options.guard === undefined ? inner : options.guard(inner);
  let passing: Schedule | null = null;
  let seen = 0;
  const r = explore(program, {
    executionsMax: options.executions,
    stepsMax: options.steps,
    goOn: () => options.goOn?.(seen) !== false,
    visit: (e) => {
      seen = e.number;
      if (options.showPassing === true && passing === null && e.findings.length === 0 && !e.isCut)
        passing = e.schedule();
    },
  });
  const witnesses: Witness[] = [...r.findings];
  const isStopped = r.stopped === 'goOn';
  let { executions, steps } = r;
  if (!r.exhaustive && !isStopped) {
    const walks = pct(program, {
      seed: options.seed,
      executions: options.randomRuns,
      stepsMax: options.steps,
    });
    executions += walks.executions;
    steps += walks.steps;
    for (const w of walks.witnesses) {
      if (!witnesses.some((known) => isGoal(known.finding, goalOf(w.finding)))) witnesses.push(w);
    }
  }
  return { witnesses, executions, steps, exhaustive: r.exhaustive, held, passing, isStopped, program };
}

/** Executions that the lock-order monitor listens to: any single one tells, if it comes to the place. */
const LOCK_RUNS = 8;

/** What the lock-order monitor says of `executions` random ones. */
export function lockFindingsOf(
  scenario: Scenario,
  subject: Subject,
  options: Pick<CheckOptions, 'seed' | 'steps' | 'guard'>,
  executions = LOCK_RUNS,
): LockFinding[] {
  const lockOrder = new LockOrder();
  const inner = scenarioProgram(scenario, subject, { lockOrder });
  const program = options.guard === undefined ? inner : options.guard(inner);
  randomWalk(program, { seed: options.seed, executions, stepsMax: options.steps });
  return lockOrder.findings.map(({ property, tag, sentence, gap }) => ({ property, tag, sentence, gap }));
}

/** A single execution among the same random ones in which the lock-order monitor says that, and the program that judges so; null when
 *  it takes several, each with a part of a circle. */
export function lockWitness(
  scenario: Scenario,
  subject: Subject,
  options: Pick<CheckOptions, 'seed' | 'steps'>,
  executions: number,
  found: LockFinding,
): { readonly program: Program; readonly witness: Witness } | null {
  const program = scenarioProgram(scenario, subject, { locks: 'findings' });
  const { witnesses } = randomWalk(program, { seed: options.seed, executions, stepsMax: options.steps });
  const witness = witnesses.find((w) => isGoal(w.finding, found) && w.finding.tag === found.tag);
  return witness === undefined ? null : { program, witness };
}

/** What limits an exploration with these options. */
export function boundsOf(options: CheckOptions, exhaustive: boolean): Bounds {
  const { executions, steps, randomRuns } = options;
  return { executions, steps, preemptions: null, randomRuns: exhaustive ? 0 : randomRuns };
}

/** The options, within what the scenario says of itself. */
export function boundedBy<T extends Pick<CheckOptions, 'executions' | 'steps'>>({ bounds }: Scenario, options: T): T {
  if (bounds === undefined) return options;
  return {
    ...options,
    steps: Math.max(options.steps, bounds.steps),
    executions: Math.min(options.executions, bounds.executions),
  };
}

/** Checks `subject` under `scenario`. A stopped check answers null. */
export function checkScenario(scenario: Scenario, subject: Subject, given: CheckOptions): OperationResult | null {
  const bounded = boundedBy(scenario, given);
  const randomRuns = Math.min(bounded.randomRuns, scenario.bounds?.executions ?? Number.POSITIVE_INFINITY);
  const options = { ...bounded, randomRuns };
  const seen = exploreScenario(scenario, subject, options);
  if (seen.isStopped) return null;
  const found = new Set(seen.witnesses.map((w) => w.finding.property));
  const nothing: Seen = { ...seen, witnesses: [], executions: 0, exhaustive: false };
  const nullSeen = subject.nullSubject === null ? nothing : exploreScenario(scenario, subject.nullSubject, options);
  if (nullSeen.isStopped) return null;
  const nullViolates = [...new Set(nullSeen.witnesses.map((w) => w.finding.property))].sort();
  const cells: Record<string, CellVerdict> = {};
  for (const property of nullViolates) if (!found.has(property)) cells[property] = 'clean';
  for (const { finding } of seen.witnesses) {
    if (finding.gap === null) cells[finding.property] = 'violation';
    else if (cells[finding.property] !== 'violation') cells[finding.property] = 'gap';
  }
  const violations: ViolationReport[] = seen.witnesses.map((w) =>
    describeViolation(scenario, subject, seen.program, w, options.guard),
  );
  return {
    operation: scenario.name,
    summary: scenario.summary,
    verdict: verdictOfCells(Object.values(cells)),
    exhaustive: seen.exhaustive,
    executions: seen.executions,
    steps: seen.steps,
    bounds: boundsOf(options, seen.exhaustive),
    cells,
    violations,
    heldShare: seen.executions === 0 ? 0 : seen.held / seen.executions,
    nullExecutions: nullSeen.executions,
    nullExhaustive: nullSeen.exhaustive,
    nullViolates,
    passing: seen.passing === null ? null : scheduleText(scenario, subject, seen.passing),
    lockFindings: lockFindingsOf(scenario, subject, options),
  };
}
