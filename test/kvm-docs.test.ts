// The drawings in docs/devices/kvm.md are what the program draws. UPDATE=1 writes them anew: look at the difference, then commit it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { explore } from '../src/explore/explore.ts';
import { shownTrace } from '../src/report/counterexample.ts';
import { formatTimeline } from '../src/report/timeline.ts';
import { layoutTrace } from '../src/report/trace-layout.ts';
import { CHECK_DEFAULTS, checkScenario } from '../src/workload/check/check-operation.ts';
import { scheduleText } from '../src/workload/check/describe-violation.ts';
import { scenarioNamed } from '../src/workload/check/plan.ts';
import type { Scenario } from '../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import type { Subject } from '../src/workload/scenario/subject.ts';
import { pairing, recordReplay } from '../src/workload/trace/record-replay.ts';
import { ROOT } from './support/cli.ts';
import { deviceSubject } from './support/device-subject.ts';

const page = join(ROOT, 'docs', 'devices', 'kvm.md');

const NUMBER = 90;

/** An execution somewhere in the middle of the exploration that violates nothing. */
function passing(scenario: Scenario, subject: Subject): string {
  let schedule = '';
  explore(scenarioProgram(scenario, subject), {
    executionsMax: 200,
    stepsMax: 2000,
    visit: (e) => {
      if (e.number === NUMBER && e.findings.length === 0) schedule = scheduleText(scenario, subject, e.schedule());
    },
  });
  return schedule;
}

/** The shortest violation of the property. */
function breaking(scenario: Scenario, subject: Subject, property: string): string {
  const options = { ...CHECK_DEFAULTS, executions: 60, randomRuns: 0 };
  const r = checkScenario(scenario, { ...subject, nullSubject: null }, options)!;
  return r.violations.find((v) => v.property === property)?.schedule ?? '';
}

function drawing(operation: string, design: string, property: string | null): string {
  const scenario = scenarioNamed(operation);
  const subject = deviceSubject('kvm', design);
  const schedule = property === null ? passing(scenario, subject) : breaking(scenario, subject, property);
  expect(schedule).not.toBe('');
  const here = pairing(scenario, subject);
  const run = recordReplay(schedule, () => ({ scenario, subject, here }));
  return formatTimeline(layoutTrace(shownTrace(run, schedule), { hasAllSteps: property === null }), 110).trimEnd();
}

test.each([
  ['passing', 'munmap', 'linux-6.1', null],
  ['breaking', 'swap-out', 'pte-notifiers', 'I1'],
] as const)('%s: %s under %s', (name, operation, design, property) => {
  const text = readFileSync(page, 'utf8');
  const drawn = drawing(operation, design, property);
  const block = new RegExp(`(<!-- ${name} -->\n\`\`\`text\n)([\\s\\S]*?)(\`\`\`)`);
  if (process.env['UPDATE'] === '1')
    writeFileSync(
      page,
      text.replace(block, (_, a, __, c) => `${a}${drawn}\n${c}`),
    );
  expect(block.exec(readFileSync(page, 'utf8'))?.[2]).toBe(`${drawn}\n`);
});
