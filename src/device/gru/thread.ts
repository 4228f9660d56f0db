// What the driver keeps of a thread that uses the GRU (gru_thread_state), with the one control block that it has here, and of an
// address space (gru_mm_struct, gru_mm_tracker). Linux: drivers/misc/sgi-gru/grutables.h.

import { OBJ_DRIVER } from '../../base/footprint.ts';
import type { MmStruct } from '../../mm/types.ts';
import { Mutex, SpinLocks } from '../../sched/locks.ts';
import { type Scheduler, WaitQueue } from '../../sched/scheduler.ts';
import { type GruChiplet, TFH_IDLE } from './chiplet.ts';

// Objects in footprints (OBJ_DRIVER).
const RANGE_ACTIVE = 0x20000001;
const THREAD = 0x20000100;

/** gru_mm_tracker: an address space on one chiplet. Guarded by GruMm.asidLock. */
export class GruTracker {
  /** 0: none; the next context that is loaded takes a new one. */
  asid = 0;
  /** Generation of the chiplet's ASIDs in which it was taken. */
  generation = 0;
  /** mt_ctxbitmap: contexts of this address space loaded on the chiplet. */
  contexts = 0;
}

/** gru_mm_struct: an address space. */
export class GruMm {
  readonly mm: MmStruct;
  /** ms_range_active: sections open. */
  rangeActive = 0;
  /** ms_wait_queue: who waits for rangeActive == 0. */
  readonly queue = new WaitQueue();
  /** ms_asid_lock. */
  readonly asidLock: SpinLocks;
  readonly trackers: readonly GruTracker[];
  readonly #sched: Scheduler;

  constructor(sched: Scheduler, mm: MmStruct, chiplets: number) {
    this.mm = mm;
    this.#sched = sched;
    this.asidLock = new SpinLocks(sched, sched.lockClasses.define('GRU ms_asid_lock'), 1);
    this.trackers = Array.from({ length: chiplets }, () => new GruTracker());
  }

  /** Notes a touch of rangeActive. */
  touch(isWrite: boolean): void {
    this.#sched.footprint?.note(OBJ_DRIVER, RANGE_ACTIVE, isWrite);
  }

  isQuiet(): boolean {
    this.touch(false);
    return this.rangeActive === 0;
  }
}

/** A thread's context, whether loaded or not, and its control block. */
export class GruThread {
  readonly id: number;
  readonly sched: Scheduler;
  /** ts_ctxlock: held while the context is loaded, unloaded or faulted on by the user. */
  readonly ctxLock: Mutex;
  gms: GruMm | null = null;
  /** Chiplet on which the context is loaded, and its slot there; null: not loaded. */
  chiplet: GruChiplet | null = null;
  slot = -1;
  /** Chiplet on which it wants to be; -1: any. */
  wanted = -1;
  /** ts_force_unload: the context goes at its next miss. */
  isUnloadForced = false;
  // --- CCH
  /** ASID that its accesses carry; 0: taken away, every look-up misses. */
  asid = 0;
  /** Stopped by cch_interrupt. */
  isStopped = false;
  readonly started = new WaitQueue();
  // --- TFH
  tfh = TFH_IDLE;
  /** Are misses told by interrupt (GRU_OPT_MISS_FMM_INTR), or only when the user asks? */
  isInterrupting = true;
  missVa = 0;
  missAsid = 0;
  missIsWrite = false;
  /** The driver has read the latch and not restarted it; a purge hit since. */
  isLatchRead = false;
  isOvertaken = false;
  // --- an access in flight
  heldVa = -1;
  heldAsid = 0;
  heldPfn = 0;
  heldGeneration = 0;
  /** Accesses over. */
  flight = 0;
  reads = 0;
  writes = 0;

  constructor(sched: Scheduler, id: number) {
    this.sched = sched;
    this.id = id;
    this.ctxLock = new Mutex(sched, sched.lockClasses.define('GRU ts_ctxlock'), id);
  }

  get mmId(): number {
    return this.gms === null ? 0 : this.gms.mm.id;
  }

  /** Notes a touch of what is above. */
  touch(isWrite: boolean): void {
    this.sched.footprint?.note(OBJ_DRIVER, THREAD + this.id, isWrite);
  }

  stateWords(): number[] {
    const flags = [this.isStopped, this.isLatchRead, this.isOvertaken, this.isUnloadForced, this.missIsWrite];
    return [
      this.chiplet === null ? -1 : this.chiplet.id,
      this.slot,
      this.wanted,
      this.asid,
      this.tfh,
      this.missVa,
      this.missAsid,
      this.heldVa,
      this.heldAsid,
      this.heldPfn,
      this.heldGeneration,
      this.flight,
      ...flags.map(Number),
    ];
  }
}
