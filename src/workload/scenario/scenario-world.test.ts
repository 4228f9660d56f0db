// The slice that everything above rests on: a scenario runs under any chooser, equal choices make equal executions, and the
// driver without callbacks is caught where the right one is clean.
import { expect, test } from 'vitest';
import { Footprint } from '../../base/footprint.ts';
import { Rng } from '../../base/rng.ts';
import { createDevice, SMALL_DEVICE } from '../../device/device.ts';
import type { Finding } from '../../explore/world.ts';
import { RandomChooser } from '../../sched/scheduler.ts';
import type { Scenario } from './scenario.ts';
import { type ScenarioWorld, scenarioProgram } from './scenario-world.ts';
import type { Subject } from './subject.ts';

function walker(driver: string): Subject {
  return {
    name: driver,
    design: 'linux-6.1',
    create: (k) => createDevice(k, { ...SMALL_DEVICE, driver }),
    nullSubject: null,
  };
}

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

interface Run {
  readonly findings: readonly Finding[];
  readonly threads: string;
  readonly touched: readonly number[];
  readonly memory: readonly number[];
  readonly records: readonly number[];
}

function run(subject: Subject, seed: number, program = scenarioProgram(munmap, subject)): Run {
  const rng = new Rng(seed);
  const footprint = new Footprint();
  const world = program.build(new RandomChooser(rng), footprint) as ScenarioWorld;
  const touched: number[] = [];
  let threads = '';
  for (let mask = world.enabled(); mask !== 0; mask = world.enabled()) {
    const able = Array.from({ length: 31 }, (_, i) => i).filter((i) => (mask & (1 << i)) !== 0);
    const t = able[rng.below(able.length)]!;
    threads += `${t} `;
    footprint.clear();
    world.step(t);
    for (let i = 0; i < footprint.length; i++) touched.push(footprint.object(i) * 2 + (footprint.isWrite(i) ? 1 : 0));
    expect(threads.length).toBeLessThan(5000);
  }
  const { memory } = world.kernel;
  const records = memory.log.last(memory.log.capacity).flatMap((r) => [...r]);
  return { findings: world.end(false), threads, touched, memory: [...memory.words, ...memory.generation], records };
}

test('a program builds one world after the other as if each were the first', () => {
  const [right, wrong] = [walker('iommu-v2'), walker('no-callbacks')];
  const programs = [scenarioProgram(munmap, right), scenarioProgram(munmap, wrong)];
  for (let seed = 1; seed <= 40; seed++) {
    expect(run(right, seed, programs[0])).toEqual(run(right, seed));
    expect(run(wrong, seed, programs[1])).toEqual(run(wrong, seed));
  }
});

test('a world that has not ended keeps its arrays', () => {
  const program = scenarioProgram(munmap, walker('iommu-v2'));
  const first = program.build(new RandomChooser(new Rng(1)), new Footprint()) as ScenarioWorld;
  const words = [...first.kernel.memory.words];
  program.build(new RandomChooser(new Rng(1)), new Footprint());
  run(walker('iommu-v2'), 2, program);
  expect([...first.kernel.memory.words]).toEqual(words);
});

test('equal choices make equal executions', () => {
  for (let seed = 1; seed <= 5; seed++) expect(run(walker('iommu-v2'), seed)).toEqual(run(walker('iommu-v2'), seed));
});

test('the walking driver is clean, the one without callbacks is not', () => {
  const found = new Set<string>();
  for (let seed = 1; seed <= 200; seed++) {
    expect(run(walker('iommu-v2'), seed).findings).toEqual([]);
    for (const f of run(walker('no-callbacks'), seed).findings) found.add(f.property);
  }
  expect([...found]).toContain('I1');
});
