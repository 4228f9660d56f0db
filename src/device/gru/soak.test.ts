// The GRU for a long time (test/support/soak.ts): threads with few contexts and ASIDs, which move from chiplet to chiplet.
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { PAGE, type SoakOptions, seed, soak, soakAddress, soakSteps } from '../../../test/support/soak.ts';
import { DEV_RUNNING } from '../../abi/events.ts';
import type { Rng } from '../../base/rng.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { Gru } from './gru.ts';

const steps = soakSteps(20_000);
const ENGINES = 4;

function* engine(device: Device, e: number, rng: Rng, isOver: () => boolean): KernelPath<void> {
  const gru = device.accessor as Gru;
  while (!isOver()) {
    const va = soakAddress(rng);
    if (rng.chance(1, 200)) yield* gru.migrate(e, rng.below(2));
    else yield* gru.access(e, va, rng.chance(1, 2), va + PAGE);
  }
}

/** V5 tells of mremap; mprotect is told since 2.6.27. */
const UNTOLD = { protects: false };

it.each([
  ['mmu-notifiers-v5', UNTOLD],
  ['linux-2.6.27', {}],
  ['linux-6.1', {}],
] as readonly (readonly [string, Partial<SoakOptions>])[])(
  `%s: ${steps} steps, SEED=${seed}`,
  (design, options) => {
    const gru = { engines: ENGINES, contextsPerChiplet: 1, asids: 6, purgePagesMax: 64, refaultBudget: 1_000_000 };
    const config: Partial<DeviceConfig> = { device: 'gru', gru };
    const s = soak<Device>(design, config, steps, ENGINES, engine, () => ({}), options);
    expect(s.end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = s.judge.results();
    expect(violations.filter((v) => v.gap === null).map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    const { driver, chiplets, state } = s.device.accessor as Gru;
    expect([state, malformed]).toEqual([DEV_RUNNING, 0]);
    const { contextsStolen, asidWraps, refusedRangeActive, switchedToPolling } = driver;
    const ignored = chiplets.reduce((sum, c) => sum + c.ignoredDropins, 0);
    const done = { contextsStolen, asidWraps, refusedRangeActive, switchedToPolling, ignored, swapOuts };
    expect(Math.min(deviceReads, deviceWrites, ...Object.values(done))).toBeGreaterThan(0);
    s.finish();
    if (process.env['STEPS']) console.log(design, JSON.stringify(done), s.counts());
  },
  7_200_000,
);

it('a chiplet that keeps stale translations is found by what it reads', () => {
  const gru = { engines: ENGINES, contextsPerChiplet: 1, asids: 6, mistake: 'asid-kept', staleStoresLand: false };
  expect(() => soak<Device>('linux-6.1', { device: 'gru', gru }, 60_000, ENGINES, engine)).toThrow(/at 0x/);
});
