// PCIe Page Request Interface of one device: asks the host to make pages accessible. PCI Express Base Specification,
// chapter 10 (ATS), Page Request Services.
//
//   A group has one PRG index (9 bits) and one or more requests; the last one carries Last. The host answers a group once:
//   PRG_SUCCESS   translate again (it does not say that the page is there)
//   PRG_INVALID   at least one page cannot be served: give those accesses up
//   PRG_FAILURE   the interface is dead until software resets it; nothing outstanding will be answered
//
//   A request takes a credit (Outstanding Page Request Allocation) until its group is answered. An index is not used again
//   before its answer. A Stop Marker is the last message for a PASID; it takes no credit and has no answer.

import {
  AGENT_ATC,
  E_MSG,
  MSG_PAGE_REQUEST,
  PAGE_REQUEST_EXEC,
  PAGE_REQUEST_LAST,
  PAGE_REQUEST_STOP,
  PAGE_REQUEST_WRITE,
  PRG_FAILURE,
  PRG_INVALID,
  PRG_SUCCESS,
} from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE } from '../hw/walker.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_MESSAGE } from '../sched/points.ts';
import { type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import type { Iommu } from './iommu.ts';
import { noteDevice, PART_PRI } from './objects.ts';

/** PRG indices: 9 bits. */
export const PRG_INDICES = 512;

const NO_ANSWER = -1;

/** An outstanding group. */
class Group {
  readonly pasid: number;
  /** ACCESS_*. */
  readonly access: number;
  readonly va: number;
  readonly pages: number;
  answer = NO_ANSWER;

  constructor(pasid: number, access: number, va: number, pages: number) {
    this.pasid = pasid;
    this.access = access;
    this.va = va;
    this.pages = pages;
  }

  asksFor(pasid: number, page: number, access: number): boolean {
    const covers = this.access === access || (this.access === ACCESS_WRITE && access === ACCESS_READ);
    return this.pasid === pasid && covers && page >= this.va && page < this.va + this.pages * 4096;
  }
}

export class PageRequests {
  readonly #iommu: Iommu;
  readonly #sched: Scheduler;
  readonly #device: number;
  readonly creditsMax: number;
  credits: number;
  /** Outstanding groups by PRG index. */
  readonly #groups = new Map<number, Group>();
  #nextIndex = 0;
  readonly #queue = new WaitQueue();
  /** PASIDs for which nothing more is sent, and groups half sent. */
  readonly #stopped = new Set<number>();
  #sending = 0;
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

  /** The interface is one object. */
  #touch(): void {
    const { footprint } = this.#iommu.memory;
    if (footprint !== null) noteDevice(footprint, this.#device, PART_PRI, 0, true);
  }

  /** State in numbers, for those who compare machines. */
  state(): number[] {
    const groups = [...this.#groups].sort((a, b) => a[0] - b[0]);
    return [
      this.credits,
      this.#sending,
      ...this.#stopped,
      -1,
      this.#nextIndex,
      this.isDead ? 1 : 0,
      ...groups.flatMap(([prg, g]) => [prg, g.va, g.pages]),
    ];
  }

  get outstandingGroups(): number {
    return this.#groups.size;
  }

  /** Asks for up to `count` pages from `va` as one group and waits for the answer: PRG_*. `count` is at most the credits. A
   *  page that another engine has asked for already is not asked for again: both get that answer. */
  *request(pasid: number, va: number, count: number, access: number): KernelPath<number> {
    assert(count >= 1 && count <= this.creditsMax, 'page request: a group fits in the credits');
    // All credits of a group at once: two half-sent groups would wait for each other for ever.
    const isReady = (): boolean => {
      this.#touch();
      if (this.isDead || this.#stopped.has(pasid) || this.#find(pasid, va, access) !== null) return true;
      return this.credits >= count && this.#groups.size < PRG_INDICES;
    };
    yield* this.#sched.waitUntil(isReady, this.#queue, 'page request credits');
    if (this.isDead) return PRG_FAILURE;
    if (this.#stopped.has(pasid) && this.#find(pasid, va, access) === null) return PRG_INVALID;
    const group = this.#find(pasid, va, access) ?? (yield* this.#sendGroup(pasid, va, count, access));
    const isAnswered = (): boolean => this.isDead || group.answer !== NO_ANSWER;
    yield* this.#sched.waitSteady(isAnswered, this.#queue, 'PRG response');
    this.#touch();
    return group.answer === NO_ANSWER ? PRG_FAILURE : group.answer;
  }

  #find(pasid: number, page: number, access: number): Group | null {
    for (const group of this.#groups.values()) if (group.asksFor(pasid, page, access)) return group;
    return null;
  }

  *#sendGroup(pasid: number, va: number, count: number, access: number): KernelPath<Group> {
    let pages = 1;
    while (pages < count && this.#find(pasid, va + pages * 4096, access) === null) pages++;
    const group = new Group(pasid, access, va, pages);
    while (this.#groups.has(this.#nextIndex)) this.#nextIndex = (this.#nextIndex + 1) % PRG_INDICES;
    const prg = this.#nextIndex;
    this.#nextIndex = (prg + 1) % PRG_INDICES;
    this.#groups.set(prg, group);
    this.groups++;
    this.credits -= pages;
    this.#sending++;
    for (let i = 0; i < pages; i++) {
      if (this.#sched.points) yield P_DEV_MESSAGE;
      this.#send(pasid, va + i * 4096, access, prg, i === pages - 1);
    }
    this.#touch();
    this.#sending--;
    if (this.#stopped.size > 0) this.#queue.wakeAll(this.#sched);
    return group;
  }

  #send(pasid: number, address: number, access: number, prg: number, isLast: boolean): void {
    this.requests++;
    const isWrite = access === ACCESS_WRITE;
    const isExec = access === ACCESS_EXEC;
    const flags =
      (isWrite ? PAGE_REQUEST_WRITE : 0) | (isExec ? PAGE_REQUEST_EXEC : 0) | (isLast ? PAGE_REQUEST_LAST : 0);
    this.#emit(pasid, address, address + 4096, flags, prg);
    this.#iommu.receivePageRequest({
      device: this.#device,
      pasid,
      address,
      isWrite,
      isExec,
      isStop: false,
      prg,
      isLast,
    });
  }

  isStopped(pasid: number): boolean {
    return this.#stopped.size > 0 && this.#stopped.has(pasid);
  }

  /** The device may ask for pages of the PASID (again). */
  start(pasid: number): void {
    this.#stopped.delete(pasid);
  }

  /** The device asks for nothing of the PASID any more, and says so when the group that it is sending is complete. */
  *stop(pasid: number): KernelPath<void> {
    this.#touch();
    this.#stopped.add(pasid);
    this.#queue.wakeAll(this.#sched);
    const isSent = (): boolean => {
      this.#touch();
      return this.#sending === 0;
    };
    yield* this.#sched.waitUntil(isSent, this.#queue, 'the last page request');
    this.#emit(pasid, 0, 0, PAGE_REQUEST_LAST | PAGE_REQUEST_STOP, 0);
    this.#iommu.receivePageRequest({
      device: this.#device,
      pasid,
      address: 0,
      isWrite: false,
      isExec: false,
      isStop: true,
      prg: 0,
      isLast: true,
    });
  }

  #emit(pasid: number, start: number, end: number, flags: number, prg: number): void {
    const { log } = this.#iommu.memory;
    const mm = this.#iommu.mmOf[pasid]!;
    const credits = this.creditsMax;
    if (log.on) log.emit(E_MSG, mm, start, end, flags, credits, MSG_PAGE_REQUEST, prg, AGENT_ATC, this.#device);
  }

  /** A PRG Response arrives. One for a group that is not outstanding is a protocol error of the host, and ignored. */
  receive(prg: number, status: number): void {
    this.#touch();
    const group = this.#groups.get(prg);
    if (this.isDead) return;
    if (status === PRG_FAILURE) this.isDead = true;
    else if (group !== undefined) {
      group.answer = status;
      this.#groups.delete(prg);
      this.credits += group.pages;
      if (status !== PRG_SUCCESS) this.answersInvalid++;
    }
    this.#queue.wakeAll(this.#sched);
  }

  /** Software reset of the interface: whoever still waits for an answer has failed. */
  reset(): void {
    this.#touch();
    this.isDead = false;
    this.credits = this.creditsMax;
    for (const group of this.#groups.values()) group.answer = PRG_FAILURE;
    this.#groups.clear();
    this.#queue.wakeAll(this.#sched);
  }
}
