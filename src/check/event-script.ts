// Test support: writes event sequences by hand, one short call for each event, as the kernel and devices would emit them.
// One address space (mm 1) with its tables in frames 1..4 unless a test makes more.

import {
  AGENT_ATC,
  AGENT_IOTLB,
  CB_INVALIDATE_RANGE,
  E_BIND,
  E_CALLBACK,
  E_CPU_ACCESS,
  E_CPU_FILL,
  E_CPU_INVAL,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_DISCARD,
  E_FLUSH,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_MM_NEW,
  E_MSG,
  E_PIN,
  E_PTE,
  E_PTE_AD,
  E_PWC_FILL,
  E_REFAULT,
  E_RELEASE,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
  E_SYSCALL_END,
  E_UNPIN,
  E_VMA_ADD,
  E_WALK,
  EV_WORDS,
  FRAME_ANON,
  FRAME_TABLE,
  KEPT_SWAP,
} from '../abi/events.ts';
import { MMU_NOTIFY_CLEAR } from '../abi/notifier.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_TABLE, PTE_US } from '../abi/pte.ts';
import { RecordLog } from '../base/record-log.ts';
import type { JudgeOptions } from './context.ts';
import { Judge, type JudgeResults } from './judge.ts';
import { entryIndex, LEVEL_SPAN } from './shadow-tables.ts';

export const PAGE = 0x7f0000000000;
const FLAGS = PTE_P | PTE_US | PTE_A;
export const PROGRAM = 1;
export const DEVICE_ACTOR = 9;

/** A judge with a log that a test writes to. Frames 1 (PGD) to 4 (PTE table) translate the 2 MiB from PAGE on. */
export class EventScript {
  readonly log = new RecordLog(EV_WORDS, 4096);
  readonly judge: Judge;
  readonly #generation = new Map<number, number>();
  readonly #words = new Map<string, number>();
  #section = 0;

  constructor(options: Partial<JudgeOptions> = {}) {
    this.judge = new Judge(options);
    this.judge.attach(this.log);
    for (let pfn = 1; pfn <= 4; pfn++) this.alloc(pfn, FRAME_TABLE);
    this.emit(E_MM_NEW, 1, 0, 0, 1, 0);
    for (let level = 3; level >= 1; level--) {
      const va = PAGE - (PAGE % LEVEL_SPAN[level]!);
      this.entry(4 - level, level, va, ((5 - level) << 12) | PTE_TABLE);
    }
  }

  /** Who acts from now on. */
  as(actor: number): this {
    this.log.actor = actor;
    return this;
  }

  emit(
    type: number,
    mm: number,
    start: number,
    end: number,
    pfn: number,
    gen: number,
    a = 0,
    b = 0,
    c = 0,
    d = 0,
  ): this {
    this.log.step++;
    this.log.emit(type, mm, start, end, pfn, gen, a, b, c, d);
    return this;
  }

  gen(pfn: number): number {
    return this.#generation.get(pfn) ?? 0;
  }

  alloc(pfn: number, purpose = FRAME_ANON, order = 0): this {
    return this.emit(E_FRAME_ALLOC, 0, 0, 0, pfn, this.gen(pfn), purpose, order);
  }

  /** Reclaim drops the page: its contents are in swap. */
  discard(pfn: number): this {
    return this.emit(E_DISCARD, 0, 0, 0, pfn, this.gen(pfn), KEPT_SWAP);
  }

  free(pfn: number, purpose = FRAME_ANON, order = 0): this {
    this.emit(E_FRAME_FREE, 0, 0, 0, pfn, this.gen(pfn), purpose, order);
    this.#generation.set(pfn, this.gen(pfn) + 1);
    return this;
  }

  /** Stores an entry of `table` at `level` for `va`. */
  entry(table: number, level: number, va: number, lo: number, type = E_PTE, mm = 1): this {
    const key = `${table}:${entryIndex(va, level)}`;
    const old = this.#words.get(key) ?? 0;
    this.#words.set(key, lo);
    return this.emit(type, mm, va, va + LEVEL_SPAN[level]!, table, level, lo, 0, old, 0);
  }

  map(va: number, pfn: number, isWritable = true): this {
    return this.entry(4, 0, va, (pfn << 12) | FLAGS | (isWritable ? PTE_RW | PTE_D : 0));
  }

  setDirty(va: number, pfn: number): this {
    return this.entry(4, 0, va, (pfn << 12) | FLAGS | PTE_RW | PTE_D, E_PTE_AD);
  }

  unmap(va: number): this {
    return this.entry(4, 0, va, 0);
  }

  /** Opens a section; its id is returned by `lastSection`. */
  open(start: number, end: number, site = 0, event = MMU_NOTIFY_CLEAR, mm = 1): this {
    return this.emit(E_SECTION_START, mm, start, end, 0, 0, event, site, 1, ++this.#section);
  }

  get lastSection(): number {
    return this.#section;
  }

  close(start: number, end: number, site = 0, id = this.#section, event = MMU_NOTIFY_CLEAR, mm = 1): this {
    return this.emit(E_SECTION_END, mm, start, end, 0, 0, event, site, 0, id);
  }

  flush(start: number, end: number): this {
    return this.emit(E_FLUSH, 1, start, end, 0, 0, 12, 0);
  }

  syscall(nr: number, start = 0, end = 0): this {
    return this.emit(E_SYSCALL, 1, start, end, 0, 0, nr);
  }

  /** A system call with its first four arguments. */
  call(nr: number, start: number, length: number, third = 0, fourth = 0): this {
    return this.emit(E_SYSCALL, 1, start, length, 0, 0, nr, third, fourth);
  }

  returns(nr: number, result = 0): this {
    return this.emit(E_SYSCALL_END, 1, result, 0, 0, 0, nr);
  }

  syscallEnd(nr: number): this {
    return this.emit(E_SYSCALL_END, 1, 0, 0, 0, 0, nr);
  }

  fill(va: number, pfn: number, isWritable = true, agent = AGENT_ATC, size = 4096): this {
    return this.emit(E_DEV_FILL, 1, va, va + size, pfn, this.gen(pfn), isWritable ? 1 : 0, 0, agent, 0);
  }

  invalidate(start: number, end: number, agent = AGENT_ATC): this {
    return this.emit(E_DEV_INVAL, 1, start, end, 0, 0, 0, 0, agent, 0);
  }

  invalidateAll(start: number, end: number): this {
    return this.invalidate(start, end, AGENT_IOTLB).invalidate(start, end, AGENT_ATC);
  }

  /** The device uses a translation made when the frame had generation `gen` (now, unless given). */
  access(va: number, pfn: number, isStore: boolean, gen = this.gen(pfn), agent = AGENT_ATC): this {
    return this.emit(E_DEV_ACCESS, 1, va, va + 1, pfn, gen, this.gen(pfn), isStore ? 1 : 0, agent, 0);
  }

  cpuFill(va: number, pfn: number, cpu = 0): this {
    return this.emit(E_CPU_FILL, 1, va, va + 4096, pfn, this.gen(pfn), 1, 0, 0, cpu);
  }

  cpuInvalidate(start: number, end: number, cpu = 0): this {
    return this.emit(E_CPU_INVAL, 1, start, end, 0, 0, 0, 0, 0, cpu);
  }

  cpuAccess(va: number, pfn: number, gen = this.gen(pfn), cpu = 0): this {
    return this.emit(E_CPU_ACCESS, 1, va, va + 1, pfn, gen, this.gen(pfn), 1, 0, cpu);
  }

  /** A CPU that holds a translation uses it. */
  cpuUse(va: number, pfn: number, isStore: boolean, cpu = 0, mm = 1): this {
    return this.emit(E_CPU_ACCESS, mm, va, va + 1, pfn, this.gen(pfn), this.gen(pfn), isStore ? 1 : 0, 0, cpu);
  }

  /** A message between IOMMU and device 0: MSG_*, its range, tag, and flags or status; `credits` of a page request. */
  ats(a: number, start: number, end: number, tag = 0, flags = 0, credits = 0): this {
    return this.emit(E_MSG, 1, start, end, flags, credits, a, tag, AGENT_ATC, 0);
  }

  walk(va: number, table: number, gen: number): this {
    return this.emit(E_WALK, 1, va, va + 4096, table, gen, this.gen(table), 0);
  }

  walkCache(start: number, end: number, table: number): this {
    return this.emit(E_PWC_FILL, 1, start, end, table, this.gen(table), 0, 0, 2, 0);
  }

  callbackRange(start: number, end: number): this {
    return this.emit(E_CALLBACK, 1, start, end, 0, 0, CB_INVALIDATE_RANGE, 0, 0, 1);
  }

  message(kind: number, va: number): this {
    return this.emit(E_MSG, 1, va, va, 0, 0, kind, 0, 0, 0);
  }

  refault(va: number, times: number): this {
    return this.emit(E_REFAULT, 1, va, va, 0, 0, times, 0, 0, 0);
  }

  deviceState(state: number, va = 0): this {
    return this.emit(E_DEV_STATE, 1, va, va, 0, 0, state, 0, 0, 0);
  }

  bind(isBound: boolean): this {
    return this.emit(E_BIND, 1, 0, 0, 0, 0, isBound ? 1 : 0, 0, 0, 0);
  }

  release(): this {
    this.emit(E_RELEASE, 1, 0, 0, 0, 0, 1);
    return this.emit(E_RELEASE, 1, 0, 0, 0, 0, 0);
  }

  pin(va: number, pfn: number): this {
    return this.emit(E_PIN, 1, va, va + 4096, pfn, this.gen(pfn));
  }

  unpin(va: number, pfn: number): this {
    return this.emit(E_UNPIN, 1, va, va + 4096, pfn, this.gen(pfn));
  }

  vma(start: number, end: number, flags: number): this {
    return this.emit(E_VMA_ADD, 1, start, end, 0, 0, flags);
  }

  results(): JudgeResults {
    return this.judge.results();
  }

  /** Properties violated so far, in order, each with its gap when one explains it: "I1", "I1 gap 1". */
  found(): string[] {
    return this.results().violations.map((v) => (v.gap === null ? v.property : `${v.property} gap ${v.gap}`));
  }
}
