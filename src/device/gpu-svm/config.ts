// Sizes of the GPU, and what its driver does.

export interface GpuSvmConfig {
  /** Engines (shader arrays): each has a TLB and one access under way. */
  readonly engines: number;
  /** 'dmirror': the minimal driver, one interval over the address space. */
  readonly driver: 'dmirror';
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
  driver: 'dmirror',
  deadlineSteps: 100_000,
  refaultBudget: 64,
  staleStoresLand: true,
  mistake: '',
};

/** Sizes with which an explorer gets to the end: no deadline is reached. */
export const GPU_SVM_SMALL: Partial<GpuSvmConfig> = { engines: 2, deadlineSteps: 10_000_000 };
