// AMD's side of page requests on the host: an interrupt thread that empties the page request log, and workers that fault pages in.
// Linux: drivers/iommu/amd/iommu_v2.c (ppr_notifier, do_fault, finish_pri_tag, handle_fault_error). What other makers use: iopf-queue.ts.
//
//   interrupt thread                                 worker
//     entry of the log; PASID unknown or torn down:    mmapLock read
//       PRG_INVALID at once                            VMA there, access allowed? else PRG_INVALID
//     counts it in its group, queues work              handle_mm_fault, again while it says RETRY
//                                                      last of the group done, and Last seen: one PRG response
//
// A log that overflowed is empty before it is restarted, as what it holds is taken first. An answer of the group is what its last
// writer stored. A page that is already accessible is answered Success: the device translates again.

import { PRG_INVALID, PRG_SUCCESS } from '../abi/events.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DRIVER } from '../sched/points.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import { faultIn } from './fault-in.ts';
import { Fifo } from './fifo.ts';
import type { Iommu } from './iommu.ts';
import type { PprEntry } from './messages.ts';
import { noteDevice, OWNER_KERNEL, PART_FAULTS, PART_GROUP, PART_PASID, PART_WORKS } from './objects.ts';
import type { PasidState } from './sva-iommu.ts';

/** pri_queue entry: one group of page requests. */
class Group {
  inflight = 0;
  /** The request with Last has been seen. */
  finish = false;
  status = PRG_SUCCESS;
}

interface Work {
  readonly entry: PprEntry;
  readonly state: PasidState;
  readonly group: Group;
}

export class PageRequestHandler {
  readonly k: Kernel;
  readonly iommu: Iommu;
  readonly states: ReadonlyMap<number, PasidState>;
  /** Requests handled, and those that could not be served. */
  handled = 0;
  refused = 0;
  readonly #groups = new Map<number, Group>();
  readonly #works: Fifo<Work>;
  readonly #workQueue = new WaitQueue();

  constructor(k: Kernel, iommu: Iommu, states: ReadonlyMap<number, PasidState>) {
    this.k = k;
    this.iommu = iommu;
    this.states = states;
    this.#works = new Fifo(k.memory, OWNER_KERNEL, PART_WORKS);
  }

  /** Starts the interrupt thread and the workers (iommu_wq). */
  start(workers = 2): void {
    this.k.sched.spawn('PPR interrupt', 'kernel', this.#interruptThread(), true);
    for (let i = 0; i < workers; i++)
      this.k.sched.spawn(`PPR worker ${i}`, 'kernel', this.#worker(workers === 1), true);
  }

  *#interruptThread(): KernelPath<void> {
    const { iommu } = this;
    const { sched } = this.k;
    for (;;) {
      yield* sched.waitSteady(() => iommu.pprLog.length > 0 || iommu.isPprOverflow, iommu.pprQueue, 'page request');
      if (sched.points) yield P_DRIVER;
      if (iommu.pprLog.length > 0) this.#take(iommu.pprLog.shift());
      else iommu.restartPprLog();
    }
  }

  #note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) noteDevice(footprint, OWNER_KERNEL, part, index, isWrite);
  }

  /** State in numbers, for those who compare machines. */
  state(): number[] {
    const groups = [...this.#groups].sort((a, b) => a[0] - b[0]);
    const works = this.#works.items.flatMap((w) => [w.entry.device, w.entry.prg, w.entry.address]);
    const states = [...this.states.values()].flatMap((s) => [
      s.pasid,
      s.isInvalid ? 1 : 0,
      s.faultsInFlight,
      s.sections,
    ]);
    return [
      ...groups.flatMap(([key, g]) => [key, g.inflight, g.finish ? 1 : 0, g.status]),
      -1,
      ...works,
      -1,
      ...states,
    ];
  }

  /** ppr_notifier. */
  #take(entry: PprEntry): void {
    if (entry.isStop) return;
    this.#note(PART_PASID, entry.pasid, false);
    this.#note(PART_GROUP, keyOf(entry), true);
    const state = this.states.get(entry.pasid);
    if (state === undefined || state.isInvalid) {
      // A group is answered once; Linux answers each of its requests and relies on the device to ignore the surplus.
      this.refused++;
      const group = this.#groups.get(keyOf(entry));
      if (group !== undefined && group.inflight > 0) {
        group.status = PRG_INVALID;
        group.finish = group.finish || entry.isLast;
      } else if (entry.isLast) {
        this.#groups.delete(keyOf(entry));
        this.iommu.completePpr(entry.device, entry.pasid, entry.prg, PRG_INVALID);
      }
      return;
    }
    const group = this.#groups.get(keyOf(entry)) ?? new Group();
    this.#groups.set(keyOf(entry), group);
    group.inflight++;
    if (entry.isLast) group.finish = true;
    this.#note(PART_FAULTS, state.pasid, true);
    state.faultsInFlight++;
    this.#works.push({ entry, state, group });
    this.#workQueue.wakeAll(this.k.sched);
  }

  *#worker(isOnlyOne: boolean): KernelPath<void> {
    const { sched } = this.k;
    const hasWork = (): boolean => (isOnlyOne ? this.#works.length > 0 : this.#works.hasItems());
    for (;;) {
      if (isOnlyOne) yield* sched.waitSteady(hasWork, this.#workQueue, 'page request work');
      else yield* sched.waitUntil(hasWork, this.#workQueue, 'page request work');
      const work = this.#works.shift();
      if (sched.points) yield P_DRIVER;
      yield* this.doFault(work.state, work.entry, work.group);
      this.#finish(work);
    }
  }

  /** do_fault. */
  *doFault(state: PasidState, entry: PprEntry, group: { status: number }): KernelPath<void> {
    const status = yield* faultIn(this.k, state.mm, entry);
    if (status === PRG_SUCCESS) {
      this.handled++;
      return;
    }
    group.status = status;
    this.refused++;
  }

  /** finish_pri_tag, put_pasid_state. */
  #finish(work: Work): void {
    const { entry, state, group } = work;
    this.#note(PART_GROUP, keyOf(entry), true);
    this.#note(PART_FAULTS, state.pasid, true);
    group.inflight--;
    if (group.inflight === 0 && group.finish) {
      this.#groups.delete(keyOf(entry));
      this.iommu.completePpr(entry.device, entry.pasid, entry.prg, group.status);
    }
    state.faultsInFlight--;
    if (state.faultsInFlight === 0) state.queue.wakeAll(this.k.sched);
  }
}

function keyOf(entry: PprEntry): number {
  return entry.device * 512 + entry.prg;
}
