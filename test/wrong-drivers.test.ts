// The drivers of drivers/wrong: each is caught by a property that it names, in random interleavings of some operation or pair of
// operations. One without a monitor yet is listed, and must not be caught by accident.
//
// SEED is the seed of the walks, EXECUTIONS the most for each driver and operation.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LockOrder } from '../src/check/lock-order.ts';
import { type Driver, isDriver } from '../src/device/define-driver.ts';
import { randomWalk } from '../src/explore/random.ts';
import { OPERATIONS, operationOf, PAIRS, pairScenario, scenarioOf } from '../src/workload/operations/operations.ts';
import type { Scenario } from '../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { type Subject, subjectOf } from '../src/workload/scenario/subject.ts';

const seed = Number(process.env['SEED'] ?? 1);
const executions = Number(process.env['EXECUTIONS'] ?? 100);

const directory = fileURLToPath(new URL('../drivers/wrong', import.meta.url));
const FILES = readdirSync(directory).filter((f) => f.endsWith('.ts'));

async function load(file: string): Promise<Driver> {
  const module: { default?: unknown } = await import(pathToFileURL(join(directory, file)).href);
  if (!isDriver(module.default)) throw new Error(`${file}: no driver`);
  return module.default;
}

const SCENARIOS: readonly Scenario[] = [
  ...OPERATIONS.map(scenarioOf),
  ...PAIRS.map(([a, b]) => pairScenario(operationOf(a)!, operationOf(b)!)),
];

/** The subject with a lock-order monitor on its kernel. */
function withLockOrder(subject: Subject, locks: LockOrder): Subject {
  return {
    ...subject,
    create(k) {
      locks.attach(k.memory.log, { lockName: (c) => k.sched.lockClasses.name(c) });
      return subject.create(k);
    },
  };
}

/** The first scenario in which one of the properties is violated, with what is said of it; null when there is none. */
function caught(driver: Driver, properties: readonly string[]): string | null {
  const locks = new LockOrder();
  const subject = withLockOrder(subjectOf(driver), locks);
  for (const scenario of SCENARIOS) {
    const { witnesses } = randomWalk(scenarioProgram(scenario, subject), { seed, executions });
    for (const f of [...witnesses.map((w) => w.finding), ...locks.findings])
      if (f.gap === null && properties.includes(f.property)) return `${scenario.name}: ${f.property}: ${f.sentence}`;
  }
  return null;
}

describe(`drivers/wrong (SEED=${seed}, EXECUTIONS=${executions})`, () => {
  it('there are enough of them', () => {
    expect(FILES.length).toBeGreaterThanOrEqual(20);
  });

  it.each(FILES)('%s is caught', async (file) => {
    const driver = await load(file);
    expect(driver.name).toBe(file.replace('.ts', ''));
    expect(driver.mistake).not.toBe('');
    const t0 = Date.now();
    const how = caught(driver, driver.breaks);
    console.log(file, Date.now() - t0, how);
    expect(how).not.toBeNull();
  });
});
