// Sizes of the GPU, and what its driver does.

export interface GpuSvmConfig {
  /** Engines (shader arrays): each has a TLB and one access under way. */
  readonly engines: number;
  /** Retry faults (XNACK): an access that misses waits until its page is there. Without: everything that a queue uses is mapped before, and
   *  the queues stop when something of it goes. */
  readonly hasRetryFaults: boolean;
  /** Pages of the aligned blocks in which ranges are made (2 MiB); a power of two. */
  readonly granularityPages: number;
  /** Memory of its own, to which pages go that it works on. */
  readonly hasMemory: boolean;
  /** Pages of that memory, if it has some. */
  readonly memoryPages: number;
  /** The GPU stores with atomic operations, for which it must have the page for itself (gpu-svm). */
  readonly storesAreAtomic: boolean;
  /** Steps after which a range that was just mapped is looked at again: faults of it before are old ones (Linux: 2 ms). */
  readonly duplicateSteps: number;
  /** Steps between the eviction of ranges and their restoration (Linux: 1 ms). */
  readonly restoreDelaySteps: number;
  /** Steps of the world after which a fault that invalidations keep interrupting is given up (HMM_RANGE_DEFAULT_TIMEOUT, 1000 ms). */
  readonly deadlineSteps: number;
  /** Faults without progress at one access before the GPU is reset. */
  readonly refaultBudget: number;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  /** Name of a mistake of mistakes.ts; '' = none. */
  readonly mistake: string;
}

export const GPU_SVM_DEFAULTS: GpuSvmConfig = {
  engines: 4,
  hasRetryFaults: true,
  granularityPages: 512,
  hasMemory: false,
  memoryPages: 2048,
  storesAreAtomic: false,
  duplicateSteps: 0,
  restoreDelaySteps: 100,
  deadlineSteps: 100_000,
  refaultBudget: 64,
  staleStoresLand: true,
  mistake: '',
};

/** Sizes with which an explorer gets to the end: no deadline is reached. */
export const GPU_SVM_SMALL: Partial<GpuSvmConfig> = {
  engines: 2,
  granularityPages: 1,
  memoryPages: 1,
  restoreDelaySteps: 0,
  deadlineSteps: 10_000_000,
};
