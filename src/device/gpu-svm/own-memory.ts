// Memory of a GPU: frames of its own in which pages of the program live while it works on them (MEMORY_DEVICE_PRIVATE). A CPU that touches
// one has it brought back; the GPU's driver finds it through hmm_range_fault, as a page of its own owner, without a fault.
// What the drivers' memories have in common; who moves pages when is theirs (gpu-memory.ts, svm-memory.ts).

import { E_DEV_MEMORY } from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { PrivateMemory, type Residents } from '../private-memory.ts';
import type { GpuDriver } from './interval-mirror.ts';

export abstract class OwnMemory {
  readonly k: Kernel;
  readonly pages: PrivateMemory;
  readonly #device: number;
  /** Times that pages were sent to the GPU, were brought back by the driver or a CPU, and had to make room for others. */
  toGpu = 0;
  toRam = 0;
  evictions = 0;

  constructor(driver: GpuDriver, residents: Residents) {
    const { k, config } = driver;
    const pages = PrivateMemory.create(k, driver.owner, config.memoryPages, residents);
    if (pages === null)
      throw new InputError(`gpuSvm.memoryPages: ${config.memoryPages}, more than kernel.devicePrivatePages has left`);
    this.k = k;
    this.pages = pages;
    this.#device = driver.gpu.id;
  }

  /** Tells the record which frames are the GPU's. */
  announce(): void {
    const { log } = this.k.memory;
    const { first, end } = this.pages;
    if (log.on) log.emit(E_DEV_MEMORY, 0, 0, 0, first, 0, end - first, 0, 0, this.#device);
  }

  /** Pages that are in it. */
  get used(): number {
    return this.pages.used;
  }

  isOwn(pfn: number): boolean {
    return pfn >= this.pages.first && pfn < this.pages.end;
  }
}
