// The device that pins what it uses, put together.

import { EBUSY } from '../abi/errno.ts';
import { DEV_RUNNING } from '../abi/events.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { mmDrop } from '../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../sched/path.ts';
import { type Accessor, DeviceStats } from './accessor.ts';
import { DEVICE_ID } from './common.ts';
import type { Device, DeviceConfig } from './device.ts';
import { PinnedDevice } from './pinned.ts';
import { Workload } from './workload.ts';

export class PinnedTableDevice implements Device {
  readonly k: Kernel;
  readonly device: PinnedDevice;
  readonly workload: Workload;
  readonly driverName: string;

  constructor(k: Kernel, config: DeviceConfig, driverName = 'pinned') {
    this.driverName = driverName;
    this.k = k;
    this.device = new PinnedDevice(k, DEVICE_ID, config.pinned);
    this.workload = new Workload(k, this.device, config.workload);
    this.workload.onRefresh = () => this.device.maintain();
    if (config.hasWorkload) this.workload.start();
  }

  get accessor(): Accessor {
    return this.device;
  }

  get refusal(): string | null {
    return this.device.refusal;
  }

  *bind(mm: MmStruct): KernelPath<number> {
    if (this.device.mm !== null) return -EBUSY;
    mm.count++;
    this.device.mm = mm;
    this.workload.mm = mm;
    return 0;
  }

  *unbind(): KernelPath<void> {
    const { mm } = this.device;
    if (mm === null) return;
    this.workload.mm = null;
    yield* this.device.close();
    mmDrop(this.k, mm);
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const d = this.device;
    s.reads = d.reads;
    s.writes = d.writes;
    s.hits = d.hits;
    s.pinnedPages = d.pinnedPages;
    s.pinnedPagesMax = d.pinnedPagesMax;
    s.orphanPages = d.orphanPages;
    s.orphanPagesMax = d.orphanPagesMax;
    s.registrations = d.registered;
    s.registrationsRefused = d.registrationsRefused;
    s.state = DEV_RUNNING;
    return s;
  }
}
