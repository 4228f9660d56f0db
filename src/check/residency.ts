// How much memory stands behind the address spaces: frames mapped, pinned, swapped out, and orphaned (pinned for a device
// although nothing maps them any more). Peaks, and a sampled course for charts.
//
// mremap takes an entry away before it puts it back elsewhere, so an orphan is only a candidate until the thread that
// removed the mapping leaves its section or system call.

import { FRAME_ANON, FRAME_FILE } from '../abi/events.ts';
import type { Frames } from './frames.ts';

/** Course of the amounts; parallel arrays. Steps stand still while a run is not interleaved, events do not. */
export interface ResidencyCourse {
  readonly step: readonly number[];
  readonly event: readonly number[];
  readonly resident: readonly number[];
  readonly pinned: readonly number[];
  readonly swapped: readonly number[];
  readonly orphaned: readonly number[];
}

const SAMPLES_MAX = 1024;

export class Residency {
  resident = 0;
  residentPeak = 0;
  pinned = 0;
  pinnedPeak = 0;
  swapped = 0;
  swappedPeak = 0;
  orphanedPeak = 0;
  orphanedTotal = 0;
  readonly #frames: Frames;
  /** Candidates: frame -> thread that removed its last mapping. */
  readonly #candidates = new Map<number, number>();
  readonly #orphans = new Set<number>();
  // Samples, thinned by half when full.
  #every = 16;
  /** Event number at which the next sample is due. */
  nextSample = 0;
  #step: number[] = [];
  #event: number[] = [];
  #residentAt: number[] = [];
  #pinnedAt: number[] = [];
  #swappedAt: number[] = [];
  #orphanedAt: number[] = [];

  constructor(frames: Frames) {
    this.#frames = frames;
  }

  #isCounted(pfn: number): boolean {
    const purpose = this.#frames.purpose[pfn];
    return purpose === FRAME_ANON || purpose === FRAME_FILE;
  }

  /** An entry that maps the frame was set. */
  map(pfn: number): void {
    if (!this.#frames.has(pfn)) return;
    if (this.#frames.maps[pfn]!++ !== 0 || !this.#isCounted(pfn)) return;
    this.resident++;
    if (this.resident > this.residentPeak) this.residentPeak = this.resident;
    if (this.#frames.pins[pfn]! !== 0) this.#adopt(pfn);
  }

  /** An entry that mapped the frame was taken away, by thread `actor`. */
  unmap(pfn: number, actor: number): void {
    if (!this.#frames.has(pfn) || this.#frames.maps[pfn] === 0) return;
    if (--this.#frames.maps[pfn]! !== 0 || !this.#isCounted(pfn)) return;
    this.resident--;
    if (this.#frames.pins[pfn]! > 0) this.#candidates.set(pfn, actor);
  }

  /** The frame was freed: whatever still mapped it no longer counts. */
  freed(pfn: number): void {
    if (this.#frames.maps[pfn]! > 0 && this.#isCounted(pfn)) this.resident--;
    this.#frames.maps[pfn] = 0;
    if (this.#frames.pins[pfn]! > 0) this.pinned--;
    this.#frames.pins[pfn] = 0;
    this.#adopt(pfn);
  }

  pin(pfn: number): void {
    if (!this.#frames.has(pfn)) return;
    if (this.#frames.pins[pfn]!++ !== 0) return;
    this.pinned++;
    if (this.pinned > this.pinnedPeak) this.pinnedPeak = this.pinned;
  }

  unpin(pfn: number): void {
    if (!this.#frames.has(pfn) || this.#frames.pins[pfn] === 0) return;
    if (--this.#frames.pins[pfn]! !== 0) return;
    this.pinned--;
    this.#adopt(pfn);
  }

  /** A swap-like entry appeared (+1) or went (-1). */
  swap(change: number): void {
    this.swapped = Math.max(0, this.swapped + change);
    if (this.swapped > this.swappedPeak) this.swappedPeak = this.swapped;
  }

  #adopt(pfn: number): void {
    this.#candidates.delete(pfn);
    this.#orphans.delete(pfn);
  }

  /** The thread left a section or system call: what it unmapped and did not map again is orphaned. */
  settle(actor: number): void {
    if (this.#candidates.size === 0) return;
    for (const [pfn, by] of this.#candidates) {
      if (by !== actor) continue;
      this.#candidates.delete(pfn);
      this.#orphans.add(pfn);
      this.orphanedTotal++;
    }
    if (this.#orphans.size > this.orphanedPeak) this.orphanedPeak = this.#orphans.size;
  }

  /** Orphaned frames now. */
  get orphaned(): number {
    return this.#orphans.size;
  }

  /** Takes a sample; to be called once `nextSample` is reached. */
  sample(event: number, step: number): void {
    this.#push(event, step);
    if (this.#step.length >= SAMPLES_MAX) this.#thin();
    this.nextSample = event + this.#every;
  }

  #push(event: number, step: number): void {
    this.#event.push(event);
    this.#step.push(step);
    this.#residentAt.push(this.resident);
    this.#pinnedAt.push(this.pinned);
    this.#swappedAt.push(this.swapped);
    this.#orphanedAt.push(this.orphaned);
  }

  #thin(): void {
    this.#every *= 2;
    const isKept = (_: number, i: number): boolean => i % 2 === 0;
    this.#event = this.#event.filter(isKept);
    this.#step = this.#step.filter(isKept);
    this.#residentAt = this.#residentAt.filter(isKept);
    this.#pinnedAt = this.#pinnedAt.filter(isKept);
    this.#swappedAt = this.#swappedAt.filter(isKept);
    this.#orphanedAt = this.#orphanedAt.filter(isKept);
  }

  /** The course so far, ending with the present state. */
  course(event: number, step: number): ResidencyCourse {
    if (this.#event.length === 0 || this.#event[this.#event.length - 1]! < event) this.#push(event, step);
    return {
      step: [...this.#step],
      event: [...this.#event],
      resident: [...this.#residentAt],
      pinned: [...this.#pinnedAt],
      swapped: [...this.#swappedAt],
      orphaned: [...this.#orphanedAt],
    };
  }
}
