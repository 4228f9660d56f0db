// One cell of the matrix of devices and notifier designs: the device with its driver for the design, under each operation of the
// list, by sampling (random priorities, several seeds) or by exploring every execution. The verdict comes from the monitors alone:
//
//   unsafe          it reaches memory that may be somebody else's, or loses data, or sleeps where the design forbids it
//   stale           it goes on in memory that the program has given up or closed, but that is nobody else's yet
//   price           safe, but the device does not get on, or holds memory for as long as it runs
//   gap             safe but for gaps that the real kernel has and documents
//   safe            nothing was found, and the same device that hears nothing was caught under at least one operation
//   not exercised   nothing was found, nor was the device that hears nothing
//   no driver       history has no driver of this device for the design

import { propertyOf } from '../../check/properties.ts';
import { deviceInfo } from '../../device/devices.ts';
import { explore, type Witness } from '../../explore/explore.ts';
import { goalOf, isGoal } from '../../explore/goal.ts';
import { pct } from '../../explore/pct.ts';
import type { Finding } from '../../explore/world.ts';
import { boundedBy, lockFindingsOf, lockWitness } from '../check/check-operation.ts';
import { describeViolation } from '../check/describe-violation.ts';
import { scenarioNamed } from '../check/plan.ts';
import type { LockFinding, ViolationReport } from '../check/results.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { scenarioProgram } from '../scenario/scenario-world.ts';
import { type Subject, subjectOfDevice } from '../scenario/subject.ts';

export type MatrixVerdict = 'safe' | 'price' | 'gap' | 'stale' | 'unsafe' | 'not exercised' | 'no driver';

export interface MatrixOptions {
  /** Names of operations, or pairs. */
  readonly operations: readonly string[];
  /** Sampling: each seed makes `executions` executions of each operation. */
  readonly seeds: readonly number[];
  /** Executions of an operation at most: for each seed, or of the whole exploration. */
  readonly executions: number;
  /** Steps of one execution at most. */
  readonly steps: number;
  /** Explore every execution instead of sampling; where `executions` or `steps` end that, sample too, with the first of the seeds. */
  readonly exhaustive: boolean;
  /** Asked now and then: false stops. */
  readonly goOn?: () => boolean;
}

/** What one operation showed. */
export interface MatrixOperation {
  readonly operation: string;
  readonly executions: number;
  readonly steps: number;
  readonly exhaustive: boolean;
  /** Executions that reached the bound of steps. */
  readonly cut: number;
  /** Findings, one for each property and gap. */
  readonly findings: readonly Finding[];
  /** Sleeps in atomic context and the like, in any single run. */
  readonly lockFindings: readonly LockFinding[];
  /** Properties that the same device violates when it hears nothing. */
  readonly deafViolates: readonly string[];
  readonly price: MatrixPrice;
}

/** What being safe costs the device, at most in any execution. */
export interface MatrixPrice {
  /** Attempts at one access that did not get on, in a row. */
  readonly refaultsMax: number;
  readonly pinnedPagesMax: number;
}

export interface MatrixCell {
  readonly device: string;
  readonly design: string;
  readonly verdict: MatrixVerdict;
  /** What the driver does under this design. */
  readonly driver: string;
  /** Why, in a sentence; '' when safe. */
  readonly why: string;
  /** Of an unsafe or stale cell, or of one with a price: the operation, and the violation with its schedule. */
  readonly operation: string;
  readonly violation: ViolationReport | null;
  /** Operations with a finding of the cell's kind. */
  readonly affected: readonly string[];
  /** Numbers of the documented gaps that showed. */
  readonly gaps: readonly number[];
  readonly executions: number;
  readonly steps: number;
  readonly price: MatrixPrice;
  /** Operations, those among them of which every execution was seen, and those that the deaf device was caught under. */
  readonly operations: number;
  readonly exhausted: number;
  readonly exercised: number;
  /** Operations of which not every execution was seen, and executions that reached the bound of steps. */
  readonly bounded: readonly string[];
  readonly cut: number;
  /** Somebody stopped it. */
  readonly isCut: boolean;
}

/** Runs that the lock-order monitor listens to. */
const LOCK_RUNS = 4;

/** Executions by random priorities beside an exploration that its bound ended. */
const BESIDE = 40;

interface Seen {
  readonly witnesses: readonly Witness[];
  readonly executions: number;
  readonly steps: number;
  readonly exhaustive: boolean;
  readonly cut: number;
  readonly price: MatrixPrice;
}

/** Looks at the scenario with the subject; with `firstOnly` until there is a finding. */
function look(scenario: Scenario, subject: Subject, given: MatrixOptions, firstOnly = false): Seen {
  const options = within(scenario, given);
  let price = FREE;
  const program = scenarioProgram(scenario, subject, {
    atEnd: (world) => {
      price = dearer(price, world.device.stats());
    },
  });
  const seen = new SeenSoFar(options, firstOnly);
  let exhaustive = false;
  if (options.exhaustive) {
    const { executions: executionsMax, steps: stepsMax } = options;
    const r = explore(program, {
      executionsMax,
      stepsMax,
      goOn: () => options.goOn?.() !== false,
      visit: ({ findings }) => !(firstOnly && findings.length > 0),
    });
    seen.add(r.executions, r.steps, r.cut, r.findings);
    exhaustive = r.exhaustive;
  }
  const seeds = options.exhaustive ? options.seeds.slice(0, 1) : options.seeds;
  const executions = options.exhaustive ? Math.min(BESIDE, options.executions) : options.executions;
  let stepsAssumed: number | undefined;
  for (const seed of exhaustive ? [] : seeds) {
    if (!seen.goesOn()) break;
    const limits = { seed, executions, stepsMax: options.steps, goOn: () => seen.goesOn() };
    const r = pct(program, stepsAssumed === undefined ? limits : { ...limits, steps: stepsAssumed });
    stepsAssumed = r.stepsAssumed;
    seen.add(r.executions, r.steps, r.cut, r.witnesses);
  }
  const { witnesses, steps, cut } = seen;
  return { witnesses, executions: seen.executions, steps, exhaustive, cut, price };
}

/** The options, within what the scenario says of itself. Its executions are shared by the seeds. */
function within(scenario: Scenario, options: MatrixOptions): MatrixOptions {
  const bounded = boundedBy(scenario, options);
  if (options.exhaustive || scenario.bounds === undefined) return bounded;
  const share = Math.ceil(scenario.bounds.executions / Math.max(1, options.seeds.length));
  return { ...bounded, executions: Math.min(options.executions, share) };
}

/** What several searches showed. */
class SeenSoFar {
  readonly witnesses: Witness[] = [];
  executions = 0;
  steps = 0;
  cut = 0;
  readonly #options: MatrixOptions;
  readonly #firstOnly: boolean;

  constructor(options: MatrixOptions, firstOnly: boolean) {
    this.#options = options;
    this.#firstOnly = firstOnly;
  }

  goesOn(): boolean {
    return !(this.#firstOnly && this.witnesses.length > 0) && this.#options.goOn?.() !== false;
  }

  add(executions: number, steps: number, cut: number, witnesses: readonly Witness[]): void {
    this.executions += executions;
    this.steps += steps;
    this.cut += cut;
    for (const w of witnesses) {
      if (!this.witnesses.some((known) => isGoal(known.finding, goalOf(w.finding)))) this.witnesses.push(w);
    }
  }
}

const FREE: MatrixPrice = { refaultsMax: 0, pinnedPagesMax: 0 };

function dearer(a: MatrixPrice, b: MatrixPrice): MatrixPrice {
  return {
    refaultsMax: Math.max(a.refaultsMax, b.refaultsMax),
    pinnedPagesMax: Math.max(a.pinnedPagesMax, b.pinnedPagesMax),
  };
}

/** What the deaf device violates, by device and operation: it does not depend on the design, which it does not hear. */
export class DeafDevices {
  readonly #seen = new Map<string, readonly string[]>();

  /** Properties of the first execution with a finding. */
  violates(scenario: Scenario, subject: Subject, options: MatrixOptions): readonly string[] {
    const key = `${subject.name} ${scenario.name}`;
    let found = this.#seen.get(key);
    if (found === undefined) {
      const deaf = subject.nullSubject;
      found =
        deaf === null ? [] : [...new Set(look(scenario, deaf, options, true).witnesses.map((w) => w.finding.property))];
      this.#seen.set(key, found);
    }
    return found;
  }
}

/** What a finding makes of its cell, the worse the higher. What is no listed property (a deadlock, a scenario's own claim) is unsafe. */
const BLAMELESS = 0;
const PRICE = 1;
const STALE = 2;
const UNSAFE = 3;

function blameOf(finding: Finding): number {
  if (finding.gap !== null) return BLAMELESS;
  const property = propertyOf(finding.property);
  if (property?.kind === 'liveness') return PRICE;
  return property?.tag === 'STALE-MAP' ? STALE : UNSAFE;
}

/** Runs one cell. Throws InputError for a device or an operation that does not exist. */
export function runCell(device: string, design: string, options: MatrixOptions, deaf = new DeafDevices()): MatrixCell {
  const info = deviceInfo(device);
  const driver = info.designs[design];
  const empty = {
    device,
    design,
    affected: [],
    gaps: [],
    executions: 0,
    steps: 0,
    operations: 0,
    exhausted: 0,
    exercised: 0,
    price: FREE,
    bounded: [],
    cut: 0,
  };
  if (driver === undefined)
    return { ...empty, verdict: 'no driver', driver: '', why: '', operation: '', violation: null, isCut: false };
  const subject = subjectOfDevice(device, design);
  const scenarios = options.operations.map(scenarioNamed);
  const results: MatrixOperation[] = [];
  let worst: { readonly scenario: Scenario; readonly witness: Witness } | null = null;
  let blame = BLAMELESS;
  let isCut = false;
  for (const scenario of scenarios) {
    if (options.goOn?.() === false) {
      isCut = true;
      break;
    }
    const seen = look(scenario, subject, options);
    for (const witness of seen.witnesses) {
      if (blameOf(witness.finding) <= blame) continue;
      blame = blameOf(witness.finding);
      worst = { scenario, witness };
    }
    results.push({
      operation: scenario.name,
      executions: seen.executions,
      steps: seen.steps,
      exhaustive: seen.exhaustive,
      cut: seen.cut,
      findings: seen.witnesses.map((w) => w.finding),
      lockFindings: lockFindingsOf(
        scenario,
        subject,
        { seed: options.seeds[0] ?? 1, steps: boundedBy(scenario, options).steps },
        LOCK_RUNS,
      ),
      deafViolates: info.kind === 'pinned' ? [] : deaf.violates(scenario, subject, options),
      price: seen.price,
    });
  }
  const locked = blame === UNSAFE ? undefined : results.find((r) => r.lockFindings.some(isUnexplained));
  let violation: ViolationReport | null = null;
  if (locked !== undefined) violation = lockViolation(locked, subject, options);
  else if (worst !== null) {
    const { scenario, witness } = worst;
    violation = describeViolation(scenario, subject, scenarioProgram(scenario, subject), witness);
  }
  return {
    ...empty,
    ...verdictOf(results, violation, locked === undefined ? blame : UNSAFE),
    driver,
    operation: locked?.operation ?? worst?.scenario.name ?? '',
    violation,
    affected: results.filter((r) => isAffected(r, blame, locked !== undefined)).map((r) => r.operation),
    gaps: [...new Set(explained(results).map((f) => f.gap!))].sort((a, b) => a - b),
    executions: results.reduce((n, r) => n + r.executions, 0),
    steps: results.reduce((n, r) => n + r.steps, 0),
    operations: results.length,
    exhausted: results.filter((r) => r.exhaustive).length,
    bounded: results.filter((r) => !r.exhaustive).map((r) => r.operation),
    cut: results.reduce((n, r) => n + r.cut, 0),
    price: results.reduce((price, r) => dearer(price, r.price), FREE),
    exercised: results.filter((r) => r.deafViolates.length > 0).length,
    isCut,
  };
}

function isUnexplained(f: LockFinding): boolean {
  return f.gap === null;
}

/** Does the operation show what the cell is called after? */
function isAffected(r: MatrixOperation, blame: number, isByLocks: boolean): boolean {
  if (isByLocks) return r.lockFindings.some(isUnexplained);
  return blame > BLAMELESS && r.findings.some((f) => blameOf(f) === blame);
}

/** What the lock-order monitor said of the operation, with the shortest execution that shows it; without one where it took several, each
 *  with a part of a circle. */
function lockViolation(r: MatrixOperation, subject: Subject, options: MatrixOptions): ViolationReport {
  const scenario = scenarioNamed(r.operation);
  const found = r.lockFindings.find(isUnexplained)!;
  const limits = { seed: options.seeds[0] ?? 1, steps: boundedBy(scenario, options).steps };
  const seen = lockWitness(scenario, subject, limits, LOCK_RUNS, found);
  if (seen !== null) return describeViolation(scenario, subject, seen.program, seen.witness);
  return { ...found, steps: 0, storySteps: 0, switches: 0, schedule: '' };
}

/** Findings that a documented gap explains. */
function explained(results: readonly MatrixOperation[]): (Finding | LockFinding)[] {
  return results.flatMap((r) => [...r.findings, ...r.lockFindings].filter((f) => f.gap !== null));
}

/** The verdict over all operations, and why. */
function verdictOf(
  results: readonly MatrixOperation[],
  violation: ViolationReport | null,
  blame: number,
): { readonly verdict: MatrixVerdict; readonly why: string } {
  const why = violation === null ? '' : `${violation.property} ${violation.tag}: ${violation.sentence}`;
  if (blame === UNSAFE) return { verdict: 'unsafe', why };
  if (blame === STALE) return { verdict: 'stale', why };
  if (blame === PRICE) return { verdict: 'price', why };
  const pinned = Math.max(0, ...results.map((r) => r.price.pinnedPagesMax));
  if (pinned > 0) return { verdict: 'price', why: `holds what it uses: up to ${pinned} pages pinned` };
  const gaps = explained(results);
  if (gaps.length > 0) return { verdict: 'gap', why: `documented gap ${gaps[0]!.gap}: ${gaps[0]!.sentence}` };
  if (results.some((r) => r.deafViolates.length > 0)) return { verdict: 'safe', why: '' };
  return { verdict: 'not exercised', why: 'the same device that hears nothing is not caught either' };
}
