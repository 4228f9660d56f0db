// A partition that maps another's memory: CPUs with TLBs, one page table, a kernel thread that takes messages. Nothing here can look
// into the exporter's address space; what it may use it is told by replies, and what it must give back by recalls.
//
// One access of a CPU: its TLB, else the partition's table, else a fault message to the exporter and a wait for the reply. A recall:
//
//   1  takes the range out of the table
//   2  drops it from the TLBs and waits for accesses in flight
//   3  acknowledges, and says which pages were stored to
//
// The partition maps the segment at an address of its own (`base`); messages speak of the exporter's.

import {
  AGENT_MIRROR,
  AGENT_MIRROR_TLB,
  AGENT_PIN,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_MSG,
} from '../../abi/events.ts';
import { OBJ_DRIVER } from '../../base/footprint.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_MESSAGE } from '../../sched/points.ts';
import { type Scheduler, WaitQueue } from '../../sched/scheduler.ts';
import { Fifo } from '../fifo.ts';
import { Translation, TranslationMap } from '../translation-map.ts';
import { GRANTED, type RecallMessage, type ReplyMessage, type ToImporter } from './messages.ts';
import type { XpmemFns } from './segment.ts';

/** Words that importers own: the last 64 bytes of a page, 8 for each of 8 CPUs. */
const DEVICE_WORDS = 4096 - 64;
// Objects in footprints (OBJ_DRIVER).
const CPU = 0x20000100;
const ANSWER = 0x20000200;
const HELD = 0x20000300;
const TABLE = 0x40000000;
const CPU_TLB = 0x80000000;
const MAP_SPAN = 0x4000000;
/** Fifo: owner of importer 0. */
const OWNER = 0x10;

/** A CPU of the partition. */
export class ImporterCpu {
  /** Among the CPUs of all partitions. */
  readonly id: number;
  readonly tlb: TranslationMap;
  /** Page of an access in flight (exporter's address), -1 when none. */
  heldVa = -1;
  heldPfn = 0;
  heldGeneration = 0;
  /** Accesses over. */
  flight = 0;
  /** Code of the reply; -1: none came. */
  answer = -1;
  readonly answered = new WaitQueue();
  reads = 0;
  writes = 0;

  constructor(memory: PhysMemory, id: number) {
    this.id = id;
    this.tlb = new TranslationMap(memory, CPU_TLB + id * MAP_SPAN);
  }
}

export class Importer {
  readonly id: number;
  /** Its number as a device, in events. */
  readonly device: number;
  /** Where it maps the exporter's address 0. */
  readonly base: number;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  readonly cpus: readonly ImporterCpu[];
  readonly table: TranslationMap;
  readonly inbox: Fifo<ToImporter>;
  readonly arrived = new WaitQueue();
  readonly #drained = new WaitQueue();
  /** Exporter's address space, for events. */
  mm = 0;
  recalls = 0;
  /** Pages whose frames the exporter holds until they are given back. For events: such a use is one of pinned memory. */
  readonly held = new Set<number>();

  constructor(memory: PhysMemory, sched: Scheduler, id: number, device: number, cpus: readonly ImporterCpu[]) {
    this.memory = memory;
    this.sched = sched;
    this.id = id;
    this.device = device;
    this.base = (id + 1) * 2 ** 40;
    this.cpus = cpus;
    this.table = new TranslationMap(memory, TABLE + id * MAP_SPAN);
    this.inbox = new Fifo(memory, OWNER + id, 1);
  }

  touchCpu(cpu: ImporterCpu, isWrite: boolean): void {
    this.memory.footprint?.note(OBJ_DRIVER, CPU + cpu.id, isWrite);
  }

  touchAnswer(cpu: ImporterCpu, isWrite: boolean): void {
    this.memory.footprint?.note(OBJ_DRIVER, ANSWER + cpu.id, isWrite);
  }

  #touchHeld(isWrite: boolean): void {
    this.memory.footprint?.note(OBJ_DRIVER, HELD + this.id, isWrite);
  }

  /** Puts a message into its queue. */
  receive(message: ToImporter): void {
    this.inbox.push(message);
    this.arrived.wakeAll(this.sched);
  }

  // --- accesses

  /** Holds the translation of the page for an access. False: neither TLB nor table allow it. */
  hold(cpu: ImporterCpu, page: number, isWrite: boolean): boolean {
    const here = page + this.base;
    let t = cpu.tlb.find(here);
    if (t === null || (isWrite && !t.isWritable)) t = this.#fill(cpu, here, isWrite);
    if (t === null) return false;
    this.touchCpu(cpu, true);
    cpu.heldVa = page;
    cpu.heldPfn = t.pfn;
    cpu.heldGeneration = t.generations[0]!;
    return true;
  }

  /** From the table to the TLB. A store needs a dirty entry, so that the table knows of stores. */
  #fill(cpu: ImporterCpu, here: number, isWrite: boolean): Translation | null {
    const entry = this.table.find(here);
    if (entry === null || (isWrite && !entry.isWritable)) return null;
    if (isWrite && !entry.isDirty) {
      this.table.noteWrite(here);
      entry.isDirty = true;
    }
    const copy = new Translation(here, 1, entry.pfn, entry.generations, entry.isWritable && entry.isDirty);
    cpu.tlb.insert(copy);
    this.#emitFill(copy, AGENT_MIRROR_TLB);
    return copy;
  }

  /** Reaches memory: reads 8 bytes, or stores `value`. The value there. */
  reach(cpu: ImporterCpu, va: number, isWrite: boolean, value: number, staleStoresLand: boolean): number {
    const { memory } = this;
    const pfn = cpu.heldPfn;
    const now = memory.generation[pfn]!;
    const word = (pfn * 4096 + (va % 4096)) / 8;
    if (memory.footprint !== null) memory.touch(pfn, isWrite);
    if (isWrite) {
      cpu.writes++;
      if (staleStoresLand || now === cpu.heldGeneration) memory.doubles[word] = value;
    } else cpu.reads++;
    if (memory.log.on) {
      const agent = this.#isHeld(cpu.heldVa) ? AGENT_PIN : AGENT_MIRROR_TLB;
      const w = isWrite ? 1 : 0;
      memory.log.emit(E_DEV_ACCESS, this.mm, va, va + 8, pfn, cpu.heldGeneration, now, w, agent, this.device);
    }
    return memory.doubles[word]!;
  }

  /** Address of the word that a store of this CPU goes to when nobody says which: programs keep their data. */
  ownWord(cpu: ImporterCpu, va: number): number {
    return va - (va % 4096) + DEVICE_WORDS + cpu.id * 8;
  }

  release(cpu: ImporterCpu): void {
    this.touchCpu(cpu, true);
    cpu.heldVa = -1;
    cpu.flight++;
    this.#drained.wakeAll(this.sched);
  }

  // --- messages

  /** The thread that takes messages. */
  *messages(
    fn: XpmemFns,
    latencySteps: number,
    acknowledge: (m: RecallMessage, dirty: number[]) => void,
  ): KernelPath<void> {
    for (;;) {
      yield* this.sched.waitSteady(() => this.inbox.length > 0, this.arrived, 'message');
      if (latencySteps > 0) yield* this.sched.sleepSteps(latencySteps, 'message under way');
      else if (this.sched.points) yield P_DEV_MESSAGE;
      const m = this.inbox.shift();
      if (m.kind === 'reply') this.install(m);
      else {
        const dirty = yield* fn.giveBack(this, m);
        if (this.sched.points) yield P_DEV_MESSAGE;
        acknowledge(m, dirty);
      }
    }
  }

  /** A reply: the page is entered, and the CPU that asked goes on. */
  install(m: ReplyMessage): void {
    const cpu = this.cpus.find((c) => c.id === m.engine)!;
    if (m.code === GRANTED) {
      const entry = new Translation(m.page + this.base, 1, m.pfn, [m.generation], m.isWritable);
      this.table.insert(entry);
      this.#emitFill(entry, AGENT_MIRROR);
    }
    this.touchAnswer(cpu, true);
    cpu.answer = m.code;
    cpu.answered.wakeAll(this.sched);
  }

  /** Recall, steps 1 and 2. Pages that were stored to. */
  *giveBack(start: number, end: number): KernelPath<number[]> {
    this.recalls++;
    const dirty = this.dropTable(start, end);
    if (this.sched.points) yield P_DEV_MESSAGE;
    yield* this.dropTlbs(start, end);
    return dirty;
  }

  dropTable(start: number, end: number): number[] {
    const removed = this.table.remove(start + this.base, end + this.base);
    if (removed.length > 0) {
      for (const t of removed) if (t.isDirty && !this.#isHeld(t.va - this.base)) this.#emitDirtyDropped(t);
      this.#emitDropped(start, end, AGENT_MIRROR);
    }
    return removed.filter((t) => t.isDirty).map((t) => t.va - this.base);
  }

  *dropTlbs(start: number, end: number, isWaiting = true): KernelPath<void> {
    const asked: { readonly cpu: ImporterCpu; readonly flight: number }[] = [];
    for (const cpu of this.cpus) {
      cpu.tlb.remove(start + this.base, end + this.base);
      this.touchCpu(cpu, false);
      if (cpu.heldVa >= 0 && cpu.heldVa < end && cpu.heldVa + 4096 > start) asked.push({ cpu, flight: cpu.flight });
    }
    const isDrained = (): boolean => {
      for (const { cpu, flight } of asked) {
        this.touchCpu(cpu, false);
        if (cpu.heldVa >= 0 && cpu.flight === flight) return false;
      }
      return true;
    };
    if (isWaiting) yield* this.sched.waitUntil(isDrained, this.#drained, 'accesses in flight');
    this.#emitDropped(start, end, AGENT_MIRROR_TLB);
    this.#forgetHeld(start, end);
  }

  // --- deferred free

  /** The exporter holds the page's frame from now on until it is given back. */
  holdPage(page: number, pfn: number): void {
    this.#touchHeld(true);
    this.held.add(page);
    if (!this.memory.log.on) return;
    this.#emitDropped(page, page + 4096, AGENT_MIRROR);
    this.#emitDropped(page, page + 4096, AGENT_MIRROR_TLB);
    const entry = new Translation(page + this.base, 1, pfn, [this.memory.generation[pfn]!], true);
    this.#emitFill(entry, AGENT_PIN);
  }

  #isHeld(page: number): boolean {
    this.#touchHeld(false);
    return this.held.has(page);
  }

  #forgetHeld(start: number, end: number): void {
    this.#touchHeld(false);
    for (const page of [...this.held]) {
      if (page < start || page >= end) continue;
      this.#touchHeld(true);
      this.held.delete(page);
      this.#emitDropped(page, page + 4096, AGENT_PIN);
    }
  }

  // --- events

  #emitFill(t: Translation, agent: number): void {
    const { log } = this.memory;
    if (!log.on) return;
    const va = t.va - this.base;
    const as = this.#isHeld(va) ? AGENT_PIN : agent;
    log.emit(E_DEV_FILL, this.mm, va, va + 4096, t.pfn, t.generations[0]!, t.isWritable ? 1 : 0, 0, as, this.device);
  }

  #emitDropped(start: number, end: number, agent: number): void {
    const { log } = this.memory;
    if (log.on) log.emit(E_DEV_INVAL, this.mm, start, end, 0, 0, 0, 0, agent, this.device);
  }

  /** An entry with D leaves the table. What the exporter holds meanwhile it marks when it puts it, as who pins does. */
  #emitDirtyDropped(t: Translation): void {
    const { log } = this.memory;
    const va = t.va - this.base;
    if (log.on)
      log.emit(E_DEV_INVAL, this.mm, va, va + 4096, t.pfn, t.generations[0]!, 1, 0, AGENT_MIRROR, this.device);
  }

  note(message: number, start: number, end: number): void {
    const { log } = this.memory;
    if (log.on) log.emit(E_MSG, this.mm, start, end, 0, 0, message, this.id, 0, this.device);
  }

  /** All that it keeps, as numbers. */
  stateWords(): number[] {
    const cpus = this.cpus.flatMap((c) => [
      c.heldVa,
      c.heldPfn,
      c.heldGeneration,
      c.flight,
      c.answer,
      ...c.tlb.words(),
    ]);
    const messages = this.inbox.items.flatMap((m) =>
      m.kind === 'reply' ? [1, m.page, m.code, m.pfn] : [2, m.start, m.end],
    );
    return [...cpus, -1, ...this.table.words(), -2, ...messages, -3, ...[...this.held].sort((a, b) => a - b)];
  }
}
