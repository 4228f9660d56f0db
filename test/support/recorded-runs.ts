// Recorded runs for the tests of this room: real drivers under real operations, along a seeded random schedule.

import { Footprint } from '../../src/base/footprint.ts';
import { Rng } from '../../src/base/rng.ts';
import { createDevice, type DeviceConfig } from '../../src/device/device.ts';
import { RandomChooser } from '../../src/sched/scheduler.ts';
import { operationOf, scenarioOf } from '../../src/workload/operations/operations.ts';
import { type RecordedRun, recordedProgram } from '../../src/workload/scenario/recorded-run.ts';
import type { Scenario } from '../../src/workload/scenario/scenario.ts';
import type { Subject } from '../../src/workload/scenario/subject.ts';

const SMALL: Partial<DeviceConfig> = {
  ats: { engines: 1, atcSets: 2, atcWays: 2 },
  iommu: { tlbSets: 2, tlbWays: 2, walkers: 1, executors: 1, pasids: 4 },
  faultWorkers: 1,
};

export function testSubject(driver: string, design = 'linux-6.1'): Subject {
  return {
    name: driver,
    design,
    create(k) {
      const device = createDevice(k, { ...SMALL, driver });
      device.workload.isStopped = true;
      return device;
    },
    nullSubject: null,
  };
}

export function testScenario(operation: string): Scenario {
  return scenarioOf(operationOf(operation)!);
}

/** One execution. A thread goes on with probability 1 - 1/`switchOneIn` while it can; it ends at the first finding. */
export function randomRun(scenario: Scenario, subject: Subject, seed: number, switchOneIn = 8): RecordedRun {
  const rng = new Rng(seed);
  const program = recordedProgram(scenario, subject);
  const world = program.build(new RandomChooser(rng), new Footprint());
  let last = -1;
  for (let mask = world.enabled(); mask !== 0 && world.findingCount() === 0; mask = world.enabled()) {
    const able = Array.from({ length: 31 }, (_, i) => i).filter((i) => (mask & (1 << i)) !== 0);
    if (!able.includes(last) || rng.chance(1, switchOneIn)) last = able[rng.below(able.length)]!;
    world.step(last);
  }
  world.end(world.enabled() !== 0);
  return program.recorded();
}

/** The first execution, by seed from 1, that violates `property`. */
export function violatingRun(scenario: Scenario, subject: Subject, property: string, seedsMax = 2000): RecordedRun {
  for (let seed = 1; seed <= seedsMax; seed++) {
    const run = randomRun(scenario, subject, seed);
    if (run.findings.some((f) => f.property === property)) return run;
  }
  throw new Error(`violatingRun: no seed up to ${seedsMax} violates ${property}`);
}
