// The rows of a comparison: each a notifier design with the driver that was written for it.

import { deviceInfo } from '../../device/devices.ts';
import { DESIGNS } from '../../notifier/designs.ts';

export interface CompareRow {
  /** Name in the table. */
  readonly name: string;
  readonly design: string;
  /** '' = the first driver for the design. */
  readonly driver: string;
  /** Name of a secondary MMU (device/devices); left out: the shared-table IOMMU, or pinned pages. */
  readonly device?: string;
  readonly summary: string;
  /** A variant that only runs when asked for. */
  readonly isVariant?: boolean;
}

export const COMPARE_ROWS: readonly CompareRow[] = [
  { name: 'pinned', design: 'pinned', driver: '', summary: 'no notifier: get_user_pages for the life of the mapping' },
  {
    name: 'linux-2.6.27',
    design: 'linux-2.6.27',
    driver: 'iommu-flush-start-end',
    summary: 'flush at start, end and invalidate_page',
  },
  {
    name: 'iommu-v2-empty-table',
    design: 'linux-2.6.27',
    driver: 'iommu-v2-empty-table',
    summary: 'empty page table between start and end, sections counted',
  },
  {
    name: 'iommu-v2-empty-table-uncounted',
    design: 'linux-2.6.27',
    driver: 'iommu-v2-empty-table-uncounted',
    summary: 'the same without the count',
    isVariant: true,
  },
  {
    name: 'invalidate-range',
    design: 'invalidate-range',
    driver: '',
    summary: 'flush in invalidate_range (Linux 3.19)',
  },
  { name: 'linux-6.1', design: 'linux-6.1', driver: '', summary: 'flush in invalidate_range (Linux 6.1)' },
];

/** Pinned pages, then each of the devices under each design that it has a driver for, oldest first; `newestOnly`: under the newest one
 *  alone. Throws InputError for an unknown device. */
export function deviceRows(devices: readonly string[], newestOnly = false): CompareRow[] {
  const rows = devices.flatMap((device) => {
    const { designs } = deviceInfo(device);
    const known = DESIGNS.filter((d) => designs[d.name] !== undefined);
    return (newestOnly ? known.slice(-1) : known).map(({ name }) => ({
      name: devices.length === 1 ? name : `${device}/${name}`,
      design: name,
      driver: '',
      device,
      summary: designs[name]!,
    }));
  });
  return rows.some((r) => r.design === 'pinned') ? rows : [COMPARE_ROWS[0]!, ...rows];
}
