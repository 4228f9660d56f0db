// What a device does while a program runs: engines that read and write the program's memory, seeded. Each engine works in
// bursts: it picks a region, a page, and goes on through it; a burst goes on while its region is being unmapped, until the
// host says Invalid. Regions are the readable VMAs of the bound address space; the newest ones are used most.
//
// Writes go to words of the device's own (the last 64 bytes of a page), so that what the program stored can still be checked.

import { DEV_RUNNING } from '../abi/events.ts';
import { VM_HUGETLB, VM_READ, VM_SHARED, VM_SPECIAL, VM_WRITE } from '../abi/mman.ts';
import { Rng } from '../base/rng.ts';
import { pteWord, vpnHi, vpnLo } from '../hw/page-table.ts';
import { entryLo } from '../hw/pte.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct, VmArea } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_IDLE } from '../sched/points.ts';
import { ACCESS_DEAD, ACCESS_DONE, type Accessor } from './accessor.ts';

export interface WorkloadConfig {
  readonly seed: number;
  /** Percent of bursts that write, in writable regions. */
  readonly writePercent: number;
  /** Accesses of a burst: 1 to this, sequential. */
  readonly burstMax: number;
  /** Bytes between two accesses of a burst. */
  readonly strideBytes: number;
  /** Percent of bursts that must begin at a page that the program has touched. */
  readonly touchedPercent: number;
  /** Steps of the world that an engine rests between bursts. */
  readonly pauseSteps: number;
  /** Bursts after which the work list is read again from the address space. */
  readonly refreshBursts: number;
  /** Percent of bursts that go to the memory that the program is about to give up (`focus`): jobs that it submitted there
   *  and does not wait for. */
  readonly focusPercent: number;
}

export const WORKLOAD_DEFAULTS: WorkloadConfig = {
  seed: 1,
  writePercent: 30,
  burstMax: 64,
  strideBytes: 512,
  touchedPercent: 95,
  pauseSteps: 0,
  refreshBursts: 16,
  focusPercent: 90,
};

interface Region {
  readonly start: number;
  readonly end: number;
  readonly isWritable: boolean;
}

/** May a job write there? Buffers: anonymous and shared memory. A program's own segments (private file mappings) are only read. */
export function isBuffer(v: VmArea): boolean {
  return (v.flags & VM_WRITE) !== 0 && (v.file === null || (v.flags & VM_SHARED) !== 0);
}

/** Tries at finding a touched page. */
const TRIES = 8;

export class Workload {
  readonly k: Kernel;
  readonly device: Accessor;
  readonly config: WorkloadConfig;
  /** Address space that the engines work in; null: they rest. */
  mm: MmStruct | null = null;
  isStopped = false;
  bursts = 0;
  invalidResponses = 0;
  /** Called when the work list is read again (an application's own housekeeping). */
  onRefresh: (() => KernelPath<void>) | null = null;
  readonly #rng: Rng;
  /** Newest first. */
  #regions: Region[] = [];
  /** Order in which regions appeared, by start. */
  #seen = new Map<number, number>();
  #nextSeen = 1;
  #untilRefresh = 0;
  #focus: Region | null = null;
  #focusCount = 0;

  constructor(k: Kernel, device: Accessor, config: Partial<WorkloadConfig> = {}) {
    this.k = k;
    this.device = device;
    this.config = { ...WORKLOAD_DEFAULTS, ...config };
    this.#rng = new Rng(this.config.seed);
  }

  /** Starts the engines' threads. */
  start(): void {
    for (let e = 0; e < this.device.engineCount; e++) {
      this.k.sched.spawn(`device engine ${e}`, 'device', this.engine(e), true);
    }
  }

  /** The program goes on to unmap, move, discard or protect [start, end) while jobs of its own are still under way there: the
   *  case that notifiers exist for. Bursts elsewhere end, new ones begin there (focusPercent of them) until unfocus. */
  focus(start: number, end: number, isWritable: boolean): void {
    this.#focus = { start, end, isWritable };
    this.#focusCount++;
  }

  unfocus(): void {
    this.#focus = null;
  }

  /** An engine: bursts until stopped, or until the device fails. */
  *engine(e: number): KernelPath<void> {
    const { sched } = this.k;
    while (!this.isStopped && this.device.state === DEV_RUNNING) {
      if (this.#untilRefresh-- <= 0) yield* this.#refresh();
      const region = this.#pickRegion();
      if (region === null) {
        yield* sched.sleepSteps(64, 'work');
        this.#untilRefresh = 0;
        continue;
      }
      yield* this.#burst(e, region);
      if (this.config.pauseSteps > 0) yield* sched.sleepSteps(this.config.pauseSteps, 'pause');
      else yield P_DEV_IDLE;
    }
  }

  *#burst(e: number, region: Region): KernelPath<void> {
    const { config, device } = this;
    const isWrite = region.isWritable && this.#rng.below(100) < config.writePercent;
    const count = 1 + this.#rng.below(config.burstMax);
    let va = this.#pickPage(region) + this.#rng.below(512) * 8;
    this.bursts++;
    const focus = this.#focusCount;
    for (let i = 0; i < count && va < region.end; i++, va += config.strideBytes) {
      if (focus !== this.#focusCount && region !== this.#focus) return;
      if (!this.k.sched.points && device.tryAccess(e, va, isWrite)) continue;
      const result = yield* device.access(e, va, isWrite, region.end);
      if (result === ACCESS_DONE) continue;
      if (result !== ACCESS_DEAD) {
        this.invalidResponses++;
        this.#untilRefresh = 0;
      }
      return;
    }
  }

  /** Rank r with a chance of about 1/r: a power of two is drawn, then a rank below it. */
  #pickRegion(): Region | null {
    if (this.#focus !== null && this.#rng.below(100) < this.config.focusPercent) return this.#focus;
    const n = this.#regions.length;
    if (n === 0) return null;
    const bits = 32 - Math.clz32(n - 1);
    const limit = Math.min(n, 1 << this.#rng.below(bits + 1));
    return this.#regions[this.#rng.below(limit)]!;
  }

  #pickPage(region: Region): number {
    const pages = (region.end - region.start) / 4096;
    const mm = this.mm;
    let va = region.start + this.#rng.below(pages) * 4096;
    if (mm === null || this.#rng.below(100) >= this.config.touchedPercent) return va;
    for (let i = 0; i < TRIES; i++) {
      const word = pteWord(this.k.memory, mm.pgd, vpnHi(va), vpnLo(va));
      if (word >= 0 && entryLo(this.k.memory, word) !== 0) return va;
      va = region.start + this.#rng.below(pages) * 4096;
    }
    return region.start;
  }

  *#refresh(): KernelPath<void> {
    const { mm } = this;
    this.#untilRefresh = Math.max(this.config.refreshBursts, mm === null ? 0 : mm.vmas.count >> 2);
    this.#regions = [];
    if (mm === null || mm.isExiting) return;
    const seen = new Map<number, number>();
    const regions = this.#regions;
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
      if ((v.flags & VM_READ) === 0 || (v.flags & (VM_SPECIAL | VM_HUGETLB)) !== 0) continue;
      if (v.name === '[vdso]' || v.name === '[vvar]' || v.name === '[vsyscall]') continue;
      seen.set(v.start, this.#seen.get(v.start) ?? this.#nextSeen++);
      regions.push({ start: v.start, end: v.end, isWritable: isBuffer(v) });
    }
    this.#seen = seen;
    regions.sort((a, b) => seen.get(b.start)! - seen.get(a.start)!);
    if (this.onRefresh !== null) yield* this.onRefresh();
  }
}
