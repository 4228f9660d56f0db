// What stands between a walker's hardware and the kernel, by maker: the kernel side of the IOMMU, who answers page requests, and how the
// hardware differs from AMD's. shared-table-device.ts puts it together.

import type { Kernel } from '../mm/kernel.ts';
import { AmdIommu } from './amd-iommu.ts';
import type { AtsConfig } from './ats-pri.ts';
import type { Iommu, IommuConfig } from './iommu.ts';
import { PageRequestHandler } from './iopf.ts';
import type { SvaIommu } from './sva-iommu.ts';

/** Who answers page requests. */
export interface Faults {
  /** Starts its threads. */
  start(workers: number): void;
  /** State in numbers, for those who compare machines. */
  state(): number[];
}

export interface Platform<S extends SvaIommu> {
  /** Where the hardware differs from the defaults; a device's configuration goes before it. */
  readonly iommu: Partial<IommuConfig>;
  readonly ats: Partial<AtsConfig>;
  /** Is a device stopped before its PASID is unbound? Otherwise it goes on, and is refused. */
  readonly stopsDevice: boolean;
  create(k: Kernel, iommu: Iommu): { readonly sva: S; readonly faults: Faults };
}

export const AMD: Platform<AmdIommu> = {
  iommu: {},
  ats: {},
  stopsDevice: false,
  create(k, iommu) {
    const sva = new AmdIommu(k, iommu);
    return { sva, faults: new PageRequestHandler(k, iommu, sva.states) };
  },
};
