// Replays a counterexample from its text, with everything recorded that a report shows. Where its parts come from (operations,
// an author's modules, the museum) is the caller's affair.

import { findNoProgress } from '../../explore/liveness.ts';
import { replay } from '../../explore/replay.ts';
import {
  type Counterexample,
  checkPairing,
  type Pairing,
  parseCounterexample,
  scenarioDigest,
} from '../../explore/schedule-string.ts';
import type { Program } from '../../explore/world.ts';
import { type RecordedRun, recordedProgram } from '../scenario/recorded-run.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { Subject } from '../scenario/subject.ts';

/** What a counterexample names, made, and what its text would say of it now. */
export interface TraceParts {
  readonly scenario: Scenario;
  readonly subject: Subject;
  readonly here: Pairing;
}

/** What the text of a counterexample for this scenario and subject says of them. */
export function pairing(scenario: Scenario, subject: Subject): Pairing {
  const [operation, driver, { design }] = [scenario.name, subject.name, subject];
  return { operation, driver, design, digest: scenarioDigest(operation, driver, design, JSON.stringify(scenario)) };
}

/** Replays the text. Throws ScheduleStringError for a text that is none or that belongs to something else by now, ScheduleError
 *  where the machine cannot follow it, and what `partsOf` throws. `wrap` is put around the program. */
export function recordReplay(
  text: string,
  partsOf: (x: Counterexample) => TraceParts,
  wrap: (program: Program) => Program = (program) => program,
): RecordedRun {
  const x = parseCounterexample(text);
  const { scenario, subject, here } = partsOf(x);
  checkPairing(x, here);
  const recorded = recordedProgram(scenario, subject);
  const program = wrap(recorded);
  const { findings, isCut } = replay(program, x.schedule);
  const run = recorded.recorded();
  // What the wrapper found stands behind what the world found.
  const all = [...run.findings, ...findings.slice(run.findings.length)];
  // A schedule that ends in the middle of nothing may lead to where nobody gets on: no monitor of one execution sees that.
  const stuck = isCut && all.length === 0 ? findNoProgress(program, x.schedule) : null;
  return { ...run, findings: stuck === null ? all : [{ ...stuck.finding, step: x.schedule.length }] };
}
