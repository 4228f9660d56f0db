// Walkers of all makers for a long time (test/support/soak.ts), each under the design that its driver was made for; the address space is
// unbound and bound again. (That every reader finds what was written: test/device-data.test.ts.)
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { PAGE, seed, soak, soakAddress, soakSteps } from '../../test/support/soak.ts';
import { DEV_RUNNING } from '../abi/events.ts';
import type { Rng } from '../base/rng.ts';
import type { Task } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';
import type { Machine } from '../system/machine.ts';
import type { SharedTableDevice } from './shared-table-device.ts';
import type { SvaIommu } from './sva-iommu.ts';

const steps = soakSteps(30_000);

function* engine(device: SharedTableDevice<SvaIommu>, e: number, rng: Rng): KernelPath<void> {
  for (;;) {
    const va = soakAddress(rng);
    if (rng.chance(1, 20)) yield* device.ats.fetch(e, va);
    else yield* device.accessor.access(e, va, rng.chance(1, 2), va + 4 * PAGE);
  }
}

function* binder(m: Machine, task: Task): KernelPath<void> {
  for (;;) {
    yield* m.kernel.sched.sleepSteps(1500, 'rebind');
    yield* m.device!.unbind();
    expect(yield* m.device!.bind(task.mm!)).toBe(0);
  }
}

it.each([
  ['amd-iommu-v2', 'linux-6.1'],
  ['intel-svm', 'linux-6.1'],
  ['intel-svm', 'linux-6.12'],
  ['arm-smmu-sva', 'linux-6.12'],
] as const)(
  `%s, %s: ${steps} steps, SEED=${seed}`,
  (name, design) => {
    // Groups of pages, and a request queue that overflows where that is answered with Success.
    const iommu = { tlbSets: 8, tlbWays: 2, ...(name === 'amd-iommu-v2' ? {} : { pprLogEntries: 4 }) };
    const ats = { engines: 3, atcSets: 4, atcWays: 2, credits: 6, groupPagesMax: 3, refaultBudget: 1_000_000 };
    const config = { device: name, iommu, ats };
    const run = soak<SharedTableDevice<SvaIommu>>(design, config, steps, 3, engine, (m, task) => ({
      binder: binder(m, task),
    }));
    const { device, judge } = run;
    expect(run.end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed, unanswered } = judge.results();
    const found = violations.filter((v) => v.gap === null);
    expect(found.map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect([device.ats.state, malformed]).toEqual([DEV_RUNNING, 0]);
    if (name !== 'amd-iommu-v2') expect(device.iommu.pprOverflows).toBeGreaterThan(0);
    expect(unanswered).toBeLessThanOrEqual(ats.credits);
    expect(
      Math.min(deviceReads, deviceWrites, swapOuts, device.ats.invalidations, device.ats.pri.groups),
    ).toBeGreaterThan(0);
    if (process.env['STEPS'])
      console.log(
        name,
        design,
        JSON.stringify(judge.results().byProperty),
        deviceReads,
        deviceWrites,
        swapOuts,
        device.iommu.pprOverflows,
      );
  },
  7_200_000,
);
