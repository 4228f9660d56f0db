// Sizes of XPMEM.

export interface XpmemConfig {
  /** Partitions that map the exporter's memory. */
  readonly importers: number;
  /** CPUs of all of them together: CPU i belongs to partition i % importers. */
  readonly engines: number;
  /** Threads of the exporter that serve remote faults. */
  readonly workers: number;
  /** Steps that a message is under way. */
  readonly latencySteps: number;
  /** A fault on a page that is being taken back is refused, and asked again later, instead of kept waiting. */
  readonly isRefusing: boolean;
  /** Steps after which a refused fault is asked again. */
  readonly retrySteps: number;
  /** Faults without progress at one access before the program gives up. */
  readonly refaultBudget: number;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  /** Name of a mistake of mistakes.ts; '' = none. */
  readonly mistake: string;
}

export const XPMEM_DEFAULTS: XpmemConfig = {
  importers: 2,
  engines: 4,
  workers: 2,
  latencySteps: 4,
  isRefusing: false,
  retrySteps: 16,
  refaultBudget: 64,
  staleStoresLand: true,
  mistake: '',
};

/** Sizes with which an explorer gets to the end. */
export const XPMEM_SMALL: Partial<XpmemConfig> = {
  importers: 1,
  engines: 1,
  workers: 1,
  latencySteps: 0,
  retrySteps: 1,
};
