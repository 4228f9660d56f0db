// Each operation does what its line says (its events tell), runs to its end without the device, and pairs share a base.
import { expect, test } from 'vitest';
import { E_FRAME_FREE, E_PTE, EV_TYPE, EV_WORDS } from '../../abi/events.ts';
import { Footprint } from '../../base/footprint.ts';
import { createDevice } from '../../device/device.ts';
import { firstChooser } from '../../sched/scheduler.ts';
import { ScenarioWorld } from '../scenario/scenario-world.ts';
import type { Subject } from '../scenario/subject.ts';
import { OPERATIONS, operationOf, PAIRS, pairScenario, scenarioOf } from './operations.ts';

const subject: Subject = {
  name: 'no-callbacks',
  design: 'linux-6.1',
  create(k) {
    const device = createDevice(k, { driver: 'no-callbacks', faultWorkers: 1 });
    device.workload.isStopped = true;
    return device;
  },
  nullSubject: null,
};

/** Runs the operation's threads to their ends one after the other, then the device: what happened, by event type. */
function counts(name: string): Map<number, number> {
  const scenario = scenarioOf(operationOf(name)!);
  const world = new ScenarioWorld(scenario, subject, { logCapacity: 4096 }, firstChooser, new Footprint());
  const { log } = world.kernel.memory;
  const before = log.count;
  for (let steps = 0; world.enabled() !== 0; steps++) {
    expect(steps).toBeLessThan(scenario.bounds?.steps ?? 3000);
    world.step(31 - Math.clz32(world.enabled() & -world.enabled()));
  }
  expect(world.end(false).filter((f) => f.property === 'I60')).toEqual([]);
  const found = new Map<number, number>();
  for (const record of log.last(log.count - before)) {
    expect(record.length).toBe(EV_WORDS);
    found.set(record[EV_TYPE]!, (found.get(record[EV_TYPE]!) ?? 0) + 1);
  }
  return found;
}

test.each(OPERATIONS.map((o) => o.name))('%s ends', (name) => {
  expect(counts(name).size).toBeGreaterThan(0);
});

/** Operations that only give rights, or touch no entry. */
const CHANGES_NO_ENTRY = new Set(['mremap-grow', 'register']);

test.each(OPERATIONS.map((o) => o.name).filter((n) => !CHANGES_NO_ENTRY.has(n)))('%s changes an entry', (name) => {
  expect(counts(name).get(E_PTE) ?? 0).toBeGreaterThan(0);
});

test.each([
  'munmap',
  'madv-dontneed',
  'madv-free-reclaim',
  'swap-out',
  'cow-copy',
  'truncate',
  'reclaim',
  'reclaim-file',
  'exit',
])('%s frees a frame or copies one', (name) => {
  const n = counts(name);
  if (name === 'cow-copy') expect(n.get(E_PTE)).toBeGreaterThan(0);
  else expect(n.get(E_FRAME_FREE) ?? 0).toBeGreaterThan(0);
});

test('both of a pair exist and begin from one base', () => {
  for (const [a, b] of PAIRS) {
    expect(operationOf(a), a).toBeDefined();
    expect(operationOf(b), b).toBeDefined();
    if (operationOf(b)!.isAnyBase !== true)
      expect(operationOf(a)!.base.name, `${a} and ${b}`).toBe(operationOf(b)!.base.name);
    expect(Object.keys(pairScenario(operationOf(a)!, operationOf(b)!).threads).length).toBeGreaterThanOrEqual(3);
  }
});
