// A whole check of a driver: worker threads share the list of operations; what each finds comes back as it is found, so that a check
// that is stopped keeps its results.

import { InputError } from '../base/assert.ts';
import type { CheckOptions } from '../workload/check/check-operation.ts';
import { boundsOf } from '../workload/check/check-operation.ts';
import { type CheckResult, distinctLockFindings, type OperationResult } from '../workload/check/results.ts';
import { stuckFinding } from '../workload/guard/guarded-program.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { openModules } from './bundle.ts';
import type { CheckInput, CheckMessage } from './check-task.ts';
import { type Outcome, runIn, taskAt } from './isolate.ts';

export interface CheckRequest {
  /** The driver's module. */
  readonly driver: string;
  /** Modules that export scenarios; they are checked after those of `scenarios`. */
  readonly scenarioModules: readonly string[];
  readonly scenarios: readonly (string | Scenario)[];
  readonly design: string | null;
  readonly options: Omit<CheckOptions, 'goOn' | 'guard'>;
  /** Executions of a pair of operations at most; as many as of one when left out. */
  readonly pairExecutions?: number;
  readonly workers: number;
  readonly signal?: AbortSignal;
  /** Stop everything at the first violation. */
  readonly first?: boolean;
  /** Told how far the check is: operations done and to do, executions so far. */
  readonly onProgress?: (done: number, total: number, executions: number) => void;
  /** Milliseconds, for the duration. */
  readonly now: () => number;
}

/** Checks the driver. Throws InputError when its module cannot be used. */
export async function runCheck(request: CheckRequest): Promise<CheckResult> {
  const began = request.now();
  const books = new Books(request);
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  request.signal?.addEventListener('abort', abort);
  if (request.signal?.aborted === true) abort();
  const input: CheckInput = {
    scenarios: request.scenarios,
    next: new SharedArrayBuffer(4),
    design: request.design,
    options: request.options,
    pairExecutions: request.pairExecutions ?? request.options.executions,
  };
  const modules = [request.driver, ...request.scenarioModules];
  const task = taskAt('author/check-task.js');
  const count = Math.max(1, Math.min(request.workers, request.scenarios.length + 8 * request.scenarioModules.length));
  const bundle = await openModules(modules);
  const runOne = (worker: number): Promise<Outcome<true>> =>
    runIn<true>(bundle, task, input, {
      onProgress: (message) => {
        books.note(worker, message as CheckMessage);
        if (request.first === true && books.hasViolation) abort();
      },
      signal: stop.signal,
    });
  const outcomes = await Promise.all(Array.from({ length: count }, (_, worker) => runOne(worker))).finally(() => {
    request.signal?.removeEventListener('abort', abort);
    bundle.close();
  });
  outcomes.forEach((outcome, worker) => {
    books.ended(worker, outcome);
  });
  return books.result((request.now() - began) / 1000);
}

class Books {
  readonly #request: CheckRequest;
  readonly #results: (OperationResult | undefined)[] = [];
  readonly #names: string[] = [];
  /** What each worker has under way, by index. */
  readonly #atWork = new Map<number, number>();
  readonly #executions = new Map<number, number>();
  #driver = { name: '', design: '', device: '' };
  #total: number;

  constructor(request: CheckRequest) {
    this.#request = request;
    this.#total = request.scenarios.length;
    request.scenarios.forEach((s, i) => {
      this.#names[i] = typeof s === 'string' ? s : s.name;
    });
  }

  get hasViolation(): boolean {
    return this.#results.some((r) => r?.verdict === 'violation' || r?.lockFindings.some((f) => f.gap === null));
  }

  note(worker: number, m: CheckMessage): void {
    if (m.kind === 'driver') {
      this.#driver = m;
      m.scenarios.forEach((name, i) => {
        this.#names[i] = name;
      });
      this.#total = m.scenarios.length;
    } else if (m.kind === 'begin') this.#atWork.set(worker, m.index);
    else if (m.kind === 'at') this.#executions.set(m.index, m.executions);
    else {
      this.#results[m.index] = m.result;
      this.#executions.set(m.index, m.result.executions);
      this.#atWork.delete(worker);
    }
    let executions = 0;
    for (const n of this.#executions.values()) executions += n;
    this.#request.onProgress?.(this.#results.filter((r) => r !== undefined).length, this.#total, executions);
  }

  /** A worker is gone: a driver that does not give control back is a finding of the operation under way. */
  ended(worker: number, outcome: Outcome<true>): void {
    if (outcome.kind === 'done' || outcome.kind === 'stopped') return;
    if (outcome.kind === 'unusable') throw new InputError(outcome.message);
    if (outcome.kind === 'internal') throw new Error(outcome.stack);
    const who = this.#driver.name === '' ? this.#request.driver : this.#driver.name;
    if (outcome.kind === 'died') throw new InputError(`driver ${who}: ${outcome.message}`);
    const index = this.#atWork.get(worker);
    const { callback, seconds, place } = outcome;
    if (index === undefined) {
      const where = place === null ? '' : ` at ${place}`;
      throw new InputError(`driver ${who}: ${outcome.during} does not return${where}: nothing for ${seconds} s`);
    }
    const { property, tag, sentence } = stuckFinding(who, callback, seconds, place);
    this.#results[index] = {
      operation: this.#names[index] ?? `scenario ${index}`,
      summary: '',
      verdict: 'violation',
      exhaustive: false,
      executions: this.#executions.get(index) ?? 0,
      steps: 0,
      bounds: boundsOf(this.#request.options, false),
      cells: { [property]: 'violation' },
      violations: [{ property, tag, sentence, gap: null, steps: 0, storySteps: 0, switches: 0, schedule: '' }],
      heldShare: 0,
      nullExecutions: 0,
      nullExhaustive: false,
      nullViolates: [],
      passing: null,
      lockFindings: [],
    };
  }

  result(seconds: number): CheckResult {
    const operations: OperationResult[] = [];
    const unfinished: string[] = [];
    for (let i = 0; i < this.#total; i++) {
      const result = this.#results[i];
      if (result !== undefined) operations.push(result);
      else unfinished.push(this.#names[i]!);
    }
    const { name, design, device } = this.#driver;
    const { seed } = this.#request.options;
    const lockFindings = distinctLockFindings(operations);
    return { driver: name, design, device, seed, operations, lockFindings, seconds, unfinished };
  }
}
