// shootdown devices [NAME]: the secondary MMUs, and under which notifier designs each has a driver.

import { Command } from 'commander';
import { InputError } from '../base/assert.ts';
import { DEVICES, type DeviceInfo, deviceInfo } from '../device/devices.ts';
import { DRIVERS } from '../device/drivers/drivers.ts';
import { DESIGNS } from '../notifier/designs.ts';

interface Options {
  json?: boolean;
}

/** The device that runs when none is named. */
const SHARED_TABLE = 'shared-table-iommu';

/** The published form of a device. */
export interface DeviceJson {
  readonly name: string;
  readonly kind: string;
  readonly summary: string;
  readonly source: string;
  /** By design: its drivers, by name, and what each does. A device of a room of its own has one driver, of the device's name. */
  readonly designs: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Every device, that which runs when none is named first. */
export function devicesJson(): DeviceJson[] {
  return [sharedTable(), ...DEVICES.map(deviceJson)];
}

export function devicesCommand(setStatus: (status: number) => void): Command {
  return new Command('devices')
    .description('the secondary MMUs: what each is, and what its driver does under which notifier design')
    .argument('[name]', 'one device')
    .option('--json', 'print JSON')
    .action((name: string | undefined, options: Options) => {
      const devices = name === undefined ? devicesJson() : [named(name)];
      const text = options.json === true ? `${JSON.stringify({ devices }, null, 2)}\n` : devicesText(devices);
      process.stdout.write(text);
      setStatus(0);
    });
}

function named(name: string): DeviceJson {
  if (name === SHARED_TABLE) return sharedTable();
  const known = [SHARED_TABLE, ...DEVICES.map((d) => d.name)];
  if (!known.includes(name)) throw new InputError(`device: "${name}" is not one of ${known.join(', ')}`);
  return deviceJson(deviceInfo(name));
}

function deviceJson({ name, kind, summary, source, designs }: DeviceInfo): DeviceJson {
  const drivers = Object.entries(designs).map(([design, does]) => [design, { [name]: does }] as const);
  return { name, kind, summary, source, designs: Object.fromEntries(drivers) };
}

function sharedTable(): DeviceJson {
  const designs: Record<string, Record<string, string>> = { pinned: { pinned: 'pins the pages that it uses' } };
  for (const { name } of DESIGNS.filter((d) => d.name !== 'pinned')) {
    const fits = DRIVERS.filter((d) => d.design === name || d.design === '*');
    designs[name] = Object.fromEntries(fits.map((d) => [d.name, d.summary]));
  }
  return {
    name: SHARED_TABLE,
    kind: 'walker',
    summary:
      'IOMMU that walks the page table of the CPUs, with a device TLB (ATS) and page requests (PRI); used when none is named',
    source: 'drivers/iommu/amd/iommu_v2.c, drivers/iommu/amd/pasid.c',
    designs,
  };
}

function devicesText(devices: readonly DeviceJson[]): string {
  const width = Math.max(...DESIGNS.map((d) => d.name.length));
  const out: string[] = [];
  for (const d of devices) {
    out.push('', `${d.name} (${d.kind})`, `  ${d.summary}`, `  source: ${d.source}`);
    for (const { name } of DESIGNS) {
      const drivers = d.designs[name];
      if (drivers === undefined) {
        out.push(`  ${name.padEnd(width)}  -`);
        continue;
      }
      Object.entries(drivers).forEach(([driver, does], i) => {
        out.push(`  ${(i === 0 ? name : '').padEnd(width)}  ${driver === d.name ? does : `${driver}: ${does}`}`);
      });
    }
  }
  return `${out.join('\n').trimStart()}\n`;
}
