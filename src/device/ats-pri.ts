// A PCIe device with Address Translation Services: engines that access memory by virtual addresses, and a TLB of its own
// (address translation cache, ATC) filled by Translation Completions. PCI Express Base Specification, chapter 10.
//
// One access of an engine, each line a step:
//
//   look up the ATC              a hit needs RW and D for a store, no NX for an instruction fetch
//   Translation Request          the IOMMU answers; nothing granted, or read-only for a store: Page Request, and again
//   hold the translation         P_DEV_TRANSLATED: in flight, memory not reached yet
//   reach memory                 real bytes at the translated frame
//
// Invalidation. The completion promises that nothing obtained before will be used:
//
//   engine                              invalidation unit                 kernel
//     holds V -> F1 (in flight)
//                                         Invalidate Request(V):
//                                         drops ATC entries of V
//                                         waits for the engine
//     writes F1
//                                         Invalidate Completion
//                                                                           frees F1
//
// A Translation Completion that is under way then was made before the invalidation: it is discarded, and the engine asks
// again; an entry is never made of it. How much one covers, the engine learns from it alone: what was asked for as a page may be
// answered with 2 MiB, of which any page may have been invalidated meanwhile. And an access in flight holds all of its translation.

import {
  AGENT_ATC,
  DEV_FAILED,
  DEV_RUNNING,
  E_DEV_ACCESS,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_MSG,
  E_REFAULT,
  MSG_INVALIDATE_COMPLETION,
  MSG_INVALIDATE_REQUEST,
  MSG_TRANSLATION_REQUEST,
  PRG_INVALID,
  PRG_SUCCESS,
} from '../abi/events.ts';
import { PTE_D, PTE_RW } from '../abi/pte.ts';
import { assert, InputError } from '../base/assert.ts';
import type { PhysMemory } from '../hw/phys.ts';
import { TLB_4K, TLB_NX, Tlb } from '../hw/tlb.ts';
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE } from '../hw/walker.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_MESSAGE, P_DEV_TRANSLATE, P_DEV_TRANSLATED } from '../sched/points.ts';
import { type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID, type Accessor } from './accessor.ts';
import { Fifo } from './fifo.ts';
import { emitFill, generationOfPage, type Iommu, NOT_MET, pageOfEntry, sizeMet, TLB_ID } from './iommu.ts';
import { type Endpoint, TranslationRequest } from './messages.ts';
import {
  noteDevice,
  PART_ANSWER,
  PART_ENGINE,
  PART_INVALIDATES,
  PART_ITAG,
  PART_STATE,
  PART_WRITES,
} from './objects.ts';
import { PageRequests } from './page-requests.ts';

const RW_D = PTE_RW | PTE_D;
/** Invalidate Requests that may be outstanding: an ITag has 5 bits. */
const ITAGS = 32;
/** Words that devices own: the last 64 bytes of a page, 8 for each of 8 engines. */
export const ENGINES_MAX = 8;
const DEVICE_WORDS = 4096 - 64;

export interface AtsConfig {
  /** Independent engines (contexts), each with one access in flight. */
  readonly engines: number;
  /** Device TLB: small, as on devices that keep one for each unit. */
  readonly atcSets: number;
  readonly atcWays: number;
  /** Outstanding Page Request Allocation: 32, as Linux sets it for AMD (pdev_pri_ats_enable). */
  readonly credits: number;
  /** Pages that one group asks for at most. */
  readonly groupPagesMax: number;
  /** Attempts without progress at one access before the device stops with an error. Device specific: 8 to 64 (a GPU counts
   *  faults at one address and then needs a reset). The default is the strictest device: a design that lets no access wait
   *  must satisfy it too, and a verdict covers only what was done before a device gave up. */
  readonly refaultBudget: number;
  /** An access that the ATC's entry does not allow asks for the translation again before it asks for the page. False: the entry's
   *  rights are taken for the truth, and only an invalidation changes them (some walkers do not look again). */
  readonly retranslatesOnDenied: boolean;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. False: it is recorded and
   *  leaves the new owner's bytes alone, so that a long run survives the driver that it measures. */
  readonly staleStoresLand: boolean;
}

export const ATS_DEFAULTS: AtsConfig = {
  engines: 4,
  atcSets: 16,
  atcWays: 4,
  credits: 32,
  groupPagesMax: 1,
  refaultBudget: 8,
  retranslatesOnDenied: true,
  staleStoresLand: true,
};

class Engine {
  readonly id: number;
  readonly request: TranslationRequest;
  readonly queue = new WaitQueue();
  /** PASID of the context. */
  pasid = 0;
  /** Page whose translation is asked for, -1 when none; and from which size on (TLB_*) invalidations have overtaken the answer. */
  askedVa = -1;
  doomedFrom = NOT_MET;
  /** Page whose translation is held for an access in flight, -1 when none; and the size of the translation. */
  heldVa = -1;
  heldSize = TLB_4K;
  heldPasid = 0;
  heldPfn = 0;
  heldGeneration = 0;
  /** An invalidation waits for the access in flight. */
  isDraining = false;

  constructor(device: AtsDevice, id: number) {
    this.id = id;
    this.request = new TranslationRequest(device, id);
  }
}

interface InvalidateRequest {
  readonly pasid: number;
  readonly start: number;
  readonly end: number;
  readonly itag: number;
}

export class AtsDevice implements Endpoint, Accessor {
  readonly id: number;
  readonly config: AtsConfig;
  readonly iommu: Iommu;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  readonly atc: Tlb;
  readonly pri: PageRequests;
  state = DEV_RUNNING;
  /** What the last read found. */
  lastRead = 0;
  reads = 0;
  writes = 0;
  hits = 0;
  translationRequests = 0;
  discardedCompletions = 0;
  refaults = 0;
  refaultsMax = 0;
  invalidations = 0;
  /** A Translation Completion that an invalidation overtook is thrown away. False is a mistake, for tests. */
  discardsOvertaken = true;
  readonly #engines: Engine[] = [];
  readonly #invalidates: Fifo<InvalidateRequest>;
  readonly #invalidateQueue = new WaitQueue();
  readonly #drainQueue = new WaitQueue();
  #itagsUsed = 0;
  #nextItag = 0;

  /** `id` is 1 or more and names the device in events. Registers with the IOMMU. */
  constructor(iommu: Iommu, id: number, config: Partial<AtsConfig> = {}) {
    this.config = { ...ATS_DEFAULTS, ...config };
    const { engines, credits, groupPagesMax } = this.config;
    if (engines < 1 || engines > ENGINES_MAX)
      throw new InputError(`device: ${engines} engines, not 1 to ${ENGINES_MAX}`);
    if (credits < groupPagesMax)
      throw new InputError(`device: a group of ${groupPagesMax} page requests does not fit in ${credits} credits`);
    this.id = id;
    this.iommu = iommu;
    this.memory = iommu.memory;
    this.sched = iommu.sched;
    this.atc = new Tlb(this.config.atcSets, this.config.atcWays, TLB_ID + id);
    this.pri = new PageRequests(iommu, id, credits);
    this.#invalidates = new Fifo(this.memory, id, PART_INVALIDATES);
    for (let i = 0; i < engines; i++) this.#engines.push(new Engine(this, i));
    iommu.endpoints.set(id, this);
  }

  get engineCount(): number {
    return this.#engines.length;
  }

  /** Starts the invalidation unit's thread. */
  start(): void {
    this.sched.spawn(`device ${this.id} invalidations`, 'device', this.#invalidationUnit(), true);
  }

  /** The engine works in the address space of this PASID from now on. */
  setContext(engine: number, pasid: number): void {
    this.#note(PART_STATE, 0, true);
    this.#engines[engine]!.pasid = pasid;
    this.pri.start(pasid);
  }

  /** The driver of the device stops its contexts in the PASID: engines begin nothing there any more and ask for no page. On return the
   *  Stop Marker has followed their last page request; what waits for an answer goes on waiting. */
  *stopContexts(pasid: number): KernelPath<void> {
    this.#note(PART_STATE, 0, true);
    yield* this.pri.stop(pasid);
  }

  #note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.memory;
    if (footprint !== null) noteDevice(footprint, this.id, part, index, isWrite);
  }

  /** State in numbers, apart from the ATC, for those who compare machines. */
  stateWords(): number[] {
    const engines = this.#engines.flatMap((e) => [
      e.pasid,
      e.askedVa,
      e.doomedFrom,
      e.heldVa,
      e.heldVa < 0 ? 0 : e.heldPfn,
      e.heldVa < 0 ? 0 : e.heldSize,
      e.isDraining ? 1 : 0,
      e.request.isAnswered ? 1 : 0,
    ]);
    const invalidates = this.#invalidates.items.flatMap((r) => [r.pasid, r.start, r.end, r.itag]);
    return [this.state, this.writes, this.#itagsUsed, ...engines, -1, ...invalidates, -1, ...this.pri.state()];
  }

  // --- accesses

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const e = this.#engines[engine]!;
    if (this.state !== DEV_RUNNING || this.pri.isStopped(e.pasid)) return false;
    const lo = ((va % 0x40000000) | 0) >>> 12;
    const at = this.atc.find(e.pasid, (va / 0x40000000) | 0, lo);
    if (at < 0 || (isWrite && (this.atc.flags(at) & RW_D) !== RW_D)) return false;
    this.hits++;
    const pfn = pageOfEntry(this.atc, at, lo);
    this.#reach(e, va, isWrite, pfn, generationOfPage(this.memory, this.atc, at, pfn));
    return true;
  }

  access(engine: number, va: number, isWrite: boolean, groupEnd: number): KernelPath<number> {
    return this.#access(engine, va, isWrite ? ACCESS_WRITE : ACCESS_READ, groupEnd);
  }

  /** One instruction fetch by the engine. ACCESS_*. */
  fetch(engine: number, va: number): KernelPath<number> {
    return this.#access(engine, va, ACCESS_EXEC, va);
  }

  *#access(engine: number, va: number, kind: number, groupEnd: number): KernelPath<number> {
    const e = this.#engines[engine]!;
    const page = va - (va % 4096);
    let attempts = 0;
    for (;;) {
      if (this.sched.points) yield P_DEV_TRANSLATE;
      this.#note(PART_STATE, 0, false);
      if (this.state !== DEV_RUNNING) return ACCESS_DEAD;
      if (this.pri.isStopped(e.pasid)) return ACCESS_INVALID;
      if (this.#holdFromAtc(e, page, kind)) break;
      if (!this.#isDeniedForGood(e, page, kind) && (yield* this.#translate(e, page, kind))) break;
      if (attempts > 0) this.#refault(e, page, attempts);
      this.#note(PART_STATE, 0, false);
      if (this.state !== DEV_RUNNING) return ACCESS_DEAD;
      const wanted = Math.ceil((groupEnd - page) / 4096);
      const count = Math.max(1, Math.min(wanted, this.config.groupPagesMax));
      const status = yield* this.pri.request(e.pasid, page, count, kind);
      if (status === PRG_INVALID) return ACCESS_INVALID;
      if (status !== PRG_SUCCESS) {
        this.#fail();
        return ACCESS_DEAD;
      }
      attempts++;
    }
    if (this.sched.points) yield P_DEV_TRANSLATED;
    this.#reach(e, va, kind === ACCESS_WRITE, e.heldPfn, e.heldGeneration);
    this.#release(e);
    if (this.sched.points) yield P_DEV_ACCESS;
    return ACCESS_DONE;
  }

  #holdFromAtc(e: Engine, page: number, kind: number): boolean {
    const lo = ((page % 0x40000000) | 0) >>> 12;
    const at = this.atc.find(e.pasid, (page / 0x40000000) | 0, lo);
    if (at < 0 || !permits(this.atc.flags(at), kind)) return false;
    this.hits++;
    const pfn = pageOfEntry(this.atc, at, lo);
    this.#hold(e, page, this.atc.size(at), pfn, generationOfPage(this.memory, this.atc, at, pfn));
    return true;
  }

  /** Has the ATC an entry of the page, though not the rights, and does the device believe it? */
  #isDeniedForGood(e: Engine, page: number, kind: number): boolean {
    if (this.config.retranslatesOnDenied) return false;
    const at = this.atc.find(e.pasid, (page / 0x40000000) | 0, ((page % 0x40000000) | 0) >>> 12);
    // A store to a page that is writable but not dirty asks again: the walk marks it.
    return at >= 0 && !permits(this.atc.flags(at) | PTE_D, kind);
  }

  #hold(e: Engine, page: number, size: number, pfn: number, generation: number): void {
    this.#note(PART_ENGINE, e.id, true);
    e.heldVa = page;
    e.heldSize = size;
    e.heldPasid = e.pasid;
    e.heldPfn = pfn;
    e.heldGeneration = generation;
  }

  #release(e: Engine): void {
    this.#note(PART_ENGINE, e.id, true);
    e.heldVa = -1;
    if (!e.isDraining) return;
    e.isDraining = false;
    this.#drainQueue.wakeAll(this.sched);
  }

  /** Asks the IOMMU until it has an answer that no invalidation overtook. True: granted for the access, and held. */
  *#translate(e: Engine, page: number, kind: number): KernelPath<boolean> {
    const r = e.request;
    for (;;) {
      r.pasid = e.pasid;
      r.hi = (page / 0x40000000) | 0;
      r.lo = ((page % 0x40000000) | 0) >>> 12;
      r.access = kind;
      r.isAnswered = false;
      this.#note(PART_ENGINE, e.id, true);
      e.askedVa = page;
      e.doomedFrom = NOT_MET;
      this.translationRequests++;
      this.#message(MSG_TRANSLATION_REQUEST, e.pasid, page, page + 4096, e.id);
      this.iommu.receiveRequest(r);
      yield* this.sched.waitSteady(() => r.isAnswered, e.queue, 'Translation Completion');
      this.#note(PART_ANSWER, e.id, false);
      this.#note(PART_ENGINE, e.id, true);
      e.askedVa = -1;
      if ((r.isGranted ? r.size : TLB_4K) < e.doomedFrom) break;
      this.discardedCompletions++;
      if (this.sched.points) yield P_DEV_TRANSLATE;
    }
    if (!r.isGranted) return false;
    const at = this.atc.insert(r.pasid, r.hi, r.lo, r.size, r.pfn, r.flags, r.generation);
    if (this.memory.log.on) emitFill(this.memory, this.atc, at, this.iommu.mmOf[r.pasid]!, AGENT_ATC, this.id);
    if (!permits(r.flags, kind)) return false;
    this.#hold(e, page, r.size, r.pfn, r.generation);
    return true;
  }

  /** Reads 8 bytes, or writes the engine's own word of the page: programs keep their data. */
  #reach(e: Engine, va: number, isWrite: boolean, pfn: number, generation: number): void {
    const { memory } = this;
    const base = pfn * 4096;
    if (memory.footprint !== null) memory.touch(pfn, isWrite);
    if (isWrite) {
      this.#note(PART_WRITES, 0, true);
      this.writes++;
      if (this.config.staleStoresLand || memory.generation[pfn] === generation)
        memory.doubles[(base + DEVICE_WORDS) / 8 + e.id] = this.writes;
    } else {
      this.reads++;
      this.lastRead = memory.doubles[(base + (va % 4096) - (va % 8)) / 8]!;
    }
    if (!memory.log.on) return;
    const mm = this.iommu.mmOf[e.pasid]!;
    const at = isWrite ? va - (va % 4096) + DEVICE_WORDS + e.id * 8 : va - (va % 8);
    const now = memory.generation[pfn]!;
    memory.log.emit(E_DEV_ACCESS, mm, at, at + 8, pfn, generation, now, isWrite ? 1 : 0, AGENT_ATC, this.id);
  }

  #refault(e: Engine, page: number, attempts: number): void {
    this.refaults++;
    if (attempts > this.refaultsMax) this.refaultsMax = attempts;
    const { log } = this.memory;
    const mm = this.iommu.mmOf[e.pasid]!;
    if (log.on) log.emit(E_REFAULT, mm, page, page + 4096, 0, 0, attempts, 0, AGENT_ATC, this.id);
    if (attempts > this.config.refaultBudget) this.#fail();
  }

  #fail(): void {
    this.#note(PART_STATE, 0, true);
    if (this.state === DEV_FAILED) return;
    this.state = DEV_FAILED;
    const { log } = this.memory;
    if (log.on) log.emit(E_DEV_STATE, 0, 0, 0, 0, 0, DEV_FAILED, 0, 0, this.id);
  }

  /** Reset by the driver after an error. */
  reset(): void {
    this.pri.reset();
    this.#note(PART_STATE, 0, true);
    this.state = DEV_RUNNING;
    const { log } = this.memory;
    if (log.on) log.emit(E_DEV_STATE, 0, 0, 0, 0, 0, DEV_RUNNING, 0, 0, this.id);
  }

  // --- messages from the IOMMU

  receiveCompletion(request: TranslationRequest): void {
    this.#note(PART_ANSWER, request.tag, true);
    request.isAnswered = true;
    this.#engines[request.tag]!.queue.wakeAll(this.sched);
  }

  receivePrgResponse(prg: number, status: number): void {
    this.pri.receive(prg, status);
  }

  takeItag(): number {
    // The next one in a circle: a completion under way then has no say in the number.
    this.#note(PART_ITAG, ITAGS, true);
    for (let n = 0; n < ITAGS; n++) {
      const i = (this.#nextItag + n) % ITAGS;
      this.#note(PART_ITAG, i, true);
      if ((this.#itagsUsed & (1 << i)) !== 0) continue;
      this.#itagsUsed |= 1 << i;
      this.#nextItag = (i + 1) % ITAGS;
      return i;
    }
    return -1;
  }

  receiveInvalidate(pasid: number, start: number, end: number, itag: number): void {
    this.#invalidates.push({ pasid, start, end, itag });
    this.#invalidateQueue.wakeAll(this.sched);
  }

  *#invalidationUnit(): KernelPath<void> {
    for (;;) {
      yield* this.sched.waitSteady(() => this.#invalidates.length > 0, this.#invalidateQueue, 'Invalidate Request');
      if (this.sched.points) yield P_DEV_MESSAGE;
      yield* this.invalidate(this.#invalidates.shift());
    }
  }

  /** Drops what the ATC has of the range, dooms completions under way, waits for accesses in flight, completes. */
  *invalidate(r: InvalidateRequest): KernelPath<void> {
    this.invalidations++;
    this.#message(MSG_INVALIDATE_REQUEST, r.pasid, r.start, r.end, r.itag);
    if (r.end === Number.POSITIVE_INFINITY) this.atc.invalidateAsid(r.pasid);
    else this.atc.invalidateRange(r.pasid, r.start, r.end);
    let isDraining = false;
    for (const e of this.#engines) {
      const isAsked = this.discardsOvertaken && e.askedVa >= 0 && e.request.pasid === r.pasid;
      const met = isAsked ? sizeMet(e.askedVa, r.start, r.end) : NOT_MET;
      e.isDraining = e.heldVa >= 0 && e.heldPasid === r.pasid && sizeMet(e.heldVa, r.start, r.end) <= e.heldSize;
      this.#note(PART_ENGINE, e.id, met < e.doomedFrom || e.isDraining);
      if (met < e.doomedFrom) e.doomedFrom = met;
      isDraining = isDraining || e.isDraining;
    }
    if (isDraining) yield* this.drain();
    const { log } = this.memory;
    if (log.on) {
      log.emit(E_DEV_INVAL, this.iommu.mmOf[r.pasid]!, r.start, r.end, 0, 0, 0, r.itag, AGENT_ATC, this.id);
    }
    if (this.sched.points) yield P_DEV_MESSAGE;
    this.#message(MSG_INVALIDATE_COMPLETION, r.pasid, r.start, r.end, r.itag);
    assert((this.#itagsUsed & (1 << r.itag)) !== 0, 'Invalidate Completion: the ITag is outstanding');
    this.#note(PART_ITAG, r.itag, true);
    this.#itagsUsed &= ~(1 << r.itag);
    this.iommu.commands.receiveInvalidateCompletion(this.id, r.itag);
  }

  /** Waits until the accesses that used what was dropped have reached memory. */
  *drain(): KernelPath<void> {
    const isDrained = (): boolean => !this.#engines.some((e) => e.isDraining);
    yield* this.sched.waitSteady(isDrained, this.#drainQueue, 'accesses in flight');
    for (const e of this.#engines) this.#note(PART_ENGINE, e.id, false);
  }

  #message(a: number, pasid: number, start: number, end: number, tag: number): void {
    const { log } = this.memory;
    if (log.on) log.emit(E_MSG, this.iommu.mmOf[pasid]!, start, end, 0, 0, a, tag, AGENT_ATC, this.id);
  }
}

/** Do the rights of an entry allow the access? */
function permits(flags: number, kind: number): boolean {
  if (kind === ACCESS_READ) return true;
  return kind === ACCESS_WRITE ? (flags & RW_D) === RW_D : (flags & TLB_NX) === 0;
}
