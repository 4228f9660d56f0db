// XPMEM under every design: random programs, judged; operations of one page, exhaustively; what each design lets it do; each mistake
// of mistakes.ts is caught by a property that it names.
import { describe, expect, it } from 'vitest';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { deviceSubject, type Search, scenarioNamed, search } from '../../../test/support/named-device.ts';
import { InputError } from '../../base/assert.ts';
import { DESIGNS as DESIGN_TABLE } from '../../notifier/designs.ts';
import { createMachine } from '../../system/machine.ts';
import { CHECK_DEFAULTS, checkScenario } from '../../workload/check/check-operation.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import type { DeviceConfig } from '../device.ts';
import { deviceInfo } from '../devices.ts';
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

/** Those under which nothing may go wrong. */
const DESIGNS = ['invalidate-range', 'linux-6.1', 'linux-6.12'];

function xpmem(config: DeviceConfig['xpmem']): Partial<DeviceConfig> {
  return { device: 'xpmem', xpmem: { ...XPMEM_SMALL, ...config } };
}

const isReal = (_: string, gap: number | null): boolean => gap === null;

describe.each(DESIGNS)('%s', (design) => {
  it(`random programs: nothing wrong (SEED=${SEED})`, () => {
    for (let seed = SEED; seed < SEED + 2; seed++) {
      const isRefusing = seed % 2 === 0;
      const r = machine({ design, seed, operations: 80, device: { device: 'xpmem', xpmem: { isRefusing } } });
      expect(r.violations.map((v) => v.text)).toEqual([]);
      expect(r.deviceReads + r.deviceWrites).toBeGreaterThan(50);
    }
  });

  it.each(['madv-dontneed', 'fork', 'exit'])('%s: nothing wrong in any execution, and deaf there is', (name) => {
    const subject = deviceSubject(xpmem({}), design);
    const r = checkScenario(scenarioNamed(name), subject, { ...CHECK_DEFAULTS, executions: 120, randomRuns: 10 })!;
    expect([r.verdict, r.lockFindings]).toEqual(['clean', []]);
  });
});

describe('what the other designs let it do', () => {
  it('there is a driver for every design but pinned memory', () => {
    const without = DESIGN_TABLE.filter((d) => deviceInfo('xpmem').designs[d.name] === undefined);
    expect(without.map((d) => d.name)).toEqual(['pinned']);
  });

  it.each(['pte-notifiers', 'mmu-notifiers-andrea'])('%s: it hears too late, or not at all', (design) => {
    expect(search(xpmem({}), design, { scenario: 'munmap' }, isReal)).toMatch(/^I[15]: /);
  });

  it.each(['linux-2.6.27', 'free-pages-2011'])(
    '%s: it sleeps where it must not, and does not hear of reclaim',
    (design) => {
      const isSleep = (property: string): boolean => property === 'I44';
      expect(search(xpmem({}), design, { scenario: 'munmap', executions: 50 }, isSleep)).toMatch(
        /start .* sleeps until/,
      );
      expect(search(xpmem({}), design, { scenario: 'reclaim' }, isReal)).toMatch(/^I[15]: /);
    },
  );

  it.each(['munmap', 'reclaim', 'writeback', 'truncate', 'exit'])(
    'mmu-notifiers-v4: %s: pages are held until they are given back, single pages go through rmap notifiers',
    (name) => {
      for (const design of ['mmu-notifiers-v4', 'mmu-notifiers-v4-sleeping'])
        expect(search(xpmem({}), design, { scenario: name, executions: 40 }, isReal)).toBeNull();
    },
  );

  it.each(['mprotect-ro', 'ksm-merge'])(
    'mmu-notifiers-v4: %s is told to nobody, or only by invalidate_page',
    (name) => {
      expect(search(xpmem({}), 'mmu-notifiers-v4', { scenario: name, executions: 300 }, isReal)).toMatch(/^I5: /);
    },
  );

  it('linux-6.1: the OOM reaper, which does not block, is not kept waiting', () => {
    expect(search(xpmem({}), 'linux-6.1', { scenario: 'oom-reap', executions: 60 }, isReal)).toBeNull();
  });
});

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
    unheld: { scenario: 'madv-dontneed', design: 'mmu-notifiers-v4' },
  };
  /** Random programs of several partitions. */
  const RANDOM = ['one-partition'];
  /** What the kernel does around it saves it: see mistakes.ts. */
  const SAVED = ['no-dirty'];

  it('each is listed', () => {
    expect([...Object.keys(SHOWN), ...RANDOM, ...SAVED].sort()).toEqual(XPMEM_MISTAKES.map((m) => m.name).sort());
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

  it.each(SAVED)('%s: no store is lost', (name) => {
    expect(
      search(xpmem({ mistake: name }), 'linux-6.1', { scenario: 'writeback', executions: 300 }, isReal),
    ).toBeNull();
  });
});
