// All drivers of the shared-table IOMMU, with the notifier designs that they are written for. Adding one: a file beside this,
// and a row here. The first one for a design is the one that is used unless another is asked for.

import { InputError } from '../../base/assert.ts';
import type { NotifierDesign } from '../../notifier/host.ts';
import { InvalidateRangeDesign } from '../../notifier/invalidate-range.ts';
import { Linux61 } from '../../notifier/linux-6.1.ts';
import { Linux66 } from '../../notifier/linux-6.6.ts';
import type { AmdIommu } from '../amd-iommu.ts';
import type { MirrorReactions } from '../subscribe-mirror.ts';
import type { IommuDriver, PasidState } from '../sva-iommu.ts';
import { flushFreePages, flushStartEnd } from './iommu-flush-start-end.ts';
import { IommuSvaOps } from './iommu-sva.ts';
import { IommuV2Ops } from './iommu-v2.ts';
import { IommuV2Linux319Ops } from './iommu-v2-3.19.ts';
import { emptyTable, emptyTableUncounted } from './iommu-v2-empty-table.ts';
import { NoCallbacks } from './no-callbacks.ts';
import { ListDriver, ReactionDriver } from './subscribing-driver.ts';

export interface DriverInfo {
  readonly name: string;
  /** Name of the design, as in notifier/designs.ts; '*' = any. */
  readonly design: string;
  readonly summary: string;
  create(amd: AmdIommu, design: NotifierDesign): IommuDriver;
}

/** A driver that reacts alike under each of these designs. */
function reacting(
  name: string,
  summary: string,
  react: (amd: AmdIommu, state: PasidState) => MirrorReactions,
  ...designs: string[]
): DriverInfo[] {
  return designs.map((design) => ({
    name,
    design,
    summary,
    create: (amd) => new ReactionDriver(name, amd.k, (state) => react(amd, state)),
  }));
}

export const DRIVERS: readonly DriverInfo[] = [
  {
    name: 'iommu-v2',
    design: 'linux-6.1',
    summary: 'walks the live table; flushes in invalidate_range',
    create: (amd, design) => {
      if (design instanceof Linux61) return new ListDriver('iommu-v2', design.list, (s) => new IommuV2Ops(amd, s));
      throw new InputError(`driver iommu-v2: written for design linux-6.1, not ${design.name}`);
    },
  },
  {
    name: 'iommu-v2',
    design: 'invalidate-range',
    summary: 'walks the live table; flushes in invalidate_range and invalidate_page',
    create: (amd, design) => {
      if (design instanceof InvalidateRangeDesign)
        return new ListDriver('iommu-v2', design.list, (s) => new IommuV2Linux319Ops(amd, s));
      throw new InputError(`driver iommu-v2: written for design invalidate-range, not ${design.name}`);
    },
  },
  ...['linux-6.6', 'linux-6.12'].map((name) => ({
    name: 'iommu-sva',
    design: name,
    summary: 'walks the live table; flushes when the CPUs do',
    create: (amd: AmdIommu, design: NotifierDesign) => {
      if (design instanceof Linux66)
        return new ListDriver(
          'iommu-sva',
          {
            register: (mn, mm) => design.register(mn, mm),
            unregister: (mn, mm) => design.list.unregister(mn, mm),
          },
          (s) => new IommuSvaOps(amd, s),
        );
      throw new InputError(`driver iommu-sva: written for design ${name}, not ${design.name}`);
    },
  })),
  ...reacting(
    'iommu-free-pages',
    'walks the live table; flushes everything before pages of an open section are freed',
    flushFreePages,
    'free-pages-2011',
  ),
  ...reacting(
    'iommu-flush-start-end',
    'walks the live table; flushes at start, at end and in invalidate_page',
    flushStartEnd,
    'linux-2.6.27',
    'pte-notifiers',
    'mmu-notifiers-andrea',
    'mmu-notifiers-v4',
    'free-pages-2011',
    'invalidate-range',
    'linux-6.1',
    'linux-6.6',
    'linux-6.12',
  ),
  ...reacting(
    'iommu-v2-empty-table',
    'parks the device on an empty table while any section is open',
    emptyTable,
    'linux-2.6.27',
    'pte-notifiers',
    'mmu-notifiers-andrea',
    'mmu-notifiers-v4',
    'free-pages-2011',
    'invalidate-range',
  ),
  ...reacting(
    'iommu-v2-empty-table-uncounted',
    'the same without counting sections',
    emptyTableUncounted,
    'linux-2.6.27',
  ),
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
