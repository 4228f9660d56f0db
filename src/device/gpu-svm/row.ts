// The GPU in the table of devices.

import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { DmirrorDriver } from './dmirror.ts';
import { GpuSvmDevice } from './gpu-svm.ts';
import { gpuMistakeOf } from './mistakes.ts';

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
