// The command buffer of an AMD IOMMU, the invalidation queue of an Intel one, the command queue of an ARM SMMU: commands are fetched in
// order and executed side by side, so that a later one may finish first. COMPLETION_WAIT alone (the wait descriptor, CMD_SYNC) orders:
// it is not passed by the fetch before all earlier commands are complete, and then stores its number, for which the kernel spins.
//
// Executors take any of the commands that were fetched. INVALIDATE_IOTLB_PAGES (the device TLB descriptor, CMD_ATC_INV) is complete when
// the device says so.

import {
  AGENT_IOTLB,
  E_MSG,
  MSG_CMD_COMPLETION_WAIT,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_CMD_INVALIDATE_IOTLB_PAGES,
  MSG_COMPLETION_WAIT_DONE,
  MSG_QI_DEVICE_TLB,
  MSG_QI_PIOTLB,
  MSG_QI_WAIT,
  MSG_SMMU_ATC_INV,
  MSG_SMMU_SYNC,
  MSG_SMMU_TLBI,
} from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_IOMMU_COMMAND } from '../sched/points.ts';
import { CHOOSE_DELAY, type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import { Fifo } from './fifo.ts';
import type { Iommu } from './iommu.ts';
import { IOMMU_ID } from './messages.ts';
import { noteDevice, PART_COMMAND_DONE, PART_COMMANDS, PART_EXECUTING, PART_SEMAPHORE } from './objects.ts';

/** Whose commands they are: how they are called in the record. */
export type Maker = 'amd' | 'intel' | 'arm';

interface Names {
  readonly tlb: number;
  readonly deviceTlb: number;
  readonly wait: number;
}

const NAMES: Readonly<Record<Maker, Names>> = {
  amd: {
    tlb: MSG_CMD_INVALIDATE_IOMMU_PAGES,
    deviceTlb: MSG_CMD_INVALIDATE_IOTLB_PAGES,
    wait: MSG_CMD_COMPLETION_WAIT,
  },
  intel: { tlb: MSG_QI_PIOTLB, deviceTlb: MSG_QI_DEVICE_TLB, wait: MSG_QI_WAIT },
  arm: { tlb: MSG_SMMU_TLBI, deviceTlb: MSG_SMMU_ATC_INV, wait: MSG_SMMU_SYNC },
};

const CMD_INVALIDATE_PAGES = 1;
const CMD_INVALIDATE_IOTLB = 2;
const CMD_COMPLETE_PPR = 3;
const CMD_COMPLETION_WAIT = 4;

export interface Command {
  readonly op: number;
  readonly pasid: number;
  readonly start: number;
  readonly end: number;
  /** INVALIDATE_IOMMU_PAGES: drop walk-cache entries too (the PDE bit). */
  readonly pde: boolean;
  readonly device: number;
  /** Number that COMPLETION_WAIT stores, or PRG index. */
  readonly tag: number;
  readonly status: number;
}

/** A command in execution, by its place in the order of fetching. */
interface Executing {
  readonly number: number;
  readonly command: Command;
}

export class CommandBuffer {
  readonly #iommu: Iommu;
  readonly #sched: Scheduler;
  readonly #names: Names;
  readonly #commands: Fifo<Command>;
  readonly #commandQueue = new WaitQueue();
  readonly #executing: Executing[] = [];
  readonly #executorQueue = new WaitQueue();
  /** Commands fetched so far, and how many of them the last COMPLETION_WAIT covered. */
  #fetched = 0;
  #waitedFor = 0;
  /** Numbers of the commands fetched and not complete. */
  readonly #outstanding: number[] = [];
  readonly #drainQueue = new WaitQueue();
  readonly #itagQueue = new WaitQueue();
  /** Commands that devices have not completed, by device << 8 | ITag. */
  readonly #sent = new Map<number, number>();
  /** Number that the last COMPLETION_WAIT stored, and who spins for it. */
  #semaphore = 0;
  readonly #semaphoreQueue = new WaitQueue();

  constructor(iommu: Iommu) {
    this.#iommu = iommu;
    this.#sched = iommu.sched;
    this.#names = NAMES[iommu.config.maker];
    this.#commands = new Fifo(iommu.memory, IOMMU_ID, PART_COMMANDS);
  }

  start(executors: number): void {
    this.#sched.spawn('IOMMU commands', 'iommu', this.#fetch(), true);
    for (let i = 0; i < executors; i++) {
      this.#sched.spawn(`IOMMU executor ${i}`, 'iommu', this.#executor(executors === 1), true);
    }
  }

  #note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.#iommu.memory;
    if (footprint !== null) noteDevice(footprint, IOMMU_ID, part, index, isWrite);
  }

  /** State in numbers, for those who compare machines. */
  state(): number[] {
    const inside = [...this.#commands.items, ...this.#executing.map((e) => e.command)];
    const commands = inside.flatMap((c) => [c.op, c.pasid, c.start, c.end, c.pde ? 1 : 0, c.device, c.tag, c.status]);
    return [...commands, -1, ...this.#outstanding.toSorted((a, b) => a - b), this.#semaphore];
  }

  // --- what the kernel puts in (iommu.ts has the doc comments)

  invalidatePages(pasid: number, start: number, end: number, pde: boolean): void {
    this.#message(this.#names.tlb, pasid, start, end, IOMMU_ID, 0);
    this.#submit(CMD_INVALIDATE_PAGES, pasid, start, end, pde, IOMMU_ID, 0, 0);
  }

  invalidateIotlb(device: number, pasid: number, start: number, end: number): void {
    this.#message(this.#names.deviceTlb, pasid, start, end, device, 0);
    this.#submit(CMD_INVALIDATE_IOTLB, pasid, start, end, false, device, 0, 0);
  }

  completePpr(device: number, pasid: number, prg: number, status: number): void {
    this.#submit(CMD_COMPLETE_PPR, pasid, 0, 0, false, device, prg, status);
  }

  /** COMPLETION_WAIT: stores `sequence` when every command before it is complete. */
  completionWait(sequence: number): void {
    this.#message(this.#names.wait, 0, 0, 0, IOMMU_ID, sequence);
    this.#submit(CMD_COMPLETION_WAIT, 0, 0, 0, false, IOMMU_ID, sequence, 0);
  }

  /** Spins until the COMPLETION_WAIT of that number has stored it. */
  *waitFor(sequence: number): AtomicPath<void> {
    yield* this.#sched.spinSteady(() => this.#semaphore >= sequence, this.#semaphoreQueue, 'COMPLETION_WAIT');
    this.#note(PART_SEMAPHORE, sequence, false);
  }

  #submit(
    op: number,
    pasid: number,
    start: number,
    end: number,
    pde: boolean,
    device: number,
    tag: number,
    status: number,
  ): void {
    this.#commands.push({ op, pasid, start, end, pde, device, tag, status });
    this.#commandQueue.wakeAll(this.#sched);
  }

  // --- the hardware's side

  *#fetch(): KernelPath<void> {
    const sched = this.#sched;
    for (;;) {
      yield* sched.waitSteady(() => this.#commands.length > 0, this.#commandQueue, 'command');
      if (sched.points) yield P_IOMMU_COMMAND;
      const command = this.#commands.shift();
      if (command.op === CMD_COMPLETION_WAIT) yield* this.#drain(command);
      else this.#execute(command);
    }
  }

  #execute(command: Command): void {
    this.#note(PART_EXECUTING, 0, true);
    const number = this.#fetched++;
    this.#note(PART_COMMAND_DONE, number, true);
    this.#outstanding.push(number);
    this.#executing.push({ number, command });
    this.#executorQueue.wakeAll(this.#sched);
  }

  *#drain(wait: Command): KernelPath<void> {
    yield* this.#sched.waitSteady(() => this.#outstanding.length === 0, this.#drainQueue, 'earlier commands');
    while (this.#waitedFor < this.#fetched) this.#note(PART_COMMAND_DONE, this.#waitedFor++, false);
    this.#note(PART_SEMAPHORE, wait.tag, true);
    this.#semaphore = wait.tag;
    this.#message(MSG_COMPLETION_WAIT_DONE, 0, 0, 0, IOMMU_ID, wait.tag);
    this.#semaphoreQueue.wakeAll(this.#sched);
  }

  *#executor(isOnlyOne: boolean): KernelPath<void> {
    const sched = this.#sched;
    const hasWork = (): boolean => {
      if (!isOnlyOne) this.#note(PART_EXECUTING, 0, false);
      return this.#executing.length > 0;
    };
    for (;;) {
      if (isOnlyOne) yield* sched.waitSteady(hasWork, this.#executorQueue, 'command');
      else yield* sched.waitUntil(hasWork, this.#executorQueue, 'command');
      if (sched.points) yield P_IOMMU_COMMAND;
      this.#note(PART_EXECUTING, 0, true);
      if (this.#executing.length === 0) continue;
      const i = sched.points ? sched.choose(this.#executing.length, CHOOSE_DELAY) : 0;
      const { number, command } = this.#executing.splice(i, 1)[0]!;
      if (command.op === CMD_INVALIDATE_IOTLB) {
        yield* this.#sendInvalidate(command, number);
        continue;
      }
      if (command.op === CMD_INVALIDATE_PAGES) this.#iommu.invalidate(command);
      else this.#iommu.respond(command.device, command.pasid, command.tag, command.status);
      this.#complete(number);
    }
  }

  #complete(number: number): void {
    this.#note(PART_COMMAND_DONE, number, true);
    this.#outstanding.splice(this.#outstanding.indexOf(number), 1);
    if (this.#outstanding.length === 0) this.#drainQueue.wakeAll(this.#sched);
  }

  *#sendInvalidate(c: Command, number: number): KernelPath<void> {
    const endpoint = this.#iommu.endpoints.get(c.device);
    assert(endpoint !== undefined, 'INVALIDATE_IOTLB_PAGES: the device exists');
    let itag = endpoint.takeItag();
    while (itag < 0) {
      yield* this.#sched.waitUntil(() => (itag = endpoint.takeItag()) >= 0, this.#itagQueue, 'a free ITag');
    }
    this.#sent.set(c.device * 256 + itag, number);
    endpoint.receiveInvalidate(c.pasid, c.start, c.end, itag);
  }

  /** A device's Invalidate Completion arrives. */
  receiveInvalidateCompletion(device: number, itag: number): void {
    this.#itagQueue.wakeAll(this.#sched);
    const number = this.#sent.get(device * 256 + itag);
    assert(number !== undefined, 'Invalidate Completion: of a command');
    this.#sent.delete(device * 256 + itag);
    this.#complete(number);
  }

  #message(a: number, pasid: number, start: number, end: number, device: number, tag: number): void {
    const { log } = this.#iommu.memory;
    if (log.on) log.emit(E_MSG, this.#iommu.mmOf[pasid]!, start, end, 0, 0, a, tag, AGENT_IOTLB, device);
  }
}
