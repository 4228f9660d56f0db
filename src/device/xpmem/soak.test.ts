// XPMEM for a long time (test/support/soak.ts): partitions that map the memory of programs, and are asked for it back.
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { PAGE, type SoakOptions, seed, soak, soakAddress, soakSteps } from '../../../test/support/soak.ts';
import { DEV_RUNNING } from '../../abi/events.ts';
import type { Rng } from '../../base/rng.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Device } from '../device.ts';
import type { Xpmem } from './xpmem.ts';

const steps = soakSteps(20_000);
const ENGINES = 4;

function* engine(device: Device, e: number, rng: Rng, isOver: () => boolean): KernelPath<void> {
  while (!isOver()) {
    const va = soakAddress(rng);
    yield* device.accessor.access(e, va, rng.chance(1, 2), va + PAGE);
  }
}

/** V4 tells of neither mprotect nor mremap; all of it is told since 2.6.27. Where begin may not sleep (V4 and V5 under RCU) pages are held
 *  until the partitions answer, and what is stored to them meanwhile may be nowhere: docs/devices/xpmem.md. */
it.each([
  ['mmu-notifiers-v4-sleeping', { protects: false, moves: false }],
  ['linux-3.7', {}],
  ['linux-6.1', {}],
] as readonly (readonly [string, Partial<SoakOptions>])[])(
  `%s: ${steps} steps, SEED=${seed}`,
  (design, options) => {
    const xpmem = { engines: ENGINES, isRefusing: seed % 2 === 0, refaultBudget: 1_000_000 };
    const s = soak<Device>(design, { device: 'xpmem', xpmem }, steps, ENGINES, engine, () => ({}), options);
    expect(s.end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = s.judge.results();
    expect(violations.filter((v) => v.gap === null).map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    const { segment, state } = s.device.accessor as Xpmem;
    expect([state, malformed]).toEqual([DEV_RUNNING, 0]);
    expect(Math.min(deviceReads, deviceWrites, swapOuts, segment.recalls, segment.faults)).toBeGreaterThan(0);
    s.finish();
    if (process.env['STEPS']) console.log(design, JSON.stringify({ recalls: segment.recalls, swapOuts }), s.counts());
  },
  7_200_000,
);

it('a partition that keeps stale translations is found by what it reads', () => {
  const xpmem = { engines: ENGINES, mistake: 'one-partition', staleStoresLand: false };
  expect(() => soak<Device>('linux-6.1', { device: 'xpmem', xpmem }, 20_000, ENGINES, engine)).toThrow(/at 0x/);
});
