// The slice that everything above rests on: a scenario runs under any chooser, equal choices make equal executions, and the
// driver without callbacks is caught where the right one is clean.
import { expect, test } from 'vitest';
import { Footprint } from '../../base/footprint.ts';
import { Rng } from '../../base/rng.ts';
import { createDevice, SMALL_DEVICE } from '../../device/device.ts';
import type { Finding } from '../../explore/world.ts';
import { RandomChooser } from '../../sched/scheduler.ts';
import type { Scenario } from './scenario.ts';
import { scenarioProgram } from './scenario-world.ts';
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

function run(subject: Subject, seed: number): { readonly findings: readonly Finding[]; readonly threads: string } {
  const rng = new Rng(seed);
  const footprint = new Footprint();
  const world = scenarioProgram(munmap, subject).build(new RandomChooser(rng), footprint);
  let threads = '';
  for (let mask = world.enabled(); mask !== 0; mask = world.enabled()) {
    const able = Array.from({ length: 31 }, (_, i) => i).filter((i) => (mask & (1 << i)) !== 0);
    const t = able[rng.below(able.length)]!;
    threads += `${t} `;
    footprint.clear();
    world.step(t);
    expect(threads.length).toBeLessThan(5000);
  }
  return { findings: world.end(false), threads };
}

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
