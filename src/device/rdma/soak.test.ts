// The on-demand device for a long time (test/support/soak.ts). Whatever it reads is what was stored last.
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { PAGE, seed, soak, soakAddress, soakSteps } from '../../../test/support/soak.ts';
import { DEV_RUNNING } from '../../abi/events.ts';
import type { Rng } from '../../base/rng.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { RdmaDevice } from './rdma.ts';

const steps = soakSteps(30_000);

function* engine(device: RdmaDevice, e: number, rng: Rng, isOver: () => boolean): KernelPath<void> {
  while (!isOver()) {
    const va = soakAddress(rng);
    yield* device.accessor.access(e, va, rng.chance(1, 2), va + PAGE);
  }
}

it.each([
  ['linux-6.1', false],
  ['linux-6.1', true],
  ['invalidate-range', false],
] as const)(
  `%s, always for write %s: ${steps} steps, SEED=${seed}`,
  (design, alwaysWrite) => {
    const rdma = { alwaysWrite, childPages: 512, rnrRetries: 1_000_000 };
    const run = soak<RdmaDevice>(design, { device: 'rdma-odp', rdma }, steps, 2, engine);
    const { device, end, judge } = run;
    expect(end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = judge.results();
    // The driver of 3.19 has one sequence number for a child region: a fault is sent back by every section over any page of it (L2 looks at
    // the page alone). Each time there was one, so it ends.
    const found = violations.filter((v) => v.gap === null && !(v.property === 'L2' && design === 'invalidate-range'));
    expect(device.accessor.refaults).toBeLessThanOrEqual(device.driver.invalidations);
    expect(found.map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect([device.nic.state, malformed]).toEqual([DEV_RUNNING, 0]);
    expect(Math.min(deviceReads, deviceWrites, swapOuts, device.driver.invalidations)).toBeGreaterThan(0);
    run.finish();
  },
  7_200_000,
);
