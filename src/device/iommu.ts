// An IOMMU after AMD's (AMD I/O Virtualization Technology specification): PASID table, TLB, page-walk cache, walkers, command
// buffer and peripheral page request log. Linux drives it from drivers/iommu/amd/iommu.c.
//
//   PASID table   GCR3: PASID -> root of a long-mode table, the very table that the CPUs walk. 0: not bound
//   walkers       serve Translation Requests: TLB, else walk cache and walk, one level a step, A and D set in the live entry. An
//                 entry whose rights do not suffice is not an answer: the walker walks again
//   commands      fetched in order, executed side by side: a later one may finish first. COMPLETION_WAIT alone orders: it stores
//                 its number when all before it are complete
//   PPR log       ring of page requests for the kernel; a request that finds it full is answered with PRG_FAILURE (what the
//                 hardware does then is not well documented; this is the worst that it may do)
//
// An invalidation ends what it overtakes, so that its completion means something:
//
//   walker                                  command
//     reads V -> F1
//                                             kernel clears V; INVALIDATE_IOMMU_PAGES(V): drops TLB, walk cache, marks the walk
//     stands before the fill (P_IOMMU_FILL)
//     sees the mark, walks again              COMPLETION_WAIT stored
//
// What has left for a device by then is not the IOMMU's any more: INVALIDATE_IOTLB_PAGES is sent after that wait.

import {
  AGENT_IOTLB,
  AGENT_PWC,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_MSG,
  E_PWC_FILL,
  E_WALK,
  MSG_CMD_COMPLETION_WAIT,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_CMD_INVALIDATE_IOTLB_PAGES,
  MSG_COMPLETION_WAIT_DONE,
  MSG_PRG_RESPONSE,
  MSG_TRANSLATION_COMPLETION,
  PRG_FAILURE,
} from '../abi/events.ts';
import { PTE_D, PTE_RW } from '../abi/pte.ts';
import { assert } from '../base/assert.ts';
import { OBJ_DRIVER } from '../base/footprint.ts';
import type { PhysMemory } from '../hw/phys.ts';
import { TLB_4K, TLB_SIZE_BYTES, Tlb, WalkCache } from '../hw/tlb.ts';
import { ACCESS_READ, ACCESS_WRITE, WALK_DENIED, WALK_DONE, WALK_MORE, WALK_NOT_PRESENT, Walk } from '../hw/walker.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_MESSAGE, P_IOMMU_COMMAND, P_IOMMU_FILL, P_IOMMU_WALK } from '../sched/points.ts';
import { CHOOSE_DELAY, type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import type { Endpoint, PprEntry, TranslationRequest } from './messages.ts';

/** Device id of the IOMMU in events. */
export const IOMMU_ID = 0;
/** The kernel's page-request handler in footprints, beside the IOMMU and the devices. */
export const HANDLER_ID = 0x10000;
const RW_D = PTE_RW | PTE_D;
/** Bytes that one entry of the walk cache stands for. */
const PWC_SPAN = 0x200000;

export interface IommuConfig {
  /** PASIDs are 1 to pasids - 1. */
  readonly pasids: number;
  /** IOMMU TLB: 64 sets of 8 ways, of the order of what is measured on real ones. */
  readonly tlbSets: number;
  readonly tlbWays: number;
  /** Slots of the page-walk cache (a power of two). */
  readonly walkCacheSlots: number;
  /** Walks at a time. */
  readonly walkers: number;
  /** Commands that execute side by side. */
  readonly executors: number;
  /** Entries of the page request log: 512 of 16 bytes, as Linux allocates it (PPR_LOG_SIZE). */
  readonly pprLogEntries: number;
  /** A walk through a page-table page that was freed goes on with what stands there now, and sets bits in it, as it does in
   *  reality. False: it is recorded and ends as not present, so that a long run survives the driver that it measures. */
  readonly staleWalksLand: boolean;
}

export const IOMMU_DEFAULTS: IommuConfig = {
  pasids: 64,
  tlbSets: 64,
  tlbWays: 8,
  walkCacheSlots: 32,
  walkers: 2,
  executors: 2,
  pprLogEntries: 512,
  staleWalksLand: true,
};

const CMD_INVALIDATE_PAGES = 1;
const CMD_INVALIDATE_IOTLB = 2;
const CMD_COMPLETE_PPR = 3;
const CMD_COMPLETION_WAIT = 4;

interface Command {
  readonly op: number;
  readonly pasid: number;
  readonly start: number;
  readonly end: number;
  /** INVALIDATE_IOMMU_PAGES: drop walk-cache entries too (the PDE bit). */
  readonly pde: boolean;
  readonly device: number;
  /** Sequence number, or PRG index. */
  readonly tag: number;
  readonly status: number;
}

/** One walker: its walk, and whether an invalidation has overtaken it. */
class WalkUnit {
  readonly walk: Walk;
  pasid = 0;
  /** Address under translation, -1 when idle. */
  va = -1;
  isStale = false;

  constructor(memory: PhysMemory) {
    this.walk = new Walk(memory);
  }
}

export class Iommu {
  readonly config: IommuConfig;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  readonly tlb: Tlb;
  readonly walkCache: WalkCache;
  /** GCR3 table: root frame of a PASID, 0 when not bound; and the address space's number for events. */
  readonly gcr3: Int32Array;
  readonly mmOf: Int32Array;
  readonly endpoints = new Map<number, Endpoint>();
  readonly pprLog: PprEntry[] = [];
  /** Woken when the log has an entry (the interrupt). */
  readonly pprQueue = new WaitQueue();
  /** Number that the last COMPLETION_WAIT stored, and who spins for it. */
  semaphore = 0;
  readonly semaphoreQueue = new WaitQueue();
  pprOverflows = 0;
  pageInvalidations = 0;
  pasidInvalidations = 0;
  tlbHits = 0;
  walksDone = 0;
  readonly #walkUnits: WalkUnit[] = [];
  readonly #requests: TranslationRequest[] = [];
  readonly #requestQueue = new WaitQueue();
  readonly #commands: Command[] = [];
  readonly #commandQueue = new WaitQueue();
  readonly #executing: Command[] = [];
  readonly #executorQueue = new WaitQueue();
  /** Commands fetched and not complete. */
  #outstanding = 0;
  readonly #drainQueue = new WaitQueue();
  readonly #itagQueue = new WaitQueue();

  constructor(memory: PhysMemory, sched: Scheduler, config: Partial<IommuConfig> = {}) {
    this.config = { ...IOMMU_DEFAULTS, ...config };
    this.memory = memory;
    this.sched = sched;
    this.tlb = new Tlb(this.config.tlbSets, this.config.tlbWays, 1000);
    this.walkCache = new WalkCache(this.config.walkCacheSlots);
    this.gcr3 = new Int32Array(this.config.pasids);
    this.mmOf = new Int32Array(this.config.pasids);
  }

  /** Starts the hardware's threads. */
  start(): void {
    for (let i = 0; i < this.config.walkers; i++) {
      const unit = new WalkUnit(this.memory);
      this.#walkUnits.push(unit);
      this.sched.spawn(`IOMMU walker ${i}`, 'iommu', this.#walker(unit), true);
    }
    this.sched.spawn('IOMMU commands', 'iommu', this.#fetch(), true);
    for (let i = 0; i < this.config.executors; i++) {
      this.sched.spawn(`IOMMU executor ${i}`, 'iommu', this.#executor(), true);
    }
  }

  /** For an explorer all that the IOMMU keeps is one object, which every step of it writes. */
  #touch(): void {
    if (this.memory.footprint !== null) this.memory.footprint.note(OBJ_DRIVER, IOMMU_ID, true);
  }

  /** A condition on the IOMMU's own state: looking is a touch too. */
  #holds(condition: boolean): boolean {
    this.#touch();
    return condition;
  }

  // --- translation

  /** A device's Translation Request arrives. */
  receiveRequest(request: TranslationRequest): void {
    this.#touch();
    this.#requests.push(request);
    this.#requestQueue.wakeAll(this.sched);
  }

  *#walker(unit: WalkUnit): KernelPath<void> {
    for (;;) {
      yield* this.sched.waitUntil(
        () => this.#holds(this.#requests.length > 0),
        this.#requestQueue,
        'translation request',
      );
      this.#touch();
      const request = this.#requests.shift()!;
      yield* this.#translate(unit, request);
      if (this.sched.points) yield P_DEV_MESSAGE;
      const va = request.hi * 0x40000000 + request.lo * 4096;
      this.#message(MSG_TRANSLATION_COMPLETION, request.pasid, va, va + 4096, request.endpoint.id, request.tag, 0);
      request.endpoint.receiveCompletion(request);
    }
  }

  *#translate(unit: WalkUnit, r: TranslationRequest): KernelPath<void> {
    unit.pasid = r.pasid;
    unit.va = r.hi * 0x40000000 + r.lo * 4096;
    let access = r.isWrite ? ACCESS_WRITE : ACCESS_READ;
    r.isGranted = false;
    for (;;) {
      unit.isStale = false;
      this.#touch();
      if (this.gcr3[r.pasid] === 0) break;
      if (this.#answerFromTlb(r, access)) break;
      const result = yield* this.#walkLevels(unit, r, access);
      if (unit.isStale) continue;
      if (result === WALK_DENIED && access === ACCESS_WRITE) {
        // A write that is not allowed gets a read-only answer, if there is one: the device then asks for the page.
        access = ACCESS_READ;
        continue;
      }
      if (result !== WALK_DONE) break;
      if (this.sched.points) yield P_IOMMU_FILL;
      this.#touch();
      if (unit.isStale) continue;
      this.#fill(unit.walk, r);
      break;
    }
    unit.va = -1;
  }

  #answerFromTlb(r: TranslationRequest, access: number): boolean {
    const at = this.tlb.find(r.pasid, r.hi, r.lo);
    if (at < 0 || (access === ACCESS_WRITE && (this.tlb.flags(at) & RW_D) !== RW_D)) return false;
    this.tlbHits++;
    r.isGranted = true;
    r.pfn = pageOfEntry(this.tlb, at, r.lo);
    r.flags = this.tlb.flags(at);
    r.size = this.tlb.size(at);
    r.generation = this.tlb.generation(at);
    return true;
  }

  *#walkLevels(unit: WalkUnit, r: TranslationRequest, access: number): KernelPath<number> {
    const { walk } = unit;
    const mm = this.mmOf[r.pasid]!;
    const slot = this.walkCache.find(r.pasid, r.hi, r.lo);
    if (slot >= 0) {
      const c = this.walkCache;
      walk.beginAtPageTable(mm, c.table[slot]!, c.gen[slot]!, c.rights[slot]!, r.hi, r.lo, access);
    } else {
      walk.begin(mm, this.gcr3[r.pasid]!, r.hi, r.lo, access);
    }
    this.walksDone++;
    let result = WALK_MORE;
    while (result === WALK_MORE) {
      if (this.sched.points) yield P_IOMMU_WALK;
      this.#touch();
      if (unit.isStale) return WALK_MORE;
      if (!this.config.staleWalksLand && this.#endsStale(walk, r.pasid)) return WALK_NOT_PRESENT;
      result = walk.step();
      if (result === WALK_MORE && walk.level === 0) this.#fillWalkCache(walk, r.pasid);
    }
    return result;
  }

  /** The table to read next was freed: records the read that would be, forgets the pointer. */
  #endsStale(walk: Walk, pasid: number): boolean {
    const m = this.memory;
    const now = m.generation[walk.table]!;
    if (now === walk.tableGeneration) return false;
    const va = walk.address();
    if (m.log.on) m.log.emit(E_WALK, walk.mm, va, va + 4096, walk.table, walk.tableGeneration, now, walk.level, 0, 0);
    this.walkCache.invalidateAsid(pasid);
    return true;
  }

  #fillWalkCache(walk: Walk, pasid: number): void {
    this.walkCache.insert(pasid, walk.hi, walk.lo, walk.table, walk.tableGeneration, walk.rightsSoFar);
    const { log } = this.memory;
    if (!log.on) return;
    const start = walk.address() - (walk.address() % PWC_SPAN);
    const gen = walk.tableGeneration;
    log.emit(E_PWC_FILL, walk.mm, start, start + PWC_SPAN, walk.table, gen, 0, 0, AGENT_PWC, IOMMU_ID);
  }

  #fill(walk: Walk, r: TranslationRequest): void {
    const at = this.tlb.insert(r.pasid, r.hi, r.lo, walk.size, walk.pfn, walk.flags, walk.generation);
    r.isGranted = true;
    r.pfn = walk.pfn;
    r.flags = walk.flags;
    r.size = walk.size;
    r.generation = walk.generation;
    if (this.memory.log.on) emitFill(this.memory, this.tlb, at, walk.mm, AGENT_IOTLB, IOMMU_ID);
  }

  // --- page requests

  /** A device's Page Request arrives: into the log, with an interrupt. */
  receivePageRequest(entry: PprEntry): void {
    this.#touch();
    if (this.pprLog.length < this.config.pprLogEntries) {
      this.pprLog.push(entry);
      this.pprQueue.wakeAll(this.sched);
      return;
    }
    this.pprOverflows++;
    if (entry.isLast) this.#respond(entry.device, entry.pasid, entry.prg, PRG_FAILURE);
  }

  #respond(device: number, pasid: number, prg: number, status: number): void {
    this.#touch();
    this.#message(MSG_PRG_RESPONSE, pasid, 0, 0, device, prg, status);
    this.endpoints.get(device)!.receivePrgResponse(prg, status);
  }

  // --- commands

  /** Has the COMPLETION_WAIT of that number stored it? */
  isComplete(sequence: number): boolean {
    return this.#holds(this.semaphore >= sequence);
  }

  /** Is there a page request in the log? */
  hasPageRequest(): boolean {
    return this.#holds(this.pprLog.length > 0);
  }

  /** INVALIDATE_IOMMU_PAGES over [start, end) of the PASID; with the PDE bit also its walk-cache entries. */
  invalidateIommuPages(pasid: number, start: number, end: number, pde: boolean): void {
    this.#message(MSG_CMD_INVALIDATE_IOMMU_PAGES, pasid, start, end, IOMMU_ID, 0, 0);
    this.#submit(CMD_INVALIDATE_PAGES, pasid, start, end, pde, IOMMU_ID, 0, 0);
  }

  /** INVALIDATE_IOTLB_PAGES over [start, end) of the PASID in the device's TLB. */
  invalidateIotlbPages(device: number, pasid: number, start: number, end: number): void {
    this.#message(MSG_CMD_INVALIDATE_IOTLB_PAGES, pasid, start, end, device, 0, 0);
    this.#submit(CMD_INVALIDATE_IOTLB, pasid, start, end, false, device, 0, 0);
  }

  /** COMPLETE_PPR_REQUEST. */
  completePpr(device: number, pasid: number, prg: number, status: number): void {
    this.#submit(CMD_COMPLETE_PPR, pasid, 0, 0, false, device, prg, status);
  }

  /** COMPLETION_WAIT: stores `sequence` when every command before it is complete. */
  completionWait(sequence: number): void {
    this.#message(MSG_CMD_COMPLETION_WAIT, 0, 0, 0, IOMMU_ID, sequence, 0);
    this.#submit(CMD_COMPLETION_WAIT, 0, 0, 0, false, IOMMU_ID, sequence, 0);
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
    this.#touch();
    this.#commands.push({ op, pasid, start, end, pde, device, tag, status });
    this.#commandQueue.wakeAll(this.sched);
  }

  *#fetch(): KernelPath<void> {
    for (;;) {
      yield* this.sched.waitUntil(() => this.#holds(this.#commands.length > 0), this.#commandQueue, 'command');
      if (this.sched.points) yield P_IOMMU_COMMAND;
      this.#touch();
      const command = this.#commands.shift()!;
      if (command.op !== CMD_COMPLETION_WAIT) {
        this.#outstanding++;
        this.#executing.push(command);
        this.#executorQueue.wakeAll(this.sched);
        continue;
      }
      yield* this.sched.waitUntil(() => this.#holds(this.#outstanding === 0), this.#drainQueue, 'earlier commands');
      this.#touch();
      this.semaphore = command.tag;
      this.#message(MSG_COMPLETION_WAIT_DONE, 0, 0, 0, IOMMU_ID, command.tag, 0);
      this.semaphoreQueue.wakeAll(this.sched);
    }
  }

  *#executor(): KernelPath<void> {
    for (;;) {
      yield* this.sched.waitUntil(() => this.#holds(this.#executing.length > 0), this.#executorQueue, 'command');
      this.#touch();
      const i = this.sched.points ? this.sched.choose(this.#executing.length, CHOOSE_DELAY) : 0;
      const command = this.#executing.splice(i, 1)[0]!;
      if (this.sched.points) yield P_IOMMU_COMMAND;
      if (command.op === CMD_INVALIDATE_PAGES) {
        this.#invalidate(command);
        this.#complete();
      } else if (command.op === CMD_COMPLETE_PPR) {
        this.#respond(command.device, command.pasid, command.tag, command.status);
        this.#complete();
      } else {
        yield* this.#sendInvalidate(command);
      }
    }
  }

  #complete(): void {
    this.#touch();
    this.#outstanding--;
    if (this.#outstanding === 0) this.#drainQueue.wakeAll(this.sched);
  }

  #invalidate(c: Command): void {
    this.#touch();
    const isWhole = c.end === Number.POSITIVE_INFINITY;
    if (isWhole) {
      this.pasidInvalidations++;
      this.tlb.invalidateAsid(c.pasid);
    } else {
      this.pageInvalidations++;
      this.tlb.invalidateRange(c.pasid, c.start, c.end);
    }
    if (c.pde) this.walkCache.invalidateAsid(c.pasid);
    for (const unit of this.#walkUnits) {
      if (unit.va < 0 || unit.pasid !== c.pasid) continue;
      if (c.pde || (unit.va < c.end && unit.va + 4096 > c.start)) unit.isStale = true;
    }
    const { log } = this.memory;
    if (!log.on) return;
    const mm = this.mmOf[c.pasid]!;
    log.emit(E_DEV_INVAL, mm, c.start, c.end, 0, 0, 0, 0, AGENT_IOTLB, IOMMU_ID);
    if (c.pde) log.emit(E_DEV_INVAL, mm, 0, Number.POSITIVE_INFINITY, 0, 0, 0, 0, AGENT_PWC, IOMMU_ID);
  }

  /** The command is complete when the device's Invalidate Completion comes. */
  *#sendInvalidate(c: Command): KernelPath<void> {
    const endpoint = this.endpoints.get(c.device);
    assert(endpoint !== undefined, 'INVALIDATE_IOTLB_PAGES: the device exists');
    let itag = endpoint.takeItag();
    while (itag < 0) {
      yield* this.sched.waitUntil(() => (itag = endpoint.takeItag()) >= 0, this.#itagQueue, 'a free ITag');
    }
    endpoint.receiveInvalidate(c.pasid, c.start, c.end, itag);
  }

  /** A device's Invalidate Completion arrives. */
  receiveInvalidateCompletion(): void {
    this.#touch();
    this.#itagQueue.wakeAll(this.sched);
    this.#complete();
  }

  #message(a: number, pasid: number, start: number, end: number, device: number, tag: number, flags: number): void {
    const { log } = this.memory;
    if (log.on) log.emit(E_MSG, this.mmOf[pasid]!, start, end, flags, 0, a, tag, AGENT_IOTLB, device);
  }
}

/** Frame of the 4 KiB page `lo` inside the entry, which may be larger. */
export function pageOfEntry(tlb: Tlb, at: number, lo: number): number {
  const size = tlb.size(at);
  const pfn = tlb.pfn(at);
  if (size === TLB_4K) return pfn;
  const mask = TLB_SIZE_BYTES[size]! / 4096 - 1;
  return (pfn & ~mask) | (lo & mask);
}

/** E_DEV_FILL of a TLB entry. It is writable when a store may use it as it is: RW, and D set already. */
export function emitFill(memory: PhysMemory, tlb: Tlb, at: number, mm: number, agent: number, device: number): void {
  const start = tlb.address(at);
  const end = start + TLB_SIZE_BYTES[tlb.size(at)]!;
  const isWritable = (tlb.flags(at) & RW_D) === RW_D ? 1 : 0;
  memory.log.emit(E_DEV_FILL, mm, start, end, tlb.pfn(at), tlb.generation(at), isWritable, 0, agent, device);
}
