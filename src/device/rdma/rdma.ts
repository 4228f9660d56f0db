// RDMA with on-demand paging as a device: an adapter, its driver for the kernel's notifier design, and the view that workloads use: an
// implicit region over the whole process (two, where a region that may be written asks for write access at every fault: then one is to
// read through), and an engine for each remote peer. An access of an
// engine is one packet of that peer: an RDMA read or write of 8 bytes.
//
//   request arrives; key checked
//   translation? none: RNR NAK to the peer, page fault to the driver; the peer sends again        (responder fault)
//   DMA
//
// The driver refuses a fault: remote access error, the application sets the queue pair up again. The peer's retry count is exhausted: its
// queue pair fails, which for this view is the end of the device.

import { EAGAIN, EBUSY, EINVAL } from '../../abi/errno.ts';
import { AGENT_MIRROR_TLB, E_MSG, E_REFAULT, MSG_RNR_NAK } from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DEV_TRANSLATED } from '../../sched/points.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID, type Accessor, DeviceStats } from '../accessor.ts';
import { callbackCounts, DEVICE_ID } from '../common.ts';
import type { Device, DeviceConfig } from '../device.ts';
import { Workload } from '../workload.ts';
import { RDMA_DEFAULTS, type RdmaConfig } from './config.ts';
import { RdmaHost } from './host.ts';
import {
  type DmaUnit,
  IB_ACCESS_ALL,
  IB_ACCESS_REMOTE_READ,
  IB_ACCESS_REMOTE_WRITE,
  LOOKUP_ERROR,
  LOOKUP_OK,
  Nic,
} from './nic.ts';
import type { OdpDriver, Region } from './region.ts';

/** Words that devices own: the last 64 bytes of a page, 8 for each of 8 engines. */
const ENGINES_MAX = 8;
const DEVICE_WORDS = 4096 - 64;

/** The view: what peers reach of a process. */
class RdmaView implements Accessor {
  readonly k: Kernel;
  readonly nic: Nic;
  readonly driver: OdpDriver;
  readonly #units: readonly DmaUnit[];
  readonly #rnrRetries: number;
  /** Regions to read and to write through; null: not bound. */
  reading: Region | null = null;
  writing: Region | null = null;
  lastRead = 0;
  rnrNaks = 0;
  refaults = 0;
  refaultsMax = 0;
  #stored = 0;

  constructor(k: Kernel, nic: Nic, driver: OdpDriver, config: RdmaConfig) {
    this.k = k;
    this.nic = nic;
    this.driver = driver;
    this.#rnrRetries = config.rnrRetries;
    this.#units = Array.from({ length: config.engines }, () => nic.addUnit());
  }

  get engineCount(): number {
    return this.#units.length;
  }

  get state(): number {
    return this.nic.state;
  }

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const unit = this.#units[engine]!;
    const region = isWrite ? this.writing : this.reading;
    if (
      region === null ||
      !this.nic.isRunning ||
      this.nic.hold(unit, region.key.id, va - (va % 8), 8, isWrite ? IB_ACCESS_REMOTE_WRITE : IB_ACCESS_REMOTE_READ) !==
        LOOKUP_OK
    )
      return false;
    this.#reach(unit, engine, va, isWrite);
    this.nic.release(unit);
    return true;
  }

  *access(engine: number, va: number, isWrite: boolean, _groupEnd: number): KernelPath<number> {
    const { nic } = this;
    const unit = this.#units[engine]!;
    const page = va - (va % 4096);
    for (let attempts = 0; ; attempts++) {
      if (this.k.sched.points) yield P_DEV_TRANSLATE;
      if (!nic.isRunning) return ACCESS_DEAD;
      const region = isWrite ? this.writing : this.reading;
      if (region === null) return ACCESS_INVALID;
      const found = nic.hold(
        unit,
        region.key.id,
        va - (va % 8),
        8,
        isWrite ? IB_ACCESS_REMOTE_WRITE : IB_ACCESS_REMOTE_READ,
      );
      if (found === LOOKUP_OK) break;
      if (found === LOOKUP_ERROR) return ACCESS_INVALID;
      if (attempts > 0 && !this.#refault(page, attempts)) return ACCESS_DEAD;
      this.#nak(page, engine);
      const answer = yield* this.driver.pageFault(region.key.id, page, 4096, isWrite);
      if (answer === -EBUSY) {
        nic.fail(page);
        return ACCESS_DEAD;
      }
      if (answer < 0 && answer !== -EAGAIN) return ACCESS_INVALID;
    }
    if (this.k.sched.points) yield P_DEV_TRANSLATED;
    this.#reach(unit, engine, va, isWrite);
    nic.release(unit);
    if (this.k.sched.points) yield P_DEV_ACCESS;
    return ACCESS_DONE;
  }

  /** Reads 8 bytes, or writes the engine's own word of the page: programs keep their data. */
  #reach(unit: DmaUnit, engine: number, va: number, isWrite: boolean): void {
    if (isWrite) this.nic.store(unit, va - (va % 4096) + DEVICE_WORDS + engine * 8, ++this.#stored);
    else this.lastRead = this.nic.load(unit, va);
  }

  #nak(page: number, engine: number): void {
    this.rnrNaks++;
    const { log } = this.k.memory;
    if (log.on) log.emit(E_MSG, this.nic.mm, page, page + 4096, 0, 0, MSG_RNR_NAK, engine, 0, this.nic.id);
  }

  /** False: the peer's retries are exhausted. */
  #refault(page: number, attempts: number): boolean {
    this.refaults++;
    if (attempts > this.refaultsMax) this.refaultsMax = attempts;
    const { log } = this.k.memory;
    if (log.on) log.emit(E_REFAULT, this.nic.mm, page, page + 4096, 0, 0, attempts, 0, AGENT_MIRROR_TLB, this.nic.id);
    if (attempts <= this.#rnrRetries) return true;
    this.nic.fail(page);
    return false;
  }
}

export class RdmaDevice implements Device {
  readonly k: Kernel;
  readonly nic: Nic;
  readonly driver: OdpDriver;
  readonly driverName: string;
  readonly accessor: RdmaView;
  readonly workload: Workload;
  readonly refusal: string | null = null;
  readonly host: RdmaHost;

  constructor(
    k: Kernel,
    config: DeviceConfig,
    makeDriver: (nic: Nic, config: RdmaConfig) => OdpDriver,
    id = DEVICE_ID,
  ) {
    const full: RdmaConfig = { ...RDMA_DEFAULTS, ...config.rdma };
    if (!(full.engines >= 1 && full.engines <= ENGINES_MAX))
      throw new InputError(`rdma: ${full.engines} engines, not 1 to ${ENGINES_MAX}`);
    this.k = k;
    this.nic = new Nic(k.memory, k.sched, id, full.staleStoresLand);
    this.driver = makeDriver(this.nic, full);
    this.driverName = full.mistake === '' ? 'rdma-odp' : `rdma-odp, ${full.mistake}`;
    this.host = new RdmaHost(k, this.nic, this.driver);
    this.accessor = new RdmaView(k, this.nic, this.driver, full);
    this.workload = new Workload(k, this.accessor, config.workload);
    if (config.hasWorkload) this.workload.start();
  }

  *bind(mm: MmStruct): KernelPath<number> {
    if (mm.users <= 0) return -EINVAL;
    const result = yield* this.host.bind(mm);
    if (result < 0) return result;
    const { driver } = this;
    this.accessor.writing = driver.registerImplicit(mm, IB_ACCESS_ALL);
    this.accessor.reading = driver.config.alwaysWrite
      ? driver.registerImplicit(mm, IB_ACCESS_REMOTE_READ)
      : this.accessor.writing;
    this.workload.mm = mm;
    return 0;
  }

  *unbind(): KernelPath<void> {
    if (this.host.mm === null) return;
    this.workload.mm = null;
    this.nic.noteState();
    this.accessor.reading = null;
    this.accessor.writing = null;
    yield* this.host.unbind();
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const { nic, driver, accessor } = this;
    s.reads = nic.reads;
    s.writes = nic.writes;
    s.hits = nic.hits;
    s.translationRequests = nic.fills;
    s.pageRequests = driver.faults;
    s.answersInvalid = driver.faultsRefused;
    s.refaults = accessor.refaults;
    s.refaultsMax = accessor.refaultsMax;
    s.deviceTlbFlushes = nic.flushes;
    s.state = nic.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }
}
