// The exporter: memory of one address space that other partitions map (a segment over all of it), the threads that serve them, and
// recalls.
//
// A remote fault, each line a step:
//
//   1  is the page being taken back (a section over it is open)? wait, or refuse
//   2  seq; get_user_pages, with a reference
//   3  (rmap notifiers) lock the page; is it still mapped? export it
//   4  again: no section, the same seq? then note who has it, and reply; else from 1
//   5  put the page: nothing but the recall keeps the translation true
//
// A recall tells every partition that has a page of the range to give it back, and waits for the acknowledgements. Sections are kept
// as KVM keeps them: how many are open, and the smallest range that holds all of them (an end need not say which it ends).
//
//   exporter                                importer
//     section opens: faults wait
//     recall V ------------------------->     takes V out of its table, drops TLBs, waits for accesses
//     waits                        <-----     acknowledges; V was stored to
//     V is marked dirty; start returns
//
// What cannot wait (begin under a spinlock, invalidate_page under a page-table lock, the OOM reaper) takes a reference to each exported
// page before anything happens to it, sends the recall and goes on: the frame is not freed before the acknowledgement puts it. The
// partition may use the old page until then, as it might a pinned one.
//
// Acknowledgements are taken by a thread of their own: a fault that waits for a section to end must not stand before the
// acknowledgement for which that section waits.
//
// Guards: the segment's state changes in single steps (a spinlock). seq: written at every recall; read before the look-up, compared
// after it.

import { EAGAIN, EFAULT } from '../../abi/errno.ts';
import { MSG_XPMEM_ACK, MSG_XPMEM_FAULT, MSG_XPMEM_RECALL, MSG_XPMEM_REPLY } from '../../abi/events.ts';
import { PTE_P, PTE_RW } from '../../abi/pte.ts';
import { OBJ_DRIVER, OBJ_MM } from '../../base/footprint.ts';
import { setPageDirty } from '../../mm/file/page-cache.ts';
import { FOLL_WRITE } from '../../mm/gup/flags.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { lockPage, unlockPage } from '../../mm/page/page-lock.ts';
import { getPage, notePage } from '../../mm/rmap/rmap.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_MESSAGE, P_DRIVER } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { lookUpEntry } from '../cpu-table.ts';
import { Fifo } from '../fifo.ts';
import type { XpmemConfig } from './config.ts';
import type { Importer } from './importer.ts';
import {
  type AckMessage,
  type Export,
  type FaultMessage,
  GRANTED,
  NO_MEMORY,
  REFUSED,
  Recall,
  type RecallMessage,
  type ToExporter,
} from './messages.ts';

// Objects in footprints (OBJ_DRIVER).
const STATE = 0x20000000;
const SERVING = 0x20000001;
/** Fifo: owner of the exporter. */
const OWNER = 0x18;

/** What the functions of exporter and importers call each other through (mistakes.ts replaces one). */
export interface XpmemFns {
  serveFault(x: Segment, m: FaultMessage): KernelPath<void>;
  exportPage(x: Segment, m: FaultMessage, pfn: number, seq: number): KernelPath<boolean>;
  isCurrent(x: Segment, page: number, seq: number): boolean;
  reply(x: Segment, m: FaultMessage, code: number, pfn: number): void;
  /** Messages that the thread which takes acknowledgements handles itself; else a worker does. */
  isServedAtOnce(x: Segment, m: ToExporter): boolean;
  recall(x: Segment, exports: readonly Export[], start: number, end: number): Recall;
  waitForAcks(x: Segment, recall: Recall): KernelPath<void>;
  hold(x: Segment, recall: Recall): void;
  acknowledged(x: Segment, m: AckMessage): void;
  giveBack(importer: Importer, m: RecallMessage): KernelPath<number[]>;
}

export class Segment {
  readonly k: Kernel;
  readonly config: XpmemConfig;
  readonly importers: readonly Importer[];
  readonly fn: XpmemFns;
  mm: MmStruct | null = null;
  /** No page is exported any more. */
  isDead = true;
  /** mmu_rmap_export_page of the kernel's design, or null. */
  setExportBit: ((pfn: number) => void) | null = null;
  // --- state
  /** Open sections, and the range that holds them all. */
  sections = 0;
  lo = 0;
  hi = 0;
  seq = 0;
  readonly exports = new Set<Export>();
  /** Pages held for recalls that nobody waits for. */
  heldPages = 0;
  // --- counters
  faults = 0;
  refused = 0;
  recalls = 0;
  deferred = 0;
  readonly changed = new WaitQueue();
  readonly #inbox: Fifo<ToExporter>;
  readonly #arrived = new WaitQueue();
  readonly #faults: Fifo<FaultMessage>;
  readonly #work = new WaitQueue();
  /** Faults between the queue and the reply. */
  #serving = 0;

  constructor(k: Kernel, config: XpmemConfig, importers: readonly Importer[], fn: XpmemFns) {
    this.k = k;
    this.config = config;
    this.importers = importers;
    this.fn = fn;
    this.#inbox = new Fifo(k.memory, OWNER, 1);
    this.#faults = new Fifo(k.memory, OWNER, 3);
  }

  touch(isWrite: boolean): void {
    this.k.memory.footprint?.note(OBJ_DRIVER, STATE, isWrite);
  }

  /** Starts the threads of all partitions. */
  start(): void {
    const { sched } = this.k;
    sched.spawn('xpmem receiver', 'kernel', this.#receiver(), true);
    for (let i = 0; i < this.config.workers; i++) sched.spawn(`xpmem worker ${i}`, 'kernel', this.#worker(), true);
    for (const importer of this.importers) {
      const acknowledge = (m: RecallMessage, dirty: number[]): void => {
        importer.note(MSG_XPMEM_ACK, m.start, m.end);
        this.receive({ kind: 'ack', importer, recall: m.recall, dirty });
      };
      const path = importer.messages(this.fn, this.config.latencySteps, acknowledge);
      sched.spawn(`partition ${importer.id}`, 'device', path, true);
    }
  }

  // --- messages

  receive(message: ToExporter): void {
    this.#inbox.push(message);
    this.#arrived.wakeAll(this.k.sched);
  }

  *#receiver(): KernelPath<void> {
    const { sched } = this.k;
    for (;;) {
      yield* sched.waitSteady(() => this.#inbox.length > 0, this.#arrived, 'message');
      if (this.config.latencySteps > 0) yield* sched.sleepSteps(this.config.latencySteps, 'message under way');
      else if (sched.points) yield P_DEV_MESSAGE;
      const m = this.#inbox.shift();
      if (m.kind === 'ack') this.fn.acknowledged(this, m);
      else if (this.fn.isServedAtOnce(this, m)) yield* this.#serve(m);
      else {
        this.#faults.push(m);
        this.#work.wakeAll(sched);
      }
    }
  }

  *#worker(): KernelPath<void> {
    const { sched } = this.k;
    const isOnlyOne = this.config.workers === 1;
    for (;;) {
      if (isOnlyOne) yield* sched.waitSteady(() => this.#faults.length > 0, this.#work, 'remote fault');
      else yield* sched.waitUntil(() => this.#faults.hasItems(), this.#work, 'remote fault');
      yield* this.#serve(this.#faults.shift());
    }
  }

  *#serve(m: FaultMessage): KernelPath<void> {
    this.#noteServing(false);
    this.#serving++;
    yield* this.fn.serveFault(this, m);
    this.#noteServing(false);
    this.#serving--;
    this.changed.wakeAll(this.k.sched);
  }

  /** Changes commute with each other, not with somebody who waits for the number. */
  #noteServing(isWaitedFor: boolean): void {
    this.k.memory.footprint?.note(OBJ_DRIVER, SERVING, isWaitedFor);
  }

  /** Until every fault that has arrived is answered. */
  *quiesce(): KernelPath<void> {
    const isQuiet = (): boolean => {
      this.#noteServing(true);
      return this.#serving === 0 && !this.#faults.hasItems() && !this.#inbox.hasItems();
    };
    yield* this.k.sched.waitUntil(isQuiet, this.changed, 'remote faults');
  }

  // --- state

  isBlocked(page: number): boolean {
    return this.sections > 0 && page < this.hi && page + 4096 > this.lo;
  }

  /** A section opens over [start, end): pages of it are granted to nobody until it ends. What is out of it. */
  block(start: number, end: number): Export[] {
    this.touch(true);
    this.lo = this.sections === 0 ? start : Math.min(this.lo, start);
    this.hi = this.sections === 0 ? end : Math.max(this.hi, end);
    this.sections++;
    this.seq++;
    return this.exportsOf(start, end);
  }

  /** A section ends. */
  unblock(): void {
    this.touch(true);
    if (this.sections > 0) this.sections--;
    this.changed.wakeAll(this.k.sched);
  }

  exportsOf(start: number, end: number): Export[] {
    this.touch(false);
    return [...this.exports].filter((e) => e.page < end && e.page + 4096 > start);
  }

  /** All that the exporter keeps, as numbers. */
  stateWords(): number[] {
    const exports = [...this.exports]
      .map((e) => [e.importer.id, e.page, e.pfn])
      .sort((a, b) => a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!);
    const flags = [
      this.sections,
      this.sections > 0 ? this.lo : 0,
      this.sections > 0 ? this.hi : 0,
      this.isDead ? 1 : 0,
    ];
    const inbox = this.#inbox.items.map((m) => (m.kind === 'ack' ? 1000 + m.importer.id : m.engine));
    const queues = [...inbox, -1, ...this.#faults.items.map((m) => m.engine)];
    return [...flags, this.seq, this.heldPages, this.#serving, ...exports.flat(), -2, ...queues];
  }
}

// --- remote faults

/** mmget_not_zero. */
function mmgetNotZero(k: Kernel, mm: MmStruct): boolean {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  if (mm.users <= 0) return false;
  mm.users++;
  return true;
}

function* serveFault(x: Segment, m: FaultMessage): KernelPath<void> {
  x.faults++;
  for (;;) {
    if (x.k.sched.points) yield P_DRIVER;
    x.touch(false);
    const { seq } = x;
    if (!x.isDead && x.isBlocked(m.page)) {
      if (x.config.isRefusing) return x.fn.reply(x, m, REFUSED, 0);
      const isFree = (): boolean => {
        x.touch(false);
        return x.isDead || !x.isBlocked(m.page);
      };
      yield* x.k.sched.waitUntil(isFree, x.changed, 'XPMEM section');
      continue;
    }
    if (x.isDead) return x.fn.reply(x, m, NO_MEMORY, 0);
    const pfn = yield* lookUp(x, m);
    if (pfn === -EAGAIN) continue;
    if (pfn < 0) return x.fn.reply(x, m, NO_MEMORY, 0);
    const isDone = yield* x.fn.exportPage(x, m, pfn, seq);
    x.k.fn.putPage(x.k, pfn);
    if (isDone) return;
  }
}

/** get_user_pages of one page, in the exporter's address space. */
function* lookUp(x: Segment, m: FaultMessage): KernelPath<number> {
  const { k } = x;
  const mm = x.mm!;
  if (!mmgetNotZero(k, mm)) return -EFAULT;
  if (k.sched.points || !mm.mmapLock.tryRead()) yield* mm.mmapLock.readLock();
  const out = new Int32Array(1);
  const got = yield* k.fn.getUserPages(k, mm, m.page, 1, m.isWrite ? FOLL_WRITE : 0, out);
  mm.mmapLock.readUnlock();
  yield* k.fn.mmPut(k, mm);
  if (got === 1) return out[0]!;
  return got < 0 ? got : -EFAULT;
}

/** Steps 3 and 4. False: what was looked up is stale. */
function* exportPage(x: Segment, m: FaultMessage, pfn: number, seq: number): KernelPath<boolean> {
  const { k } = x;
  if (x.setExportBit !== null) {
    // Whoever unmaps the page holds its lock until the export bit has been looked at.
    yield* lockPage(k, pfn);
    const wanted = PTE_P | (m.isWrite ? PTE_RW : 0);
    if (lookUpEntry(k.memory, x.mm!.pgd, m.page, wanted) !== pfn) {
      unlockPage(k, pfn);
      return false;
    }
    x.setExportBit(pfn);
  }
  if (k.sched.points) yield P_DRIVER;
  const isCurrent = x.fn.isCurrent(x, m.page, seq);
  if (isCurrent) x.fn.reply(x, m, GRANTED, pfn);
  if (x.setExportBit !== null) unlockPage(k, pfn);
  return isCurrent;
}

/** Step 4: is what was looked up after `seq` was read still true? */
function isCurrent(x: Segment, page: number, seq: number): boolean {
  x.touch(false);
  return !x.isDead && x.seq === seq && !x.isBlocked(page);
}

function reply(x: Segment, m: FaultMessage, code: number, pfn: number): void {
  const { importer, page, isWrite } = m;
  if (code === GRANTED) {
    x.touch(true);
    x.exports.add({ page, pfn, importer });
  } else x.refused++;
  const generation = x.k.memory.generation[pfn]!;
  importer.note(MSG_XPMEM_REPLY, page, page + 4096);
  importer.receive({ kind: 'reply', engine: m.engine, page, code, pfn, generation, isWritable: isWrite });
}

// --- recalls

/** Sends the recall of `exports`, pages of [start, end). */
function recall(x: Segment, exports: readonly Export[], start: number, end: number): Recall {
  const r = new Recall(exports);
  x.recalls++;
  for (const importer of x.importers) {
    if (!exports.some((e) => e.importer === importer)) continue;
    r.outstanding++;
    importer.note(MSG_XPMEM_RECALL, start, end);
    importer.receive({ kind: 'recall', recall: r, start, end });
  }
  return r;
}

function* waitForAcks(x: Segment, r: Recall): KernelPath<void> {
  const isOver = (): boolean => {
    x.touch(false);
    return r.outstanding === 0;
  };
  yield* x.k.sched.waitUntil(isOver, x.changed, 'XPMEM acknowledgements');
}

/** A reference to each page until the recall is acknowledged. */
function hold(x: Segment, r: Recall): void {
  x.deferred++;
  for (const e of r.exports) {
    getPage(x.k, e.pfn);
    r.held.push(e.pfn);
    x.heldPages++;
    e.importer.holdPage(e.page, e.pfn);
  }
}

function acknowledged(x: Segment, m: AckMessage): void {
  const { k } = x;
  x.touch(true);
  for (const e of m.recall.exports) {
    if (e.importer !== m.importer) continue;
    if (m.dirty.includes(e.page) && x.exports.has(e)) {
      notePage(k, e.pfn);
      setPageDirty(k, e.pfn);
    }
    x.exports.delete(e);
  }
  if (--m.recall.outstanding === 0) {
    for (const pfn of m.recall.held.splice(0)) {
      x.heldPages--;
      k.fn.putPage(k, pfn);
    }
  }
  x.changed.wakeAll(k.sched);
}

/** Takes the pages back and waits. May sleep. */
export function* takeBack(x: Segment, exports: readonly Export[], start: number, end: number): KernelPath<void> {
  if (exports.length === 0) return;
  const r = x.fn.recall(x, exports, start, end);
  if (x.k.sched.points) yield P_DRIVER;
  yield* x.fn.waitForAcks(x, r);
}

/** Takes the pages back, holding them meanwhile. Does not wait. */
export function deferBack(x: Segment, exports: readonly Export[], start: number, end: number): void {
  if (exports.length === 0) return;
  x.fn.hold(x, x.fn.recall(x, exports, start, end));
}

export const xpmemFns: XpmemFns = {
  serveFault,
  exportPage,
  isCurrent,
  reply,
  isServedAtOnce: () => false,
  recall,
  waitForAcks,
  hold,
  acknowledged,
  giveBack: (importer, m) => importer.giveBack(m.start, m.end),
};

/** Faults sent, for events. */
export function noteFault(importer: Importer, page: number): void {
  importer.note(MSG_XPMEM_FAULT, page, page + 4096);
}
