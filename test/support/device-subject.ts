// A device of the table (device/devices.ts) as what is checked; its deaf twin shows what was exercised.

import { createDevice, type DeviceConfig, memoryPagesOf, SMALL_DEVICE } from '../../src/device/device.ts';
import type { Subject } from '../../src/workload/scenario/subject.ts';

export function deviceSubject(device: string, design: string, config: Partial<DeviceConfig> = {}): Subject {
  const make = (isDeaf: boolean, nullSubject: Subject | null): Subject => ({
    name: isDeaf ? `${device}-deaf` : device,
    design,
    create: (k) => createDevice(k, { ...SMALL_DEVICE, ...config, device, isDeaf }),
    memoryPages: memoryPagesOf({ ...SMALL_DEVICE, ...config, device }),
    nullSubject,
  });
  return make(false, make(true, null));
}
