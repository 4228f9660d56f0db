// All secondary MMUs, by the name under which `--device` takes them. Adding one: a room beside this file, and a row here.
//
// A row says under which notifier designs there is a driver, and what it does there; that a driver exists does not say that it
// is safe. Shipped drivers of the shared-table IOMMU stand in drivers/drivers.ts.

import { InputError } from '../base/assert.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { Device, DeviceConfig } from './device.ts';
import { createGru } from './gru/gru.ts';

export interface DeviceInfo {
  readonly name: string;
  /** mirror: a table that its driver fills. walker: hardware that walks the CPUs' page table. pinned: neither, it holds the pages. */
  readonly kind: 'mirror' | 'walker' | 'pinned';
  /** What it is, in a line. */
  readonly summary: string;
  /** Where the real driver stands. */
  readonly source: string;
  /** By name of the design: what the driver does there, in a line. A design that is not named has no driver of this device. */
  readonly designs: Readonly<Record<string, string>>;
  /** The device with its driver for the kernel's design, its threads started. */
  create(k: Kernel, config: DeviceConfig): Device;
}

const GRU_PAGES = 'purges in start and invalidate_page; no translation is dropped in while a section is open';
const GRU_SECTIONS = 'purges in start; no translation is dropped in while a section is open';

export const DEVICES: readonly DeviceInfo[] = [
  {
    name: 'gru',
    kind: 'mirror',
    summary: 'SGI GRU: instructions of user threads, with a TLB that software fills and purges',
    source: 'drivers/misc/sgi-gru',
    designs: {
      'linux-2.6.27': GRU_PAGES,
      'invalidate-range': GRU_PAGES,
      'linux-6.1': GRU_SECTIONS,
      'linux-6.6': GRU_SECTIONS,
      'linux-6.12': GRU_SECTIONS,
    },
    create: createGru,
  },
];

/** The device of that name. Throws InputError for an unknown one. */
export function deviceInfo(name: string): DeviceInfo {
  const info = DEVICES.find((d) => d.name === name);
  if (info !== undefined) return info;
  throw new InputError(`device: "${name}" is not one of ${DEVICES.map((d) => d.name).join(', ')}`);
}

/** The device of that name under the kernel's design. Throws InputError when it has no driver for it. */
export function createNamedDevice(k: Kernel, config: DeviceConfig): Device {
  const info = deviceInfo(config.device);
  const design = k.design?.name ?? '';
  if (info.designs[design] !== undefined) return info.create(k, config);
  const known = Object.keys(info.designs).join(', ');
  throw new InputError(`device ${info.name}: has no driver for design "${design}"; it has for ${known}`);
}
