// The task of the worker of `shootdown trace`: replays a counterexample with the author's driver, and with the author's scenarios
// where the text names one of them.

import { InputError } from '../base/assert.ts';
import { guardedProgram } from '../workload/guard/guarded-program.ts';
import { watchedDriver } from '../workload/guard/watched-driver.ts';
import { operationOf, pairScenario, scenarioOf } from '../workload/operations/operations.ts';
import type { RecordedRun } from '../workload/scenario/recorded-run.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { subjectOf } from '../workload/scenario/subject.ts';
import { recordReplay } from '../workload/trace/record-replay.ts';
import { driverOf } from './driver-module.ts';
import type { Task } from './task.ts';

export interface TraceInput {
  /** The counterexample. */
  readonly text: string;
  /** Scenarios of the user's own, as data. */
  readonly scenarios: readonly Scenario[];
}

/** The first module is the driver's. */
export const run: Task<TraceInput, RecordedRun> = (modules, { text, scenarios }, host) => {
  const driver = watchedDriver(driverOf(modules[0]!), host.heart, host.placeOf);
  return recordReplay(
    text,
    {
      scenario: (name) => scenarios.find((s) => s.name === name) ?? scenarioNamed(name),
      subject: (name, design) => {
        if (name !== driver.name)
          throw new InputError(`schedule string: it is for driver "${name}", the module exports "${driver.name}"`);
        return subjectOf(driver, { design });
      },
      bug: (id) => {
        throw new InputError(`schedule string: it belongs to "${id}" of the museum, which brings its own driver`);
      },
    },
    (program) => guardedProgram(program, host.heart),
  );
};

/** The scenario of an operation, or of a pair "a+b". */
function scenarioNamed(name: string): Scenario {
  const [a, b] = name.split('+').map((part) => {
    const operation = operationOf(part);
    if (operation === undefined) throw new InputError(`schedule string: there is no operation "${part}"`);
    return operation;
  });
  return b === undefined ? scenarioOf(a!) : pairScenario(a!, b);
}
