// Walkers as secondary MMUs: the shared-table IOMMU with an ATS device behind it, under each of the drivers that it has had, and pinned
// pages beside it. What a row does under a design is said where the driver stands (drivers/drivers.ts).

import type { DeviceInfo } from './devices.ts';
import { driverInfo } from './drivers/drivers.ts';
import { PinnedTableDevice } from './pinned-device.ts';
import { AMD } from './platform.ts';
import { SharedTableDevice } from './shared-table-device.ts';

/** A row: by design the name of the driver that is used there. */
function walker(name: string, summary: string, source: string, drivers: Readonly<Record<string, string>>): DeviceInfo {
  const entries = Object.entries(drivers).map(([design, driver]) => [design, driverInfo(driver, design).summary]);
  return {
    name,
    kind: 'walker',
    summary,
    source,
    designs: Object.fromEntries(entries) as Record<string, string>,
    create: (k, config) =>
      new SharedTableDevice(k, config, AMD, (amd, design) =>
        driverInfo(config.isDeaf ? 'no-callbacks' : drivers[design.name]!, design.name).create(amd, design),
      ),
  };
}

function everywhere(driver: string, ...designs: string[]): Record<string, string> {
  return Object.fromEntries(designs.map((design) => [design, driver]));
}

export const IOMMU_ROWS: readonly DeviceInfo[] = [
  walker(
    'iommu-flush-start-end',
    'an IOMMU that walks the page table, flushed at both ends of a section and nowhere else',
    'no driver ever did only that; it is what start and end alone allow',
    everywhere(
      'iommu-flush-start-end',
      'pte-notifiers',
      'mmu-notifiers-andrea',
      'mmu-notifiers-v4',
      'linux-2.6.27',
      'free-pages-2011',
      'invalidate-range',
      'linux-6.1',
      'linux-6.6',
      'linux-6.12',
    ),
  ),
  walker(
    'amd-iommu-v1',
    'an AMD IOMMU that is given an empty page table for as long as a section is open',
    'drivers/iommu/amd_iommu_v2.c, Linux 3.3 to 3.18',
    everywhere(
      'iommu-v2-empty-table',
      'pte-notifiers',
      'mmu-notifiers-andrea',
      'mmu-notifiers-v4',
      'linux-2.6.27',
      'free-pages-2011',
      'invalidate-range',
    ),
  ),
  walker(
    'iommu-free-pages',
    'an IOMMU that walks the page table, flushed before pages of an open section are freed',
    'three patches posted in October 2011, not merged',
    everywhere('iommu-free-pages', 'free-pages-2011'),
  ),
  walker(
    'amd-iommu-v2',
    "an AMD IOMMU that walks the page table, flushed whenever the CPUs' TLBs are",
    'drivers/iommu/amd/iommu_v2.c, Linux 3.19 to 6.6; since then drivers/iommu/amd and iommu-sva',
    {
      ...everywhere('iommu-v2', 'invalidate-range', 'linux-6.1'),
      ...everywhere('iommu-sva', 'linux-6.6', 'linux-6.12'),
    },
  ),
];

/** Its memory cannot go away: what all the others exist to replace. */
export const PINNED_DMA: DeviceInfo = {
  name: 'pinned-dma',
  kind: 'pinned',
  summary: 'a DMA device with a table of pages that are pinned for as long as they are registered',
  source: 'drivers/vfio/vfio_iommu_type1.c, drivers/infiniband/core/umem.c',
  designs: { pinned: 'pins what it uses; hears nothing' },
  create: (k, config) => new PinnedTableDevice(k, config),
};
