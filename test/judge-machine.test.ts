// The judge over whole machines: kernel, notifier design, driver, IOMMU and device in random interleavings. A correct kernel
// with a correct driver shows no violation that is not a documented gap; the same device without callbacks shows many.
import { describe, expect, test } from 'vitest';
import { machines, SEED, sum } from './support/judged-machine.ts';

describe(`judged machines (SEED=${SEED})`, () => {
  test.each(['linux-6.1', 'invalidate-range'])(
    '%s with its driver: nothing but documented gaps, many windows',
    (design) => {
      for (const r of machines({ design }, 4)) {
        expect(r.violations.filter((v) => v.gap === null)).toEqual([]);
        expect([r.unexplained, r.livenessFindings, r.unannouncedStores, r.malformed, r.uncovered]).toEqual([
          0, 0, 0, 0, 0,
        ]);
        expect(['safe', 'gap']).toContain(r.verdict);
        expect(r.windows).toBeGreaterThan(20);
        expect(r.deviceWrites).toBeGreaterThan(100);
      }
    },
  );

  test('the same device without callbacks: frames are freed under it and read', () => {
    const runs = machines({ driver: 'no-callbacks', writePercent: 0 }, 4);
    expect(runs.map((r) => r.verdict)).toEqual(['unsafe', 'unsafe', 'unsafe', 'unsafe']);
    expect(sum(runs, (r) => r.staleReads)).toBeGreaterThan(10);
    expect(sum(runs, (r) => r.windowsOpen)).toBeGreaterThan(10);
    const properties = new Set(runs.flatMap((r) => Object.keys(r.byProperty)));
    for (const id of ['I1', 'I2', 'I5', 'I12']) expect(properties).toContain(id);
  });

  test('linux-2.6.27, flush at start and end: frames of forced flushes are used after they are freed', () => {
    const runs = machines({ design: 'linux-2.6.27', driver: 'iommu-flush-start-end' }, 4);
    expect(sum(runs, (r) => r.byProperty['I1'] ?? 0)).toBeGreaterThan(0);
    const forced = runs.flatMap((r) => r.windowCauses).filter((c) => c.cause.endsWith('forced flush'));
    expect(forced.some((c) => c.open > 0)).toBe(true);
  });

  test('linux-2.6.27, empty table inside sections: no stale access, but the device faults in a row', () => {
    const runs = machines({ design: 'linux-2.6.27', driver: 'iommu-v2-empty-table' }, 4);
    expect(sum(runs, (r) => r.staleReads + r.staleWrites)).toBe(0);
    expect(sum(runs, (r) => r.byProperty['L2'] ?? 0)).toBeGreaterThan(0);
  });

  test('pinned: no page is freed under the device, but pages stay that nobody maps', () => {
    const runs = machines({ design: 'pinned' }, 3);
    expect(runs.flatMap((r) => r.violations).filter((v) => v.gap === null)).toEqual([]);
    expect(sum(runs, (r) => r.staleReads + r.staleWrites + r.windowsOpen)).toBe(0);
    expect(sum(runs, (r) => r.orphaned)).toBeGreaterThan(0);
  });

  test('a kernel that does not flush the CPUs is found', () => {
    const [r] = machines({ fns: { *flushTlbMmRange() {} }, withDevice: false, stepsMax: 20_000 }, 1);
    expect(r!.byProperty['I1c']).toBeGreaterThan(0);
  });

  test('a fork that does not flush the CPUs is found', () => {
    const runs = machines({ fns: { *flushTlbMm() {} }, withDevice: false }, 3);
    expect(sum(runs, (r) => r.byProperty['I3c'] ?? 0)).toBeGreaterThan(0);
  });

  test('a kernel without a device', () => {
    for (const r of machines({ withDevice: false }, 2)) {
      expect([r.violations, r.verdict]).toEqual([[], 'not exercised']);
    }
  });

  test('a kernel that forgets an end is found', () => {
    const [r] = machines({ fns: { *mmuNotifierInvalidateRangeEnd() {} } }, 1);
    expect(r!.byProperty['I40']).toBeGreaterThan(0);
    expect(r!.violations.find((v) => v.property === 'I40')!.text).toContain('without leaving section');
  });
});
