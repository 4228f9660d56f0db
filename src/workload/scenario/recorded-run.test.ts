// A recorded run is the run: the same schedule makes the same execution with and without the recorder, every event of the log is
// in one step, and the same text gives the same record again.
import { expect, test } from 'vitest';
import { testScenario, testSubject } from '../../../test/support/recorded-runs.ts';
import { randomWalk } from '../../explore/random.ts';
import { replay } from '../../explore/replay.ts';
import { formatCounterexample, ScheduleStringError } from '../../explore/schedule-string.ts';
import { pairing, recordReplay } from '../trace/record-replay.ts';
import { recordedProgram } from './recorded-run.ts';
import { type ScenarioWorld, scenarioProgram } from './scenario-world.ts';

const seed = Number(process.env['SEED'] ?? 1);
const scenario = testScenario('munmap-batch');
const subject = testSubject('no-callbacks');
const plain = scenarioProgram(scenario, subject);
const { witnesses } = randomWalk(plain, { seed, executions: 40 });

test(`the recorder changes nothing (SEED=${seed})`, () => {
  expect(witnesses.length).toBeGreaterThan(0);
  for (const { schedule } of witnesses) {
    const without = replay(plain, schedule);
    const recorder = recordedProgram(scenario, subject);
    const recorded = replay(recorder, schedule);
    expect(recorded.findings).toEqual(without.findings);
    const run = recorder.recorded();
    expect(run.steps.map((s) => s.thread)).toEqual(schedule.map((c) => c.thread));
    expect(run.steps.filter((s) => s.isPreemption).length).toBe(without.preemptions);
    const { log } = (without.world as ScenarioWorld).kernel.memory;
    expect(run.setup.length + run.steps.reduce((n, s) => n + s.records.length, 0)).toBe(log.count);
  }
});

test('the same text gives the same record; a changed scenario is refused', () => {
  const { schedule } = witnesses[0]!;
  const text = formatCounterexample({ ...pairing(scenario, subject), variant: '', bug: '', schedule });
  const parts = { scenario, subject, here: pairing(scenario, subject) };
  expect(recordReplay(text, () => parts)).toEqual(recordReplay(text, () => parts));
  const changed = { ...scenario, summary: 'another' };
  const other = { scenario: changed, subject, here: pairing(changed, subject) };
  expect(() => recordReplay(text, () => other)).toThrow(ScheduleStringError);
});

test('a run can be sent to another thread', () => {
  const recorder = recordedProgram(scenario, subject);
  replay(recorder, witnesses[0]!.schedule);
  expect(structuredClone(recorder.recorded())).toEqual(recorder.recorded());
});
