// XPMEM under every design: random programs, judged; operations of one page, exhaustively; what each design lets it do.
import { describe, expect, it } from 'vitest';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { deviceSubject, search } from '../../../test/support/named-device.ts';
import { DESIGNS as DESIGN_TABLE } from '../../notifier/designs.ts';
import { CHECK_DEFAULTS, checkScenario } from '../../workload/check/check-operation.ts';
import { scenarioNamed } from '../../workload/check/plan.ts';
import type { DeviceConfig } from '../device.ts';
import { deviceInfo } from '../devices.ts';
import { XPMEM_SMALL } from './config.ts';

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
