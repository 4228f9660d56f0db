// The row of Intel's shared virtual memory in the table of devices.

import { PRG_SUCCESS } from '../../abi/events.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { NoCallbacks } from '../drivers/no-callbacks.ts';
import { sharedTableDriver } from '../drivers/shared-table.ts';
import { SharedTableDevice } from '../shared-table-device.ts';
import { INTEL_SVM_DEFAULTS } from './config.ts';
import { intelMistake } from './mistakes.ts';

export const INTEL_SVM: DeviceInfo = {
  name: 'intel-svm',
  kind: 'walker',
  summary: 'an Intel IOMMU that walks the page table, flushed in aligned blocks through its invalidation queue',
  source: 'drivers/iommu/intel/svm.c, pasid.c, dmar.c; cache.c since 6.12',
  designs: {
    'invalidate-range':
      'walks the live table; flushes in invalidate_range and invalidate_page (Linux 4.4, the first with it)',
    'linux-6.1': 'walks the live table; flushes in invalidate_range, equal blocks',
    'linux-6.6': 'walks the live table; flushes when the CPUs do, equal blocks',
    'linux-6.12': 'walks the live table; flushes when the CPUs do, one covering block',
  },
  create: createIntel,
};

function createIntel(k: Kernel, config: DeviceConfig): Device {
  const asked = { ...INTEL_SVM_DEFAULTS, ...config.intelSvm };
  const hasCoveringBlocks = asked.hasCoveringBlocks ?? k.design?.name === 'linux-6.12';
  const { iommu: IommuClass, faults: FaultsClass } = intelMistake(asked.mistake);
  return new SharedTableDevice(
    k,
    config,
    {
      iommu: { maker: 'intel', overflowAnswer: PRG_SUCCESS },
      ats: {},
      stopsDevice: true,
      create(kernel, iommu) {
        const full = { ...asked, hasCoveringBlocks };
        const sva = new IommuClass(kernel, iommu, (states) => new FaultsClass(kernel, iommu, states), full);
        return { sva, faults: sva.faults };
      },
    },
    (sva, design) => (config.isDeaf ? new NoCallbacks() : sharedTableDriver('intel-svm', sva, design, 'unregister')),
  );
}
