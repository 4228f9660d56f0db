// A check of a driver as its author gets it: verdicts, what they stand on, the same result on one and on two workers.
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parseCounterexample } from '../src/explore/schedule-string.ts';
import type { CheckResult, OperationResult } from '../src/workload/check/results.ts';
import { shootdown } from './support/cli.ts';

const WRONG = fileURLToPath(new URL('./data/drivers/flush-at-start.ts', import.meta.url));

async function check(...args: string[]): Promise<CheckResult> {
  const { stdout } = await shootdown('check', ...args, '--json');
  return JSON.parse(stdout) as CheckResult;
}

function timeless(r: CheckResult): Omit<CheckResult, 'seconds'> {
  const { seconds, ...rest } = r;
  expect(seconds).toBeGreaterThan(0);
  return rest;
}

function verdicts(r: CheckResult): Record<string, string> {
  return Object.fromEntries(r.operations.map((o: OperationResult) => [o.operation, o.verdict]));
}

test('a right driver is clean where its device was at stake, and only there', { timeout: 120_000 }, async () => {
  const r = await check('iommu-walker', '--operation', 'munmap-neighbour,mprotect-ro,mremap-grow,fork');
  expect(verdicts(r)).toEqual({
    'munmap-neighbour': 'clean',
    'mprotect-ro': 'clean',
    'mremap-grow': 'not exercised',
    fork: 'clean',
  });
  for (const o of r.operations) {
    expect(o.exhaustive).toBe(true);
    expect(o.violations).toEqual([]);
    if (o.verdict === 'clean') expect(o.nullViolates.length).toBeGreaterThan(0);
  }
});

test('one worker or two: the same verdicts, properties, counts and schedules', { timeout: 120_000 }, async () => {
  const args = [WRONG, '--operation', 'munmap,mprotect-ro,mremap-move,munmap-neighbour'];
  const one = await check(...args, '--workers', '1');
  expect(timeless(await check(...args, '--workers', '2'))).toEqual(timeless(one));
  expect(one.operations.map((o) => o.verdict)).toContain('violation');
});

test('each violation has a schedule that trace replays to the same property', { timeout: 120_000 }, async () => {
  const r = await check(WRONG, '--operation', 'munmap');
  const violations = r.operations.flatMap((o) => o.violations);
  expect(violations.map((v) => v.property)).toContain('I1');
  for (const v of violations) {
    const x = parseCounterexample(v.schedule);
    expect([x.operation, x.driver, x.design, x.schedule.length]).toEqual(['munmap', r.driver, r.design, v.steps]);
    const traced = await shootdown('trace', v.schedule, '--driver', WRONG, '--json');
    expect(traced.status).toBe(1);
    expect((JSON.parse(traced.stdout) as { finding: { property: string } }).finding.property).toBe(v.property);
    expect(v.storySteps).toBeGreaterThan(0);
    expect(v.storySteps).toBeLessThanOrEqual(v.steps);
  }
});

test('exit status: 0 clean, 1 violated, 2 unusable', { timeout: 120_000 }, async () => {
  expect((await shootdown('check', 'iommu-walker', '--operation', 'mprotect-none')).status).toBe(0);
  expect((await shootdown('check', WRONG, '--operation', 'mprotect-none')).status).toBe(1);
  const unknown = await shootdown('check', 'iommu-walker', '--operation', 'mumap');
  expect([unknown.status, unknown.stderr.split('\n').length]).toEqual([2, 2]);
  expect(unknown.stderr).toContain('"mumap" is none of munmap');
  const missing = await shootdown('check', 'no/such-driver.ts');
  expect([missing.status, missing.stderr]).toEqual([2, 'shootdown: no/such-driver.ts: there is no such file\n']);
});
