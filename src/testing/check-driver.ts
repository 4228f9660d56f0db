// checkDriver: the whole check as one promise, for any test runner. It rejects with an Error whose message is the counterexample.
//
//   a module's path or URL   the driver runs in watched worker threads: one that never returns fails the test, and does not hang it
//   a driver                 it runs here, in the runner's own thread, with the runner's own transformations and breakpoints

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCheck } from '../author/check.ts';
import { checkHere, type Replayer } from '../author/check-here.ts';
import { type Outcome, runIsolated, taskAt } from '../author/isolate.ts';
import { nearPath } from '../author/place.ts';
import { driverPath } from '../author/shipped.ts';
import type { TraceInput } from '../author/trace-task.ts';
import { InputError } from '../base/assert.ts';
import { type Driver, isDriver } from '../device/define-driver.ts';
import { shownTrace } from '../report/counterexample.ts';
import { plainPaint } from '../report/lanes.ts';
import { formatTimeline } from '../report/timeline.ts';
import { layoutTrace } from '../report/trace-layout.ts';
import { CHECK_DEFAULTS } from '../workload/check/check-operation.ts';
import { allOperationNames, scenarioNamed } from '../workload/check/plan.ts';
import type { CheckResult, ViolationReport } from '../workload/check/results.ts';
import { loadScenario } from '../workload/scenario/file.ts';
import type { RecordedRun } from '../workload/scenario/recorded-run.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';

export interface CheckDriverOptions {
  /** Operations by name, "a+b" for two at once. All, without pairs, when both this and `scenarios` are left out. */
  readonly operations?: readonly string[];
  /** Scenarios of your own: made by defineScenario, or paths of YAML and JSON files. */
  readonly scenarios?: readonly (Scenario | string | URL)[];
  /** Notifier design, where the driver is written for several. */
  readonly design?: string;
  /** Kind of device that the driver has to be for. */
  readonly device?: 'walker' | 'mirror';
  /** Executions of one operation at most, 2000 when left out. */
  readonly executions?: number;
  /** Of the random executions where that many do not reach the end, 1 when left out. */
  readonly seed?: number;
  /** Worker threads, for a driver that is given by its module; 2 when left out. */
  readonly workers?: number;
  readonly signal?: AbortSignal;
}

/** What checkDriver rejects with: the counterexample is the message. */
export class DriverViolation extends Error {
  override readonly name = 'DriverViolation';
  readonly result: CheckResult;

  constructor(message: string, result: CheckResult) {
    super(message);
    this.result = result;
  }
}

const EXECUTIONS = 2000;
const WIDTH = 100;

/** Checks the driver, a driver or where its module is. Resolves with the results; rejects with DriverViolation when the device did what
 *  it must not, with InputError when driver or options cannot be used. */
export async function checkDriver(
  driver: Driver | string | URL,
  options: CheckDriverOptions = {},
): Promise<CheckResult> {
  const { scenarios, files } = chosen(options);
  const settings = {
    scenarios,
    design: options.design ?? null,
    options: {
      ...CHECK_DEFAULTS,
      executions: positive('executions', options.executions ?? EXECUTIONS),
      seed: options.seed ?? CHECK_DEFAULTS.seed,
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    now: () => performance.now(),
  };
  const path = isDriver(driver) ? null : pathOf(driver);
  let result: CheckResult;
  let replayer: Replayer;
  if (path === null) {
    const here = await checkHere(driver as Driver, settings);
    ({ result, replayer } = here);
  } else {
    const workers = options.workers ?? 2;
    result = await runCheck({ ...settings, driver: path, scenarioModules: [], workers });
    replayer = (schedule) => replayIn(path, schedule, scenarios);
  }
  if (options.device !== undefined && result.device !== options.device)
    throw new InputError(`driver ${result.driver}: for a ${result.device}, not for a ${options.device}`);
  const [first, ...others] = violationsOf(result);
  if (first !== undefined)
    throw new DriverViolation(await message(result, first, others, path, replayer, files), result);
  const locks = result.lockFindings
    .filter((f) => f.gap === null)
    .map((f) => `driver ${result.driver}: ${f.property} (${f.tag}): ${f.sentence}`);
  if (locks.length > 0) throw new DriverViolation(locks.join('\n'), result);
  return result;
}

function positive(name: string, value: number): number {
  if (Number.isInteger(value) && value > 0) return value;
  throw new InputError(`checkDriver: ${name} is ${value}, not an integer above 0`);
}

function pathOf(driver: unknown): string {
  if (driver instanceof URL) return fileURLToPath(driver);
  if (typeof driver === 'string') return driver.startsWith('file:') ? fileURLToPath(driver) : driverPath(driver);
  throw new InputError(
    'checkDriver: expected a driver (defineDriver), or the path or URL of a module that exports one',
  );
}

interface Chosen {
  readonly scenarios: (string | Scenario)[];
  /** Files of scenarios by name. */
  readonly files: ReadonlyMap<string, string>;
}

function chosen({ operations, scenarios }: CheckDriverOptions): Chosen {
  const names = operations ?? (scenarios === undefined ? allOperationNames(false) : []);
  for (const name of names) scenarioNamed(name);
  const files = new Map<string, string>();
  const own = (scenarios ?? []).map((s) => {
    if (typeof s !== 'string' && !(s instanceof URL)) return s;
    const path = typeof s === 'string' ? s : fileURLToPath(s);
    const scenario = loadScenario(path);
    files.set(scenario.name, resolve(path));
    return scenario;
  });
  return { scenarios: [...names, ...own], files };
}

interface Found {
  readonly operation: string;
  readonly violation: ViolationReport;
}

/** What no documented gap of the real kernel explains, shortest first. */
function violationsOf(result: CheckResult): Found[] {
  const found = result.operations.flatMap(({ operation, violations }) =>
    violations.filter((v) => v.gap === null).map((violation) => ({ operation, violation })),
  );
  return found.sort((a, b) => a.violation.steps - b.violation.steps);
}

async function message(
  result: CheckResult,
  first: Found,
  others: readonly Found[],
  path: string | null,
  replayer: Replayer,
  files: ReadonlyMap<string, string>,
): Promise<string> {
  const { operation, violation: v } = first;
  const lines = [`driver ${result.driver} violates ${v.property} (${v.tag}) under ${operation}: ${v.sentence}`];
  // A driver that never returned left no schedule.
  if (v.schedule !== '') {
    const run = await replayer(v.schedule);
    if (run !== null)
      lines.push('', formatTimeline(layoutTrace(shownTrace(run, v.schedule), {}), WIDTH, plainPaint).trimEnd());
    const module = path === null ? 'MODULE-OF-THE-DRIVER' : nearPath(path);
    const file = files.get(operation);
    const own = file === undefined ? '' : ` --scenario ${nearPath(file)}`;
    lines.push('', 'Replay it, step by step:', `  npx shootdown trace '${v.schedule}' --driver ${module}${own}`);
  }
  const more = others.map((o) => `  ${o.operation}: ${o.violation.property} (${o.violation.tag})`);
  if (more.length > 0) lines.push('', 'Also found:', ...new Set(more));
  return lines.join('\n');
}

async function replayIn(
  path: string,
  text: string,
  scenarios: readonly (string | Scenario)[],
): Promise<RecordedRun | null> {
  const own = scenarios.filter((s) => typeof s !== 'string');
  const input: TraceInput = { text, scenarios: own };
  const outcome: Outcome<RecordedRun> = await runIsolated([path], taskAt('author/trace-task.js'), input);
  return outcome.kind === 'done' ? outcome.result : null;
}
