// Each mistake of mistakes.ts is caught by a property that it names.
import { describe, expect, it } from 'vitest';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { type Search, search } from '../../../test/support/named-device.ts';
import { InputError } from '../../base/assert.ts';
import { createMachine } from '../../system/machine.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import type { DeviceConfig } from '../device.ts';
import { XPMEM_SMALL } from './config.ts';
import { XPMEM_MISTAKES } from './mistakes.ts';

/** A partition wants a page, for the first time, while it is reclaimed. */
const NOT_EXPORTED: Scenario = {
  name: 'not exported',
  summary: 'reclaim takes a page that nobody has been granted yet',
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
    { do: 'madvise', at: 0, advice: 'cold' },
  ],
  threads: {
    reclaim: { on: 'kernel', steps: [{ do: 'reclaim', pages: 1 }] },
    device: {
      on: 'device',
      steps: [
        { do: 'load', at: 0 },
        { do: 'load', at: 0 },
      ],
    },
  },
};

function xpmem(config: DeviceConfig['xpmem']): Partial<DeviceConfig> {
  return { device: 'xpmem', xpmem: { ...XPMEM_SMALL, ...config } };
}

describe('mistakes', () => {
  const TWO = { importers: 2, engines: 2 };
  const SHOWN: Readonly<Record<string, Search & { design?: string; xpmem?: DeviceConfig['xpmem'] }>> = {
    'no-wait': { scenario: 'munmap' },
    'early-ack': { scenario: 'munmap' },
    'tlb-first': { scenario: 'munmap' },
    'no-recheck': { scenario: 'madv-dontneed', walks: 2000 },
    'no-seq': { scenario: 'madv-dontneed' },
    'acks-behind-faults': { scenario: 'madv-dontneed' },
    'recall-in-flight': { scenario: 'madv-dontneed+madv-dontneed', walks: 2000 },
    'export-unmapped': { scenario: NOT_EXPORTED, design: 'mmu-notifiers-v4' },
    'no-dirty': { scenario: 'migrate' },
    unheld: { scenario: 'madv-dontneed', design: 'mmu-notifiers-v4' },
  };
  /** Random programs of several partitions. */
  const RANDOM = ['one-partition'];

  it('each is listed', () => {
    expect([...Object.keys(SHOWN), ...RANDOM].sort()).toEqual(XPMEM_MISTAKES.map((m) => m.name).sort());
    expect(() => createMachine({ design: 'linux-6.1', device: xpmem({ mistake: 'none' }) })).toThrow(InputError);
  });

  it.each(Object.entries(SHOWN))('%s is caught', (name, how) => {
    const { breaks } = XPMEM_MISTAKES.find((m) => m.name === name)!;
    const config = xpmem({ ...how.xpmem, mistake: name });
    const found = search(config, how.design ?? 'linux-6.1', how, (p, gap) => gap === null && breaks.includes(p));
    expect(found).not.toBeNull();
  });

  it.each(RANDOM)(`%s is caught (SEED=${SEED})`, (name) => {
    const { breaks } = XPMEM_MISTAKES.find((m) => m.name === name)!;
    let found = false;
    for (let seed = SEED; seed < SEED + 12 && !found; seed++) {
      const device = { device: 'xpmem', xpmem: { ...TWO, mistake: name } };
      const r = machine({ design: 'linux-6.1', seed, mutate: () => {}, stepsMax: 200_000, device });
      found = r.violations.some((v) => v.gap === null && breaks.includes(v.property));
    }
    expect(found).toBe(true);
  });
});
