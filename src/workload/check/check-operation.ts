// One operation (or a scenario of the user's own) with one driver: explore, judge each property against the same device without
// callbacks, minimise what was found.
//
//   1. every execution, up to the order of steps that do not touch, within the bound (explore/dpor)
//   2. where that did not end: random executions beside (explore/pct)
//   3. the null subject in the same way: what it violates was exercised
//
// The verdict of a cell is then a matter of sets; nothing here knows an operation or a property by name.

import { COMPLETE, CUT, Dpor } from '../../explore/dpor.ts';
import { randomWalk } from '../../explore/random.ts';
import { goalOf, isGoal, type Witness } from '../../explore/search.ts';
import type { Finding, Program, Schedule } from '../../explore/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { scenarioProgram } from '../scenario/scenario-world.ts';
import type { Subject } from '../scenario/subject.ts';
import { describeViolation } from './describe-violation.ts';
import { type CellVerdict, type OperationResult, type ViolationReport, verdictOfCells } from './results.ts';

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

/** Executions between two questions whether to go on. */
const SLICE = 64;

/** What exploring one program showed. */
interface Seen {
  readonly witnesses: Witness[];
  executions: number;
  steps: number;
  exhaustive: boolean;
  /** Executions in which the device held a translation of an affected page. */
  held: number;
  passing: Schedule | null;
  isStopped: boolean;
}

/** The program of the scenario, guarded, and told of each execution in which the device held what it takes away. */
function programOf(scenario: Scenario, subject: Subject, options: CheckOptions, onHeld: () => void): Program {
  const program = scenarioProgram(scenario, subject, {
    atEnd: (world) => {
      if (world.judge.results().windows > 0) onHeld();
    },
  });
  return options.guard === undefined ? program : options.guard(program);
}

/** Explores scenario and subject within the options. */
function exploreScenario(scenario: Scenario, subject: Subject, options: CheckOptions): Seen {
  const program = programOf(scenario, subject, options, () => {
    seen.held++;
  });
  const seen: Seen = {
    witnesses: [],
    executions: 0,
    steps: 0,
    exhaustive: false,
    held: 0,
    passing: null,
    isStopped: false,
  };
  const note = (findings: readonly Finding[], schedule: () => Schedule): void => {
    for (const finding of findings) {
      if (seen.witnesses.some((w) => isGoal(w.finding, goalOf(finding)))) continue;
      seen.witnesses.push({ finding, schedule: schedule().slice(0, finding.step) });
    }
  };
  const dpor = new Dpor(program, options.steps);
  for (;;) {
    if (dpor.executions >= options.executions) break;
    if (dpor.executions % SLICE === 0 && options.goOn?.(dpor.executions) === false) {
      seen.isStopped = true;
      break;
    }
    if (!dpor.next()) {
      seen.exhaustive = dpor.cut === 0;
      break;
    }
    if (dpor.outcome !== COMPLETE && dpor.outcome !== CUT) continue;
    seen.executions++;
    const findings = dpor.world!.end(dpor.outcome === CUT);
    if (findings.length > 0) note(findings, () => dpor.schedule());
    else if (options.showPassing === true && dpor.outcome === COMPLETE) seen.passing = dpor.schedule();
  }
  seen.steps = dpor.steps;
  if (!seen.exhaustive && !seen.isStopped) {
    const { seed, randomRuns, steps } = options;
    const walks = randomWalk(program, { seed, executions: randomRuns, stepsMax: steps });
    seen.executions += walks.executions;
    seen.steps += walks.steps;
    for (const w of walks.witnesses) note([w.finding], () => w.schedule);
  }
  return seen;
}

/** Checks `subject` under `scenario`. A stopped check answers null. */
export function checkScenario(scenario: Scenario, subject: Subject, options: CheckOptions): OperationResult | null {
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
  const violations: ViolationReport[] = seen.witnesses.map((w) => describeViolation(scenario, subject, w));
  return {
    operation: scenario.name,
    summary: scenario.summary,
    verdict: verdictOfCells(Object.values(cells)),
    exhaustive: seen.exhaustive,
    executions: seen.executions,
    steps: seen.steps,
    bounds: {
      executions: options.executions,
      steps: options.steps,
      preemptions: null,
      randomRuns: seen.exhaustive ? 0 : options.randomRuns,
    },
    cells,
    violations,
    heldShare: seen.executions === 0 ? 0 : seen.held / seen.executions,
    nullExecutions: nullSeen.executions,
    nullExhaustive: nullSeen.exhaustive,
    nullViolates,
    passing: null,
    lockFindings: [],
  };
}
