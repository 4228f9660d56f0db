// IOMMU, ATS and PRI in random interleavings over a page table built by hand, with a kernel side that unmaps, flushes, frees
// and maps again. Judged from the event stream alone.

import { expect, test } from 'vitest';
import {
  AGENT_ATC,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_MSG,
  EV_A,
  EV_ACTOR,
  EV_B,
  EV_C,
  EV_END,
  EV_GEN,
  EV_PFN,
  EV_START,
  EV_TYPE,
  MSG_CMD_COMPLETION_WAIT,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_CMD_INVALIDATE_IOTLB_PAGES,
  MSG_COMPLETION_WAIT_DONE,
  MSG_INVALIDATE_COMPLETION,
  MSG_INVALIDATE_REQUEST,
  MSG_PAGE_REQUEST,
  MSG_PRG_RESPONSE,
  MSG_TRANSLATION_REQUEST,
  PAGE_REQUEST_LAST,
  PRG_INVALID,
  PRG_SUCCESS,
} from '../abi/events.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_TABLE, PTE_US } from '../abi/pte.ts';
import { Rng } from '../base/rng.ts';
import { entryLo, entryWord, writeEntry } from '../hw/pte.ts';
import { kernelConfig } from '../mm/config.ts';
import { Kernel } from '../mm/kernel.ts';
import { linuxFns } from '../mm/table.ts';
import type { MmStruct } from '../mm/types.ts';
import { seedOf } from '../notifier/test-host.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_IDLE, P_DRIVER, P_FREE } from '../sched/points.ts';
import { CHOOSE_THREAD, RandomChooser, type Scheduler } from '../sched/scheduler.ts';
import { AmdIommu } from './amd-iommu.ts';
import { AtsDevice } from './ats-pri.ts';
import { Iommu } from './iommu.ts';
import { PasidState } from './sva-iommu.ts';

const BASE = 0x400000;
const PAGES = 4;
const CREDITS = 3;

/** Rules of the protocol, from the records. */
class Judge {
  readonly faults: string[] = [];
  accesses = 0;
  fills = 0;
  responses = 0;
  #position = 0;
  #outstanding = 0;
  readonly #groups = new Map<number, { requests: number; isComplete: boolean }>();
  readonly #translationRequested = new Map<number, number>();
  readonly #invalidates = new Map<number, { start: number; end: number; at: number }>();
  readonly #completed: { start: number; end: number; at: number }[] = [];
  /** Of each thread: number of the wait that covers its last IOMMU invalidation, Infinity until it asked for one. */
  readonly #mustWait = new Map<number, number>();
  #stored = 0;

  onRecord(ring: Float64Array, at: number): void {
    this.#position++;
    const word = (i: number): number => ring[at + i]!;
    const type = word(EV_TYPE);
    if (type === E_DEV_ACCESS) {
      this.accesses++;
      if (word(EV_GEN) !== word(EV_A)) this.faults.push(`frame ${word(EV_PFN)} was used after it was freed`);
    } else if (type === E_DEV_FILL && word(EV_C) === AGENT_ATC) {
      this.fills++;
      this.#fill(word(EV_ACTOR), word(EV_START));
    } else if (type === E_MSG) {
      this.#message(word(EV_A), word(EV_B), word(EV_START), word(EV_END), word(EV_PFN), word(EV_ACTOR));
    }
  }

  #fill(actor: number, va: number): void {
    const asked = this.#translationRequested.get(actor) ?? 0;
    for (const c of this.#completed) {
      if (va < c.end && va + 4096 > c.start && asked < c.at)
        this.faults.push('an entry was made of a translation older than a completed invalidation');
    }
  }

  #message(a: number, tag: number, start: number, end: number, flags: number, actor: number): void {
    if (a === MSG_TRANSLATION_REQUEST) this.#translationRequested.set(actor, this.#position);
    else if (a === MSG_INVALIDATE_REQUEST) {
      if (this.#invalidates.has(tag)) this.faults.push('an ITag was used twice');
      this.#invalidates.set(tag, { start, end, at: this.#position });
    } else if (a === MSG_INVALIDATE_COMPLETION) {
      this.#completed.push(this.#invalidates.get(tag)!);
      this.#invalidates.delete(tag);
    } else if (a === MSG_PAGE_REQUEST) this.#pageRequest(tag, flags);
    else if (a === MSG_PRG_RESPONSE) this.#response(tag);
    else if (a === MSG_CMD_INVALIDATE_IOMMU_PAGES) this.#mustWait.set(actor, Number.POSITIVE_INFINITY);
    else if (a === MSG_CMD_COMPLETION_WAIT && this.#mustWait.get(actor) === Number.POSITIVE_INFINITY)
      this.#mustWait.set(actor, tag);
    else if (a === MSG_COMPLETION_WAIT_DONE) this.#stored = tag;
    else if (
      a === MSG_CMD_INVALIDATE_IOTLB_PAGES &&
      this.#stored < (this.#mustWait.get(actor) ?? Number.POSITIVE_INFINITY)
    )
      this.faults.push('a device TLB was flushed before the IOMMU was');
  }

  #pageRequest(prg: number, flags: number): void {
    const group = this.#groups.get(prg) ?? { requests: 0, isComplete: false };
    this.#groups.set(prg, group);
    if (group.isComplete) this.faults.push('a PRG index was used again before its answer');
    group.requests++;
    if ((flags & PAGE_REQUEST_LAST) !== 0) group.isComplete = true;
    this.#outstanding++;
    if (this.#outstanding > CREDITS) this.faults.push('more requests than credits');
  }

  #response(prg: number): void {
    const group = this.#groups.get(prg);
    this.responses++;
    if (group === undefined || !group.isComplete) {
      this.faults.push('an answer without a complete group');
      return;
    }
    this.#outstanding -= group.requests;
    this.#groups.delete(prg);
  }

  get unanswered(): number {
    return this.#groups.size;
  }
}

/** Uniform, except that threads whose name begins so get few turns: what they do takes long. */
class SlowChooser extends RandomChooser {
  sched: Scheduler | null = null;
  readonly slow: string;

  constructor(rng: Rng, slow: string) {
    super(rng);
    this.slow = slow;
  }

  override choose(n: number, why: number): number {
    for (let tries = 0; ; tries++) {
      const i = super.choose(n, why);
      const isSlow = why === CHOOSE_THREAD && this.sched!.runnableAt(i).name.startsWith(this.slow);
      if (!isSlow || tries === 8) return i;
    }
  }
}

/** Which threads are slow, by seed. */
const SLOW = ['none', 'IOMMU executor', 'IOMMU walker', 'engine', 'device 1 invalidations'];

class World {
  readonly k: Kernel;
  readonly iommu: Iommu;
  readonly ats: AtsDevice;
  readonly amd: AmdIommu;
  readonly mm: MmStruct;
  readonly state: PasidState;
  readonly judge = new Judge();
  readonly rng: Rng;
  readonly ptTable: number;
  done = 0;
  results = [0, 0, 0];

  constructor(seed: number) {
    this.rng = new Rng(seed * 7 + 1);
    const chooser = new SlowChooser(new Rng(seed), SLOW[seed % SLOW.length]!);
    this.k = new Kernel(kernelConfig({ frames: 256, logCapacity: 64 }), linuxFns, chooser);
    const { k } = this;
    chooser.sched = k.sched;
    this.mm = k.newMm()!;
    const tables = [k.fn.allocPage(k, 0, 3), k.fn.allocPage(k, 0, 3), k.fn.allocPage(k, 0, 3)];
    for (const t of tables) k.memory.zero(t);
    const [pud, pmd, pt] = tables as [number, number, number];
    writeEntry(k.memory, entryWord(this.mm.pgd, 0), (pud << 12) | PTE_TABLE, 0, 1, 0, 3);
    writeEntry(k.memory, entryWord(pud, 0), (pmd << 12) | PTE_TABLE, 0, 1, 0, 2);
    writeEntry(k.memory, entryWord(pmd, 2), (pt << 12) | PTE_TABLE, 0, 1, BASE, 1);
    this.ptTable = pt;
    this.iommu = new Iommu(k.memory, k.sched, { tlbSets: 4, tlbWays: 2, walkCacheSlots: 4 });
    this.ats = new AtsDevice(this.iommu, 1, {
      engines: 3,
      atcSets: 2,
      atcWays: 2,
      credits: CREDITS,
      groupPagesMax: 2,
      refaultBudget: 1000,
    });
    this.amd = new AmdIommu(k, this.iommu);
    this.state = new PasidState(1, this.mm);
    this.iommu.mmOf[1] = this.mm.id;
    this.iommu.gcr3[1] = this.mm.pgd;
    k.memory.log.attach(this.judge);
    k.sched.points = true;
    this.iommu.start();
    this.ats.start();
  }

  word(page: number): number {
    return entryWord(this.ptTable, page);
  }

  map(page: number): void {
    const { k } = this;
    const pfn = k.fn.allocPage(k, 0, 1);
    const lo = (pfn << 12) | PTE_P | PTE_US | (this.rng.chance(2, 3) ? PTE_RW : 0);
    writeEntry(k.memory, this.word(page), lo, 0, this.mm.id, BASE + page * 4096, 0);
  }

  /** Clears an entry, flushes, frees the frame. */
  *unmapper(rounds: number): KernelPath<void> {
    const { k } = this;
    for (let i = 0; i < rounds; i++) {
      const page = this.rng.below(PAGES);
      const lo = entryLo(k.memory, this.word(page));
      yield P_DRIVER;
      if (lo === 0 || entryLo(k.memory, this.word(page)) === 0) continue;
      const pfn = entryLo(k.memory, this.word(page)) >>> 12;
      const va = BASE + page * 4096;
      writeEntry(k.memory, this.word(page), 0, 0, this.mm.id, va, 0);
      yield P_DRIVER;
      if (this.rng.chance(1, 3)) yield* this.amd.flushPasid(this.state);
      else yield* this.amd.flushRange(this.state, va, va + 4096);
      yield P_FREE;
      k.fn.putPage(k, pfn);
      yield P_DRIVER;
    }
    this.done++;
  }

  /** Makes entries read-only and flushes: no store may use an older translation afterwards. */
  *responder(): KernelPath<void> {
    const { iommu, k } = this;
    const statusOf = new Map<number, number>();
    for (;;) {
      yield* k.sched.waitUntil(() => iommu.pprLog.length > 0, iommu.pprQueue, 'page request');
      const entry = iommu.pprLog.shift();
      yield P_DRIVER;
      const page = (entry.address - BASE) / 4096;
      const old = entryLo(k.memory, this.word(page));
      if (this.rng.chance(1, 8)) statusOf.set(entry.prg, PRG_INVALID);
      else if (old === 0) this.map(page);
      else if (entry.isWrite) writeEntry(k.memory, this.word(page), old | PTE_RW, 0, this.mm.id, entry.address, 0);
      if (!entry.isLast) continue;
      iommu.completePpr(entry.device, entry.pasid, entry.prg, statusOf.get(entry.prg) ?? PRG_SUCCESS);
      statusOf.delete(entry.prg);
    }
  }

  *engine(e: number, accesses: number): KernelPath<void> {
    this.ats.setContext(e, 1);
    for (let i = 0; i < accesses; i++) {
      const va = BASE + this.rng.below(PAGES) * 4096 + this.rng.below(400) * 8;
      const result = yield* this.ats.access(e, va, this.rng.chance(1, 2), BASE + PAGES * 4096);
      this.results[result]!++;
      yield P_DEV_IDLE;
    }
    this.done++;
  }

  run(): void {
    const { sched } = this.k;
    for (let p = 0; p < PAGES; p++) if (this.rng.chance(1, 2)) this.map(p);
    sched.spawn('responder', 'kernel', this.responder(), true);
    for (let i = 0; i < 2; i++) sched.spawn(`unmap ${i}`, 'cpu', this.unmapper(4));
    for (let e = 0; e < 3; e++) sched.spawn(`engine ${e}`, 'device', this.engine(e, 5));
    expect(sched.runUntil(() => this.done === 5, 200_000)).toBe('reached');
  }
}

const SEEDS = 5000;

test(`nothing is used after its invalidation was complete, ${SEEDS} interleavings`, () => {
  const first = seedOf(1);
  const total = { accesses: 0, fills: 0, responses: 0, discarded: 0, invalid: 0 };
  for (let seed = first; seed < first + SEEDS; seed++) {
    const w = new World(seed);
    w.run();
    expect({ seed, faults: w.judge.faults }).toEqual({ seed, faults: [] });
    expect({ seed, unanswered: w.judge.unanswered, credits: w.ats.pri.credits }).toEqual({
      seed,
      unanswered: 0,
      credits: CREDITS,
    });
    expect(w.judge.accesses).toBe(w.results[0]);
    expect(w.judge.responses).toBe(w.ats.pri.groups);
    total.accesses += w.judge.accesses;
    total.fills += w.judge.fills;
    total.responses += w.judge.responses;
    total.discarded += w.ats.discardedCompletions;
    total.invalid += w.results[1]!;
  }
  // The situations that the protocol is about did occur.
  expect(total.discarded).toBeGreaterThan(50);
  expect(total.invalid).toBeGreaterThan(100);
  expect(total.fills).toBeGreaterThan(SEEDS * 5);
});

const FREED = 'frame N was used after it was freed';

/** Faults seen until a freed frame was used. */
function faultsOf(seeds: number, change: (w: World) => void): string[] {
  const found = new Set<string>();
  for (let seed = 1; seed <= seeds && !found.has(FREED); seed++) {
    const w = new World(seed);
    change(w);
    w.run();
    for (const f of w.judge.faults) found.add(f.replace(/\d+/, 'N'));
  }
  return [...found].sort();
}

test('device TLB before the IOMMU: the device refills from the old entry', () => {
  const faults = faultsOf(300, (w) => {
    w.amd.flush = function* (pasid, start, end) {
      yield* w.amd.flushDeviceTlbs(pasid, start, end);
      yield* w.amd.flushIommuTlb(pasid, start, end);
    };
  });
  expect(faults).toContain('a device TLB was flushed before the IOMMU was');
  expect(faults).toContain(FREED);
});

test('no wait between the two: commands overtake each other', () => {
  const faults = faultsOf(6000, (w) => {
    w.amd.flush = function* (pasid, start, end) {
      w.iommu.invalidateIommuPages(pasid, start, end, true);
      w.iommu.invalidateIotlbPages(1, pasid, start, end);
      yield* w.amd.completionWait();
    };
  });
  expect(faults).toContain(FREED);
});

test('only the IOMMU is flushed: the device goes on with its own entry', () => {
  const faults = faultsOf(100, (w) => {
    w.amd.flush = (pasid, start, end) => w.amd.flushIommuTlb(pasid, start, end);
  });
  expect(faults).toEqual([FREED]);
});

test('a walk sets A, a write D, in the live entry; a read-only entry answers a write with a page request', () => {
  const w = new World(1);
  w.judge.faults.length = 0;
  const { k } = w;
  const pfn = k.fn.allocPage(k, 0, 1);
  writeEntry(k.memory, w.word(0), (pfn << 12) | PTE_P | PTE_US, 0, w.mm.id, BASE, 0);
  w.ats.setContext(0, 1);
  k.sched.spawn('responder', 'kernel', w.responder(), true);
  k.sched.points = false;
  expect(k.sched.run(w.ats.access(0, BASE + 8, false, BASE + 4096))).toBe(0);
  expect(entryLo(k.memory, w.word(0)) & (PTE_A | PTE_D)).toBe(PTE_A);
  expect(w.ats.pri.requests).toBe(0);
  w.rng.chance = () => false; // the responder never refuses
  expect(k.sched.run(w.ats.access(0, BASE + 8, true, BASE + 4096))).toBe(0);
  expect(w.ats.pri.requests).toBe(1);
  expect(entryLo(k.memory, w.word(0)) & (PTE_A | PTE_D | PTE_RW)).toBe(PTE_A | PTE_D | PTE_RW);
  expect(k.memory.doubles[(pfn * 4096 + 4096 - 64) / 8]).toBe(1);
});

test('an unbound PASID translates nothing, and its page requests go to the log', () => {
  const w = new World(1);
  const { k } = w;
  w.iommu.gcr3[1] = 0;
  w.map(0);
  w.ats.setContext(0, 1);
  k.sched.points = false;
  k.sched.spawn('engine', 'device', w.ats.access(0, BASE, false, BASE + 4096));
  k.sched.runUntil(() => w.iommu.pprLog.length > 0);
  expect(w.iommu.pprLog.items).toEqual([
    { device: 1, pasid: 1, address: BASE, isWrite: false, isExec: false, isStop: false, prg: 0, isLast: true },
  ]);
  expect(w.judge.fills).toBe(0);
});

test('the page request log overflows: the request is answered with a failure and the device stops', () => {
  const w = new World(1);
  const { k } = w;
  Object.assign(w.iommu.config, { pprLogEntries: 0 });
  w.ats.setContext(0, 1);
  k.sched.points = false;
  expect(k.sched.run(w.ats.access(0, BASE, false, BASE + 4096))).toBe(2);
  expect([w.iommu.pprOverflows, w.ats.state]).toEqual([1, 2]);
});
