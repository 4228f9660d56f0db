// The strategies on the real machine: what they find with the driver without callbacks replays to the same finding at the same
// step, alone, from its text, and the right driver is clean under the same walks.
import { expect, test } from 'vitest';
import { LOCK_DRIVER, LOCK_INVALIDATE } from '../../abi/locks.ts';
import { OBJ_DRIVER } from '../../base/footprint.ts';
import { createDevice, type DeviceConfig } from '../../device/device.ts';
import { DRIVERS } from '../../device/drivers/drivers.ts';
import { boundedSearch } from '../../explore/bounded.ts';
import { goalOf } from '../../explore/goal.ts';
import { findNoProgress } from '../../explore/liveness.ts';
import { minimise } from '../../explore/minimise.ts';
import { pct } from '../../explore/pct.ts';
import { randomWalk } from '../../explore/random.ts';
import { replay } from '../../explore/replay.ts';
import { formatCounterexample, parseCounterexample, scenarioDigest } from '../../explore/schedule-string.ts';
import type { Program } from '../../explore/world.ts';
import { Rwsem } from '../../sched/locks.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import { pairing, recordReplay } from '../trace/record-replay.ts';
import type { ScenarioContext } from './context.ts';
import type { Scenario, Step } from './scenario.ts';
import { scenarioProgram } from './scenario-world.ts';
import type { Subject } from './subject.ts';

const SMALL: Partial<DeviceConfig> = {
  ats: { engines: 1, atcSets: 2, atcWays: 2 },
  iommu: { tlbSets: 2, tlbWays: 2, walkers: 1, executors: 1, pasids: 4 },
  faultWorkers: 1,
};

const munmap: Scenario = {
  name: 'munmap',
  summary: 'one page goes while the device uses it',
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
  ],
  threads: {
    munmap: { steps: [{ do: 'munmap', at: 0 }] },
    device: {
      on: 'device',
      steps: [
        { do: 'load', at: 0 },
        { do: 'store', at: 0 },
      ],
    },
  },
};

function subjectOf(driver: string, design = 'linux-6.1'): Subject {
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

function program(driver: string, scenario = munmap, design = 'linux-6.1'): Program {
  return scenarioProgram(scenario, subjectOf(driver, design));
}

test('a witness of a random walk replays to its finding, step for step, also from its text', () => {
  const broken = program('no-callbacks');
  const { witnesses, withFindings } = randomWalk(broken, { seed: 1, executions: 150 });
  expect(withFindings).toBeGreaterThan(20);
  expect(witnesses.map((w) => w.finding.property)).toContain('I1');
  for (const { finding, schedule } of witnesses) {
    const digest = scenarioDigest('munmap', 'no-callbacks', 'linux-6.1');
    const names = { operation: 'munmap', driver: 'no-callbacks', design: 'linux-6.1', variant: '', bug: '', digest };
    const text = formatCounterexample({ ...names, schedule });
    expect(text.length).toBeLessThan(300);
    for (const s of [schedule, parseCounterexample(text).schedule]) {
      const again = replay(broken, s);
      expect(again.findings).toContainEqual(finding);
      expect(again.steps).toBe(finding.step);
    }
    // One step earlier there is nothing to see.
    expect(replay(broken, schedule.slice(0, -1)).findings).not.toContainEqual(finding);
  }
});

test('the right driver is clean under the same walks', () => {
  expect(randomWalk(program('iommu-v2'), { seed: 1, executions: 150 })).toMatchObject({ withFindings: 0, cut: 0 });
});

test('one preemption, or one delay, suffices to catch the driver without callbacks', () => {
  for (const count of ['preemptions', 'delays'] as const) {
    const found = boundedSearch(program('no-callbacks'), { executions: 1000, bound: 1, count });
    expect(found).toMatchObject({ exhausted: 1, isComplete: true });
    expect(found.witnesses.map((w) => w.finding.property)).toContain('I2');
  }
  expect(boundedSearch(program('iommu-v2'), { executions: 1000, bound: 1, count: 'delays' })).toMatchObject({
    exhausted: 1,
    withFindings: 0,
  });
});

test('whatever the witness, the minimal schedule is the same; it replays to the same property', () => {
  const broken = program('no-callbacks');
  const minimal = new Map<string, string>();
  for (const seed of [1, 2, 3]) {
    for (const { finding, schedule } of randomWalk(broken, { seed, executions: 40 }).witnesses) {
      const m = minimise(broken, schedule, goalOf(finding));
      expect(m.isCanonical).toBe(true);
      expect(m.steps).toBeLessThanOrEqual(schedule.length);
      const again = replay(broken, m.schedule);
      expect(again.findings).toContainEqual(m.finding);
      expect(again).toMatchObject({ steps: m.steps, switches: m.switches, preemptions: m.preemptions });
      const text = m.schedule.map((choice) => choice.thread).join(' ');
      expect(minimal.get(finding.property) ?? text).toBe(text);
      minimal.set(finding.property, text);
    }
  }
  expect([...minimal.keys()]).toContain('I1');
});

test('PCT finds it as well', () => {
  const found = pct(program('no-callbacks'), { seed: 1, executions: 40, depth: 2 });
  expect(found.witnesses.map((w) => w.finding.property)).toContain('I1');
  expect(found).toMatchObject({ longer: 0, cut: 0 });
  expect(found.guarantee).toBeGreaterThan(0.001);
});

/** Two locks of each world. */
const locks = new WeakMap<ScenarioContext, readonly [Rwsem, Rwsem]>();

function locksOf(c: ScenarioContext): readonly [Rwsem, Rwsem] {
  let pair = locks.get(c);
  if (pair === undefined) {
    const { sched } = c.kernel;
    pair = [new Rwsem(sched, LOCK_INVALIDATE, 77), new Rwsem(sched, LOCK_DRIVER, 77)];
    locks.set(c, pair);
  }
  return pair;
}

/** Takes both locks for writing, one after the other. */
function both(first: 0 | 1): Step {
  const path = function* (c: ScenarioContext): KernelPath<void> {
    const pair = locksOf(c);
    yield* pair[first].writeLock();
    yield* pair[1 - first]!.writeLock();
    pair[1 - first]!.writeUnlock();
    pair[first].writeUnlock();
  };
  return { do: 'run', name: 'both locks', path };
}

test('a deadlock is found with the fewest steps and names who waits for whom', () => {
  const inversion = program('iommu-v2', {
    name: 'inversion',
    summary: 'two locks, two orders',
    setup: [],
    threads: { one: { steps: [both(0)] }, two: { steps: [both(1)] } },
  });
  const { witnesses } = boundedSearch(inversion, { executions: 500, bound: 1 });
  expect(witnesses.map((w) => w.finding.property)).toEqual(['I60']);
  const minimal = minimise(inversion, witnesses[0]!.schedule, { property: 'I60', gap: null });
  expect(minimal.isCanonical).toBe(true);
  expect(minimal.finding.sentence).toBe(
    'Nothing can go on: one waits for the driver lock, which two holds; two waits for the invalidate_lock, which one holds.',
  );
  expect(replay(inversion, minimal.schedule).findings).toEqual([minimal.finding]);
});

test('a livelock of the machine is found where a search was cut, made short, and told by its text', () => {
  const flags = new WeakMap<ScenarioContext, number[]>();
  const polite = (me: number): Step => {
    const path = function* (c: ScenarioContext): KernelPath<void> {
      let flag = flags.get(c);
      if (flag === undefined) flags.set(c, (flag = [0, 0]));
      const touch = (): void => c.kernel.memory.footprint?.note(OBJ_DRIVER, 77, true);
      flag[me] = 1;
      touch();
      yield P_DRIVER;
      while (flag[1 - me] === 1) {
        touch();
        yield P_DRIVER;
      }
      flag[me] = 0;
      touch();
    };
    return { do: 'run', name: 'polite', path };
  };
  const threads = { one: { steps: [polite(0)] }, two: { steps: [polite(1)] } };
  const scenario: Scenario = { name: 'polite', summary: 'each lets the other go first', setup: [], threads };
  const p = program('iommu-v2', scenario);
  const { witnesses, cut } = randomWalk(p, { seed: 1, executions: 20, stepsMax: 300 });
  expect(cut).toBeGreaterThan(0);
  const { finding, schedule } = witnesses[0]!;
  expect(finding.sentence).toMatch(
    /^Nothing comes to an end: one and two go round: the same \d+ steps again and again/,
  );
  const minimal = minimise(p, schedule, goalOf(finding));
  expect(minimal.steps).toBeLessThan(12);
  const subject = subjectOf('iommu-v2');
  const text = formatCounterexample({
    ...pairing(scenario, subject),
    variant: '',
    bug: '',
    schedule: minimal.schedule,
  });
  const run = recordReplay(text, () => ({ scenario, subject, here: pairing(scenario, subject) }));
  expect(run.findings.map((f) => f.property)).toEqual(['L1']);
});

test('no shipped driver is reported for want of progress', () => {
  for (const { name, design } of DRIVERS) {
    const p = program(name, munmap, design === '*' ? 'linux-6.1' : design);
    for (const seed of [1, 2]) {
      const { schedule } = replay(p, [], { isCompleted: true });
      const beginning = schedule.slice(0, (schedule.length * seed) >> 2);
      expect(findNoProgress(p, beginning), name).toBeNull();
    }
  }
});
