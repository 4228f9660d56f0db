// The drivers of drivers/: each has no finding in random interleavings of any operation, nor has the lock-order monitor, and its
// device without callbacks has findings in most operations (so the walks go where it hurts). Under the short operations none
// has one in any interleaving.
//
// SEED is the seed of the walks, EXECUTIONS their number for each driver and operation; under the first design of a driver, OFTEN are walked 300
// times.
import { describe, expect, it } from 'vitest';
import iommuSva from '../drivers/iommu-sva.ts';
import iommuV2Linux319 from '../drivers/iommu-v2-3.19.ts';
import iommuWalker from '../drivers/iommu-walker.ts';
import mirror from '../drivers/mirror.ts';
import mirrorInterval from '../drivers/mirror-interval.ts';
import { LockOrder } from '../src/check/lock-order.ts';
import type { Driver } from '../src/device/define-driver.ts';
import { type Execution, explore } from '../src/explore/explore.ts';
import { randomWalk } from '../src/explore/random.ts';
import { OPERATIONS, operationOf, scenarioOf } from '../src/workload/operations/operations.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { type Subject, subjectOf } from '../src/workload/scenario/subject.ts';

const seed = Number(process.env['SEED'] ?? 1);
const executions = Number(process.env['EXECUTIONS'] ?? 5);
const OFTEN: Readonly<Record<string, number>> = { 'munmap-two': 300, exit: 300, 'madv-dontneed-two': 300 };
const SHORT = ['munmap', 'munmap-batch', 'mprotect-ro', 'exit', 'mremap-shrink'];

const SHIPPED: readonly Driver[] = [iommuWalker, iommuSva, iommuV2Linux319, mirror, mirrorInterval];

/** What random walks of the operation find, documented gaps of the kernel left out. */
function findings(subject: Subject, operation: string, count: number): string[] {
  const locks = new LockOrder();
  const watched: Subject = {
    ...subject,
    create(k) {
      locks.attach(k.memory.log, { lockName: (c) => k.sched.lockClasses.name(c) });
      return subject.create(k);
    },
  };
  const program = scenarioProgram(scenarioOf(operationOf(operation)!), watched);
  const { witnesses, cut } = randomWalk(program, { seed, executions: count });
  const found = [...witnesses.map((w) => w.finding), ...locks.findings]
    .filter((f) => f.gap === null)
    .map((f) => `${f.property}: ${f.sentence}`);
  return cut > 0 ? [...found, 'an execution does not end'] : found;
}

describe.each(SHIPPED.flatMap((driver) => driver.designs.map((design) => ({ name: driver.name, design, driver }))))(
  `$name under $design (SEED=${seed}, EXECUTIONS=${executions})`,
  ({ driver, design }) => {
    const subject = subjectOf(driver, { design });

    it.each(OPERATIONS.map((o) => o.name))('%s: no finding', (operation) => {
      expect(
        findings(
          subject,
          operation,
          design === driver.design ? Math.max(executions, OFTEN[operation] ?? 0) : executions,
        ),
      ).toEqual([]);
    });

    it('without callbacks most operations go wrong', () => {
      // A quarter of them, spread over the list.
      const some = OPERATIONS.filter((_, i) => i % 4 === 0);
      const bad = some.filter((o) => findings(subject.nullSubject!, o.name, executions).length > 0);
      expect(bad.length).toBeGreaterThan(some.length / 2);
    });
  },
);

describe.each(SHIPPED)('$name in every interleaving', (driver) => {
  it.each(SHORT)('%s', (operation) => {
    const scenario = scenarioOf(operationOf(operation)!);
    const subject = subjectOf(driver, { engines: 1 });
    const r = explore(scenarioProgram(scenario, subject), { executionsMax: 5000 });
    expect([r.exhaustive, r.cut, r.findings]).toEqual([true, 0, []]);
    // Without callbacks something goes wrong in the same scenario.
    const first = { visit: (e: Execution) => e.findings.length === 0, executionsMax: 5000 };
    expect(explore(scenarioProgram(scenario, subject.nullSubject!), first).findings).not.toEqual([]);
  });
});
