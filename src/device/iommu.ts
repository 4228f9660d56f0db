// An IOMMU after AMD's (AMD I/O Virtualization Technology specification): PASID table, TLB, page-walk cache, walkers, command
// buffer and peripheral page request log. Linux drives it from drivers/iommu/amd/iommu.c.
//
//   PASID table   GCR3: PASID -> root of a long-mode table, the very table that the CPUs walk. 0: not bound
//   walkers       serve Translation Requests: TLB, else walk cache and walk, one level a step, A and D set in the live entry. An
//                 entry whose rights do not suffice is not an answer: the walker walks again
//   commands      command-buffer.ts
//   PPR log       ring of page requests for the kernel. One that finds it full sets the overflow bit: from then on nothing is
//                 logged until the kernel restarts the log, and the hardware itself answers the last request of each group
//                 (overflowAnswer); what was logged of such a group before is left without its end
//
// Intel's and ARM's are the same machine with other names for its commands, other answers to an overflow, and (ARM) a TLB that is
// believed when it denies. Their tables are AMD64's here, too: what differs between the makers is what is invalidated, and when.
//
// An invalidation ends what it overtakes, so that its completion means something:
//
//   walker                                  command
//     reads V -> F1
//                                             kernel clears V; INVALIDATE_IOMMU_PAGES(V): drops TLB, walk cache, marks the walk
//     stands before the fill (P_IOMMU_FILL)
//     sees the mark, walks again              COMPLETION_WAIT stored
//
// The mark says from which size of the leaf on it counts: a leaf of 2 MiB is stale, too, when another of its pages is invalidated, and
// only the end of the walk tells the size.
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
  MSG_PAGE_REQUEST_LOST,
  MSG_PRG_RESPONSE,
  MSG_TRANSLATION_COMPLETION,
  PRG_FAILURE,
} from '../abi/events.ts';
import { PTE_D, PTE_RW } from '../abi/pte.ts';
import { int32s } from '../base/arena.ts';
import type { PhysMemory } from '../hw/phys.ts';
import { TLB_4K, TLB_NX, TLB_SIZE_BYTES, Tlb, WalkCache } from '../hw/tlb.ts';
import {
  ACCESS_EXEC,
  ACCESS_READ,
  ACCESS_WRITE,
  WALK_DENIED,
  WALK_DONE,
  WALK_MORE,
  WALK_NOT_PRESENT,
  Walk,
} from '../hw/walker.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_MESSAGE, P_IOMMU_FILL, P_IOMMU_WALK } from '../sched/points.ts';
import { type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import { type Command, CommandBuffer, type Maker } from './command-buffer.ts';
import { Fifo } from './fifo.ts';
import { type Endpoint, IOMMU_ID, type PprEntry, type TranslationRequest } from './messages.ts';
import { noteDevice, PART_GCR3, PART_PPR_LOG, PART_PPR_OVERFLOW, PART_REQUESTS, PART_WALK_UNIT } from './objects.ts';

/** Numbers of its TLB and its walk cache in footprints. */
export const TLB_ID = 0x1000;
const WALK_CACHE_ID = 0x4000;
const RW_D = PTE_RW | PTE_D;
/** Bytes that one entry of the walk cache stands for. */
const PWC_SPAN = 0x200000;

/** overflowAnswer: the request is lost, and its device waits until it is reset. */
export const NO_ANSWER = -1;

export interface IommuConfig {
  readonly maker: Maker;
  /** An access that a TLB entry does not allow is looked up in the table again (AMD, Intel). False: the entry's rights are taken for the
   *  truth, and only an invalidation changes them (ARM leaves that to the implementation). */
  readonly rewalksOnDenied: boolean;
  /** What the hardware answers to the last request of a group that the full log has no room for: PRG_*, or NO_ANSWER. AMD's is not well
   *  documented: PRG_FAILURE is the worst that it may do. Intel's and ARM's say PRG_SUCCESS, so that the device asks again. */
  readonly overflowAnswer: number;
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
  maker: 'amd',
  rewalksOnDenied: true,
  overflowAnswer: PRG_FAILURE,
  pasids: 64,
  tlbSets: 64,
  tlbWays: 8,
  walkCacheSlots: 32,
  walkers: 2,
  executors: 2,
  pprLogEntries: 512,
  staleWalksLand: true,
};

/** sizeMet: no translation of the page overlaps the range, whatever its size. */
export const NOT_MET = TLB_SIZE_BYTES.length;

/** Size (TLB_*) from which on a translation of the page overlaps [start, end); NOT_MET: none does. */
export function sizeMet(page: number, start: number, end: number): number {
  for (let size = TLB_4K; size < NOT_MET; size++) {
    const bytes = TLB_SIZE_BYTES[size]!;
    const first = page - (page % bytes);
    if (first < end && first + bytes > start) return size;
  }
  return NOT_MET;
}

/** One walker: its walk, and which leaves an invalidation has overtaken. */
class WalkUnit {
  readonly id: number;
  readonly walk: Walk;
  pasid = 0;
  /** Address under translation, -1 when idle. */
  va = -1;
  /** Leaves of this size (TLB_*) and larger are stale. */
  staleFrom = NOT_MET;

  constructor(id: number, memory: PhysMemory) {
    this.id = id;
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
  readonly pprLog: Fifo<PprEntry>;
  /** Woken when the log has an entry (the interrupt). */
  readonly pprQueue = new WaitQueue();
  readonly commands: CommandBuffer;
  /** The overflow bit: nothing is logged until restartPprLog. */
  isPprOverflow = false;
  /** Requests that were not logged. */
  pprOverflows = 0;
  pageInvalidations = 0;
  pasidInvalidations = 0;
  tlbHits = 0;
  walksDone = 0;
  readonly #walkUnits: WalkUnit[] = [];
  readonly #requests: Fifo<TranslationRequest>;
  readonly #requestQueue = new WaitQueue();

  constructor(memory: PhysMemory, sched: Scheduler, config: Partial<IommuConfig> = {}) {
    this.config = { ...IOMMU_DEFAULTS, ...config };
    this.memory = memory;
    this.sched = sched;
    this.tlb = new Tlb(this.config.tlbSets, this.config.tlbWays, TLB_ID);
    this.walkCache = new WalkCache(this.config.walkCacheSlots, TLB_ID + WALK_CACHE_ID);
    this.gcr3 = int32s(this.config.pasids);
    this.mmOf = int32s(this.config.pasids);
    this.pprLog = new Fifo(memory, IOMMU_ID, PART_PPR_LOG);
    this.#requests = new Fifo(memory, IOMMU_ID, PART_REQUESTS);
    this.commands = new CommandBuffer(this);
  }

  /** Starts the hardware's threads. */
  start(): void {
    for (let i = 0; i < this.config.walkers; i++) {
      const unit = new WalkUnit(i, this.memory);
      this.#walkUnits.push(unit);
      this.sched.spawn(`IOMMU walker ${i}`, 'iommu', this.#walker(unit), true);
    }
    this.commands.start(this.config.executors);
  }

  #note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.memory;
    if (footprint !== null) noteDevice(footprint, IOMMU_ID, part, index, isWrite);
  }

  /** State in numbers, apart from the caches, for those who compare machines. */
  state(): number[] {
    const units = this.#walkUnits.flatMap((u) => [u.pasid, u.va, u.staleFrom]);
    const requests = this.#requests.items.flatMap((r) => [r.endpoint.id, r.tag, r.pasid, r.hi, r.lo]);
    const log = this.pprLog.items.flatMap((e) => [e.device, e.pasid, e.address, e.prg]);
    return [
      this.isPprOverflow ? 1 : 0,
      ...this.gcr3,
      -1,
      ...units,
      -1,
      ...requests,
      -1,
      ...log,
      -1,
      ...this.commands.state(),
    ];
  }

  // --- translation

  /** A device's Translation Request arrives. */
  receiveRequest(request: TranslationRequest): void {
    this.#requests.push(request);
    this.#requestQueue.wakeAll(this.sched);
  }

  *#walker(unit: WalkUnit): KernelPath<void> {
    const isOnlyOne = this.config.walkers === 1;
    const hasRequest = (): boolean => (isOnlyOne ? this.#requests.length > 0 : this.#requests.hasItems());
    for (;;) {
      if (isOnlyOne) yield* this.sched.waitSteady(hasRequest, this.#requestQueue, 'translation request');
      else yield* this.sched.waitUntil(hasRequest, this.#requestQueue, 'translation request');
      const request = this.#requests.shift();
      yield* this.#translate(unit, request);
      if (this.sched.points) yield P_DEV_MESSAGE;
      const va = request.hi * 0x40000000 + request.lo * 4096;
      this.#message(MSG_TRANSLATION_COMPLETION, request.pasid, va, va + 4096, request.endpoint.id, request.tag, 0);
      request.endpoint.receiveCompletion(request);
    }
  }

  *#translate(unit: WalkUnit, r: TranslationRequest): KernelPath<void> {
    this.#note(PART_WALK_UNIT, unit.id, true);
    unit.pasid = r.pasid;
    unit.va = r.hi * 0x40000000 + r.lo * 4096;
    let { access } = r;
    r.isGranted = false;
    for (;;) {
      this.#note(PART_WALK_UNIT, unit.id, true);
      unit.staleFrom = NOT_MET;
      this.#note(PART_GCR3, r.pasid, false);
      if (this.gcr3[r.pasid] === 0) break;
      if (this.#answerFromTlb(r, access)) break;
      const result = yield* this.#walkLevels(unit, r, access);
      if (unit.staleFrom === TLB_4K) continue;
      if (result === WALK_DENIED && access !== ACCESS_READ) {
        // What is not allowed gets the answer of a read, if there is one: the device then asks for the page.
        access = ACCESS_READ;
        continue;
      }
      if (result !== WALK_DONE) break;
      if (this.sched.points) yield P_IOMMU_FILL;
      this.#note(PART_WALK_UNIT, unit.id, false);
      if (unit.walk.size >= unit.staleFrom) continue;
      this.#fill(unit.walk, r);
      break;
    }
    this.#note(PART_WALK_UNIT, unit.id, true);
    unit.va = -1;
  }

  #answerFromTlb(r: TranslationRequest, access: number): boolean {
    const at = this.tlb.find(r.pasid, r.hi, r.lo);
    if (at < 0 || !this.#isAnswer(this.tlb.flags(at), access)) return false;
    this.tlbHits++;
    r.isGranted = true;
    r.pfn = pageOfEntry(this.tlb, at, r.lo);
    r.flags = this.tlb.flags(at);
    r.size = this.tlb.size(at);
    r.generation = generationOfPage(this.memory, this.tlb, at, r.pfn);
    return true;
  }

  /** Is an entry of these rights the answer, or must the walker look? A store through an entry without D always walks: it must be set. */
  #isAnswer(flags: number, access: number): boolean {
    if (access === ACCESS_WRITE)
      return (flags & RW_D) === RW_D || ((flags & PTE_RW) === 0 && !this.config.rewalksOnDenied);
    return access !== ACCESS_EXEC || (flags & TLB_NX) === 0 || !this.config.rewalksOnDenied;
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
      this.#note(PART_WALK_UNIT, unit.id, false);
      if (unit.staleFrom === TLB_4K) return WALK_MORE;
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

  /** Points a PASID at a root table; 0: none. The kernel flushes afterwards. */
  setGcr3(pasid: number, root: number): void {
    this.#note(PART_GCR3, pasid, true);
    this.gcr3[pasid] = root;
  }

  // --- page requests

  /** A device's Page Request arrives: into the log, with an interrupt. */
  receivePageRequest(entry: PprEntry): void {
    this.#note(PART_PPR_OVERFLOW, 0, false);
    if (!this.isPprOverflow && this.pprLog.hasRoom(this.config.pprLogEntries)) {
      this.pprLog.push(entry);
      this.pprQueue.wakeAll(this.sched);
      return;
    }
    this.pprOverflows++;
    this.noteLost(entry);
    if (!this.isPprOverflow) {
      this.#note(PART_PPR_OVERFLOW, 0, true);
      this.isPprOverflow = true;
      this.pprQueue.wakeAll(this.sched);
    }
    const { overflowAnswer } = this.config;
    if (entry.isLast && !entry.isStop && overflowAnswer !== NO_ANSWER)
      this.respond(entry.device, entry.pasid, entry.prg, overflowAnswer);
  }

  /** Nobody will serve the request: it was not logged, or the kernel has dropped it because the rest of its group was not. */
  noteLost(entry: PprEntry): void {
    const { device, pasid, address, prg, isStop } = entry;
    if (!isStop) this.#message(MSG_PAGE_REQUEST_LOST, pasid, address, address + 4096, device, prg, 0);
  }

  /** The overflow bit, as the kernel reads it. */
  hasOverflowed(): boolean {
    this.#note(PART_PPR_OVERFLOW, 0, false);
    return this.isPprOverflow;
  }

  /** amd_iommu_restart_ppr_log; Intel: writing PRO; ARM: writing the overflow flag. Requests are logged again. */
  restartPprLog(): void {
    this.#note(PART_PPR_OVERFLOW, 0, true);
    this.isPprOverflow = false;
  }

  /** Sends a PRG Response to the device. */
  respond(device: number, pasid: number, prg: number, status: number): void {
    this.#message(MSG_PRG_RESPONSE, pasid, 0, 0, device, prg, status);
    this.endpoints.get(device)!.receivePrgResponse(prg, status);
  }

  // --- commands of the kernel (command-buffer.ts)

  /** INVALIDATE_IOMMU_PAGES over [start, end) of the PASID; with the PDE bit also its walk-cache entries. */
  invalidateIommuPages(pasid: number, start: number, end: number, pde: boolean): void {
    this.commands.invalidatePages(pasid, start, end, pde);
  }

  /** INVALIDATE_IOTLB_PAGES over [start, end) of the PASID in the device's TLB. */
  invalidateIotlbPages(device: number, pasid: number, start: number, end: number): void {
    this.commands.invalidateIotlb(device, pasid, start, end);
  }

  /** COMPLETE_PPR_REQUEST. */
  completePpr(device: number, pasid: number, prg: number, status: number): void {
    // Nobody can tell when a PRG Response came, only when the device goes on, which is up to its own next step. With points on it
    // is sent at once: waiting in the command buffer, it would only multiply the orders in which other commands stand there.
    if (this.sched.points) this.respond(device, pasid, prg, status);
    else this.commands.completePpr(device, pasid, prg, status);
  }

  /** Executes INVALIDATE_IOMMU_PAGES: drops what the caches hold, and marks the walks that it overtakes. */
  invalidate(c: Command): void {
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
      const isInside = unit.va >= 0 && unit.pasid === c.pasid;
      const met = !isInside ? NOT_MET : c.pde ? TLB_4K : sizeMet(unit.va, c.start, c.end);
      this.#note(PART_WALK_UNIT, unit.id, met < unit.staleFrom);
      if (met < unit.staleFrom) unit.staleFrom = met;
    }
    const { log } = this.memory;
    if (!log.on) return;
    const mm = this.mmOf[c.pasid]!;
    log.emit(E_DEV_INVAL, mm, c.start, c.end, 0, 0, 0, 0, AGENT_IOTLB, IOMMU_ID);
    if (c.pde) log.emit(E_DEV_INVAL, mm, 0, Number.POSITIVE_INFINITY, 0, 0, 0, 0, AGENT_PWC, IOMMU_ID);
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

/** Generation of frame `pfn` when the entry that translates to it was made. A large entry remembers that of one of its frames alone:
 *  they are allocated and freed together, so while that one lives they all do. */
export function generationOfPage(memory: PhysMemory, tlb: Tlb, at: number, pfn: number): number {
  const own = tlb.pfn(at);
  const made = tlb.generation(at);
  if (pfn === own) return made;
  const isAlive = memory.generation[own]! === made;
  return isAlive ? memory.generation[pfn]! : memory.generation[pfn]! - 1;
}

/** E_DEV_FILL of a TLB entry, with its first frame. It is writable when a store may use it as it is: RW, and D set already. */
export function emitFill(memory: PhysMemory, tlb: Tlb, at: number, mm: number, agent: number, device: number): void {
  const start = tlb.address(at);
  const size = TLB_SIZE_BYTES[tlb.size(at)]!;
  const isWritable = (tlb.flags(at) & RW_D) === RW_D ? 1 : 0;
  const first = tlb.pfn(at) & ~(size / 4096 - 1);
  const generation = generationOfPage(memory, tlb, at, first);
  memory.log.emit(E_DEV_FILL, mm, start, start + size, first, generation, isWritable, 0, agent, device);
}
