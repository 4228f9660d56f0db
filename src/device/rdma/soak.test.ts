// The on-demand device for a long time (test/support/soak.ts).
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { PAGE, seed, soak, soakAddress, soakSteps } from '../../../test/support/soak.ts';
import { DEV_RUNNING } from '../../abi/events.ts';
import type { Rng } from '../../base/rng.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { RdmaDevice } from './rdma.ts';

const steps = soakSteps(30_000);

function* engine(device: RdmaDevice, e: number, rng: Rng): KernelPath<void> {
  for (;;) {
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
    const { device, end, judge } = soak<RdmaDevice>(design, { device: 'rdma-odp', rdma }, steps, 2, engine);
    expect(end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = judge.results();
    const found = violations.filter((v) => v.gap === null && v.kind === 'safety');
    expect(found.map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect([device.nic.state, malformed]).toEqual([DEV_RUNNING, 0]);
    expect(Math.min(deviceReads, deviceWrites, swapOuts, device.driver.invalidations)).toBeGreaterThan(0);
  },
  7_200_000,
);
