// A violation as it is reported: its schedule minimised, replayed, and counted.

import { storyOf } from '../../check/story.ts';
import { goalOf } from '../../explore/goal.ts';
import { minimise } from '../../explore/minimise.ts';
import { replay } from '../../explore/replay.ts';
import { formatCounterexample } from '../../explore/schedule-string.ts';
import type { Finding, Program, Schedule } from '../../explore/world.ts';
import { recordedProgram } from '../scenario/recorded-run.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { Subject } from '../scenario/subject.ts';
import { pairing } from '../trace/record-replay.ts';
import type { ViolationReport } from './results.ts';

/** Executions that minimising one violation may take. */
const MINIMISE_EXECUTIONS = 1000;

/** The text of a schedule of this scenario and subject, for `shootdown trace`. */
export function scheduleText(scenario: Scenario, subject: Subject, schedule: Schedule, bug = ''): string {
  return formatCounterexample({ ...pairing(scenario, subject), variant: '', bug, schedule });
}

/** Minimises what led to the finding. `program` runs the scenario with the subject; `guard` is put around others that do. */
export function describeViolation(
  scenario: Scenario,
  subject: Subject,
  program: Program,
  witness: { readonly finding: Finding; readonly schedule: Schedule },
  guard: (program: Program) => Program = (p) => p,
): ViolationReport {
  const { property, tag, gap } = witness.finding;
  // Found while the machine was set up: there is no execution to show.
  if (witness.finding.step === 0) {
    const { sentence } = witness.finding;
    return { property, tag, sentence, gap, steps: 0, storySteps: 0, switches: 0, schedule: '' };
  }
  const least = minimise(program, witness.schedule, goalOf(witness.finding), { executions: MINIMISE_EXECUTIONS });
  return {
    property,
    tag,
    sentence: least.finding.sentence,
    gap,
    steps: least.steps,
    storySteps: countActs(scenario, subject, least.schedule, least.finding, guard),
    switches: least.switches,
    schedule: scheduleText(scenario, subject, least.schedule),
  };
}

/** Acts of the story that the schedule tells of the finding (check/story). */
function countActs(
  scenario: Scenario,
  subject: Subject,
  schedule: Schedule,
  finding: Finding,
  guard: (program: Program) => Program,
): number {
  const recorded = recordedProgram(scenario, subject);
  replay(guard(recorded), schedule);
  const records = recorded.recorded().steps.flatMap((step) => step.records);
  const { mm = 0, page = 0, pfn = 0, property } = finding;
  return storyOf(records, { mm, page, pfn }, property).acts.length;
}
