// An RDMA network adapter, the part that reaches memory: memory keys with their translation tables (MTT), the cache of translations,
// and DMA. Knows nothing of Linux; its driver (odp-*.ts, pinned-mr.ts) writes the tables and answers page faults.
// Linux: drivers/infiniband/hw/mlx5/{odp,mr,umr}.c.
//
// One DMA, each line a step:
//
//   look up key and translation     cache, else the key's MTT (copied to the cache in the same step); none: page fault, if the key may
//   hold it                         P_DEV_TRANSLATED: the transaction is under way, memory not reached yet
//   reach memory                    real bytes at the translated frame
//
// A key is direct (an MTT over a range of addresses) or indirect (KSM: each span of addresses belongs to another key, which is how a
// region over the whole address space is made). Tables are changed by a work request of the driver (UMR), and taking entries away has
// three parts, after which nothing uses them:
//
//   MTT entries cleared      cache entries dropped      transactions that used them have ended
//
// Guards: nothing here is under a lock; the driver changes the MTT of a region under that region's umem_mutex.

import {
  AGENT_MIRROR,
  AGENT_MIRROR_TLB,
  AGENT_PIN,
  DEV_FAILED,
  DEV_RUNNING,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
} from '../../abi/events.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import { type Scheduler, WaitQueue } from '../../sched/scheduler.ts';
import { noteDevice } from '../objects.ts';
import { Translation, TranslationMap } from '../translation-map.ts';

/** Rights of an MTT entry. */
export const ODP_READ_ALLOWED_BIT = 1;
export const ODP_WRITE_ALLOWED_BIT = 2;

// What work requests may do through a key (enum ib_access_flags). A local read needs no right.
export const IB_ACCESS_LOCAL_WRITE = 1;
export const IB_ACCESS_REMOTE_WRITE = 2;
export const IB_ACCESS_REMOTE_READ = 4;
export const IB_ACCESS_REMOTE_ATOMIC = 8;
export const IB_ACCESS_ALL = 15;

/** ib_access_writable. */
export function isWritableAccess(access: number): boolean {
  return (access & (IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC)) !== 0;
}

// What a look-up answers.
export const LOOKUP_OK = 0;
/** The key may fault, and has no entry that allows the access. */
export const LOOKUP_FAULT = 1;
/** The key does not exist, does not reach that far, or does not allow it: a protection error. */
export const LOOKUP_ERROR = 2;

// Parts in footprints (device/objects).
const PART_UNIT = 1; // [unit] what it holds
const PART_STATE = 2;
const PART_KEY = 3; // [key] does it exist? [0] the next number
const PART_KSM = 4; // [index]
const MTT_MAP = 0x40000000;
const CACHE_MAP = 0x80000000;
const NIC_SPAN = 0x8000000;

/** A memory key: lkey and rkey are the same number. */
export class MemoryKey {
  readonly id: number;
  /** Bytes of the address space of the process that it covers, half-open. */
  readonly start: number;
  readonly end: number;
  /** IB_ACCESS_*. */
  readonly access: number;
  /** A missing translation is a page fault; else a protection error. */
  readonly mayFault: boolean;
  readonly mtt: TranslationMap;
  readonly cache: TranslationMap;
  /** Indirect: the keys of spans of `spanBytes`, by number of the span; null: direct. */
  readonly ksm: Map<number, MemoryKey> | null;
  readonly spanBytes: number;

  constructor(nic: Nic, id: number, start: number, end: number, access: number, mayFault: boolean, spanBytes: number) {
    this.id = id;
    this.start = start;
    this.end = end;
    this.access = access;
    this.mayFault = mayFault;
    this.spanBytes = spanBytes;
    this.ksm = spanBytes === 0 ? null : new Map();
    this.mtt = new TranslationMap(nic.memory, MTT_MAP + (nic.id & 3) * NIC_SPAN);
    this.cache = new TranslationMap(nic.memory, CACHE_MAP + (nic.id & 3) * NIC_SPAN);
  }
}

/** What does DMA: one transaction at a time. */
export class DmaUnit {
  readonly id: number;
  /** Page whose translation is held, -1 when none. */
  heldVa = -1;
  heldPfn = 0;
  /** AGENT_*: through what. */
  heldAgent = AGENT_MIRROR_TLB;
  heldGeneration = 0;

  constructor(id: number) {
    this.id = id;
  }
}

/** Taken-away translations whose transactions have not all ended. */
export interface Drain {
  readonly start: number;
  readonly end: number;
  readonly asked: readonly DmaUnit[];
  readonly units: Set<DmaUnit>;
}

export class Nic {
  readonly id: number;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  state = DEV_RUNNING;
  /** Address space, for events; 0 = none. */
  mm = 0;
  readonly units: DmaUnit[] = [];
  readonly keys = new Map<number, MemoryKey>();
  #nextKey = 1;
  readonly #drains: Drain[] = [];
  readonly #drainQueue = new WaitQueue();
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  hits = 0;
  fills = 0;
  flushes = 0;
  reads = 0;
  writes = 0;

  constructor(memory: PhysMemory, sched: Scheduler, id: number, staleStoresLand: boolean) {
    this.memory = memory;
    this.sched = sched;
    this.id = id;
    this.staleStoresLand = staleStoresLand;
  }

  addUnit(): DmaUnit {
    const unit = new DmaUnit(this.units.length);
    this.units.push(unit);
    return unit;
  }

  note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.memory;
    if (footprint !== null) noteDevice(footprint, this.id, part, index, isWrite);
  }

  // --- state

  get isRunning(): boolean {
    this.note(PART_STATE, 0, false);
    return this.state === DEV_RUNNING;
  }

  /** What decides whether requests are taken at all changes. */
  noteState(): void {
    this.note(PART_STATE, 0, true);
  }

  /** The adapter stops: DEV_FAILED until it is reset by unbinding. `va`: where it could not go on. */
  fail(va: number): void {
    this.note(PART_STATE, 0, true);
    if (this.state === DEV_FAILED) return;
    this.state = DEV_FAILED;
    const { log } = this.memory;
    const page = va - (va % 4096);
    if (log.on) log.emit(E_DEV_STATE, this.mm, page, page + 4096, 0, 0, DEV_FAILED, 0, 0, this.id);
  }

  // --- keys

  /** CREATE_MKEY. `spanBytes` not 0: an indirect key. */
  createKey(start: number, end: number, access: number, mayFault: boolean, spanBytes = 0): MemoryKey {
    this.note(PART_KEY, 0, true);
    const key = new MemoryKey(this, this.#nextKey++, start, end, access, mayFault, spanBytes);
    this.note(PART_KEY, key.id, true);
    this.keys.set(key.id, key);
    return key;
  }

  /** DESTROY_MKEY: from now on every use of it is a protection error. Its MTT must be empty. */
  destroyKey(key: MemoryKey): void {
    this.note(PART_KEY, key.id, true);
    this.keys.delete(key.id);
  }

  /** Entry `index` of an indirect key; null clears it. */
  setKsm(key: MemoryKey, index: number, child: MemoryKey | null): void {
    this.note(PART_KSM, index, true);
    if (child === null) key.ksm!.delete(index);
    else key.ksm!.set(index, child);
  }

  // --- look-ups

  /** Holds the translation of the page of [va, va + length), which lies in one page, through key `id`. `access`: the right that it takes,
   *  IB_ACCESS_*, 0 for a local read. LOOKUP_*. */
  hold(unit: DmaUnit, id: number, va: number, length: number, access: number): number {
    this.note(PART_KEY, id, false);
    const key = this.keys.get(id);
    if (key === undefined || va < key.start || va + length > key.end || (key.access & access) !== access)
      return LOOKUP_ERROR;
    const isWrite = isWritableAccess(access);
    let direct: MemoryKey | undefined = key;
    if (key.ksm !== null) {
      const index = Math.floor(va / key.spanBytes);
      this.note(PART_KSM, index, false);
      direct = key.ksm.get(index);
    }
    const t = direct === undefined ? null : this.#translate(direct, va - (va % 4096), isWrite);
    if (t === null) return key.mayFault ? LOOKUP_FAULT : LOOKUP_ERROR;
    this.note(PART_UNIT, unit.id, true);
    unit.heldVa = t.va;
    unit.heldPfn = t.pfn;
    unit.heldAgent = key.mayFault ? AGENT_MIRROR_TLB : AGENT_PIN;
    unit.heldGeneration = t.generations[0]!;
    return LOOKUP_OK;
  }

  /** From the cache, or else the MTT. An entry in the cache that does not allow a store is looked up again. */
  #translate(key: MemoryKey, page: number, isWrite: boolean): Translation | null {
    const cached = key.cache.find(page);
    if (cached !== null && (cached.isWritable || !isWrite)) {
      this.hits++;
      return cached;
    }
    const entry = key.mtt.find(page);
    if (entry === null || (isWrite && !entry.isWritable)) return null;
    key.cache.insert(entry);
    this.fills++;
    if (key.mayFault) this.#emitFill(entry, AGENT_MIRROR_TLB);
    return entry;
  }

  // --- memory

  /** Loads 8 bytes through the held translation. */
  load(unit: DmaUnit, va: number): number {
    const pfn = unit.heldPfn;
    this.memory.touch(pfn, false);
    this.reads++;
    this.#emitAccess(unit, va - (va % 8), 8, false);
    return this.memory.doubles[(pfn * 4096 + (va % 4096) - (va % 8)) / 8]!;
  }

  /** Stores 8 bytes through the held translation. */
  store(unit: DmaUnit, va: number, value: number): void {
    const pfn = unit.heldPfn;
    this.memory.touch(pfn, true);
    this.writes++;
    if (this.#mayLand(unit)) this.memory.doubles[(pfn * 4096 + (va % 4096)) / 8] = value;
    this.#emitAccess(unit, va, 8, true);
  }

  /** Reads `length` bytes of the held page into `out` at `at`. */
  read(unit: DmaUnit, va: number, length: number, out: Uint8Array, at: number): void {
    const from = unit.heldPfn * 4096 + (va % 4096);
    this.memory.touch(unit.heldPfn, false);
    this.reads++;
    out.set(this.memory.bytes.subarray(from, from + length), at);
    this.#emitAccess(unit, va, length, false);
  }

  /** Writes `length` bytes of `data` from `at` on into the held page. */
  write(unit: DmaUnit, va: number, length: number, data: Uint8Array, at: number): void {
    this.memory.touch(unit.heldPfn, true);
    this.writes++;
    if (this.#mayLand(unit)) this.memory.bytes.set(data.subarray(at, at + length), unit.heldPfn * 4096 + (va % 4096));
    this.#emitAccess(unit, va, length, true);
  }

  #mayLand(unit: DmaUnit): boolean {
    return this.staleStoresLand || this.memory.generation[unit.heldPfn] === unit.heldGeneration;
  }

  #emitAccess(unit: DmaUnit, va: number, length: number, isWrite: boolean): void {
    const { memory } = this;
    if (!memory.log.on) return;
    const pfn = unit.heldPfn;
    const now = memory.generation[pfn]!;
    const w = isWrite ? 1 : 0;
    memory.log.emit(E_DEV_ACCESS, this.mm, va, va + length, pfn, unit.heldGeneration, now, w, unit.heldAgent, this.id);
  }

  /** The transaction has ended. */
  release(unit: DmaUnit): void {
    this.note(PART_UNIT, unit.id, true);
    unit.heldVa = -1;
    for (const drain of [...this.#drains]) {
      if (drain.units.delete(unit) && drain.units.size === 0) this.#drained(drain);
    }
  }

  // --- what the driver's work requests (UMR) do

  /** An MTT entry becomes valid. Takes no page reference: of a key that may not fault the pages are pinned. */
  setMtt(key: MemoryKey, va: number, pfn: number, isWritable: boolean): void {
    const entry = new Translation(va, 1, pfn, [this.memory.generation[pfn]!], isWritable);
    for (const old of key.mtt.insert(entry)) if (old.pfn !== pfn) this.#emitRemoved(key, old.va);
    this.#emitFill(entry, key.mayFault ? AGENT_MIRROR : AGENT_PIN);
  }

  /** MTT entries of [start, end) become invalid; the cache keeps its copies. */
  clearMtt(key: MemoryKey, start: number, end: number): void {
    for (const t of key.mtt.remove(start, end)) this.#emitRemoved(key, t.va);
  }

  /** Drops what the cache has of [start, end). Transactions under way may still reach memory: wait for isDrained(the answer). */
  dropCache(key: MemoryKey, start: number, end: number): Drain {
    this.flushes++;
    key.cache.remove(start, end);
    const asked: DmaUnit[] = [];
    for (const unit of this.units) {
      const isInFlight = unit.heldVa >= 0 && unit.heldVa < end && unit.heldVa + 4096 > start;
      this.note(PART_UNIT, unit.id, isInFlight);
      if (isInFlight) asked.push(unit);
    }
    const drain: Drain = { start, end, asked, units: new Set(asked) };
    if (asked.length === 0) this.#emitDropped(drain);
    else this.#drains.push(drain);
    return drain;
  }

  isDrained(drain: Drain): boolean {
    for (const unit of drain.asked) this.note(PART_UNIT, unit.id, false);
    return drain.units.size === 0;
  }

  /** Busy-waits until the transactions that used what was dropped have ended. */
  awaitDrain(drain: Drain): AtomicPath<void> {
    return this.sched.spinUntil(() => this.isDrained(drain), this.#drainQueue, 'DMA in flight');
  }

  /** All of it: on return nothing of [start, end) is used through the key, until it is mapped again. */
  *zap(key: MemoryKey, start: number, end: number): AtomicPath<void> {
    if (this.sched.points) yield P_DRIVER;
    this.clearMtt(key, start, end);
    if (this.sched.points) yield P_DRIVER;
    yield* this.awaitDrain(this.dropCache(key, start, end));
  }

  #drained(drain: Drain): void {
    this.#drains.splice(this.#drains.indexOf(drain), 1);
    this.#emitDropped(drain);
    this.#drainQueue.wakeAll(this.sched);
  }

  /** All that the adapter keeps, as numbers. */
  stateWords(): number[] {
    const units = this.units.flatMap((u) => [u.heldVa, u.heldPfn, u.heldGeneration]);
    const drains = this.#drains.flatMap((d) => [d.start, d.end, ...[...d.units].map((u) => u.id)]);
    const keys = [...this.keys.values()].flatMap((key) => {
      const ksm = [...(key.ksm ?? [])].flatMap(([index, child]) => [index, child.id]);
      return [-2, key.id, ...ksm, -3, ...key.mtt.words(), -4, ...key.cache.words()];
    });
    return [this.state, this.mm, ...units, -1, ...drains, ...keys];
  }

  // --- events

  #emitFill(t: Translation, agent: number): void {
    const { log } = this.memory;
    const w = t.isWritable ? 1 : 0;
    if (log.on) log.emit(E_DEV_FILL, this.mm, t.va, t.end, t.pfn, t.generations[0]!, w, 0, agent, this.id);
  }

  /** An entry of the key's MTT is gone. Several keys may translate a page: for the record it is gone when none does any more. */
  #emitRemoved(gone: MemoryKey, va: number): void {
    const { log } = this.memory;
    if (!log.on) return;
    for (const key of this.keys.values()) if (key.mayFault === gone.mayFault && key.mtt.find(va) !== null) return;
    const agent = gone.mayFault ? AGENT_MIRROR : AGENT_PIN;
    log.emit(E_DEV_INVAL, this.mm, va, va + 4096, 0, 0, 0, 0, agent, this.id);
  }

  /** The same of the cache, when the transactions have ended. */
  #emitDropped(drain: Drain): void {
    const { log } = this.memory;
    if (!log.on) return;
    const others = [...this.keys.values()].flatMap((key) =>
      key.mayFault ? key.cache.entries(drain.start, drain.end, false) : [],
    );
    const emit = (start: number, end: number): void =>
      log.emit(E_DEV_INVAL, this.mm, start, end, 0, 0, 0, 0, AGENT_MIRROR_TLB, this.id);
    if (others.length === 0) emit(drain.start, drain.end);
    else
      for (let va = drain.start; va < drain.end; va += 4096) if (!others.some((t) => t.va === va)) emit(va, va + 4096);
  }
}
