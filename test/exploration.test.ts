// What exhaustive exploration promises, held against chance: whatever final state and finding a random interleaving of an operation and a
// device reaches, one of the explored executions reached too. A step that touches more than its footprint says shows here as a
// state that exploration missed. (test/footprints.test.ts asks the same of neighbouring steps, one pair at a time.)
import { expect, it } from 'vitest';
import { Footprint } from '../src/base/footprint.ts';
import { Rng } from '../src/base/rng.ts';
import type { AtsDevice } from '../src/device/ats-pri.ts';
import { createDevice, SMALL_DEVICE } from '../src/device/device.ts';
import type { Iommu } from '../src/device/iommu.ts';
import { explore } from '../src/explore/explore.ts';
import type { Finding } from '../src/explore/world.ts';
import { RandomChooser } from '../src/sched/scheduler.ts';
import { operationOf, scenarioOf } from '../src/workload/operations/operations.ts';
import { type ScenarioWorld, scenarioProgram } from '../src/workload/scenario/scenario-world.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const RUNS = Number(process.env['RUNS'] ?? 60);
const EXECUTIONS_MAX = 10_000;

const CASES: readonly (readonly [operation: string, driver: string])[] = [
  ['munmap', 'iommu-v2'],
  ['munmap-neighbour', 'no-callbacks'],
  ['map-fixed', 'iommu-v2'],
  ['mprotect-rw', 'iommu-v2'],
  ['mremap-move', 'iommu-v2'],
  ['madv-dontneed', 'iommu-v2'],
  ['madv-cold', 'no-callbacks'],
  ['swap-in', 'iommu-v2'],
  ['fork', 'iommu-v2'],
  ['exit', 'iommu-v2'],
  ['truncate', 'no-callbacks'],
  ['writeback', 'iommu-v2'],
  ['reclaim-file', 'iommu-v2'],
  ['reclaim', 'no-callbacks'],
];

interface Hardware {
  readonly iommu: Iommu;
  readonly ats: AtsDevice;
}

function hash(data: ArrayLike<number>): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < data.length; i++) h = Math.imul(h ^ data[i]!, 0x01000193) + i;
  return h;
}

/** The final state: memory, pages and every cache. */
function stateOf(world: ScenarioWorld): string {
  const { memory, pages, cpus } = world.kernel;
  const { iommu, ats } = world.device as unknown as Hardware;
  const parts: ArrayLike<number>[] = [
    ...Array.from(pages.purpose, (purpose, pfn) =>
      purpose === 0 ? [] : memory.words.subarray(pfn << 10, (pfn + 1) << 10),
    ),
    memory.generation,
    pages.refcount,
    pages.mapcount,
    pages.flags,
    ...cpus.map((cpu) => cpu.tlb.entries),
    iommu.tlb.entries,
    iommu.walkCache.tagHi,
    iommu.state(),
    ats.atc.entries,
    [ats.state, ats.reads, ats.writes],
  ];
  return parts.map((p) => hash(p).toString(16)).join(' ');
}

function kindOf(f: Finding): string {
  return `${f.property} ${f.gap}`;
}

it.each(CASES)('%s with %s: no random interleaving ends where exploration did not', (name, driver) => {
  const program = scenarioProgram(scenarioOf(operationOf(name)!), {
    name: driver,
    design: 'linux-6.1',
    create: (k) => createDevice(k, { ...SMALL_DEVICE, driver }),
    nullSubject: null,
  });
  const explored = new Set<string>();
  const result = explore(program, {
    executionsMax: EXECUTIONS_MAX,
    visit: (e) => {
      explored.add(stateOf(e.world as ScenarioWorld));
      for (const f of e.findings) explored.add(kindOf(f));
    },
  });
  expect(result.exhaustive).toBe(true);
  const rng = new Rng(SEED);
  const footprint = new Footprint();
  for (let run = 0; run < RUNS; run++) {
    const world = program.build(new RandomChooser(rng), footprint) as ScenarioWorld;
    // Every other run by priorities that seldom change: long stretches of one thread, late turns of another.
    const priority = Array.from({ length: 31 }, () => rng.below(1000));
    for (let mask = world.enabled(); mask !== 0; mask = world.enabled()) {
      const able = priority.map((_, i) => i).filter((i) => (mask & (1 << i)) !== 0);
      let next = able[rng.below(able.length)]!;
      if (run % 2 === 1) {
        next = able.reduce((a, b) => (priority[b]! > priority[a]! ? b : a));
        if (rng.chance(1, 12)) priority[next] = rng.below(500);
      }
      footprint.clear();
      world.step(next);
    }
    expect(explored, `final state of run ${run}, SEED=${SEED}`).toContain(stateOf(world));
    for (const f of world.end(false)) expect(explored, `run ${run}, SEED=${SEED}: ${f.sentence}`).toContain(kindOf(f));
  }
});
