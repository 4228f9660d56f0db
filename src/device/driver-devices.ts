// The devices that an author's driver is written for, with that driver: an IOMMU, or a mirror.

import { EBUSY, EINVAL } from '../abi/errno.ts';
import { E_BIND } from '../abi/events.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { mmDrop } from '../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../sched/path.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import { type Accessor, DeviceStats } from './accessor.ts';
import type { AmdIommu } from './amd-iommu.ts';
import { callbackCounts, DEVICE_ID } from './common.ts';
import type { Driver } from './define-driver.ts';
import type { Device, DeviceConfig } from './device.ts';
import { MirrorDriverHw, WalkerDriverHw } from './driver-hw.ts';
import { DriverInstance } from './driver-run.ts';
import { type FaultRequest, MirrorDevice } from './mirror.ts';
import type { IommuDriver, PasidState } from './sva-iommu.ts';
import { Workload } from './workload.ts';

/** An author's driver as a driver of the IOMMU: an instance for each bound address space. */
export class DefinedWalker implements IommuDriver {
  readonly name: string;
  readonly #k: Kernel;
  readonly #driver: Driver;
  readonly #amd: AmdIommu;

  constructor(k: Kernel, driver: Driver, amd: AmdIommu) {
    this.name = driver.name;
    this.#k = k;
    this.#driver = driver;
    this.#amd = amd;
  }

  subscribe(state: PasidState): KernelPath<number> {
    const instance = new DriverInstance(this.#k, this.#driver, state.mm);
    state.subscription = instance;
    instance.create(new WalkerDriverHw(instance, this.#amd, state));
    return instance.subscribe();
  }

  unsubscribe(state: PasidState): KernelPath<void> {
    return (state.subscription as DriverInstance).close();
  }
}

/** A mirror with its driver. */
export class MirrorTableDevice implements Device {
  readonly k: Kernel;
  readonly driver: Driver;
  readonly mirror: MirrorDevice;
  readonly workload: Workload;
  #instance: DriverInstance | null = null;
  #faults = 0;
  readonly #idle = new WaitQueue();

  constructor(k: Kernel, driver: Driver, config: DeviceConfig) {
    this.k = k;
    this.driver = driver;
    this.mirror = new MirrorDevice(k.memory, k.sched, DEVICE_ID, config.mirror);
    this.workload = new Workload(k, this.mirror, config.workload);
    if (config.hasWorkload) this.workload.start();
  }

  get driverName(): string {
    return this.driver.name;
  }

  get accessor(): Accessor {
    return this.mirror;
  }

  get refusal(): string | null {
    return null;
  }

  *bind(mm: MmStruct): KernelPath<number> {
    if (this.#instance !== null) return -EBUSY;
    if (mm.users <= 0) return -EINVAL;
    const instance = new DriverInstance(this.k, this.driver, mm);
    instance.create(new MirrorDriverHw(instance, this.mirror));
    this.#instance = instance;
    mm.count++;
    this.mirror.mm = mm.id;
    const result = yield* instance.subscribe();
    if (result < 0) {
      this.#instance = null;
      mmDrop(this.k, mm);
      return result;
    }
    this.#emitBind(mm, 1);
    this.mirror.setFaultHandler((request) => this.#fault(instance, request));
    this.workload.mm = mm;
    return 0;
  }

  *#fault(instance: DriverInstance, request: FaultRequest): KernelPath<number> {
    this.mirror.noteFaults(false);
    this.#faults++;
    const result = yield* instance.call('fault', request);
    this.mirror.noteFaults(false);
    this.#faults--;
    if (this.#faults === 0) this.#idle.wakeAll(this.k.sched);
    return typeof result === 'number' ? result : 0;
  }

  *unbind(): KernelPath<void> {
    const instance = this.#instance;
    if (instance === null) return;
    this.workload.mm = null;
    this.mirror.setFaultHandler(null);
    const isIdle = (): boolean => {
      this.mirror.noteFaults(true);
      return this.#faults === 0;
    };
    yield* this.k.sched.waitUntil(isIdle, this.#idle, 'faults in flight');
    yield* instance.close();
    this.#emitBind(instance.mm, 0);
    this.mirror.reset();
    this.#instance = null;
    mmDrop(this.k, instance.mm);
  }

  #emitBind(mm: MmStruct, isBound: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_BIND, mm.id, 0, 0, 0, 0, isBound, 0, 0, DEVICE_ID);
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const { mirror } = this;
    s.reads = mirror.reads;
    s.writes = mirror.writes;
    s.hits = mirror.hits;
    s.pageRequests = mirror.faults;
    s.answersInvalid = mirror.faultsRefused;
    s.refaults = mirror.refaults;
    s.refaultsMax = mirror.refaultsMax;
    s.deviceTlbFlushes = mirror.flushes;
    s.state = mirror.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }
}
