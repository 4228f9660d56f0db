// shootdown trace as a user runs it: a violating and a passing schedule, the files, and every way in which the text is no good.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import right from '../drivers/iommu-walker.ts';
import { type Driver, defineDriver } from '../src/device/define-driver.ts';
import { randomWalk } from '../src/explore/random.ts';
import { replay } from '../src/explore/replay.ts';
import { formatCounterexample, parseCounterexample } from '../src/explore/schedule-string.ts';
import type { Program, Schedule } from '../src/explore/world.ts';
import { displayWidth } from '../src/report/table.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { subjectOf } from '../src/workload/scenario/subject.ts';
import { pairing } from '../src/workload/trace/record-replay.ts';
import { AuthorFolder } from './support/author.ts';
import { shootdown } from './support/cli.ts';
import { testScenario } from './support/recorded-runs.ts';

const LATE = `import { defineDriver } from 'shootdown';
export default defineDriver({
  name: 'late', design: 'linux-6.1', device: 'walker',
  create: (hw) => ({
    *invalidateRangeEnd(range) { yield* hw.flushRange(range.start, range.end); },
    *release() { yield* hw.tearDown(); },
  }),
});
`;

const late = defineDriver({
  name: 'late',
  design: 'linux-6.1',
  device: 'walker',
  create: (hw) => ({
    *invalidateRangeEnd(range) {
      yield* hw.flushRange(range.start, range.end);
    },
    *release() {
      yield* hw.tearDown();
    },
  }),
});

function textOf(driver: Driver, operation: string, schedule: Schedule): string {
  return formatCounterexample({
    ...pairing(testScenario(operation), subjectOf(driver)),
    variant: '',
    bug: '',
    schedule,
  });
}

function programOf(driver: Driver, operation: string): Program {
  return scenarioProgram(testScenario(operation), subjectOf(driver));
}

const { witnesses } = randomWalk(programOf(late, 'munmap-batch'), { seed: 1, executions: 200 });
const bad = textOf(late, 'munmap-batch', witnesses.find((w) => w.finding.property === 'I1')!.schedule);
const whole = textOf(late, 'munmap', replay(programOf(late, 'munmap'), [], { isCompleted: true }).schedule);
const good = textOf(right, 'munmap', replay(programOf(right, 'munmap'), [], { isCompleted: true }).schedule);

let folder: AuthorFolder;
let driver: string;
beforeAll(() => {
  folder = new AuthorFolder();
  driver = folder.file('late.ts', LATE);
});
afterAll(() => folder.close());

test('a violating schedule: status 1, the timeline without colours, the violation last', async () => {
  const r = await shootdown('trace', bad, '--driver', driver);
  expect([r.status, r.stderr]).toEqual([1, '']);
  expect(r.stdout).not.toContain('\x1b');
  const lines = r.stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^munmap-batch with late \(linux-6\.1\): I1 \(UAF-DATA\) at step \d+$/);
  for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(100);
  expect(lines.slice(-2).join(' ')).toMatch(/Violates I1 \(UAF-DATA\): .*made\.$/);
  expect(r.stdout).toMatch(/preempted: munmap-batch → /);
});

test('a passing schedule of a shipped driver can be looked at: status 0', async () => {
  const r = await shootdown('trace', good, '--all-steps');
  expect([r.status, r.stderr]).toEqual([0, '']);
  expect(r.stdout).toMatch(/: passes\n/);
  expect(r.stdout.trimEnd()).toMatch(/No property was violated\.$/);
  expect(r.stdout).toContain('takes mmap_lock');
});

test('files: each is written, and JSON goes to the terminal', async () => {
  const at = (name: string): string => join(folder.path, name);
  const files = ['--svg', at('t.svg'), '--html', at('t.html'), '--perfetto', at('t.json')];
  const r = await shootdown('trace', bad, '--driver', driver, '--json', ...files);
  expect([r.status, r.stderr]).toEqual([1, '']);
  const model = JSON.parse(r.stdout);
  expect(model).toMatchObject({ scenario: 'munmap-batch', driver: 'late', schedule: bad, verdict: 'violation' });
  expect(model.steps.at(-1)).toMatchObject({ number: model.finding.step, isBad: true });
  expect(readFileSync(at('t.svg'), 'utf8')).toMatch(/^<\?xml[^>]*>\n<svg [\s\S]*<\/svg>\n$/);
  expect(readFileSync(at('t.html'), 'utf8')).toMatch(/^<!DOCTYPE html>[\s\S]*<\/html>\n$/);
  expect(JSON.parse(readFileSync(at('t.json'), 'utf8')).traceEvents.length).toBeGreaterThan(20);
});

test('a page that cannot be written, a text that is none, another driver: status 2 and one line', async () => {
  const broken = folder.file('other.ts', LATE.replace("'late'", "'other'"));
  const changed = `${bad.slice(0, -1)}${bad.endsWith('a') ? 'b' : 'a'}`;
  const own = formatCounterexample({ ...parseCounterexample(bad), operation: 'own' });
  const cases: [string[], string][] = [
    [['trace', 'x', '--driver', driver], 'it begins with its version'],
    [['trace', changed, '--driver', driver], 'the checksum at its end does not fit'],
    [['trace', bad], 'driver "late" is not a shipped one'],
    [['trace', bad, '--driver', broken], 'it is for driver "late", the module exports "other"'],
    [['trace', bad, '--driver', join(folder.path, 'none.ts')], 'none.ts'],
    [
      ['trace', own, '--driver', driver],
      'there is no operation "own"; is it a scenario of your own? Say --scenario FILE',
    ],
    [['trace', bad, '--driver', driver, '--html', join(folder.path, 'no', 'such')], '--html: '],
  ];
  for (const [args, message] of cases) {
    const r = await shootdown(...args);
    expect([r.status, r.stdout]).toEqual([2, '']);
    expect(r.stderr).toMatch(/^shootdown: [^\n]+\n$/);
    expect(r.stderr).toContain(message);
  }
});

test('a driver that never returns from a callback: status 1, and who it was', async () => {
  const body = 'for (;;) ;';
  const stuck = folder.file('stuck.ts', LATE.replace('yield* hw.flushRange(range.start, range.end);', body));
  const r = await shootdown('trace', whole, '--driver', stuck);
  expect([r.status, r.stderr]).toEqual([1, '']);
  expect(r.stdout).toMatch(/^munmap with late \(linux-6\.1\): DRIVER \(STUCK\)\n/);
  expect(r.stdout).toContain('did not return from invalidateRangeEnd');
});
