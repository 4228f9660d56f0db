// The task of the worker of `shootdown trace`: replays a counterexample with the author's driver, and with the author's scenarios
// where the text names one of them; or a museum entry in one of its revisions.

import { InputError } from '../base/assert.ts';
import type { Counterexample } from '../explore/schedule-string.ts';
import { scenarioNamed } from '../workload/check/plan.ts';
import { guardedProgram } from '../workload/guard/guarded-program.ts';
import { watchedDriver } from '../workload/guard/watched-driver.ts';
import { isBug } from '../workload/museum/bug.ts';
import { bugPairing, revisionOf, revisionScenario, revisionSubject } from '../workload/museum/revision.ts';
import type { RecordedRun } from '../workload/scenario/recorded-run.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { subjectOf, subjectOfDevice } from '../workload/scenario/subject.ts';
import { pairing, recordReplay, type TraceParts } from '../workload/trace/record-replay.ts';
import { driverOf } from './driver-module.ts';
import { nearPath } from './place.ts';
import { scenariosOf } from './scenario-module.ts';
import type { AuthorModule, Task, TaskHost } from './task.ts';

export interface TraceInput {
  /** The counterexample. */
  readonly text: string;
  /** Scenarios of the user's own, as data. */
  readonly scenarios: readonly Scenario[];
  /** It is of a secondary MMU of the package: no module is the driver's. */
  readonly isDevice?: boolean;
}

/** The first module is the driver's or the bug's; the others export scenarios. */
export const run: Task<TraceInput, RecordedRun> = (modules, input, host) =>
  recordReplay(
    input.text,
    (x) => {
      if (input.isDevice === true) return deviceParts(x, modules, input);
      return x.bug === '' ? driverParts(x, modules, input, host) : bugParts(x, modules[0]!);
    },
    (program) => guardedProgram(program, host.heart),
  );

function deviceParts(x: Counterexample, modules: readonly AuthorModule[], input: TraceInput): TraceParts {
  const own = [...input.scenarios, ...modules.flatMap(scenariosOf)];
  const scenario = own.find((s) => s.name === x.operation) ?? operationNamed(x.operation);
  const subject = subjectOfDevice(x.driver, x.design);
  return { scenario, subject, here: pairing(scenario, subject) };
}

function driverParts(
  x: Counterexample,
  modules: readonly AuthorModule[],
  input: TraceInput,
  host: TaskHost,
): TraceParts {
  const driver = watchedDriver(driverOf(modules[0]!), host.heart, host.placeOf);
  if (x.driver !== driver.name)
    throw new InputError(`schedule string: it is for driver "${x.driver}", the module exports "${driver.name}"`);
  const own = [...input.scenarios, ...modules.slice(1).flatMap(scenariosOf)];
  const scenario = own.find((s) => s.name === x.operation) ?? operationNamed(x.operation);
  const subject = subjectOf(driver, { design: x.design });
  return { scenario, subject, here: pairing(scenario, subject) };
}

function operationNamed(name: string): Scenario {
  try {
    return scenarioNamed(name);
  } catch {
    throw new InputError(
      `schedule string: there is no operation "${name}"; is it a scenario of your own? Say --scenario FILE`,
    );
  }
}

/** The revision that the text names; the historic one when it names none. */
export function bugParts(x: Counterexample, module: AuthorModule): TraceParts {
  const bug = Object.values(module.exports).find(isBug);
  if (bug === undefined || bug.id !== x.bug)
    throw new InputError(`${nearPath(module.path)}: exports no bug "${x.bug}", for which the schedule string is`);
  const name = x.variant === '' ? 'historic' : x.variant;
  const revision = revisionOf(bug, name);
  const subject = revisionSubject(`${bug.id}, ${name}`, revision);
  return { scenario: revisionScenario(bug, revision), subject, here: bugPairing(bug, subject.design) };
}
