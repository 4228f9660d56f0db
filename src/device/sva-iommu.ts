// The kernel side of an IOMMU with shared page tables, as far as all makers have it in common: binding an address space to a
// PASID, parking it on an empty table, tearing it down. How TLBs are flushed is each maker's own: amd-iommu.ts, intel-svm/, arm-smmu/.
// Linux: drivers/iommu/amd/iommu_v2.c (amd_iommu_bind_pasid, unbind_pasid, put_pasid_state_wait), intel/svm.c,
// arm/arm-smmu-v3/arm-smmu-v3-sva.c.
//
// Every maker flushes the IOMMU first, and the devices after that is complete; the other way round a device refills its TLB from
// the IOMMU's old entry:
//
//   driver, wrong order                    device
//     device TLB flush of V, done
//                                            misses V; the IOMMU TLB still answers V -> F1; caches it
//     IOMMU TLB flush of V, done
//     the kernel frees F1                    writes F1
//
// Waiting is spinning (the wait command writes a word in memory): a flush may run under a page-table lock.

import { EINVAL, ENOMEM } from '../abi/errno.ts';
import { E_BIND, FRAME_KERNEL } from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { SpinLocks } from '../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_DRIVER } from '../sched/points.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import type { Iommu } from './iommu.ts';
import { noteDevice, OWNER_KERNEL, PART_FAULTS, PART_PASID } from './objects.ts';

/** ULONG_MAX: all addresses of the PASID. */
export const ALL_ADDRESSES = Number.POSITIVE_INFINITY;

/** pasid_state, intel_svm, arm_smmu_mmu_notifier: an address space bound to a PASID. */
export class PasidState {
  readonly pasid: number;
  readonly mm: MmStruct;
  /** Set before anything is torn down: page requests are answered PRG_INVALID from now on. */
  isInvalid = true;
  /** Its PASID entry was cleared and everything flushed: nothing can have been loaded since. */
  isCleared = false;
  /** Page requests being handled; unbind waits for them. */
  faultsInFlight = 0;
  readonly queue = new WaitQueue();
  /** A driver's own number: open sections (mmu_notifier_count). Guarded by SvaIommu.lockState. */
  sections = 0;
  /** What the driver's subscription is, for its unsubscribe. */
  subscription: unknown = null;

  constructor(pasid: number, mm: MmStruct) {
    this.pasid = pasid;
    this.mm = mm;
  }
}

/** How a driver hears of an address space: made by each file under drivers/, intel-svm/ and arm-smmu/. */
export interface IommuDriver {
  readonly name: string;
  /** Registers with the notifier. mm has a user, no lock is held. 0 or -errno. */
  subscribe(state: PasidState): KernelPath<number>;
  /** Unregisters; release may run, or have run. */
  unsubscribe(state: PasidState): KernelPath<void>;
}

export abstract class SvaIommu {
  readonly k: Kernel;
  readonly iommu: Iommu;
  readonly states = new Map<number, PasidState>();
  /** pasid_state->lock. */
  readonly #stateLocks: SpinLocks;
  /** A page table without entries: where a PASID is parked. */
  readonly emptyTable: number;
  #sequence = 0;

  constructor(k: Kernel, iommu: Iommu) {
    this.k = k;
    this.iommu = iommu;
    this.#stateLocks = new SpinLocks(k.sched, k.sched.lockClasses.define('pasid_state lock'), iommu.config.pasids);
    this.emptyTable = k.fn.allocPage(k, 0, FRAME_KERNEL);
    assert(this.emptyTable > 0, 'SvaIommu: a frame for the empty page table');
    k.memory.zero(this.emptyTable);
  }

  note(part: number, pasid: number, isWrite: boolean): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) noteDevice(footprint, OWNER_KERNEL, part, pasid, isWrite);
  }

  // --- flushes

  /** Takes [start, end) of the PASID out of every TLB, or more; `end` ULONG_MAX = the whole PASID. On return nothing made before
   *  is used any more. */
  abstract flushRange(state: PasidState, start: number, end: number): AtomicPath<void>;

  /** Spins until every command before it is complete: COMPLETION_WAIT, invalidation wait descriptor, CMD_SYNC. */
  *completionWait(): AtomicPath<void> {
    const sequence = ++this.#sequence;
    this.iommu.commands.completionWait(sequence);
    yield* this.iommu.commands.waitFor(sequence);
  }

  /** The page that the address lies in. */
  flushPage(state: PasidState, address: number): AtomicPath<void> {
    const page = address - (address % 4096);
    return this.flushRange(state, page, page + 4096);
  }

  flushPasid(state: PasidState): AtomicPath<void> {
    return this.flushRange(state, 0, ALL_ADDRESSES);
  }

  // --- PASID table

  /** Points the PASID at a table and flushes it. 0 clears. */
  *setTable(state: PasidState, root: number): AtomicPath<void> {
    this.iommu.setGcr3(state.pasid, root);
    if (this.k.sched.points) yield P_DRIVER;
    yield* this.flushPasid(state);
  }

  /** Points a bound PASID at the empty table. */
  *parkTable(state: PasidState): AtomicPath<void> {
    this.note(PART_PASID, state.pasid, false);
    // One that is being torn down has no table any more, but its flush may still be under way.
    if (state.isInvalid) yield* this.flushPasid(state);
    else yield* this.setTable(state, this.emptyTable);
  }

  /** The mm's own table again; not when the state is not bound yet or torn down. */
  *restoreTable(state: PasidState): AtomicPath<void> {
    this.note(PART_PASID, state.pasid, false);
    if (!state.isInvalid) yield* this.setTable(state, state.mm.pgd);
  }

  /** spin_lock(&pasid_state->lock). */
  lockState(state: PasidState): AtomicPath<void> {
    return this.#stateLocks.lock(state.pasid);
  }

  unlockState(state: PasidState): void {
    this.#stateLocks.unlock(state.pasid);
  }

  // --- binding

  /** amd_iommu_bind_pasid, intel_svm_bind_mm, __arm_smmu_sva_bind. Returns 0, or -EINVAL (PASID out of range, mm without users), -ENOMEM
   *  (PASID in use), or what the registration answers. May sleep; no mm lock held. */
  *bind(driver: IommuDriver, mm: MmStruct, pasid: number): KernelPath<number> {
    if (pasid < 1 || pasid >= this.iommu.config.pasids || mm.users <= 0) return -EINVAL;
    this.note(PART_PASID, pasid, true);
    if (this.states.has(pasid)) return -ENOMEM;
    mm.users++;
    const state = new PasidState(pasid, mm);
    this.states.set(pasid, state);
    this.iommu.mmOf[pasid] = mm.id;
    const result = yield* driver.subscribe(state);
    if (result < 0) {
      this.note(PART_PASID, pasid, true);
      this.states.delete(pasid);
    } else {
      yield* this.lockState(state);
      this.noteBind(state, 1, 0);
      if (state.sections === 0) yield* this.setTable(state, mm.pgd);
      // Now page requests are served.
      this.note(PART_PASID, pasid, true);
      state.isInvalid = false;
      this.unlockState(state);
    }
    yield* this.k.fn.mmPut(this.k, mm);
    return result;
  }

  /** amd_iommu_unbind_pasid, by the driver's user: tears down, then unregisters. */
  *unbind(driver: IommuDriver, pasid: number): KernelPath<void> {
    const state = this.states.get(pasid);
    if (state === undefined) return;
    yield* this.tearDown(state);
    yield* driver.unsubscribe(state);
    this.note(PART_PASID, pasid, true);
    this.states.delete(pasid);
  }

  /** The address space goes: nothing of it may be used or loaded once this returns. What drivers do in `release`. */
  release(state: PasidState): KernelPath<void> {
    return this.tearDown(state);
  }

  /** unbind_pasid, also from release: no page request is served any more, the table entry is cleared and flushed, those in
   *  flight are waited for. Idempotent: exit and unbind may both come here. */
  *tearDown(state: PasidState): KernelPath<void> {
    yield* this.clearTable(state);
    yield* this.k.sched.waitUntil(() => this.#isIdle(state), state.queue, 'page requests in flight');
  }

  /** The same for a release that may not sleep (2.6.27): spins for the page requests in flight. */
  *tearDownAtomic(state: PasidState): AtomicPath<void> {
    yield* this.clearTable(state);
    yield* this.k.sched.spinUntil(() => this.#isIdle(state), state.queue, 'page requests in flight');
  }

  /** No page request of the PASID is being handled. */
  #isIdle(state: PasidState): boolean {
    this.note(PART_FAULTS, state.pasid, false);
    return state.faultsInFlight === 0;
  }

  /** Marks the state invalid, clears its PASID table entry, flushes. */
  *clearTable(state: PasidState): AtomicPath<void> {
    const wasBound = !state.isInvalid;
    this.note(PART_PASID, state.pasid, true);
    state.isInvalid = true;
    yield* this.setTable(state, 0);
    state.isCleared = true;
    if (wasBound) this.noteBind(state, 0, 0);
  }

  /** E_BIND. */
  noteBind(state: PasidState, isBound: number, c: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_BIND, state.mm.id, 0, 0, 0, 0, isBound, state.pasid, c, 0);
  }
}
