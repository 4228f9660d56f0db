// A device with its driver, ready to be bound to address spaces: the entry of this room.
//
//   IOMMU + ATS device + driver of the kernel's notifier design        createSharedTableDevice
//   DMA table of pinned pages, no notifier (design "pinned")           createPinnedDevice
//   either kind that an author's driver is written for                 createDriverDevice
//
// All hardware is daemon threads of the kernel's scheduler. With points off a run still needs a chooser that lets every
// thread have its turn (a seeded one): engines never wait for long.

import { EBUSY, EINVAL } from '../abi/errno.ts';
import { DEV_RUNNING, E_BIND } from '../abi/events.ts';
import { InputError } from '../base/assert.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { mmDrop } from '../mm/vma/exit-mmap.ts';
import type { NotifierDesign } from '../notifier/host.ts';
import type { KernelPath } from '../sched/path.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import { type Accessor, DeviceStats } from './accessor.ts';
import { AmdIommu, type IommuDriver, type PasidState } from './amd-iommu.ts';
import { type AtsConfig, AtsDevice } from './ats-pri.ts';
import { callbackCounts, DEVICE_ID } from './common.ts';
import type { Driver } from './define-driver.ts';
import { createNamedDevice } from './devices.ts';
import { MirrorDriverHw, WalkerDriverHw } from './driver-hw.ts';
import { DriverInstance } from './driver-run.ts';
import { driverInfo } from './drivers/drivers.ts';
import type { GruConfig } from './gru/driver.ts';
import { SMALL_GRU } from './gru/gru.ts';
import { Iommu, type IommuConfig } from './iommu.ts';
import { PageRequestHandler } from './iopf.ts';
import type { KvmConfig } from './kvm/config.ts';
import { type FaultRequest, type MirrorConfig, MirrorDevice } from './mirror.ts';
import { type PinnedConfig, PinnedDevice } from './pinned.ts';
import { RDMA_SMALL, type RdmaConfig } from './rdma/config.ts';
import { Workload, type WorkloadConfig } from './workload.ts';

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
  workload: {},
  hasWorkload: true,
  faultWorkers: 2,
};

/** The smallest device that has all parts: what an explorer can exhaust. Scenarios drive its engine. */
export const SMALL_DEVICE: Partial<DeviceConfig> = {
  iommu: { pasids: 4, tlbSets: 2, tlbWays: 2, walkCacheSlots: 2, walkers: 1, executors: 1, pprLogEntries: 8 },
  ats: { engines: 1, atcSets: 2, atcWays: 2, credits: 4 },
  kvm: { vcpus: 2 },
  gru: SMALL_GRU,
  rdma: RDMA_SMALL,
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

class SharedTableDevice implements Device {
  readonly k: Kernel;
  readonly iommu: Iommu;
  readonly ats: AtsDevice;
  readonly amd: AmdIommu;
  readonly driver: IommuDriver;
  readonly faults: PageRequestHandler;
  readonly workload: Workload;
  #pasid = 0;
  #nextPasid = 1;

  constructor(k: Kernel, config: DeviceConfig, makeDriver: (amd: AmdIommu, design: NotifierDesign) => IommuDriver) {
    if (k.design === null) throw new InputError('device: the kernel has no notifier design');
    this.k = k;
    this.iommu = new Iommu(k.memory, k.sched, config.iommu);
    this.ats = new AtsDevice(this.iommu, DEVICE_ID, config.ats);
    this.amd = new AmdIommu(k, this.iommu);
    this.driver = makeDriver(this.amd, k.design);
    this.faults = new PageRequestHandler(k, this.iommu, this.amd.states);
    this.workload = new Workload(k, this.ats, config.workload);
    k.deviceTlbs.push(this.iommu.tlb, this.iommu.walkCache, this.ats.atc);
    this.iommu.start();
    this.ats.start();
    this.faults.start(config.faultWorkers);
    if (config.hasWorkload) this.workload.start();
  }

  get driverName(): string {
    return this.driver.name;
  }

  get accessor(): Accessor {
    return this.ats;
  }

  get refusal(): string | null {
    return null;
  }

  *bind(mm: MmStruct): KernelPath<number> {
    if (this.#pasid !== 0) return -EBUSY;
    // A PASID is taken again only after all others: entries of an old one that were not flushed show as what they are.
    const pasid = this.#nextPasid;
    const result = yield* this.amd.bind(this.driver, mm, pasid);
    if (result < 0) return result;
    this.#nextPasid = pasid + 1 < this.iommu.config.pasids ? pasid + 1 : 1;
    this.#pasid = pasid;
    for (let e = 0; e < this.ats.engineCount; e++) this.ats.setContext(e, pasid);
    this.workload.mm = mm;
    return 0;
  }

  *unbind(): KernelPath<void> {
    if (this.#pasid === 0) return;
    this.workload.mm = null;
    yield* this.amd.unbind(this.driver, this.#pasid);
    this.#pasid = 0;
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const { ats, iommu } = this;
    s.reads = ats.reads;
    s.writes = ats.writes;
    s.hits = ats.hits;
    s.translationRequests = ats.translationRequests;
    s.discardedCompletions = ats.discardedCompletions;
    s.pageRequests = ats.pri.requests;
    s.pageRequestGroups = ats.pri.groups;
    s.answersInvalid = ats.pri.answersInvalid;
    s.refaults = ats.refaults;
    s.refaultsMax = ats.refaultsMax;
    s.iotlbFlushesPage = iommu.pageInvalidations;
    s.iotlbFlushesPasid = iommu.pasidInvalidations;
    s.deviceTlbFlushes = ats.invalidations;
    s.pprOverflows = iommu.pprOverflows;
    s.state = ats.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }
}

class PinnedTableDevice implements Device {
  readonly k: Kernel;
  readonly device: PinnedDevice;
  readonly workload: Workload;
  readonly driverName = 'pinned';

  constructor(k: Kernel, config: DeviceConfig) {
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

/** An author's driver as a driver of the IOMMU: an instance for each bound address space. */
class DefinedWalker implements IommuDriver {
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
class MirrorTableDevice implements Device {
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

/** A device for the kernel's notifier design: pinned pages when that is "pinned", else the shared-table IOMMU with the
 *  driver named (or the first for the design). Its threads are started. Throws InputError for a driver that does not fit. */
export function createDevice(k: Kernel, config: Partial<DeviceConfig> = {}): Device {
  const full = { ...DEVICE_DEFAULTS, ...config };
  if (full.device !== '') return createNamedDevice(k, full);
  if (k.design?.name === 'pinned') return new PinnedTableDevice(k, full);
  return new SharedTableDevice(k, full, (amd, design) => driverInfo(full.driver, design.name).create(amd, design));
}

/** The device that an author's driver is written for, with that driver. Throws InputError if it is not for the kernel's design;
 *  bind throws it for callbacks that the design does not have. */
export function createDriverDevice(k: Kernel, driver: Driver, config: Partial<DeviceConfig> = {}): Device {
  const full = { ...DEVICE_DEFAULTS, ...config };
  if (driver.device === 'mirror') return new MirrorTableDevice(k, driver, full);
  return new SharedTableDevice(k, full, (amd) => new DefinedWalker(k, driver, amd));
}
