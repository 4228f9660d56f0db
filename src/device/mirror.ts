// A device with a translation table that its driver fills (KVM's shadow pages, RDMA on-demand paging, a GPU through HMM), and
// engines with TLBs of their own. What it shares with the CPUs is memory; its table is right only because the driver follows
// the CPUs' page tables.
//
// One access of an engine, each line a step:
//
//   look up the engine's TLB        a store needs a writable and dirty entry
//   else the table                  an entry is copied to the TLB; accessed and dirty are set in the table
//   else the driver's fault         looks the page up, puts it into the table; then again from the top
//   hold the translation            P_DEV_TRANSLATED: in flight, memory not reached yet
//   reach memory                    real bytes at the translated frame
//
// Taking a translation away has three parts, and the driver must do all of them before the kernel may free the page:
//
//   driver                                engine
//     removes V from the table              has V -> F1 in its TLB, and an access in flight
//     drops V from the TLBs
//     waits for the access in flight        writes F1
//     returns                               misses V: asks the driver
//                                                                           kernel frees F1
//
// The copy from table to TLB is one step with the look-up: hardware tells a flush apart from a walk that it overtakes.

import { EAGAIN, EBUSY } from '../abi/errno.ts';
import {
  AGENT_MIRROR,
  AGENT_MIRROR_TLB,
  DEV_FAILED,
  DEV_RUNNING,
  E_DEV_ACCESS,
  E_DEV_ATOMIC,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_REFAULT,
} from '../abi/events.ts';
import { InputError } from '../base/assert.ts';
import { OBJ_DRIVER } from '../base/footprint.ts';
import type { PhysMemory } from '../hw/phys.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DEV_TRANSLATED } from '../sched/points.ts';
import { type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID, type Accessor } from './accessor.ts';
import { Translation, TranslationMap } from './translation-map.ts';

/** Words that devices own: the last 64 bytes of a page, 8 for each of 8 engines. */
const ENGINES_MAX = 8;
/** The word of atomic operations is the last engine's. */
const ATOMIC_WORD = ENGINES_MAX - 1;
const DEVICE_WORDS = 4096 - 64;
const ROOTS_MAX = 4;

// Objects in footprints (OBJ_DRIVER), out of the way of the IOMMU's.
const STATE = 0x20000000;
const FAULTS = 0x20000001;
const ENGINE = 0x20000100;
const TABLE = 0x40000000;
const ENGINE_TLB = 0x80000000;
const MAP_SPAN = 0x4000000;

export interface MirrorConfig {
  /** Independent engines, each with one access in flight. */
  readonly engines: number;
  /** Tables; engine i uses table i % roots. */
  readonly roots: number;
  /** Attempts without progress at one access before the device stops with an error. */
  readonly refaultBudget: number;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  /** Each store is an atomic addition to one word of the page that all engines share. At most seven engines then. */
  readonly storesAreAtomic: boolean;
}

export const MIRROR_DEFAULTS: MirrorConfig = {
  engines: 4,
  roots: 1,
  refaultBudget: 8,
  staleStoresLand: true,
  storesAreAtomic: false,
};

/** What an engine asks its driver for. */
export interface FaultRequest {
  /** Byte address of the page. */
  readonly va: number;
  readonly isWrite: boolean;
  readonly engine: number;
  /** Table that the engine uses. */
  readonly root: number;
}

/** Answers a fault: 0 = look again; -EAGAIN, -EBUSY the same; another -errno = the access is refused. */
export type FaultHandler = (request: FaultRequest) => KernelPath<number>;

class MirrorEngine {
  readonly id: number;
  readonly root: number;
  readonly tlb: TranslationMap;
  /** Page whose translation is held for an access in flight, -1 when none. */
  heldVa = -1;
  heldPfn = 0;
  heldGeneration = 0;

  constructor(id: number, root: number, memory: PhysMemory) {
    this.id = id;
    this.root = root;
    this.tlb = new TranslationMap(memory, ENGINE_TLB + id * MAP_SPAN);
  }
}

/** A flush of the TLBs that waits for accesses in flight. */
interface Drain {
  readonly start: number;
  readonly end: number;
  /** Engines whose access in flight used a dropped translation: at first, and still. */
  readonly asked: readonly MirrorEngine[];
  readonly engines: Set<MirrorEngine>;
}

export class MirrorDevice implements Accessor {
  readonly id: number;
  readonly config: MirrorConfig;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  readonly tables: readonly TranslationMap[];
  state = DEV_RUNNING;
  /** Address space, for events; 0 = none. */
  mm = 0;
  #onFault: FaultHandler | null = null;
  lastRead = 0;
  reads = 0;
  writes = 0;
  hits = 0;
  faults = 0;
  faultsRefused = 0;
  refaults = 0;
  refaultsMax = 0;
  flushes = 0;
  readonly #engines: MirrorEngine[] = [];
  readonly #drains: Drain[] = [];
  readonly #drainQueue = new WaitQueue();
  /** How often suspended: while it is not 0 engines begin no access, and what table and TLBs hold is of no use. */
  #suspended = 0;
  readonly #resumeQueue = new WaitQueue();

  /** `id` names the device in events. Throws InputError for impossible numbers of engines or roots. */
  constructor(memory: PhysMemory, sched: Scheduler, id: number, config: Partial<MirrorConfig> = {}) {
    this.config = { ...MIRROR_DEFAULTS, ...config };
    const { engines, roots, storesAreAtomic } = this.config;
    if (storesAreAtomic && engines > ATOMIC_WORD)
      throw new InputError(`device: ${engines} engines, not 1 to ${ATOMIC_WORD}`);
    if (!(engines >= 1 && engines <= ENGINES_MAX))
      throw new InputError(`device: ${engines} engines, not 1 to ${ENGINES_MAX}`);
    if (!(roots >= 1 && roots <= ROOTS_MAX)) throw new InputError(`device: ${roots} roots, not 1 to ${ROOTS_MAX}`);
    this.id = id;
    this.memory = memory;
    this.sched = sched;
    this.tables = Array.from({ length: roots }, (_, i) => new TranslationMap(memory, TABLE + i * MAP_SPAN));
    for (let i = 0; i < engines; i++) this.#engines.push(new MirrorEngine(i, i % roots, memory));
  }

  get engineCount(): number {
    return this.#engines.length;
  }

  /** Who answers faults; null: nobody, accesses that miss are refused. */
  setFaultHandler(handler: FaultHandler | null): void {
    this.#touch(STATE, true);
    this.#onFault = handler;
  }

  /** The number of faults in flight changes (changes commute with each other), or somebody waits for it. */
  noteFaults(isWaitedFor: boolean): void {
    this.#touch(FAULTS, isWaitedFor);
  }

  #touch(object: number, isWrite: boolean): void {
    if (this.memory.footprint !== null) this.memory.footprint.note(OBJ_DRIVER, object, isWrite);
  }

  // --- accesses

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const e = this.#engines[engine]!;
    if (this.state !== DEV_RUNNING || this.#suspended > 0 || !this.#hold(e, va - (va % 4096), isWrite)) return false;
    this.#reach(e, va, isWrite);
    this.#release(e);
    return true;
  }

  *access(engine: number, va: number, isWrite: boolean, _groupEnd: number): KernelPath<number> {
    const e = this.#engines[engine]!;
    const page = va - (va % 4096);
    let attempts = 0;
    for (;;) {
      if (this.sched.points) yield P_DEV_TRANSLATE;
      this.#touch(STATE, false);
      if (this.state !== DEV_RUNNING) return ACCESS_DEAD;
      if (this.#suspended > 0) {
        yield* this.sched.waitUntil(() => !this.isSuspended, this.#resumeQueue, 'queues to run again');
        continue;
      }
      if (this.#hold(e, page, isWrite)) break;
      if (attempts > 0 && !this.#refault(page, attempts)) return ACCESS_DEAD;
      if (this.#onFault === null) return ACCESS_INVALID;
      this.faults++;
      const answer = yield* this.#onFault({ va: page, isWrite, engine, root: e.root });
      if (answer < 0 && answer !== -EAGAIN && answer !== -EBUSY) {
        this.faultsRefused++;
        return ACCESS_INVALID;
      }
      attempts++;
    }
    if (this.sched.points) yield P_DEV_TRANSLATED;
    this.#reach(e, va, isWrite);
    this.#release(e);
    if (this.sched.points) yield P_DEV_ACCESS;
    return ACCESS_DONE;
  }

  /** Holds the translation of the page for an access, from the TLB or else the table. False: neither allows it. */
  #hold(e: MirrorEngine, page: number, isWrite: boolean): boolean {
    let t = e.tlb.find(page);
    if (t === null || (isWrite && !(t.isWritable && t.isDirty && this.#allowsStore(t))))
      t = this.#fill(e, page, isWrite);
    else this.hits++;
    if (t === null) return false;
    this.#touch(ENGINE + e.id, true);
    const i = (page - t.va) / 4096;
    e.heldVa = page;
    e.heldPfn = t.pfn + i;
    e.heldGeneration = t.generations[i]!;
    return true;
  }

  #allowsStore(t: Translation): boolean {
    return t.isWritable && (t.isAtomic || !this.config.storesAreAtomic);
  }

  /** Looks in the table and copies the entry to the TLB. */
  #fill(e: MirrorEngine, page: number, isWrite: boolean): Translation | null {
    const table = this.tables[e.root]!;
    const entry = table.find(page);
    if (entry === null || (isWrite && !this.#allowsStore(entry))) return null;
    if (!entry.isAccessed || (isWrite && !entry.isDirty)) {
      table.noteWrite(page);
      entry.isAccessed = true;
      entry.isDirty ||= isWrite;
    }
    const copy = new Translation(
      entry.va,
      entry.pages,
      entry.pfn,
      entry.generations,
      entry.isWritable && entry.isDirty,
    );
    copy.isDirty = entry.isDirty;
    copy.isAtomic = entry.isAtomic;
    e.tlb.insert(copy);
    this.#emitFill(copy, AGENT_MIRROR_TLB);
    return copy;
  }

  #release(e: MirrorEngine): void {
    this.#touch(ENGINE + e.id, true);
    e.heldVa = -1;
    for (const drain of [...this.#drains]) {
      if (drain.engines.delete(e) && drain.engines.size === 0) this.#drained(drain);
    }
  }

  /** Reads 8 bytes, or writes the engine's own word of the page: programs keep their data. */
  #reach(e: MirrorEngine, va: number, isWrite: boolean): void {
    const { memory } = this;
    const pfn = e.heldPfn;
    const generation = e.heldGeneration;
    const isAtomic = isWrite && this.config.storesAreAtomic;
    if (memory.footprint !== null) memory.touch(pfn, isWrite);
    if (isWrite) {
      this.writes++;
      if (this.config.staleStoresLand || memory.generation[pfn] === generation) {
        const word = (pfn * 4096 + DEVICE_WORDS) / 8;
        if (isAtomic) memory.doubles[word + ATOMIC_WORD]! += 1;
        else memory.doubles[word + e.id] = this.writes;
      }
    } else {
      this.reads++;
      this.lastRead = memory.doubles[(pfn * 4096 + (va % 4096) - (va % 8)) / 8]!;
    }
    if (!memory.log.on) return;
    const word = isAtomic ? ATOMIC_WORD : e.id;
    const at = isWrite ? va - (va % 4096) + DEVICE_WORDS + word * 8 : va - (va % 8);
    const now = memory.generation[pfn]!;
    const w = isWrite ? 1 : 0;
    if (isAtomic)
      memory.log.emit(E_DEV_ATOMIC, this.mm, at, at + 8, pfn, generation, now, w, AGENT_MIRROR_TLB, this.id);
    memory.log.emit(E_DEV_ACCESS, this.mm, at, at + 8, pfn, generation, now, w, AGENT_MIRROR_TLB, this.id);
  }

  /** False: the device has given up. */
  #refault(page: number, attempts: number): boolean {
    this.refaults++;
    if (attempts > this.refaultsMax) this.refaultsMax = attempts;
    const { log } = this.memory;
    if (log.on) log.emit(E_REFAULT, this.mm, page, page + 4096, 0, 0, attempts, 0, AGENT_MIRROR_TLB, this.id);
    if (attempts <= this.config.refaultBudget) return true;
    this.#touch(STATE, true);
    this.state = DEV_FAILED;
    if (log.on) log.emit(E_DEV_STATE, this.mm, page, page + 4096, 0, 0, DEV_FAILED, 0, 0, this.id);
    return false;
  }

  // --- what the driver does

  /** Puts pages into the table of the root: `pages` consecutive frames from `pfn` on at `va`. Takes no reference. */
  map(root: number, va: number, pfn: number, pages: number, isWritable: boolean, isAtomic = false): void {
    const generations: number[] = [];
    for (let i = 0; i < pages; i++) generations.push(this.memory.generation[pfn + i]!);
    const entry = new Translation(va, pages, pfn, generations, isWritable);
    entry.isAtomic = isAtomic;
    for (const t of this.tables[root]!.insert(entry)) this.#emitRemoved(t);
    if (!this.isSuspended) this.#emitFill(entry, AGENT_MIRROR);
  }

  /** Takes entries that meet [start, end) out of all tables, or of one; the TLBs keep theirs. What was taken, table by table. */
  removeEntries(start: number, end: number, root = -1): Translation[] {
    const removed: Translation[] = [];
    for (const table of root < 0 ? this.tables : [this.tables[root]!]) removed.push(...table.remove(start, end));
    for (const t of removed) this.#emitRemoved(t);
    return removed;
  }

  /** Drops what the TLBs have of [start, end). On return accesses that were in flight may still reach memory: wait for
   *  isDrained(the answer). */
  dropTlbs(start: number, end: number): Drain {
    this.flushes++;
    const asked: MirrorEngine[] = [];
    for (const e of this.#engines) {
      e.tlb.remove(start, end);
      const isInFlight = e.heldVa >= 0 && e.heldVa < end && e.heldVa + 4096 > start;
      this.#touch(ENGINE + e.id, isInFlight);
      if (isInFlight) asked.push(e);
    }
    const drain: Drain = { start, end, asked, engines: new Set(asked) };
    if (drain.engines.size === 0) this.#emitDropped(start, end);
    else this.#drains.push(drain);
    return drain;
  }

  isDrained(drain: Drain): boolean {
    for (const e of drain.asked) this.#touch(ENGINE + e.id, false);
    return drain.engines.size === 0;
  }

  /** dropTlbs, then spins until no access is in flight that used what was dropped. */
  *flushTlbs(start: number, end: number): AtomicPath<void> {
    const drain = this.dropTlbs(start, end);
    yield* this.sched.spinUntil(() => this.isDrained(drain), this.#drainQueue, 'accesses in flight');
  }

  // --- queues

  get isSuspended(): boolean {
    this.#touch(STATE, false);
    return this.#suspended > 0;
  }

  /** Stops the engines. On return no access is in flight and the TLBs are empty; the table keeps what it has, unused. */
  *suspend(): AtomicPath<void> {
    this.#touch(STATE, true);
    this.#suspended++;
    yield* this.flushTlbs(0, Number.POSITIVE_INFINITY);
    const { log } = this.memory;
    if (!log.on) return;
    for (const table of this.tables)
      for (const t of table.entries(0, Number.POSITIVE_INFINITY, false))
        log.emit(E_DEV_INVAL, this.mm, t.va, t.end, 0, 0, 0, 0, AGENT_MIRROR, this.id);
  }

  /** Undoes one suspend. After the last the engines go on, with what the table has now. */
  resume(): void {
    this.#touch(STATE, true);
    if (--this.#suspended > 0) return;
    for (const table of this.tables)
      for (const t of table.entries(0, Number.POSITIVE_INFINITY, false)) this.#emitFill(t, AGENT_MIRROR);
    this.#resumeQueue.wakeAll(this.sched);
  }

  #drained(drain: Drain): void {
    this.#drains.splice(this.#drains.indexOf(drain), 1);
    this.#emitDropped(drain.start, drain.end);
    this.#drainQueue.wakeAll(this.sched);
  }

  /** Was a page of [start, end) used since the last clearing? */
  testYoung(start: number, end: number, isCleared: boolean): boolean {
    let isYoung = false;
    for (const table of this.tables) {
      for (const t of table.entries(start, end, isCleared)) {
        isYoung ||= t.isAccessed;
        if (isCleared) t.isAccessed = false;
      }
    }
    return isYoung;
  }

  /** Before another address space is used: tables and TLBs are empty. */
  reset(): void {
    this.#suspended = 0;
    for (const table of this.tables) table.remove(0, Number.POSITIVE_INFINITY);
    for (const e of this.#engines) e.tlb.remove(0, Number.POSITIVE_INFINITY);
  }

  /** All that the device keeps, as numbers: tables, TLBs, accesses in flight. */
  stateWords(): number[] {
    const flights = this.#engines.flatMap((e) => [e.heldVa, e.heldPfn, e.heldGeneration]);
    const drains = this.#drains.flatMap((d) => [d.start, d.end, ...[...d.engines].map((e) => e.id)]);
    const maps = [...this.tables, ...this.#engines.map((e) => e.tlb)].flatMap((m) => [-1, ...m.words()]);
    return [this.state, this.mm, this.#suspended, ...flights, -2, ...drains, ...maps];
  }

  // --- events

  /** E_DEV_FILL for each page. In a TLB an entry is writable when a store may use it as it is. */
  #emitFill(t: Translation, agent: number): void {
    const { log } = this.memory;
    if (!log.on) return;
    for (let i = 0; i < t.pages; i++) {
      const va = t.va + i * 4096;
      const w = t.isWritable ? 1 : 0;
      log.emit(E_DEV_FILL, this.mm, va, va + 4096, t.pfn + i, t.generations[i]!, w, 0, agent, this.id);
    }
  }

  /** E_DEV_INVAL for the pages of the entry that no table translates any more; the first one says what the dirty bit was. */
  #emitRemoved(t: Translation): void {
    const { log } = this.memory;
    if (!log.on) return;
    for (let va = t.va; va < t.end; va += 4096) {
      if (this.tables.some((table) => table.find(va) !== null)) continue;
      const isDirty = va === t.va && t.isDirty;
      const [pfn, generation] = isDirty ? [t.pfn, t.generations[0]!] : [0, 0];
      log.emit(E_DEV_INVAL, this.mm, va, va + 4096, pfn, generation, isDirty ? 1 : 0, 0, AGENT_MIRROR, this.id);
    }
  }

  #emitDropped(start: number, end: number): void {
    const { log } = this.memory;
    if (log.on) log.emit(E_DEV_INVAL, this.mm, start, end, 0, 0, 0, 0, AGENT_MIRROR_TLB, this.id);
  }
}
