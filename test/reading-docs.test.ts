// Outputs in the pages are those of the program. docs/reading-a-counterexample.md shows what the program prints: its schedule is replayed, and the block below it must be the
// output. UPDATE=1 looks for the counterexample anew and writes both into the page.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import bug from '../bugs/01-amd-iommuv2-flush-at-end.ts';
import { bugParts } from '../src/author/trace-task.ts';
import { shownTrace } from '../src/report/counterexample.ts';
import { formatTimeline } from '../src/report/timeline.ts';
import { layoutTrace } from '../src/report/trace-layout.ts';
import { runRevision } from '../src/workload/museum/run-bug.ts';
import { recordReplay } from '../src/workload/trace/record-replay.ts';

const PAGE = fileURLToPath(new URL('../docs/reading-a-counterexample.md', import.meta.url));
const EXAMPLE = /(```sh\nnode bin\/shootdown\.mjs trace )(\S+)(\n```\n\n```text\n)([\s\S]*?)(```\n)/;

function output(schedule: string): string {
  const run = recordReplay(schedule, (x) => bugParts(x, { path: 'bugs/01', exports: { default: bug } }));
  return formatTimeline(layoutTrace(shownTrace(run, schedule)), 100);
}

test('the example is the output of the schedule above it', () => {
  let page = readFileSync(PAGE, 'utf8');
  if (process.env['UPDATE'] === '1') {
    const { text } = runRevision(bug, 'historic').witness!;
    page = page.replace(EXAMPLE, (_, a, __, b, ___, c) => `${a}${text}${b}${output(text)}${c}`);
    writeFileSync(PAGE, page);
  }
  const [, , schedule, , shown] = EXAMPLE.exec(page)!;
  expect(shown).toBe(output(schedule!));
});

test('the parts that the page explains are in its example', () => {
  const shown = EXAMPLE.exec(readFileSync(PAGE, 'utf8'))![4]!;
  for (const part of ['before: ', '●', '✗', 'preempted: ', ' gen ', 'in the story', 'Violates '])
    expect(shown).toContain(part);
});

test('docs/device.md has the output of examples/watch-events.mjs', () => {
  const read = (path: string): string => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8');
  expect(read('docs/device.md')).toContain(`\`\`\`\n${read('examples/watch-events.expected.txt')}\`\`\`\n`);
});
