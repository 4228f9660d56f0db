// What a workload drives: a device with engines that access virtual addresses of one address space.

import type { KernelPath } from '../sched/path.ts';

/** The access reached memory. */
export const ACCESS_DONE = 0;
/** The host says that the page cannot be accessed: the engine gives up. */
export const ACCESS_INVALID = 1;
/** The device is in its error state. */
export const ACCESS_DEAD = 2;

export interface Accessor {
  /** Engines, numbered from 0. */
  readonly engineCount: number;
  /** DEV_*. */
  readonly state: number;
  /** The access, if a cached translation allows it at once; false: call `access`. For runs without points. */
  tryAccess(engine: number, va: number, isWrite: boolean): boolean;
  /** One 8-byte access by the engine. `groupEnd`: pages below it may be asked for together with this one. ACCESS_*. */
  access(engine: number, va: number, isWrite: boolean, groupEnd: number): KernelPath<number>;
}

/** Counters of a device; each says what it counts in its name. */
export class DeviceStats {
  reads = 0;
  writes = 0;
  /** Translations found in the device's own TLB, or in its DMA table. */
  hits = 0;
  translationRequests = 0;
  /** Translation Completions that an invalidation overtook. */
  discardedCompletions = 0;
  pageRequests = 0;
  pageRequestGroups = 0;
  answersInvalid = 0;
  /** Attempts after a Success that did not get on, and the longest row of them for one access. */
  refaults = 0;
  refaultsMax = 0;
  /** Invalidations of the IOMMU TLB by range and of a whole PASID; invalidations of the device's TLB. */
  iotlbFlushesPage = 0;
  iotlbFlushesPasid = 0;
  deviceTlbFlushes = 0;
  pprOverflows = 0;
  /** Pages pinned now and at most; of these, pages that the address space no longer maps there, now and at most. */
  pinnedPages = 0;
  pinnedPagesMax = 0;
  orphanPages = 0;
  orphanPagesMax = 0;
  registrations = 0;
  registrationsRefused = 0;
  /** DEV_RUNNING, DEV_FAILED. */
  state = 0;
  /** Callbacks that the driver got, by CB_*. */
  callbacks: readonly number[] = [];
}
