// The shared-table IOMMU under the designs that history tried: which driver uses a page that is somebody else's, which only pays for its
// safety, which leaves page tables alone. Random interleavings of random programs, judged from the events; nothing here knows what a
// design calls. SEED chooses the programs.

import { describe, expect, test } from 'vitest';
import type { JudgeResults } from '../src/check/judge.ts';
import { isFound, machine, machines, type Program, randomProgram, SEED, sum } from './support/judged-machine.ts';

const RUNS_MAX = 16;
const SMALL = { writePercent: 0, operations: 60 };

/** Runs of further seeds until the property is violated; how many it took, or 0. */
function found(property: string, design: string, driver: string): number {
  for (let i = 1; i <= RUNS_MAX; i++) {
    const seed = SEED * 100 + i;
    if (isFound(machine({ ...SMALL, design, driver, seed, until: property }), property)) return i;
  }
  return 0;
}

const onOneCpu: Program = (k, task, _cpu, rng, operations) => randomProgram(k, task, 0, rng, operations);
const stale = (runs: readonly JudgeResults[]): number => sum(runs, (r) => r.staleReads + r.staleWrites);

describe(`a walker that flushes at start and end alone uses freed frames under every design (SEED=${SEED})`, () => {
  test.each([
    'pte-notifiers',
    'mmu-notifiers-andrea',
    'mmu-notifiers-v4',
    'linux-2.6.27',
    'free-pages-2011',
    'invalidate-range',
    'linux-6.1',
    'linux-6.6',
    'linux-6.12',
  ])('%s', (design) => {
    expect(found('I1', design, 'iommu-flush-start-end')).toBeGreaterThan(0);
  });
});

describe('parked on an empty table inside sections', () => {
  test.each(['pte-notifiers', 'mmu-notifiers-andrea'])('%s has no sections: freed frames are used', (design) => {
    expect(found('I1', design, 'iommu-v2-empty-table')).toBeGreaterThan(0);
  });

  test.each(['mmu-notifiers-v4', 'linux-2.6.27', 'free-pages-2011', 'invalidate-range'])(
    '%s: no freed frame is used, but the device faults in vain',
    (design) => {
      const runs = machines({ ...SMALL, design, driver: 'iommu-v2-empty-table' }, 4);
      expect(stale(runs)).toBe(0);
      expect(sum(runs, (r) => r.byProperty['L2'] ?? 0)).toBeGreaterThan(0);
    },
  );
});

describe('free-pages-2011, its own driver', () => {
  test('no freed page is used; freed page tables are', () => {
    const runs = machines({ ...SMALL, design: 'free-pages-2011', driver: 'iommu-free-pages' }, 8);
    expect(stale(runs)).toBe(0);
    expect(runs.filter((r) => isFound(r, 'I1'))).toEqual([]);
    expect(found('I2', 'free-pages-2011', 'iommu-free-pages')).toBeGreaterThan(0);
  });

  test('on one CPU with a gather of the architecture, pages go before the call', () => {
    const kernel = { cpus: 1, gatherFastMode: true, gatherIsOwn: true };
    const run = (design: string): JudgeResults[] =>
      Array.from({ length: 3 }, (_, i) =>
        machine({
          ...SMALL,
          design,
          driver: 'iommu-free-pages',
          kernel,
          programs: [onOneCpu, onOneCpu],
          seed: SEED * 100 + i,
        }),
      );
    const own = run('free-pages-2011');
    expect(stale(own)).toBeGreaterThan(0);
    // The one CPU never uses what was freed under it.
    expect(own.filter((r) => isFound(r, 'I1c'))).toEqual([]);
    expect(stale(run('free-pages-2011-all'))).toBe(0);
  });
});
