// `shootdown designs` and `shootdown devices` as scripts see them.
import { beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import type { DesignJson } from '../src/cli/designs.ts';
import type { DeviceJson } from '../src/cli/devices.ts';
import { CALLBACK_NAMES } from '../src/device/define-driver.ts';
import { DEVICES } from '../src/device/devices.ts';
import type { DesignName } from '../src/device/driver-face.ts';
import { DESIGN_VARIANTS, DESIGNS } from '../src/notifier/designs.ts';
import { shootdown } from './support/cli.ts';

beforeAll(() => build());

test('designs: every design with its promise and its window, variants under theirs', async () => {
  const { status, stdout, stderr } = await shootdown('designs');
  expect([status, stderr]).toEqual([0, '']);
  const names = [...stdout.matchAll(/^( *)(\S+) \(\d{4}\)$/gm)].map((m) => m[2]);
  expect([...names].sort()).toEqual([...DESIGNS, ...DESIGN_VARIANTS].map((d) => d.name).sort());
  expect(names.indexOf('mmu-notifiers-v5')).toBeGreaterThan(names.indexOf('mmu-notifiers-v4'));
  expect(names.indexOf('mmu-notifiers-v5')).toBeLessThan(names.indexOf('linux-2.6.27'));
  expect(stdout.match(/^ *promise: \S/gm)).toHaveLength(names.length);
  expect(stdout.match(/^ *window: {2}\S/gm)).toHaveLength(names.length);
});

test('designs --json: the same for machines', async () => {
  const { status, stdout } = await shootdown('designs', '--json');
  expect(status).toBe(0);
  const { designs } = JSON.parse(stdout) as { designs: DesignJson[] };
  expect(designs.map((d) => d.name)).toEqual([...DESIGNS, ...DESIGN_VARIANTS].map((d) => d.name));
  for (const d of designs) {
    expect(d.guarantees.length * d.window.length * d.summary.length, d.name).toBeGreaterThan(0);
    expect(d.callbacks).toEqual(CALLBACK_NAMES[(d.variantOf ?? d.name) as DesignName]);
    expect(d.orders).toBeUndefined();
  }
});

test('designs NAME: what happens, in order', async () => {
  const { status, stdout } = await shootdown('designs', 'mmu-notifiers-andrea', '--json');
  expect(status).toBe(0);
  const design = JSON.parse(stdout) as DesignJson;
  expect(design.orders?.['munmap']).toEqual(['entry cleared', 'CPUs flushed', 'page freed', 'invalidate_range']);
  const text = await shootdown('designs', 'mmu-notifiers-andrea');
  expect(text.stdout).toMatch(/^ {2}munmap +entry cleared > CPUs flushed > page freed > invalidate_range$/m);
});

test('an unknown design is one clear line, status 2', async () => {
  const { status, stderr } = await shootdown('designs', 'linux-9');
  expect(status).toBe(2);
  expect(stderr).toMatch(/^shootdown: design: "linux-9" is not one of pinned, .*\n$/);
});

test('devices: each with the designs that it has drivers for, the one that needs no name first', async () => {
  const { status, stdout } = await shootdown('devices', '--json');
  expect(status).toBe(0);
  const { devices } = JSON.parse(stdout) as { devices: DeviceJson[] };
  expect(devices.map((d) => d.name)).toEqual(['shared-table-iommu', ...DEVICES.map((d) => d.name)]);
  expect(Object.keys(devices[0]!.designs)).toEqual(DESIGNS.map((d) => d.name));
  expect(Object.keys(devices[0]!.designs['linux-6.1']!)[0]).toBe('iommu-v2');
  for (const d of DEVICES) {
    const shown = devices.find((x) => x.name === d.name)!;
    expect(Object.keys(shown.designs)).toEqual(Object.keys(d.designs));
  }
  const text = await shootdown('devices', 'shared-table-iommu');
  expect(text.stdout).toMatch(/^ {2}free-pages-2011 +iommu-free-pages: /m);
});

test('an unknown device is one clear line, status 2', async () => {
  const { status, stderr } = await shootdown('devices', 'nvlink');
  expect(status).toBe(2);
  expect(stderr).toMatch(/^shootdown: device: "nvlink" is not one of shared-table-iommu/);
});
