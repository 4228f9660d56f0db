// A violation as it is reported: its schedule minimised, replayed, and counted.

import { countSwitches } from '../../explore/execution.ts';
import { formatCounterexample, scenarioDigest } from '../../explore/schedule-string.ts';
import type { Witness } from '../../explore/search.ts';
import type { Schedule } from '../../explore/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { Subject } from '../scenario/subject.ts';
import type { ViolationReport } from './results.ts';

/** The text of a schedule of this scenario and subject, for `shootdown trace`. */
export function scheduleText(scenario: Scenario, subject: Subject, schedule: Schedule, bug = ''): string {
  const [operation, driver, { design }] = [scenario.name, subject.name, subject];
  const digest = scenarioDigest(operation, driver, design, JSON.stringify(scenario));
  return formatCounterexample({ operation, driver, design, variant: '', bug, digest, schedule });
}

export function describeViolation(scenario: Scenario, subject: Subject, w: Witness): ViolationReport {
  const { property, tag, sentence, gap } = w.finding;
  return {
    property,
    tag,
    sentence,
    gap,
    steps: w.schedule.length,
    storySteps: 0,
    switches: countSwitches(w.schedule.map((c) => c.thread)),
    schedule: scheduleText(scenario, subject, w.schedule),
  };
}
