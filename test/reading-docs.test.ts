// Outputs in the pages are those of the program. The schedules of docs/reading-a-counterexample.md are replayed, and the block
// below each must be the output. UPDATE=1 looks for the counterexamples anew and writes them and their outputs into the page.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import bug from '../bugs/01-amd-iommuv2-flush-at-end.ts';
import driver from '../drivers/wrong/walker-flush-at-end.ts';
import { bugParts } from '../src/author/trace-task.ts';
import { randomWalk } from '../src/explore/random.ts';
import { shownTrace } from '../src/report/counterexample.ts';
import { formatTimeline } from '../src/report/timeline.ts';
import { layoutTrace } from '../src/report/trace-layout.ts';
import { describeViolation } from '../src/workload/check/describe-violation.ts';
import { runRevision } from '../src/workload/museum/run-bug.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { subjectOf } from '../src/workload/scenario/subject.ts';
import { pairing, recordReplay } from '../src/workload/trace/record-replay.ts';
import { testScenario } from './support/recorded-runs.ts';

const path = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
const PAGE = path('docs/reading-a-counterexample.md');
const EXAMPLE = /(```sh\nnode bin\/shootdown\.mjs trace )(1~\S+)(\n```\n\n```text\n)([\s\S]*?)(```\n)/g;

const scenario = testScenario('munmap-batch');
const subject = subjectOf(driver);

function output(schedule: string): string {
  const run = recordReplay(schedule, (x) =>
    x.bug === ''
      ? { scenario, subject, here: pairing(scenario, subject) }
      : bugParts(x, { path: 'bugs/01', exports: { default: bug } }),
  );
  return formatTimeline(layoutTrace(shownTrace(run, schedule)), 100);
}

/** The counterexamples of the page, found anew. */
function found(): string[] {
  const program = scenarioProgram(scenario, subject);
  const { witnesses } = randomWalk(program, { seed: 1, executions: 200 });
  const witness = witnesses.find((w) => w.finding.property === 'I1')!;
  return [describeViolation(scenario, subject, program, witness).schedule, runRevision(bug, 'historic').witness!.text];
}

test('each example is the output of the schedule above it (UPDATE=1 finds and writes them anew)', () => {
  let page = readFileSync(PAGE, 'utf8');
  if (process.env['UPDATE'] === '1') {
    const texts = found();
    page = page.replace(EXAMPLE, (_, a, __, b, ___, c) => {
      const text = texts.shift()!;
      return `${a}${text}${b}${output(text)}${c}`;
    });
    writeFileSync(PAGE, page);
  }
  const examples = [...page.matchAll(EXAMPLE)];
  expect(examples.length).toBe(2);
  for (const [, , schedule, , shown] of examples) expect(shown).toBe(output(schedule!));
});

test('the parts that the page explains are in its examples', () => {
  const shown = [...readFileSync(PAGE, 'utf8').matchAll(EXAMPLE)].map((m) => m[4]!);
  for (const part of ['before: ', '●', '✗', 'preempted: ', ' gen ', 'in the story', 'Violates '])
    for (const text of shown) expect(text).toContain(part);
  expect(shown[0]).toContain('STALE READ');
});

test('docs/device.md has the output of examples/watch-events.mjs', () => {
  const events = readFileSync(path('examples/watch-events.expected.txt'), 'utf8');
  expect(readFileSync(path('docs/device.md'), 'utf8')).toContain(`\`\`\`\n${events}\`\`\`\n`);
});
