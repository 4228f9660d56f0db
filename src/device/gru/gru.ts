// SGI's GRU with its driver, as a device of a machine: the threads of a program have their instructions executed by chiplets
// (chiplet.ts), whose TLBs the driver fills (fault.ts) and purges (purge.ts). Linux: drivers/misc/sgi-gru.
//
// An access of an engine is an instruction of a thread: it runs in the thread's context, which is loaded when it is not
// (context.ts). The engine's thread is also the CPU that takes the interrupt of a miss and the user who polls.
//
// Exit. The driver has no release, and its file no release operation either: a context is unloaded when the mapping of the GRU
// segment is closed. At exit that is the last thing that happens to the address space, after its pages were freed, and the notifier
// told nobody, because exit had taken every subscriber off the list first:
//
//   exit_mmap                                      chiplet
//     mmu_notifier_release: no release, unlinked     has V -> F1 in its TLB, an instruction in flight
//     unmaps V, frees F1
//                                                    reads F1
//     closes the GRU segment: unloads the context
//
// A program that waits for its instructions before it exits is safe.

import { EBUSY, EFAULT } from '../../abi/errno.ts';
import {
  AGENT_MIRROR,
  BIND_CLOSES_LATE,
  DEV_FAILED,
  DEV_RUNNING,
  E_BIND,
  E_DEV_STATE,
  E_REFAULT,
} from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import { mmDrop } from '../../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DEV_TRANSLATED } from '../../sched/points.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID, type Accessor, DeviceStats } from '../accessor.ts';
import { callbackCounts, DEVICE_ID } from '../common.ts';
import type { Device, DeviceConfig } from '../device.ts';
import { Workload } from '../workload.ts';
import { GruChiplet, TFH_IDLE, TFH_MISS_FMM } from './chiplet.ts';
import { delayUnload } from './context.ts';
import { GRU_DEFAULTS, type GruConfig, GruDriver } from './driver.ts';
import { gruFns } from './fns.ts';
import { gruMistake } from './mistakes.ts';
import { type GruSubscriptions, gruSubscriptions } from './subscribe.ts';
import { GruThread } from './thread.ts';

const ENGINES_MAX = 8;

/** Sizes with which an explorer gets to the end: two threads that fight for one context. */
export const SMALL_GRU: Partial<GruConfig> = {
  engines: 1,
  chiplets: 1,
  contextsPerChiplet: 1,
  asids: 4,
  purgePagesMax: 4,
  stealDelaySteps: 1,
};

export class Gru implements Accessor {
  readonly k: Kernel;
  readonly config: GruConfig;
  readonly chiplets: readonly GruChiplet[];
  readonly threads: readonly GruThread[];
  readonly driver: GruDriver;
  state = DEV_RUNNING;
  lastRead = 0;
  hits = 0;
  misses = 0;
  refaults = 0;
  refaultsMax = 0;
  /** Is the GRU segment mapped? */
  isOpen = false;

  /** Throws InputError for impossible sizes. */
  constructor(k: Kernel, config: Partial<GruConfig>) {
    this.k = k;
    this.config = { ...GRU_DEFAULTS, ...config };
    const { engines, chiplets, contextsPerChiplet, asids } = this.config;
    if (!(engines >= 1 && engines <= ENGINES_MAX))
      throw new InputError(`gru: ${engines} engines, not 1 to ${ENGINES_MAX}`);
    if (!(chiplets >= 1 && chiplets <= 4)) throw new InputError(`gru: ${chiplets} chiplets, not 1 to 4`);
    if (!(contextsPerChiplet >= 1 && contextsPerChiplet <= 16))
      throw new InputError(`gru: ${contextsPerChiplet} contexts on a chiplet, not 1 to 16`);
    if (!(asids > contextsPerChiplet)) throw new InputError(`gru: ${asids} ASIDs, not more than contexts`);
    this.chiplets = Array.from(
      { length: chiplets },
      (_, i) => new GruChiplet(k.memory, k.sched, i, DEVICE_ID + i, contextsPerChiplet),
    );
    this.threads = Array.from({ length: engines }, (_, i) => this.#makeThread(i));
    this.driver = new GruDriver(k, this.config, this.chiplets, { ...gruFns, ...gruMistake(this.config.mistake) });
  }

  #makeThread(i: number): GruThread {
    const t = new GruThread(this.k.sched, i);
    t.isInterrupting = (i * 100) / this.config.engines < this.config.interruptPercent;
    return t;
  }

  get engineCount(): number {
    return this.threads.length;
  }

  // --- accesses

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const t = this.threads[engine]!;
    if (!this.isOpen || this.state !== DEV_RUNNING || t.isStopped || t.chiplet === null) return false;
    if (!t.chiplet.hold(t, va - (va % 4096), isWrite)) return false;
    this.hits++;
    this.lastRead = t.chiplet.reach(t, va, isWrite, this.config.staleStoresLand);
    t.chiplet.release(t);
    return true;
  }

  *access(engine: number, va: number, isWrite: boolean, _groupEnd: number): KernelPath<number> {
    const t = this.threads[engine]!;
    const result = yield* this.#translate(t, va, isWrite);
    if (result !== ACCESS_DONE) return result;
    if (this.k.sched.points) yield P_DEV_TRANSLATED;
    this.lastRead = t.chiplet!.reach(t, va, isWrite, this.config.staleStoresLand);
    t.chiplet!.release(t);
    if (this.k.sched.points) yield P_DEV_ACCESS;
    return ACCESS_DONE;
  }

  /** One word of a block copy (BCOPY): reads or writes 8 bytes of the program's own data. ACCESS_*; the value in lastRead. */
  *word(engine: number, va: number, isWrite: boolean, value: number): KernelPath<number> {
    const t = this.threads[engine]!;
    const result = yield* this.#translate(t, va, isWrite);
    if (result !== ACCESS_DONE) return result;
    if (this.k.sched.points) yield P_DEV_TRANSLATED;
    this.lastRead = t.chiplet!.reachWord(t, va, isWrite, value, this.config.staleStoresLand);
    t.chiplet!.release(t);
    return ACCESS_DONE;
  }

  /** Until the translation is held (ACCESS_DONE), or refused. */
  *#translate(t: GruThread, va: number, isWrite: boolean): KernelPath<number> {
    const page = va - (va % 4096);
    const { sched } = this.k;
    for (let attempts = 0; ; attempts++) {
      if (sched.points) yield P_DEV_TRANSLATE;
      t.touch(false);
      if (this.state !== DEV_RUNNING) return ACCESS_DEAD;
      if (!this.isOpen) return ACCESS_INVALID;
      if (t.isStopped) {
        yield* sched.waitUntil(() => this.#isStarted(t), t.started, 'GRU context');
        continue;
      }
      if (t.chiplet === null) {
        if ((yield* this.driver.fn.gsegFault(this.driver, t)) < 0) return ACCESS_INVALID;
        // Another chiplet, another TLB: no answer was in vain.
        attempts = -1;
        continue;
      }
      if (t.chiplet.hold(t, page, isWrite)) {
        if (attempts === 0) this.hits++;
        return ACCESS_DONE;
      }
      if (attempts > 0 && !this.#refault(t, page, attempts)) return ACCESS_DEAD;
      this.misses++;
      t.chiplet.latch(t, page, isWrite);
      const result = yield* this.#serve(t);
      if (result === ACCESS_INVALID) return result;
    }
  }

  #isStarted(t: GruThread): boolean {
    t.touch(false);
    return !t.isStopped;
  }

  /** A miss: by interrupt or by the user, who gets what the interrupt could not settle. ACCESS_DONE = look again. */
  *#serve(t: GruThread): KernelPath<number> {
    const { driver } = this;
    let result = t.tfh === TFH_MISS_FMM ? yield* driver.fn.interrupt(driver, t) : 1;
    t.touch(false);
    while (result !== -EFAULT && t.tfh !== TFH_IDLE) {
      result = yield* driver.fn.userCallOs(driver, t);
      t.touch(false);
    }
    return result === -EFAULT ? ACCESS_INVALID : ACCESS_DONE;
  }

  /** False: the program has given up. */
  #refault(t: GruThread, page: number, attempts: number): boolean {
    this.refaults++;
    if (attempts > this.refaultsMax) this.refaultsMax = attempts;
    const { log } = this.k.memory;
    const device = t.chiplet!.device;
    if (log.on) log.emit(E_REFAULT, t.mmId, page, page + 4096, 0, 0, attempts, 0, AGENT_MIRROR, device);
    if (attempts <= this.config.refaultBudget) return true;
    t.touch(true);
    this.state = DEV_FAILED;
    if (log.on) log.emit(E_DEV_STATE, t.mmId, page, page + 4096, 0, 0, DEV_FAILED, 0, 0, device);
    return false;
  }

  /** The thread moves to another chiplet: its context goes there at its next miss. */
  *migrate(engine: number, chiplet: number): KernelPath<void> {
    const t = this.threads[engine]!;
    t.touch(true);
    t.wanted = chiplet;
    yield* delayUnload(this.driver, t);
  }

  /** All that device and driver keep, as numbers. */
  stateWords(): number[] {
    const gms = new Set(this.threads.map((t) => t.gms));
    const spaces = [...gms].flatMap((g) =>
      g === null ? [] : [g.rangeActive, ...g.trackers.flatMap((x) => [x.asid, x.generation, x.contexts])],
    );
    return [
      this.state,
      ...this.chiplets.flatMap((c) => c.stateWords()),
      ...this.threads.flatMap((t) => t.stateWords()),
      ...spaces,
    ];
  }
}

class GruDevice implements Device {
  readonly k: Kernel;
  readonly gru: Gru;
  readonly workload: Workload;
  readonly driverName = 'gru';
  readonly #subscriptions: GruSubscriptions;
  #mm: MmStruct | null = null;
  readonly #close = (): KernelPath<void> => this.#closeSegment(this.#mm!);

  constructor(k: Kernel, config: DeviceConfig) {
    this.k = k;
    this.gru = new Gru(k, config.gru);
    this.#subscriptions = gruSubscriptions(this.gru.driver, config.isDeaf);
    this.workload = new Workload(k, this.gru, config.workload);
    if (config.hasWorkload) this.workload.start();
  }

  get accessor(): Accessor {
    return this.gru;
  }

  get refusal(): string | null {
    return null;
  }

  *bind(mm: MmStruct): KernelPath<number> {
    if (this.#mm !== null) return -EBUSY;
    const { threads } = this.gru;
    for (const t of threads) {
      const gms = yield* this.#subscriptions.get(mm);
      if (typeof gms !== 'number') {
        t.gms = gms;
        continue;
      }
      for (const made of threads) yield* this.#drop(made);
      return gms;
    }
    this.#mm = mm;
    mm.count++;
    mm.closes.push(this.#close);
    this.#emitBind(mm, 1);
    this.gru.isOpen = true;
    this.workload.mm = mm;
    return 0;
  }

  /** The program unmaps its GRU segments. */
  *unbind(): KernelPath<void> {
    const mm = this.#mm;
    if (mm === null) return;
    this.#mm = null;
    this.workload.mm = null;
    const at = mm.closes.indexOf(this.#close);
    if (at >= 0) {
      mm.closes.splice(at, 1);
      yield* mm.mmapLock.writeLock();
      yield* this.#closeSegment(mm);
      mm.mmapLock.writeUnlock();
    }
    this.#emitBind(mm, 0);
    mmDrop(this.k, mm);
  }

  /** gru_vma_close, of each thread's segment. mmapLock held for write. */
  *#closeSegment(mm: MmStruct): KernelPath<void> {
    this.gru.isOpen = false;
    for (const t of this.gru.threads) {
      yield* t.ctxLock.lock();
      if (t.chiplet !== null) yield* this.gru.driver.fn.unloadContext(this.gru.driver, t);
      t.ctxLock.unlock();
      yield* this.#drop(t);
    }
    // With the last thread the driver forgets the ASIDs: nobody will have them before the TLB is flushed.
    for (const c of this.gru.chiplets) c.forget(mm.id);
  }

  *#drop(t: GruThread): KernelPath<void> {
    if (t.gms === null) return;
    const { gms } = t;
    t.gms = null;
    yield* this.#subscriptions.put(gms);
  }

  #emitBind(mm: MmStruct, isBound: number): void {
    const { log } = this.k.memory;
    if (!log.on) return;
    for (const c of this.gru.chiplets)
      log.emit(E_BIND, mm.id, 0, 0, 0, 0, isBound, 0, isBound * BIND_CLOSES_LATE, c.device);
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const { gru } = this;
    for (const t of gru.threads) {
      s.reads += t.reads;
      s.writes += t.writes;
    }
    s.hits = gru.hits;
    s.pageRequests = gru.misses;
    s.answersInvalid = gru.driver.exceptions;
    s.refaults = gru.refaults;
    s.refaultsMax = gru.refaultsMax;
    for (const c of gru.chiplets) {
      s.deviceTlbFlushes += c.purges;
      s.discardedCompletions += c.ignoredDropins;
    }
    s.state = gru.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }
}

export function createGru(k: Kernel, config: DeviceConfig): Device {
  return new GruDevice(k, config);
}
