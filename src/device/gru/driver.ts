// The GRU's driver: what its functions share, and the table through which they call each other, so that a mistake is a table with
// one function replaced (mistakes.ts). Kernel names stand at the functions: purge.ts (grutlbpurge.c), context.ts (grumain.c),
// fault.ts (grufault.c).

import { OBJ_MM } from '../../base/footprint.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { GruChiplet, Purge } from './chiplet.ts';
import type { GruMm, GruThread } from './thread.ts';

export interface GruConfig {
  /** Threads of the program that use it, each with a context and a control block of its own. */
  readonly engines: number;
  readonly chiplets: number;
  /** Contexts that a chiplet can hold (GRU_NUM_CCH). */
  readonly contextsPerChiplet: number;
  /** ASIDs of a chiplet; after the last one the TLB is flushed and they begin again. */
  readonly asids: number;
  /** Pages that one purge covers (GRUMAXINVAL). A longer range purges the whole ASID. */
  readonly purgePagesMax: number;
  /** Of 100 contexts, how many have misses told by interrupt; the others ask themselves. */
  readonly interruptPercent: number;
  /** Steps after which a thread that finds no free context takes somebody else's (GRU_STEAL_DELAY). */
  readonly stealDelaySteps: number;
  /** Misses without progress at one access before the program gives up. */
  readonly refaultBudget: number;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  /** Name of a mistake of mistakes.ts; '' = none. */
  readonly mistake: string;
}

export const GRU_DEFAULTS: GruConfig = {
  engines: 4,
  chiplets: 2,
  contextsPerChiplet: 16,
  asids: 0xfffff,
  purgePagesMax: 1024,
  interruptPercent: 50,
  stealDelaySteps: 32,
  refaultBudget: 64,
  staleStoresLand: true,
  mistake: '',
};

export const VTOP_SUCCESS = 0;
export const VTOP_INVALID = -1;
/** The entry in the CPUs' table is not there, or lacks a right: only a context that may sleep can do more. */
export const VTOP_RETRY = -2;

/** What gruTryDropin answers, beside -errno. */
export const DROPIN_DONE = 0;
/** A section is open, or the interrupt cannot do more. */
export const DROPIN_LATER = 1;

export interface GruFns {
  // purge.ts
  rangeStart(d: GruDriver, gms: GruMm, start: number, end: number): AtomicPath<void>;
  rangeEnd(d: GruDriver, gms: GruMm): void;
  flushTlbRange(d: GruDriver, gms: GruMm, start: number, end: number): AtomicPath<void>;
  tghInvalidate(
    d: GruDriver,
    chiplet: GruChiplet,
    gms: GruMm,
    asid: number,
    start: number,
    end: number,
  ): AtomicPath<void>;
  finishPurge(d: GruDriver, chiplet: GruChiplet, purge: Purge): AtomicPath<void>;
  clearAsid(d: GruDriver, chiplet: GruChiplet, gms: GruMm): void;
  flushAllTlb(d: GruDriver, chiplet: GruChiplet): AtomicPath<void>;
  // context.ts
  assignAsid(d: GruDriver, chiplet: GruChiplet): AtomicPath<number>;
  loadMmTracker(d: GruDriver, chiplet: GruChiplet, gms: GruMm, slot: number): AtomicPath<number>;
  unloadMmTracker(d: GruDriver, chiplet: GruChiplet, gms: GruMm, slot: number): AtomicPath<void>;
  interruptContext(d: GruDriver, t: GruThread): AtomicPath<void>;
  unloadContext(d: GruDriver, t: GruThread): AtomicPath<void>;
  gsegFault(d: GruDriver, t: GruThread): KernelPath<number>;
  // fault.ts
  readLatch(d: GruDriver, t: GruThread): boolean;
  atomicPteLookup(d: GruDriver, gms: GruMm, address: number, isWrite: boolean): number;
  tryDropin(d: GruDriver, t: GruThread, isUser: boolean): KernelPath<number>;
  interrupt(d: GruDriver, t: GruThread): AtomicPath<number>;
  userCallOs(d: GruDriver, t: GruThread): KernelPath<number>;
}

export class GruDriver {
  readonly k: Kernel;
  readonly config: GruConfig;
  readonly chiplets: readonly GruChiplet[];
  readonly fn: GruFns;
  vtopPfn = 0;
  // Counters, as in /proc/sgi_uv/gru/statistics.
  dropins = 0;
  refusedRangeActive = 0;
  refusedNoAsid = 0;
  switchedToPolling = 0;
  exceptions = 0;
  contextsLoaded = 0;
  contextsStolen = 0;
  asidsCleared = 0;
  asidWraps = 0;

  constructor(k: Kernel, config: GruConfig, chiplets: readonly GruChiplet[], fn: GruFns) {
    this.k = k;
    this.config = config;
    this.chiplets = chiplets;
    this.fn = fn;
  }
}

/** mmget_not_zero. */
export function mmgetNotZero(k: Kernel, mm: MmStruct): boolean {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  if (mm.users <= 0) return false;
  mm.users++;
  return true;
}
