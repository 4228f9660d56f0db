// PCIe Page Request Interface of one device: asks the host to make pages accessible. PCI Express Base Specification,
// chapter 10 (ATS), Page Request Services.
//
//   A group has one PRG index (9 bits) and one or more requests; the last one carries Last. The host answers a group once:
//   PRG_SUCCESS   translate again (it does not say that the page is there)
//   PRG_INVALID   at least one page cannot be served: give those accesses up
//   PRG_FAILURE   the interface is dead until software resets it; nothing outstanding will be answered
//
//   A request takes a credit (Outstanding Page Request Allocation) until its group is answered. An index is not used again
//   before its answer.

import { AGENT_ATC, E_MSG, MSG_PAGE_REQUEST, PRG_FAILURE } from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_MESSAGE } from '../sched/points.ts';
import { type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import type { Iommu } from './iommu.ts';

/** PRG indices: 9 bits. */
export const PRG_INDICES = 512;
/** Flags of a request in its event. */
export const PAGE_REQUEST_WRITE = 1;
export const PAGE_REQUEST_LAST = 2;

const NO_ANSWER = -1;

export class PageRequests {
  readonly #iommu: Iommu;
  readonly #sched: Scheduler;
  readonly #device: number;
  readonly creditsMax: number;
  credits: number;
  /** Answer of each outstanding group, NO_ANSWER until it comes; undefined when the index is free. */
  readonly #groups = new Map<number, number>();
  #nextIndex = 0;
  readonly #queue = new WaitQueue();
  isDead = false;
  requests = 0;
  groups = 0;
  answersInvalid = 0;

  constructor(iommu: Iommu, device: number, credits: number) {
    this.#iommu = iommu;
    this.#sched = iommu.sched;
    this.#device = device;
    this.creditsMax = credits;
    this.credits = credits;
  }

  get outstandingGroups(): number {
    return this.#groups.size;
  }

  /** Asks for the `count` pages from `va` as one group and waits for the answer: PRG_*. `count` is at most the credits. */
  *request(pasid: number, va: number, count: number, isWrite: boolean): KernelPath<number> {
    assert(count >= 1 && count <= this.creditsMax, 'page request: a group fits in the credits');
    // All credits of a group at once: two half-sent groups would wait for each other for ever.
    yield* this.#sched.waitUntil(() => this.isDead || this.#canBegin(count), this.#queue, 'page request credits');
    if (this.isDead) return PRG_FAILURE;
    this.credits -= count;
    const prg = this.#takeIndex();
    for (let i = 0; i < count; i++) {
      if (this.#sched.points) yield P_DEV_MESSAGE;
      this.#send(pasid, va + i * 4096, isWrite, prg, i === count - 1);
    }
    yield* this.#sched.waitUntil(() => this.isDead || this.#groups.get(prg) !== NO_ANSWER, this.#queue, 'PRG response');
    const status = this.isDead ? PRG_FAILURE : this.#groups.get(prg)!;
    this.#groups.delete(prg);
    this.credits += count;
    this.#queue.wakeAll(this.#sched);
    return status;
  }

  #canBegin(count: number): boolean {
    return this.credits >= count && this.#groups.size < PRG_INDICES;
  }

  #takeIndex(): number {
    while (this.#groups.has(this.#nextIndex)) this.#nextIndex = (this.#nextIndex + 1) % PRG_INDICES;
    const prg = this.#nextIndex;
    this.#nextIndex = (prg + 1) % PRG_INDICES;
    this.#groups.set(prg, NO_ANSWER);
    this.groups++;
    return prg;
  }

  #send(pasid: number, va: number, isWrite: boolean, prg: number, isLast: boolean): void {
    this.requests++;
    const { log } = this.#iommu.memory;
    const flags = (isWrite ? PAGE_REQUEST_WRITE : 0) | (isLast ? PAGE_REQUEST_LAST : 0);
    const mm = this.#iommu.mmOf[pasid]!;
    if (log.on) log.emit(E_MSG, mm, va, va + 4096, flags, 0, MSG_PAGE_REQUEST, prg, AGENT_ATC, this.#device);
    this.#iommu.receivePageRequest({ device: this.#device, pasid, address: va, isWrite, prg, isLast });
  }

  /** A PRG Response arrives. One for a group that is not outstanding is a protocol error of the host, and ignored. */
  receive(prg: number, status: number): void {
    if (this.isDead) return;
    if (status === PRG_FAILURE) this.isDead = true;
    else if (this.#groups.get(prg) === NO_ANSWER) {
      this.#groups.set(prg, status);
      if (status !== 0) this.answersInvalid++;
    }
    this.#queue.wakeAll(this.#sched);
  }

  /** Software reset of the interface. */
  reset(): void {
    this.isDead = false;
    this.credits = this.creditsMax;
    this.#groups.clear();
  }
}
