// checkDriver as a test calls it, here under vitest (node:test: author-init.test.ts). What a runner needs is a promise that rejects with
// an Error whose message says everything.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import { type Driver, defineDriver } from '../src/device/define-driver.ts';
import { checkDriver, DriverViolation, defineScenario } from '../src/testing/index.ts';
import { ROOT, shootdown } from './support/cli.ts';

beforeAll(() => build());

const good = defineDriver({
  name: 'flushes',
  design: 'linux-6.1',
  device: 'walker',
  create: (hw) => ({
    *invalidateRange(start, end) {
      yield* hw.flushRange(start, end);
    },
    *release() {
      yield* hw.tearDown();
    },
  }),
});

/** Flushes when it is too early: the entries are still there. */
const early = defineDriver({
  name: 'flushes-early',
  design: 'linux-6.1',
  device: 'walker',
  create: (hw) => ({
    *invalidateRangeStart(range) {
      yield* hw.flushRange(range.start, range.end);
    },
    *release() {
      yield* hw.tearDown();
    },
  }),
});

const throwing = defineDriver({
  name: 'throws',
  design: 'linux-6.1',
  device: 'walker',
  create: () => ({
    invalidateRange() {
      throw new Error('not yet');
    },
  }),
});

const FEW = { operations: ['munmap'], executions: 150 };

async function violation(driver: Driver | string | URL, options = FEW): Promise<DriverViolation> {
  const error: unknown = await checkDriver(driver, options).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(DriverViolation);
  return error as DriverViolation;
}

test('a correct driver: the results', async () => {
  const result = await checkDriver(good, { ...FEW, operations: ['munmap', 'madv-dontneed'] });
  expect([result.driver, result.design, result.device]).toEqual(['flushes', 'linux-6.1', 'walker']);
  expect(result.operations.map((o) => [o.operation, o.verdict])).toEqual([
    ['munmap', 'clean'],
    ['madv-dontneed', 'clean'],
  ]);
});

test('a wrong driver: an Error that is the counterexample', async () => {
  const error = await violation(early);
  // All that jest, node:test and vitest use of it.
  expect(error instanceof Error && typeof error.stack === 'string' && error.name).toBe('DriverViolation');
  const { message, result } = error;
  expect(message).toMatch(/^driver flushes-early violates I\d+ \([A-Z-]+\) under munmap: /);
  // The timeline, and the way to see it again.
  expect(message).toMatch(/^munmap with flushes-early \(linux-6\.1\): I\d+ \([A-Z-]+\) at step \d+$/m);
  expect(message).toMatch(/^step +\S/m);
  const [shortest] = [...result.operations[0]!.violations].sort((a, b) => a.steps - b.steps);
  expect(message).toContain(`npx shootdown trace '${shortest!.schedule}' --driver MODULE-OF-THE-DRIVER`);
});

test('a module: in workers, with a command that replays', async () => {
  const path = join(ROOT, 'drivers', 'wrong', 'mirror-no-tlb-flush.ts');
  const { message } = await violation(pathToFileURL(path));
  const command = /npx shootdown (trace) '(\S+)' (--driver) (\S+)$/m.exec(message);
  expect(command).not.toBeNull();
  const replayed = await shootdown(...command!.slice(1));
  expect(replayed.stderr).toBe('');
  expect(replayed.status).toBe(1);
  expect(message).toContain(replayed.stdout.trimEnd());
});

test('a callback that throws: its own message, with the place in this file', async () => {
  const { message } = await violation(throwing);
  expect(message).toMatch(
    /^driver throws violates DRIVER \(THROW\) under munmap: driver throws: invalidateRange throws: not yet \(test\/check-driver\.test\.ts:\d+:\d+\)/,
  );
});

test('scenarios of my own, defined here or in a file', async () => {
  const scenario = defineScenario({
    name: 'mine',
    summary: 'a page goes',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      program: { steps: [{ do: 'munmap', at: 0 }] },
      device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
    },
  });
  const result = await checkDriver(good, { scenarios: [scenario], executions: 150 });
  expect(result.operations.map((o) => [o.operation, o.verdict])).toEqual([['mine', 'clean']]);
  await expect(checkDriver(early, { scenarios: [scenario], executions: 150 })).rejects.toThrow(DriverViolation);
  await expect(checkDriver(good, { scenarios: ['/nowhere.yaml'] })).rejects.toThrow(
    '/nowhere.yaml: there is no such file',
  );
});

test('what cannot be checked is an InputError', async () => {
  const refusal = (...args: Parameters<typeof checkDriver>): Promise<unknown> =>
    checkDriver(...args).catch((e: Error) => `${e.name}: ${e.message}`);
  expect(await refusal(good, { operations: ['mumap'] })).toContain(
    'InputError: operation: "mumap" is none of munmap, ',
  );
  expect(await refusal(good, { ...FEW, design: 'linux-6.6' })).toBe(
    'InputError: driver flushes: written for linux-6.1, not for "linux-6.6"',
  );
  expect(await refusal(good, { ...FEW, device: 'mirror' })).toBe(
    'InputError: driver flushes: for a walker, not for a mirror',
  );
  expect(await refusal(good, { executions: 0 })).toBe(
    'InputError: checkDriver: executions is 0, not an integer above 0',
  );
  expect(await refusal({} as Driver, FEW)).toContain('InputError: checkDriver: expected a driver (defineDriver)');
  expect(await refusal('./nowhere.ts', FEW)).toBe('InputError: ./nowhere.ts: there is no such file');
});
