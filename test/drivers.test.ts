// The drivers of drivers/: each shipped one has no finding in random interleavings of any operation, and its device without
// callbacks has one in most (so the walks go where it hurts).
//
// SEED is the seed of the walks, EXECUTIONS their number for each driver and operation.
import { describe, expect, it } from 'vitest';
import iommuSva from '../drivers/iommu-sva.ts';
import iommuV2Linux319 from '../drivers/iommu-v2-3.19.ts';
import iommuWalker from '../drivers/iommu-walker.ts';
import mirror from '../drivers/mirror.ts';
import mirrorInterval from '../drivers/mirror-interval.ts';
import type { Driver } from '../src/device/define-driver.ts';
import { randomWalk } from '../src/explore/random.ts';
import { OPERATIONS, scenarioOf } from '../src/workload/operations/operations.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { type Subject, subjectOf } from '../src/workload/scenario/subject.ts';

const seed = Number(process.env['SEED'] ?? 1);
const executions = Number(process.env['EXECUTIONS'] ?? 10);

const SHIPPED: readonly Driver[] = [iommuWalker, iommuSva, iommuV2Linux319, mirror, mirrorInterval];

/** What random walks of the operation find, documented gaps of the kernel left out. */
function findings(subject: Subject, operation: string): string[] {
  const o = OPERATIONS.find((x) => x.name === operation)!;
  const { witnesses, cut } = randomWalk(scenarioProgram(scenarioOf(o), subject), { seed, executions });
  const found = witnesses
    .filter((w) => w.finding.gap === null)
    .map((w) => `${w.finding.property}: ${w.finding.sentence}`);
  return cut > 0 ? [...found, 'an execution does not end'] : found;
}

describe.each(SHIPPED.flatMap((driver) => driver.designs.map((design) => ({ name: driver.name, design, driver }))))(
  `$name under $design (SEED=${seed}, EXECUTIONS=${executions})`,
  ({ driver, design }) => {
    const subject = subjectOf(driver, { design });

    it.each(OPERATIONS.map((o) => o.name))('%s: no finding', (operation) => {
      expect(findings(subject, operation)).toEqual([]);
    });

    it('without callbacks most operations go wrong', () => {
      const bad = OPERATIONS.filter((o) => findings(subject.nullSubject!, o.name).length > 0);
      expect(bad.length).toBeGreaterThan(OPERATIONS.length / 2);
    });
  },
);
