// The GPU in the table of devices.

import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { DmirrorDriver } from './dmirror.ts';
import { GpuSvmDevice } from './gpu-svm.ts';
import { gpuMistakeOf } from './mistakes.ts';
import { SvmDriver } from './svm-driver.ts';
import { svmMistakeOf } from './svm-mistakes.ts';

const INTERVAL = 'an interval subscriber, hmm_range_fault, no page references; migrations of its own are passed over';

export const GPU_SVM: DeviceInfo = {
  name: 'gpu-svm',
  kind: 'mirror',
  summary: 'a GPU that shares the address space of the process: its page table is filled on faults, through HMM',
  source: 'mm/hmm.c, lib/test_hmm.c',
  designs: { 'linux-6.1': INTERVAL, 'linux-6.6': INTERVAL, 'linux-6.12': INTERVAL },
  create: createGpuSvm,
};

function createGpuSvm(k: Kernel, config: DeviceConfig): Device {
  return new GpuSvmDevice(k, config, (gpu, full) => {
    const mistake = config.isDeaf ? 'deaf' : full.mistake;
    return new (mistake === '' ? DmirrorDriver : gpuMistakeOf(mistake))(k, gpu, full);
  });
}

const RANGES = 'an interval subscriber for each range, made on a fault; takes its mutexes where it must not sleep';
const QUEUES = 'the same; what is evicted stops the queues until it is mapped again';

export const AMDKFD_SVM: DeviceInfo = {
  name: 'amdkfd-svm',
  kind: 'mirror',
  summary: 'an AMD GPU with retry faults (XNACK): ranges of shared virtual memory, split when a part is unmapped',
  source: 'drivers/gpu/drm/amd/amdkfd/kfd_svm.c',
  designs: { 'linux-6.1': RANGES, 'linux-6.6': RANGES, 'linux-6.12': RANGES },
  create: (k, config) => createSvm(k, config, true),
};

export const AMDKFD_SVM_NO_RETRY: DeviceInfo = {
  ...AMDKFD_SVM,
  name: 'amdkfd-svm-no-retry',
  summary: 'the same without retry faults: eviction stops the queues of the process, restoration lets them go on',
  designs: { 'linux-6.1': QUEUES, 'linux-6.6': QUEUES, 'linux-6.12': QUEUES },
  create: (k, config) => createSvm(k, config, false),
};

function createSvm(k: Kernel, config: DeviceConfig, hasRetryFaults: boolean): Device {
  const gpuSvm = { ...config.gpuSvm, hasRetryFaults };
  return new GpuSvmDevice(k, { ...config, gpuSvm }, (gpu, full) => {
    const mistake = config.isDeaf ? 'deaf' : full.mistake;
    return new (mistake === '' ? SvmDriver : svmMistakeOf(mistake))(k, gpu, full);
  });
}
