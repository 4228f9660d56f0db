// Sizes of the RDMA device and what its driver is to do. Defaults: mlx5 under Linux 6.1, where they are numbers of Linux.

export interface OdpConfig {
  /** Pages of a child of an implicit region. mlx5: 1 GiB. */
  readonly childPages: number;
  /** A child of an implicit region whose last page was unmapped is freed. */
  readonly freesChildren: boolean;
  /** Steps of the world after which a fault that invalidations keep interrupting is given up (Linux: 1000 ms). */
  readonly deadlineSteps: number;
  /** A region that may be written asks for write access at every fault (mlx5); false: only when the adapter writes (rxe). */
  readonly alwaysWrite: boolean;
}

export interface RdmaConfig extends OdpConfig {
  /** Remote peers, each with one request under way. */
  readonly engines: number;
  /** Times that a peer sends a request again to which the answer was RNR NAK. The specification has 3 bits: 7 is for ever. */
  readonly rnrRetries: number;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  /** Name of a mistake of the driver (mistakes.ts); '' = none. */
  readonly mistake: string;
}

export const RDMA_DEFAULTS: RdmaConfig = {
  childPages: 262144,
  freesChildren: true,
  deadlineSteps: 100_000,
  alwaysWrite: false,
  engines: 4,
  rnrRetries: 64,
  staleStoresLand: true,
  mistake: '',
};

/** Sizes at which exploration can be exhaustive: the deadline is never reached, and no worker runs. */
export const RDMA_SMALL: Partial<RdmaConfig> = {
  engines: 2,
  childPages: 512,
  freesChildren: false,
  deadlineSteps: 10_000_000,
};
