// A device with its driver, ready to be bound to address spaces: the entry of this room.
//
//   IOMMU + ATS device + driver of the kernel's notifier design        createSharedTableDevice
//   DMA table of pinned pages, no notifier (design "pinned")           createPinnedDevice
//   either kind that an author's driver is written for                 createDriverDevice
//
// All hardware is daemon threads of the kernel's scheduler. With points off a run still needs a chooser that lets every
// thread have its turn (a seeded one): engines never wait for long.

import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';
import type { Accessor, DeviceStats } from './accessor.ts';
import type { ArmSmmuConfig } from './arm-smmu/config.ts';
import type { AtsConfig } from './ats-pri.ts';
import type { Driver } from './define-driver.ts';
import { createNamedDevice, deviceInfo } from './devices.ts';
import { DefinedWalker, MirrorTableDevice } from './driver-devices.ts';
import { driverInfo } from './drivers/drivers.ts';
import { GPU_SVM_SMALL, type GpuSvmConfig } from './gpu-svm/config.ts';
import type { GruConfig } from './gru/driver.ts';
import { SMALL_GRU } from './gru/gru.ts';
import type { IntelSvmConfig } from './intel-svm/config.ts';
import type { IommuConfig } from './iommu.ts';
import type { KvmConfig } from './kvm/config.ts';
import type { MirrorConfig } from './mirror.ts';
import type { PinnedConfig } from './pinned.ts';
import { PinnedTableDevice } from './pinned-device.ts';
import { AMD } from './platform.ts';
import { RDMA_SMALL, type RdmaConfig } from './rdma/config.ts';
import { SharedTableDevice } from './shared-table-device.ts';
import type { Workload, WorkloadConfig } from './workload.ts';
import { XPMEM_SMALL, type XpmemConfig } from './xpmem/config.ts';

export interface DeviceConfig {
  /** Name of a secondary MMU (devices.ts); '' = the shared-table IOMMU with the driver below, or pinned pages. */
  readonly device: string;
  /** Hears nothing: its driver registers no callback. What it then does wrong shows what was exercised. */
  readonly isDeaf: boolean;
  /** Name of the driver; '' = the first one for the kernel's design. */
  readonly driver: string;
  readonly iommu: Partial<IommuConfig>;
  readonly ats: Partial<AtsConfig>;
  readonly pinned: Partial<PinnedConfig>;
  readonly mirror: Partial<MirrorConfig>;
  readonly kvm: Partial<KvmConfig>;
  readonly gru: Partial<GruConfig>;
  readonly rdma: Partial<RdmaConfig>;
  readonly xpmem: Partial<XpmemConfig>;
  readonly gpuSvm: Partial<GpuSvmConfig>;
  readonly intelSvm: Partial<IntelSvmConfig>;
  readonly armSmmu: Partial<ArmSmmuConfig>;
  readonly workload: Partial<WorkloadConfig>;
  /** Do engines find work by themselves? False: only `accessor` drives them. */
  readonly hasWorkload: boolean;
  /** Kernel threads that handle page requests. */
  readonly faultWorkers: number;
}

export const DEVICE_DEFAULTS: DeviceConfig = {
  device: '',
  isDeaf: false,
  driver: '',
  iommu: {},
  ats: {},
  pinned: {},
  mirror: {},
  kvm: {},
  gru: {},
  rdma: {},
  xpmem: {},
  gpuSvm: {},
  intelSvm: {},
  armSmmu: {},
  workload: {},
  hasWorkload: true,
  faultWorkers: 2,
};

/** The smallest device that has all parts: what an explorer can exhaust. Scenarios drive its engine. */
export const SMALL_DEVICE: Partial<DeviceConfig> = {
  iommu: { pasids: 4, tlbSets: 2, tlbWays: 2, walkCacheSlots: 2, walkers: 1, executors: 1, pprLogEntries: 8 },
  ats: { engines: 1, atcSets: 2, atcWays: 2, credits: 4, refaultBudget: 8 },
  kvm: { vcpus: 2 },
  gru: SMALL_GRU,
  rdma: RDMA_SMALL,
  xpmem: XPMEM_SMALL,
  gpuSvm: GPU_SVM_SMALL,
  hasWorkload: false,
  faultWorkers: 1,
};

/** A device as a program's owner sees it. */
export interface Device {
  readonly driverName: string;
  readonly accessor: Accessor;
  readonly workload: Workload;
  /** Binds the address space; engines begin to work in it. One at a time. 0, or -EBUSY, -EINVAL, -ENOMEM. */
  bind(mm: MmStruct): KernelPath<number>;
  /** Takes the engines off the address space and unregisters; also after its exit. */
  unbind(): KernelPath<void>;
  stats(): DeviceStats;
  /** What the host refused the device, for which the program that set it up would give up; null while nothing was. */
  readonly refusal: string | null;
}

/** Pages of memory of its own that the device has: what kernel.devicePrivatePages must have left for it. Throws InputError for an unknown
 *  device. */
export function memoryPagesOf(config: Partial<DeviceConfig>): number {
  const full = { ...DEVICE_DEFAULTS, ...config };
  return full.device === '' ? 0 : (deviceInfo(full.device).memoryPages?.(full) ?? 0);
}

/** A device for the kernel's notifier design: pinned pages when that is "pinned", else the shared-table IOMMU with the
 *  driver named (or the first for the design). Its threads are started. Throws InputError for a driver that does not fit. */
export function createDevice(k: Kernel, config: Partial<DeviceConfig> = {}): Device {
  const full = { ...DEVICE_DEFAULTS, ...config };
  if (full.device !== '') return createNamedDevice(k, full);
  if (k.design?.name === 'pinned') return new PinnedTableDevice(k, full);
  return new SharedTableDevice(k, full, AMD, (amd, design) => driverInfo(full.driver, design.name).create(amd, design));
}

/** The device that an author's driver is written for, with that driver. Throws InputError if it is not for the kernel's design;
 *  bind throws it for callbacks that the design does not have. */
export function createDriverDevice(k: Kernel, driver: Driver, config: Partial<DeviceConfig> = {}): Device {
  const full = { ...DEVICE_DEFAULTS, ...config };
  if (driver.device === 'mirror') return new MirrorTableDevice(k, driver, full);
  return new SharedTableDevice(k, full, AMD, (amd) => new DefinedWalker(k, driver, amd));
}
