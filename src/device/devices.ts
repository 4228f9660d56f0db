// All secondary MMUs, by the name under which `--device` takes them. Adding one: a room beside this file, and a row here.
//
// A row says under which notifier designs there is a driver, and what it does there; that a driver exists does not say that it
// is safe. Shipped drivers of the shared-table IOMMU stand in drivers/drivers.ts.

import { InputError } from '../base/assert.ts';
import type { Kernel } from '../mm/kernel.ts';
import { ARM_SMMU_SVA } from './arm-smmu/row.ts';
import type { Device, DeviceConfig } from './device.ts';
import { GPU_ROWS } from './gpu-svm/row.ts';
import { GRU } from './gru/row.ts';
import { INTEL_SVM } from './intel-svm/row.ts';
import { IOMMU_ROWS, PINNED_DMA } from './iommu-rows.ts';
import { KVM_DEVICE } from './kvm/row.ts';
import { RDMA_ODP, RDMA_PINNED } from './rdma/row.ts';
import { XPMEM } from './xpmem/row.ts';

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
  /** Pages of memory of its own in which pages of programs can live: the machine has them beside its RAM. None when left out. */
  memoryPages?(config: DeviceConfig): number;
  /** The device with its driver for the kernel's design, its threads started. */
  create(k: Kernel, config: DeviceConfig): Device;
}

export const DEVICES: readonly DeviceInfo[] = [
  PINNED_DMA,
  KVM_DEVICE,
  RDMA_ODP,
  RDMA_PINNED,
  GRU,
  XPMEM,
  ...GPU_ROWS,
  ...IOMMU_ROWS,
  INTEL_SVM,
  ARM_SMMU_SVA,
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
