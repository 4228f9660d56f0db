// The hardware of SGI's GRU (Global Reference Unit): chiplets, each with a TLB that only software fills, and contexts in which the
// threads of a program have their instructions executed. What a thread's one control block does:
//
//   looks in the chiplet's TLB, under the address-space number (ASID) of its context     hit: reaches memory
//   miss: the TLB fault handle (TFH) latches address, ASID and whether it is a store      the driver is asked
//   the driver writes an entry and restarts it ("drop-in")                                looks again
//
// One rule of the hardware stands in for a lock (Linux: drivers/misc/sgi-gru/grufault.c, gru_try_dropin): a drop-in is ignored when
// a purge of its page came after the driver had read the latch.
//
//   driver                                  another CPU
//     reads the latch: V
//     reads the CPUs' entry: V -> F1
//                                             purges V
//     writes the drop-in V -> F1: ignored
//                                             clears the entry, frees F1
//   the instruction misses V again
//
// A purge is over when no access is in flight that used what was purged. Nothing leaves the TLB for want of room: a TLB that forgets
// is kinder to a wrong driver.

import { AGENT_MIRROR, E_DEV_ACCESS, E_DEV_FILL, E_DEV_INVAL } from '../../abi/events.ts';
import { OBJ_DRIVER } from '../../base/footprint.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import { SpinLocks } from '../../sched/locks.ts';
import { type Scheduler, WaitQueue } from '../../sched/scheduler.ts';
import { Translation, TranslationMap } from '../translation-map.ts';
import type { GruThread } from './thread.ts';

const ALL = Number.POSITIVE_INFINITY;
/** Words that devices own: the last 64 bytes of a page, 8 for each of 8 engines. */
const DEVICE_WORDS = 4096 - 64;
// Objects in footprints (OBJ_DRIVER).
const CHIPLET = 0x20000200;
const TLB = 0x40000000;
const MAP_SPAN = 0x4000000;

/** TLB fault handle: idle; a miss that interrupts; one that waits for the user to ask (user polling mode). */
export const TFH_IDLE = 0;
export const TFH_MISS_FMM = 1;
export const TFH_MISS_UPM = 2;

/** A purge under way: accesses that were in flight when it began. */
export interface Purge {
  readonly mm: number;
  readonly asid: number;
  readonly start: number;
  readonly end: number;
  readonly asked: readonly { readonly thread: GruThread; readonly flight: number }[];
}

interface AsidTlb {
  readonly mm: number;
  readonly map: TranslationMap;
}

export class GruChiplet {
  /** gid: its number among all chiplets. */
  readonly id: number;
  /** Its number as a device, in events. */
  readonly device: number;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  /** Contexts (CCH): the thread that is loaded, by slot. */
  readonly contexts: (GruThread | null)[];
  /** gs_asid_lock: guards the three below. */
  readonly asidLock: SpinLocks;
  lastAsid = 0;
  asidGeneration = 1;
  /** Where the search for a context to steal goes on (bs_lru_ctxnum). */
  nextVictim = 0;
  purges = 0;
  ignoredDropins = 0;
  readonly drained = new WaitQueue();
  readonly #tlbs = new Map<number, AsidTlb>();

  constructor(memory: PhysMemory, sched: Scheduler, id: number, device: number, contexts: number) {
    this.memory = memory;
    this.sched = sched;
    this.id = id;
    this.device = device;
    this.contexts = new Array<GruThread | null>(contexts).fill(null);
    this.asidLock = new SpinLocks(sched, sched.lockClasses.define('GRU ASIDs of a chiplet'), 1);
  }

  /** Notes a touch of its contexts. */
  touch(isWrite: boolean): void {
    this.memory.footprint?.note(OBJ_DRIVER, CHIPLET + this.id, isWrite);
  }

  get contextsLoaded(): number {
    let loaded = 0;
    for (const thread of this.contexts) if (thread !== null) loaded++;
    return loaded;
  }

  #tlb(asid: number, mm: number): AsidTlb {
    let tlb = this.#tlbs.get(asid);
    if (tlb === undefined || tlb.mm !== mm) {
      const map = tlb?.map ?? new TranslationMap(this.memory, TLB + this.id * 0x10000000 + (asid % 4) * MAP_SPAN);
      tlb = { mm, map };
      this.#tlbs.set(asid, tlb);
    }
    return tlb;
  }

  // --- the control block of a thread that is loaded here

  /** Holds the translation of the page for an access. False: a miss. */
  hold(t: GruThread, page: number, isWrite: boolean): boolean {
    t.touch(false);
    const entry = t.asid === 0 ? null : this.#tlb(t.asid, t.mmId).map.find(page);
    if (entry === null || (isWrite && !entry.isWritable)) return false;
    t.touch(true);
    const i = (page - entry.va) / 4096;
    t.heldVa = page;
    t.heldAsid = t.asid;
    t.heldPfn = entry.pfn + i;
    t.heldGeneration = entry.generations[i]!;
    return true;
  }

  /** The TFH latches a miss. */
  latch(t: GruThread, page: number, isWrite: boolean): void {
    t.touch(true);
    t.tfh = t.isInterrupting ? TFH_MISS_FMM : TFH_MISS_UPM;
    t.missVa = page;
    t.missAsid = t.asid;
    t.missIsWrite = isWrite;
    t.isLatchRead = false;
    t.isOvertaken = false;
  }

  /** Reaches memory through the translation held: reads 8 bytes, or writes the engine's own word of the page. The value read. */
  reach(t: GruThread, va: number, isWrite: boolean, staleStoresLand: boolean): number {
    const offset = isWrite ? DEVICE_WORDS + t.id * 8 : (va % 4096) - (va % 8);
    return this.reachWord(t, va - (va % 4096) + offset, isWrite, t.writes + 1, staleStoresLand);
  }

  /** The same for any word: a store puts `value` there. */
  reachWord(t: GruThread, va: number, isWrite: boolean, value: number, staleStoresLand: boolean): number {
    const { memory } = this;
    const pfn = t.heldPfn;
    const now = memory.generation[pfn]!;
    const word = (pfn * 4096 + (va % 4096)) / 8;
    if (memory.footprint !== null) memory.touch(pfn, isWrite);
    if (isWrite) {
      t.writes++;
      if (staleStoresLand || now === t.heldGeneration) memory.doubles[word] = value;
    } else t.reads++;
    if (memory.log.on) {
      const w = isWrite ? 1 : 0;
      memory.log.emit(E_DEV_ACCESS, t.mmId, va, va + 8, pfn, t.heldGeneration, now, w, AGENT_MIRROR, this.device);
    }
    return memory.doubles[word]!;
  }

  /** The access is over. */
  release(t: GruThread): void {
    t.touch(true);
    t.heldVa = -1;
    t.flight++;
    this.drained.wakeAll(this.sched);
  }

  // --- what the driver does

  /** TFH write and restart: `pages` consecutive frames from `pfn` on at the page missed. False: the hardware ignored it, because a
   *  purge had hit since the latch was read. */
  dropIn(t: GruThread, va: number, pfn: number, pages: number, isWritable: boolean): boolean {
    t.touch(true);
    this.touch(false);
    t.tfh = TFH_IDLE;
    t.isLatchRead = false;
    if (t.isOvertaken) {
      this.ignoredDropins++;
      return false;
    }
    this.insert(t.missAsid, t.mmId, va, pfn, pages, isWritable);
    return true;
  }

  insert(asid: number, mm: number, va: number, pfn: number, pages: number, isWritable: boolean): void {
    const generations: number[] = [];
    for (let i = 0; i < pages; i++) generations.push(this.memory.generation[pfn + i]!);
    const entry = new Translation(va, pages, pfn, generations, isWritable);
    this.#tlb(asid, mm).map.insert(entry);
    this.#emitFill(mm, entry);
  }

  /** TGH invalidate: drops [start, end) of the ASID. On return accesses in flight may still use it: wait for isDrained, then
   *  finish. */
  purge(mm: number, asid: number, start: number, end: number): Purge {
    this.purges++;
    const asked: { readonly thread: GruThread; readonly flight: number }[] = [];
    this.touch(false);
    for (const t of this.contexts) {
      if (t === null) continue;
      const isMissed = t.isLatchRead && t.missAsid === asid && t.missVa < end && t.missVa + 4096 > start;
      const isHeld = t.heldVa >= 0 && t.heldAsid === asid && t.heldVa < end && t.heldVa + 4096 > start;
      t.touch(isMissed);
      if (isMissed) t.isOvertaken = true;
      if (isHeld) asked.push({ thread: t, flight: t.flight });
    }
    this.#tlb(asid, mm).map.remove(start, end);
    return { mm, asid, start, end, asked };
  }

  /** tgh_invalidate of everything: the ASIDs begin again. */
  purgeAll(): Purge[] {
    const all: Purge[] = [];
    this.touch(true);
    for (const [asid, tlb] of this.#tlbs) all.push(this.purge(tlb.mm, asid, 0, ALL));
    return all;
  }

  isDrained(p: Purge): boolean {
    for (const { thread, flight } of p.asked) {
      thread.touch(false);
      if (thread.heldVa >= 0 && thread.flight === flight) return false;
    }
    return true;
  }

  /** The purge is over. What was dropped in meanwhile stands. */
  finish(p: Purge): void {
    if (!this.memory.log.on) return;
    this.emitInvalidated(p.mm, p.start, p.end);
    const tlb = this.#tlbs.get(p.asid);
    if (tlb === undefined || tlb.mm !== p.mm) return;
    for (const entry of tlb.map.entries(p.start, p.end, false)) this.#emitFill(p.mm, entry);
  }

  /** The address space has lost its ASID: what stands in the TLB under it is out of reach. */
  forget(mm: number): void {
    this.emitInvalidated(mm, 0, ALL);
  }

  emitInvalidated(mm: number, start: number, end: number): void {
    const { log } = this.memory;
    if (log.on) log.emit(E_DEV_INVAL, mm, start, end, 0, 0, 0, 0, AGENT_MIRROR, this.device);
  }

  #emitFill(mm: number, t: Translation): void {
    const { log } = this.memory;
    if (!log.on) return;
    for (let i = 0; i < t.pages; i++) {
      const va = t.va + i * 4096;
      const w = t.isWritable ? 1 : 0;
      log.emit(E_DEV_FILL, mm, va, va + 4096, t.pfn + i, t.generations[i]!, w, 0, AGENT_MIRROR, this.device);
    }
  }

  /** All that it keeps, as numbers. */
  stateWords(): number[] {
    const tlbs = [...this.#tlbs].sort((a, b) => a[0] - b[0]).flatMap(([asid, t]) => [-1, asid, t.mm, ...t.map.words()]);
    const contexts = this.contexts.map((t) => (t === null ? -1 : t.id));
    return [this.lastAsid, this.asidGeneration, this.nextVictim, ...contexts, ...tlbs];
  }
}
