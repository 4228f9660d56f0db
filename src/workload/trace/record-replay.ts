// Replays a counterexample from its text, with everything recorded that a report shows. Where its parts come from (operations,
// an author's modules, the museum) is the caller's affair: a TraceSource.

import { replay } from '../../explore/replay.ts';
import {
  type Counterexample,
  checkPairing,
  parseCounterexample,
  scenarioDigest,
} from '../../explore/schedule-string.ts';
import type { Program } from '../../explore/world.ts';
import { type RecordedRun, recordedProgram } from '../scenario/recorded-run.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { Subject } from '../scenario/subject.ts';

/** What a counterexample names, made. Each throws InputError for a name that is none, in one line. */
export interface TraceSource {
  scenario(name: string): Scenario;
  subject(driver: string, design: string): Subject;
  /** Scenario and patched subject of a museum entry. */
  bug(id: string): { readonly scenario: Scenario; readonly subject: Subject };
}

/** The digest by which a counterexample knows its scenario and subject. */
export function digestOf(scenario: Scenario, subject: Subject): string {
  return scenarioDigest(scenario.name, subject.name, subject.design, JSON.stringify(scenario));
}

/** Replays the text. Throws ScheduleStringError for a text that is none or that belongs to something else by now, ScheduleError
 *  where the machine cannot follow it, and what the source throws. `wrap` is put around the program. */
export function recordReplay(
  text: string,
  source: TraceSource,
  wrap: (program: Program) => Program = (p) => p,
): RecordedRun {
  const x = parseCounterexample(text);
  const { scenario, subject } = partsOf(x, source);
  const here = { operation: scenario.name, driver: subject.name, design: subject.design };
  checkPairing(x, { ...here, digest: digestOf(scenario, subject) });
  const recorded = recordedProgram(scenario, subject);
  const { findings } = replay(wrap(recorded), x.schedule);
  const run = recorded.recorded();
  // What the wrapper found stands behind what the world found.
  const more = findings.slice(run.findings.length).map((finding) => ({ finding, mm: 0, page: 0, pfn: 0 }));
  return { ...run, findings: [...run.findings, ...more] };
}

function partsOf(x: Counterexample, source: TraceSource): { readonly scenario: Scenario; readonly subject: Subject } {
  if (x.bug !== '') return source.bug(x.bug);
  return { scenario: source.scenario(x.operation), subject: source.subject(x.driver, x.design) };
}
