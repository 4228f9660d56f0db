// A GPU that shares the address space of the process (shared virtual memory) as a device: engines with TLBs over a page table of the GPU,
// which the driver fills through hmm_range_fault. Each engine's thread stands for the engine and for the worker that serves its fault.
//
//   bind     the process opens the device; ranges are made when the GPU first touches them
//   access   engine's TLB, GPU page table; a miss is a fault that the driver answers: look again, or give up
//   unbind   the process closes it

import { EBUSY, EINVAL } from '../../abi/errno.ts';
import { E_BIND } from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import { mmDrop } from '../../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../../sched/path.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { type Accessor, DeviceStats } from '../accessor.ts';
import { callbackCounts, DEVICE_ID } from '../common.ts';
import type { Device, DeviceConfig } from '../device.ts';
import { type FaultRequest, MirrorDevice } from '../mirror.ts';
import { Workload } from '../workload.ts';
import { GPU_SVM_DEFAULTS, type GpuSvmConfig } from './config.ts';
import type { GpuDriver } from './interval-mirror.ts';

export class GpuSvmDevice implements Device {
  readonly k: Kernel;
  readonly gpu: MirrorDevice;
  readonly driver: GpuDriver;
  readonly driverName: string;
  readonly workload: Workload;
  readonly refusal: string | null = null;
  mm: MmStruct | null = null;
  /** Faults under way. */
  #faults = 0;
  readonly #idle = new WaitQueue();

  constructor(
    k: Kernel,
    config: DeviceConfig,
    makeDriver: (gpu: MirrorDevice, config: GpuSvmConfig) => GpuDriver,
    id = DEVICE_ID,
  ) {
    const full: GpuSvmConfig = { ...GPU_SVM_DEFAULTS, ...config.gpuSvm };
    if (!(full.granularityPages >= 1 && Number.isInteger(Math.log2(full.granularityPages))))
      throw new InputError(`${config.device}: granularity of ${full.granularityPages} pages, not a power of two`);
    const { engines, refaultBudget, staleStoresLand, storesAreAtomic } = full;
    this.k = k;
    this.gpu = new MirrorDevice(k.memory, k.sched, id, {
      engines,
      roots: 1,
      refaultBudget,
      staleStoresLand,
      storesAreAtomic,
    });
    this.driver = makeDriver(this.gpu, full);
    this.driverName = full.mistake === '' ? config.device : `${config.device}, ${full.mistake}`;
    this.workload = new Workload(k, this.gpu, config.workload);
    if (config.hasWorkload) this.workload.start();
  }

  get accessor(): Accessor {
    return this.gpu;
  }

  *bind(mm: MmStruct): KernelPath<number> {
    if (this.mm !== null) return -EBUSY;
    if (mm.users <= 0) return -EINVAL;
    this.mm = mm;
    mm.count++;
    this.gpu.mm = mm.id;
    const result = yield* this.driver.attach(mm);
    if (result < 0) {
      this.mm = null;
      mmDrop(this.k, mm);
      return result;
    }
    this.gpu.setFaultHandler((request) => this.#fault(request));
    this.driver.memory?.announce();
    this.#emitBind(mm, 1);
    this.workload.mm = mm;
    return 0;
  }

  *unbind(): KernelPath<void> {
    const { mm } = this;
    if (mm === null) return;
    this.workload.mm = null;
    this.gpu.setFaultHandler(null);
    // A fault of this process must not be answered in the next one.
    const isIdle = (): boolean => {
      this.gpu.noteFaults(true);
      return this.#faults === 0;
    };
    yield* this.k.sched.waitUntil(isIdle, this.#idle, 'faults of the GPU');
    yield* this.driver.detach();
    this.#emitBind(mm, 0);
    this.mm = null;
    mmDrop(this.k, mm);
  }

  *#fault(request: FaultRequest): KernelPath<number> {
    this.gpu.noteFaults(false);
    this.#faults++;
    const result = yield* this.driver.fault(request);
    this.gpu.noteFaults(false);
    this.#faults--;
    if (this.#faults === 0) this.#idle.wakeAll(this.k.sched);
    return result;
  }

  #emitBind(mm: MmStruct, isBound: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_BIND, mm.id, 0, 0, 0, 0, isBound, 0, this.driver.knownFor, this.gpu.id);
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const { gpu, driver } = this;
    s.reads = gpu.reads;
    s.writes = gpu.writes;
    s.hits = gpu.hits;
    s.translationRequests = gpu.faults;
    s.pageRequests = driver.faults;
    s.answersInvalid = gpu.faultsRefused;
    s.refaults = gpu.refaults;
    s.refaultsMax = gpu.refaultsMax;
    s.deviceTlbFlushes = gpu.flushes;
    s.state = gpu.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }

  /** All that hardware and driver keep, as numbers. */
  stateWords(): number[] {
    return [...this.gpu.stateWords(), ...this.driver.stateWords()];
  }
}
