// The IOMMU that walks the CPUs' page table, with an ATS device behind it and a driver of the kernel's design: the parts put together,
// for any maker (platform.ts).

import { EBUSY } from '../abi/errno.ts';
import { InputError } from '../base/assert.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import type { NotifierDesign } from '../notifier/host.ts';
import type { KernelPath } from '../sched/path.ts';
import { type Accessor, DeviceStats } from './accessor.ts';
import type { AmdIommu } from './amd-iommu.ts';
import { AtsDevice } from './ats-pri.ts';
import { callbackCounts, DEVICE_ID } from './common.ts';
import type { Device, DeviceConfig } from './device.ts';
import { Iommu } from './iommu.ts';
import type { Faults, Platform } from './platform.ts';
import type { IommuDriver, SvaIommu } from './sva-iommu.ts';
import { Workload } from './workload.ts';

export class SharedTableDevice<S extends SvaIommu = AmdIommu> implements Device {
  readonly k: Kernel;
  readonly iommu: Iommu;
  readonly ats: AtsDevice;
  readonly platform: Platform<S>;
  /** Kernel side of the IOMMU. */
  readonly sva: S;
  readonly driver: IommuDriver;
  readonly faults: Faults;
  readonly workload: Workload;
  #pasid = 0;
  #nextPasid = 1;

  constructor(
    k: Kernel,
    config: DeviceConfig,
    platform: Platform<S>,
    makeDriver: (sva: S, design: NotifierDesign) => IommuDriver,
  ) {
    if (k.design === null) throw new InputError('device: the kernel has no notifier design');
    this.k = k;
    this.platform = platform;
    this.iommu = new Iommu(k.memory, k.sched, { ...platform.iommu, ...config.iommu });
    this.ats = new AtsDevice(this.iommu, DEVICE_ID, { ...platform.ats, ...config.ats });
    const { sva, faults } = platform.create(k, this.iommu);
    this.sva = sva;
    this.driver = makeDriver(sva, k.design);
    this.faults = faults;
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
    const result = yield* this.sva.bind(this.driver, mm, pasid);
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
    if (this.platform.stopsDevice) yield* this.ats.stopContexts(this.#pasid);
    yield* this.sva.unbind(this.driver, this.#pasid);
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
