// The task of a worker of `shootdown check`: takes one operation after the other from a shared counter, checks it, and sends what
// it found. Several workers share the list.

import { CHECK_DEFAULTS, type CheckOptions, checkScenario } from '../workload/check/check-operation.ts';
import { isPair, scenariosFor } from '../workload/check/plan.ts';
import type { OperationResult } from '../workload/check/results.ts';
import { guardedProgram } from '../workload/guard/guarded-program.ts';
import type { Heart } from '../workload/guard/heart.ts';
import { watchedDriver } from '../workload/guard/watched-driver.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { subjectOf } from '../workload/scenario/subject.ts';
import { driverOf } from './driver-module.ts';
import { scenariosOf } from './scenario-module.ts';
import type { Task, TaskHost } from './task.ts';

export interface CheckInput {
  /** Operations by name, or scenarios as data. */
  readonly scenarios: readonly (string | Scenario)[];
  /** Word 0: the next scenario that nobody has taken. */
  readonly next: SharedArrayBuffer;
  readonly design: string | null;
  readonly options: Omit<CheckOptions, 'goOn' | 'guard'>;
  /** Executions of a pair of operations at most. */
  readonly pairExecutions: number;
}

/** What a worker sends: who it checks, that it began an operation, how far it is, and what it found. */
export type CheckMessage =
  | {
      readonly kind: 'driver';
      readonly name: string;
      readonly design: string;
      readonly device: string;
      readonly scenarios: readonly string[];
    }
  | { readonly kind: 'begin'; readonly index: number; readonly name: string }
  | { readonly kind: 'at'; readonly index: number; readonly executions: number }
  | { readonly kind: 'result'; readonly index: number; readonly result: OperationResult };

/** Executions between two messages of how far an operation is. */
const REPORT_EVERY = 256;

export const run: Task<CheckInput, true> = (modules, input, host) => {
  const driver = watchedDriver(driverOf(modules[0]!), host.heart, host.placeOf);
  const subject = subjectOf(driver, input.design === null ? {} : { design: input.design });
  const scenarios = scenariosFor(input.scenarios);
  for (const module of modules.slice(1)) scenarios.push(...scenariosOf(module));
  const { name, device } = driver;
  send(host, { kind: 'driver', name, design: subject.design, device, scenarios: scenarios.map((s) => s.name) });
  const next = new Int32Array(input.next);
  for (;;) {
    const index = Atomics.add(next, 0, 1);
    const named = scenarios[index];
    if (named === undefined || host.heart.isStopped) return true;
    send(host, { kind: 'begin', index, name: named.name });
    const result = checkScenario(named, subject, optionsOf(input, named.name, host.heart, index, host));
    if (result === null) return true;
    send(host, { kind: 'result', index, result });
  }
};

function optionsOf(input: CheckInput, name: string, heart: Heart, index: number, host: TaskHost): CheckOptions {
  return {
    ...CHECK_DEFAULTS,
    ...input.options,
    executions: isPair(name) ? input.pairExecutions : input.options.executions,
    guard: (program) => guardedProgram(program, heart),
    goOn: (executions) => {
      if (executions > 0 && executions % REPORT_EVERY === 0) send(host, { kind: 'at', index, executions });
      return !heart.isStopped;
    },
  };
}

function send(host: TaskHost, message: CheckMessage): void {
  host.progress(message);
}
