// The GPUs in the table of devices.

import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { GPU_SVM_DEFAULTS, type GpuSvmConfig } from './config.ts';
import { DmirrorDriver } from './dmirror.ts';
import { GpuSvmDevice } from './gpu-svm.ts';
import { gpuMistakeOf } from './mistakes.ts';
import { SvmDriver } from './svm-driver.ts';
import { svmMistakeOf } from './svm-mistakes.ts';

type Create = (k: Kernel, config: DeviceConfig) => Device;

/** A row of that name: what its GPU has, and what its driver does under each design with interval subscribers. */
function row(
  name: string,
  texts: { readonly summary: string; readonly source: string; readonly driver: string },
  has: Partial<GpuSvmConfig>,
  create: Create,
): DeviceInfo {
  const { summary, source, driver } = texts;
  const full = (config: DeviceConfig): DeviceConfig => ({ ...config, gpuSvm: { ...has, ...config.gpuSvm } });
  return {
    name,
    kind: 'mirror',
    summary,
    source,
    designs: { 'linux-6.1': driver, 'linux-6.6': driver, 'linux-6.12': driver },
    memoryPages(config) {
      const { hasMemory, memoryPages } = { ...GPU_SVM_DEFAULTS, ...full(config).gpuSvm };
      return hasMemory ? memoryPages : 0;
    },
    create: (k, config) => create(k, full(config)),
  };
}

const createGpuSvm: Create = (k, config) =>
  new GpuSvmDevice(k, config, (gpu, full) => {
    const mistake = config.isDeaf ? 'deaf' : full.mistake;
    return new (mistake === '' ? DmirrorDriver : gpuMistakeOf(mistake))(k, gpu, full);
  });

const createSvm: Create = (k, config) =>
  new GpuSvmDevice(k, config, (gpu, full) => {
    const mistake = config.isDeaf ? 'deaf' : full.mistake;
    return new (mistake === '' ? SvmDriver : svmMistakeOf(mistake))(k, gpu, full);
  });

const INTERVAL = 'an interval subscriber, hmm_range_fault, no page references; migrations of its own are passed over';
const RANGES = 'an interval subscriber for each range, made on a fault; takes its mutexes where it must not sleep';
const KFD_SVM = 'drivers/gpu/drm/amd/amdkfd/kfd_svm.c';

export const GPU_ROWS: readonly DeviceInfo[] = [
  row(
    'gpu-svm',
    {
      summary: 'a GPU that shares the address space of the process: its page table is filled on faults, through HMM',
      source: 'mm/hmm.c, lib/test_hmm.c',
      driver: INTERVAL,
    },
    {},
    createGpuSvm,
  ),
  row(
    'gpu-svm-memory',
    {
      summary:
        'the same with memory of its own: pages that it stores to go there, and come back when a CPU touches them',
      source: 'mm/migrate_device.c, lib/test_hmm.c',
      driver: INTERVAL,
    },
    { hasMemory: true },
    createGpuSvm,
  ),
  row(
    'gpu-svm-atomic',
    {
      summary:
        'the same without memory, storing by atomic operations: it takes pages for itself, until a CPU touches them',
      source: 'mm/rmap.c make_device_exclusive_range, drivers/gpu/drm/nouveau/nouveau_svm.c',
      driver: INTERVAL,
    },
    { storesAreAtomic: true },
    createGpuSvm,
  ),
  row(
    'amdkfd-svm',
    {
      summary: 'an AMD GPU with retry faults (XNACK): ranges of shared virtual memory, split when a part is unmapped',
      source: KFD_SVM,
      driver: RANGES,
    },
    {},
    createSvm,
  ),
  row(
    'amdkfd-svm-memory',
    {
      summary:
        'the same with memory of its own: a fault sends the range there, a CPU that touches a page brings it back',
      source: `${KFD_SVM}, kfd_migrate.c`,
      driver: `${RANGES}; maps for writing what the VMA lets it`,
    },
    { hasMemory: true },
    createSvm,
  ),
  row(
    'amdkfd-svm-no-retry',
    {
      summary: 'without memory and retry faults: eviction stops the queues of the process, restoration lets them go on',
      source: KFD_SVM,
      driver: 'the same; what is evicted stops the queues until it is mapped again',
    },
    { hasRetryFaults: false },
    createSvm,
  ),
];
