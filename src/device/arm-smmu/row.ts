// The row of ARM's shared virtual addressing in the table of devices.

import { PRG_SUCCESS } from '../../abi/events.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { NoCallbacks } from '../drivers/no-callbacks.ts';
import { sharedTableDriver } from '../drivers/shared-table.ts';
import { SharedTableDevice } from '../shared-table-device.ts';
import { ARM_SMMU_DEFAULTS } from './config.ts';
import { armMistake } from './mistakes.ts';

export const ARM_SMMU_SVA: DeviceInfo = {
  name: 'arm-smmu-sva',
  kind: 'walker',
  summary: 'an ARM SMMU that walks the page table; its TLBs deny what they hold read-only without a second look',
  source: 'drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-sva.c, arm-smmu-v3.c',
  designs: {
    'linux-6.1': 'walks the live table; flushes in invalidate_range; entries that gain rights are not told',
    'linux-6.6': 'walks the live table; flushes when the CPUs do, also when an entry gains rights',
    'linux-6.12': 'walks the live table; flushes when the CPUs do, also when an entry gains rights',
  },
  create: createArm,
};

function createArm(k: Kernel, config: DeviceConfig): Device {
  const full = { ...ARM_SMMU_DEFAULTS, ...config.armSmmu };
  const { smmu: SmmuClass, faults: FaultsClass } = armMistake(full.mistake);
  // The CPUs beside an SMMU are ARM's.
  k.config.flushOnUpgrade = true;
  return new SharedTableDevice(
    k,
    config,
    {
      iommu: { maker: 'arm', overflowAnswer: PRG_SUCCESS, rewalksOnDenied: false },
      // Linux lets devices share an address space behind an SMMU whose transactions stall, which do not count faults: the most
      // patient of those that do stands for them. An entry that is believed to be read-only costs a fault for each round until the
      // flush of a section, however long, is there.
      ats: { retranslatesOnDenied: false, refaultBudget: 64 },
      stopsDevice: true,
      create(kernel, iommu) {
        const sva = new SmmuClass(kernel, iommu, (states) => new FaultsClass(kernel, iommu, states), full);
        return { sva, faults: sva.faults };
      },
    },
    (sva, design) => (config.isDeaf ? new NoCallbacks() : sharedTableDriver('arm-smmu-sva', sva, design, 'put')),
  );
}
