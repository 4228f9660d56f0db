// A check of a driver in this thread: what runCheck (check.ts) does in workers, for a driver that is an object of this thread already.

import type { Driver } from '../device/define-driver.ts';
import type { Program } from '../explore/world.ts';
import { type CheckOptions, checkScenario } from '../workload/check/check-operation.ts';
import { scenariosFor } from '../workload/check/plan.ts';
import { type CheckResult, distinctLockFindings, type OperationResult } from '../workload/check/results.ts';
import { guardedProgram } from '../workload/guard/guarded-program.ts';
import { Heart } from '../workload/guard/heart.ts';
import { watchedDriver } from '../workload/guard/watched-driver.ts';
import type { RecordedRun } from '../workload/scenario/recorded-run.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { subjectOf } from '../workload/scenario/subject.ts';
import { pairing, recordReplay } from '../workload/trace/record-replay.ts';
import { placeOutside } from './place.ts';

export interface HereRequest {
  readonly scenarios: readonly (string | Scenario)[];
  readonly design: string | null;
  readonly options: CheckOptions;
  readonly signal?: AbortSignal;
  /** Milliseconds, for the duration. */
  readonly now: () => number;
}

/** Replays a schedule of the check; null when that cannot be done. */
export type Replayer = (schedule: string) => Promise<RecordedRun | null>;

/** Checks the driver, and lets this thread do other things between two operations. */
export async function checkHere(
  driver: Driver,
  request: HereRequest,
): Promise<{ readonly result: CheckResult; readonly replayer: Replayer }> {
  const began = request.now();
  const heart = new Heart();
  const guard = (program: Program): Program => guardedProgram(program, heart);
  const watched = watchedDriver(driver, heart, placeOutside);
  const subject = subjectOf(watched, request.design === null ? {} : { design: request.design });
  const scenarios = scenariosFor(request.scenarios);
  const { signal } = request;
  const options: CheckOptions = { ...request.options, guard, goOn: () => signal?.aborted !== true };
  const operations: OperationResult[] = [];
  const unfinished: string[] = [];
  for (const scenario of scenarios) {
    const result = signal?.aborted === true ? null : checkScenario(scenario, subject, options);
    if (result === null) unfinished.push(scenario.name);
    else operations.push(result);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const replayer: Replayer = async (schedule) =>
    recordReplay(
      schedule,
      (x) => {
        const scenario = scenarios.find((s) => s.name === x.operation)!;
        return { scenario, subject, here: pairing(scenario, subject) };
      },
      guard,
    );
  const { name, device } = driver;
  const { seed } = request.options;
  const seconds = (request.now() - began) / 1000;
  const lockFindings = distinctLockFindings(operations);
  return {
    result: { driver: name, design: subject.design, device, seed, operations, lockFindings, seconds, unfinished },
    replayer,
  };
}
