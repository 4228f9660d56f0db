// The host's side of page requests for Intel and ARM: an interrupt thread that empties the request queue and gathers groups, and
// workers that serve a group as one. Linux: drivers/iommu/io-pgfault.c (iommu_queue_iopf, iopf_handle_group, iopf_queue_flush_dev,
// iopf_queue_discard_partial), drivers/iommu/intel/svm.c (prq_event_thread).
//
//   interrupt thread                                  worker
//     Stop Marker: nothing                              address space of the PASID; none, or no users left: PRG_INVALID
//     not Last: kept with its device (partial)          each request in turn, until one fails: the rest is skipped
//     Last: with the partials of its index a group      one PRG response for the group
//     queue empty and overflow set: partials are
//     dropped (the hardware has answered), overflow
//     cleared
//
// flush waits until every group taken so far has been answered; drain first waits until the queue has nothing of the PASID.

import { PRG_INVALID, PRG_SUCCESS } from '../abi/events.ts';
import { OBJ_MM } from '../base/footprint.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DRIVER } from '../sched/points.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import { faultIn } from './fault-in.ts';
import { Fifo } from './fifo.ts';
import type { Iommu } from './iommu.ts';
import type { PprEntry } from './messages.ts';
import { noteDevice, OWNER_KERNEL, PART_FAULTS, PART_GROUP, PART_PASID, PART_PRQ_HEAD, PART_WORKS } from './objects.ts';
import type { PasidState } from './sva-iommu.ts';

/** Requests of one PRG index, the last one at the end. */
type Group = readonly PprEntry[];

export class IopfQueue {
  readonly k: Kernel;
  readonly iommu: Iommu;
  readonly states: ReadonlyMap<number, PasidState>;
  /** Requests handled, and groups refused. */
  handled = 0;
  refused = 0;
  /** Requests dropped because the last of their group was lost. */
  discarded = 0;
  /** Requests whose group is not complete. */
  partial: PprEntry[] = [];
  readonly #works: Fifo<Group>;
  readonly #workQueue = new WaitQueue();
  /** Groups taken and not answered; who waits for them. */
  #pending = 0;
  readonly #flushQueue = new WaitQueue();
  /** prq_complete: the interrupt thread has taken something. */
  readonly #takenQueue = new WaitQueue();

  constructor(k: Kernel, iommu: Iommu, states: ReadonlyMap<number, PasidState>) {
    this.k = k;
    this.iommu = iommu;
    this.states = states;
    this.#works = new Fifo(k.memory, OWNER_KERNEL, PART_WORKS);
  }

  /** Starts the interrupt thread and the workers. */
  start(workers: number): void {
    this.k.sched.spawn('PRQ interrupt', 'kernel', this.#interruptThread(), true);
    for (let i = 0; i < workers; i++)
      this.k.sched.spawn(`IOPF worker ${i}`, 'kernel', this.#worker(workers === 1), true);
  }

  /** State in numbers, for those who compare machines. */
  state(): number[] {
    const words = (e: PprEntry): number[] => [e.device, e.pasid, e.prg, e.address, e.isLast ? 1 : 0];
    const states = [...this.states.values()].flatMap((s) => [s.pasid, s.isInvalid ? 1 : 0, s.sections]);
    return [
      ...this.partial.flatMap(words),
      -1,
      ...this.#works.items.flat().flatMap(words),
      -1,
      this.#pending,
      ...states,
    ];
  }

  #note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) noteDevice(footprint, OWNER_KERNEL, part, index, isWrite);
  }

  *#interruptThread(): KernelPath<void> {
    const { iommu } = this;
    const { sched } = this.k;
    for (;;) {
      yield* sched.waitSteady(() => iommu.pprLog.length > 0 || iommu.isPprOverflow, iommu.pprQueue, 'page request');
      if (sched.points) yield P_DRIVER;
      this.#note(PART_PRQ_HEAD, 0, true);
      if (iommu.pprLog.length > 0) this.report(iommu.pprLog.shift());
      else this.clearOverflow();
      this.#takenQueue.wakeAll(sched);
    }
  }

  /** iommu_report_device_fault, iommu_queue_iopf. */
  report(entry: PprEntry): void {
    if (entry.isStop) return;
    this.#note(PART_GROUP, entry.device, true);
    if (!entry.isLast) {
      this.partial.push(entry);
      return;
    }
    const belongs = (e: PprEntry): boolean => e.device === entry.device && e.prg === entry.prg;
    const group = [...this.partial.filter(belongs), entry];
    this.partial = this.partial.filter((e) => !belongs(e));
    this.#note(PART_FAULTS, 0, true);
    this.#pending++;
    this.#works.push(group);
    this.#workQueue.wakeAll(this.k.sched);
  }

  /** The queue is empty after an overflow: nobody will send the rest of the groups that are not complete. */
  clearOverflow(): void {
    this.discardPartial();
    this.iommu.restartPprLog();
  }

  /** iopf_queue_discard_partial. */
  discardPartial(): void {
    for (const e of this.partial) {
      this.#note(PART_GROUP, e.device, true);
      this.iommu.noteLost(e);
    }
    this.discarded += this.partial.length;
    this.partial = [];
  }

  *#worker(isOnlyOne: boolean): KernelPath<void> {
    const { sched } = this.k;
    const hasWork = (): boolean => (isOnlyOne ? this.#works.length > 0 : this.#works.hasItems());
    for (;;) {
      if (isOnlyOne) yield* sched.waitSteady(hasWork, this.#workQueue, 'page request work');
      else yield* sched.waitUntil(hasWork, this.#workQueue, 'page request work');
      const group = this.#works.shift();
      if (sched.points) yield P_DRIVER;
      yield* this.handleGroup(group);
      this.#note(PART_FAULTS, 0, true);
      this.#pending--;
      this.#flushQueue.wakeAll(sched);
    }
  }

  /** iopf_handle_group: the first error is the answer, and skips the rest. */
  *handleGroup(group: Group): KernelPath<void> {
    const last = group.at(-1)!;
    let status = PRG_SUCCESS;
    for (const entry of group) {
      status = yield* this.handle(entry);
      if (status !== PRG_SUCCESS) break;
    }
    this.respond(last, status);
  }

  /** One request: iommu_sva_handle_iopf. PRG_*. */
  *handle(entry: PprEntry): KernelPath<number> {
    const { k } = this;
    this.#note(PART_PASID, entry.pasid, false);
    const state = this.states.get(entry.pasid);
    const mm = state?.mm;
    if (mm !== undefined && k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
    if (mm === undefined || state!.isInvalid || mm.users <= 0) {
      this.refused++;
      return PRG_INVALID;
    }
    mm.users++;
    const status = yield* faultIn(k, mm, entry);
    if (status === PRG_SUCCESS) this.handled++;
    else this.refused++;
    yield* k.fn.mmPut(k, mm);
    return status;
  }

  /** Page group response descriptor, CMD_PRI_RESP. */
  respond(entry: PprEntry, status: number): void {
    this.iommu.completePpr(entry.device, entry.pasid, entry.prg, status);
  }

  // --- before a PASID is given back

  /** iopf_queue_flush_dev: every group taken so far is answered. */
  *flush(): KernelPath<void> {
    const isIdle = (): boolean => {
      this.#note(PART_FAULTS, 0, false);
      return this.#pending === 0;
    };
    yield* this.k.sched.waitUntil(isIdle, this.#flushQueue, 'page request work');
  }

  /** intel_svm_drain_prq, its first half: nothing of the PASID is in the queue, and what was is answered. */
  *drain(pasid: number): KernelPath<void> {
    const isTaken = (): boolean => {
      this.#note(PART_PRQ_HEAD, 0, false);
      return !this.iommu.pprLog.some((e) => e.pasid === pasid);
    };
    yield* this.k.sched.waitUntil(isTaken, this.#takenQueue, 'page requests of the PASID');
    yield* this.flush();
  }

  /** Until the overflow, if there is one, has been dealt with. */
  *overflowCleared(): KernelPath<void> {
    const isClear = (): boolean => {
      this.#note(PART_PRQ_HEAD, 0, false);
      return !this.iommu.isPprOverflow;
    };
    yield* this.k.sched.waitUntil(isClear, this.#takenQueue, 'the overflow to be cleared');
  }
}
