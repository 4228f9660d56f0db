// All drivers of the shared-table IOMMU, with the notifier designs that they are written for. Adding one: a file beside this,
// and a row here.

import { InputError } from '../../base/assert.ts';
import type { NotifierDesign } from '../../notifier/host.ts';
import { InvalidateRangeDesign } from '../../notifier/invalidate-range.ts';
import { Linux2627 } from '../../notifier/linux-2.6.27.ts';
import { Linux61 } from '../../notifier/linux-6.1.ts';
import { Linux66 } from '../../notifier/linux-6.6.ts';
import type { AmdIommu, IommuDriver } from '../amd-iommu.ts';
import { Driver2627, FlushStartEndOps } from './iommu-flush-start-end.ts';
import { IommuSva } from './iommu-sva.ts';
import { IommuV2 } from './iommu-v2.ts';
import { IommuV2Linux319 } from './iommu-v2-3.19.ts';
import { EmptyTableOps, EmptyTableUncountedOps } from './iommu-v2-empty-table.ts';
import { NoCallbacks } from './no-callbacks.ts';

export interface DriverInfo {
  readonly name: string;
  /** Name of the design, as in notifier/designs.ts; '*' = any. */
  readonly design: string;
  readonly summary: string;
  create(amd: AmdIommu, design: NotifierDesign): IommuDriver;
}

function linux2627(design: NotifierDesign): Linux2627 {
  if (design instanceof Linux2627) return design;
  throw new InputError(`driver: written for design linux-2.6.27, not ${design.name}`);
}

export const DRIVERS: readonly DriverInfo[] = [
  {
    name: 'iommu-v2',
    design: 'linux-6.1',
    summary: 'walks the live table; flushes in invalidate_range',
    create: (amd, design) => {
      if (design instanceof Linux61) return new IommuV2(amd, design);
      throw new InputError(`driver iommu-v2: written for design linux-6.1, not ${design.name}`);
    },
  },
  {
    name: 'iommu-v2',
    design: 'invalidate-range',
    summary: 'walks the live table; flushes in invalidate_range and invalidate_page',
    create: (amd, design) => {
      if (design instanceof InvalidateRangeDesign) return new IommuV2Linux319(amd, design);
      throw new InputError(`driver iommu-v2: written for design invalidate-range, not ${design.name}`);
    },
  },
  ...['linux-6.6', 'linux-6.12'].map((name) => ({
    name: 'iommu-sva',
    design: name,
    summary: 'walks the live table; flushes when the CPUs do',
    create: (amd: AmdIommu, design: NotifierDesign) => {
      if (design instanceof Linux66) return new IommuSva(amd, design);
      throw new InputError(`driver iommu-sva: written for design ${name}, not ${design.name}`);
    },
  })),
  {
    name: 'iommu-flush-start-end',
    design: 'linux-2.6.27',
    summary: 'walks the live table; flushes at start, at end and in invalidate_page',
    create: (amd, design) =>
      new Driver2627('iommu-flush-start-end', linux2627(design), (s) => new FlushStartEndOps(amd, s)),
  },
  {
    name: 'iommu-v2-empty-table',
    design: 'linux-2.6.27',
    summary: 'parks the device on an empty table while any section is open',
    create: (amd, design) =>
      new Driver2627('iommu-v2-empty-table', linux2627(design), (s) => new EmptyTableOps(amd, s)),
  },
  {
    name: 'iommu-v2-empty-table-uncounted',
    design: 'linux-2.6.27',
    summary: 'the same without counting sections',
    create: (amd, design) =>
      new Driver2627('iommu-v2-empty-table-uncounted', linux2627(design), (s) => new EmptyTableUncountedOps(amd, s)),
  },
  {
    name: 'no-callbacks',
    design: '*',
    summary: 'walks the live table; hears nothing',
    create: () => new NoCallbacks(),
  },
];

/** The driver of that name for the design; '' = the first for it. Throws InputError when there is none. */
export function driverInfo(name: string, design: string): DriverInfo {
  const fits = DRIVERS.filter((d) => d.design === design || d.design === '*');
  const found = name === '' ? fits[0] : fits.find((d) => d.name === name);
  if (found !== undefined) return found;
  throw new InputError(`driver: "${name}" is none of ${fits.map((d) => d.name).join(', ')} for design ${design}`);
}
