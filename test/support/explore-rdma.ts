// Explores an operation, or a scenario, with the on-demand RDMA device.
import { LockOrder } from '../../src/check/lock-order.ts';
import { createDevice, SMALL_DEVICE } from '../../src/device/device.ts';
import type { RdmaConfig } from '../../src/device/rdma/config.ts';
import { explore } from '../../src/explore/explore.ts';
import { operationOf, scenarioOf } from '../../src/workload/operations/operations.ts';
import type { Scenario } from '../../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../../src/workload/scenario/scenario-world.ts';

export interface Explored {
  readonly exhaustive: boolean;
  /** Properties that failed, in the order in which they were found; the lock-order monitor's after the others. */
  readonly found: readonly string[];
}

/** Every interleaving, or `executionsMax` of them. Stops at the first finding when `isFirstEnough`. */
export function exploreRdma(
  what: string | Scenario,
  rdma: Partial<RdmaConfig>,
  design = 'linux-6.1',
  executionsMax = 5000,
  isFirstEnough = false,
): Explored {
  const scenario = typeof what === 'string' ? scenarioOf(operationOf(what)!) : what;
  const lockOrder = new LockOrder();
  const subject = {
    name: 'rdma-odp',
    design,
    create: (k: Parameters<typeof createDevice>[0]) =>
      createDevice(k, { ...SMALL_DEVICE, device: 'rdma-odp', rdma: { ...SMALL_DEVICE.rdma, ...rdma } }),
    nullSubject: null,
  };
  const result = explore(scenarioProgram(scenario, subject, { lockOrder }), {
    executionsMax,
    visit: ({ findings }) => !isFirstEnough || (findings.length === 0 && lockOrder.findings.length === 0),
  });
  const found = new Set([
    ...result.findings.map((f) => f.finding.property),
    ...lockOrder.findings.map((f) => f.property),
  ]);
  return { exhaustive: result.exhaustive, found: [...found] };
}
