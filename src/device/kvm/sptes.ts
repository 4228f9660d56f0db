// The table of a VM (arch/x86/kvm/mmu/tdp_mmu.c, spte.c): four levels of 512 entries from guest frame to host frame. Written under
// mmu_lock, by compare-and-exchange where only the read side is held; read by vCPUs at any moment.
//
// An entry is one word. Level 0 maps a page, level 1 may map 2 MiB:
//
//   31        12  7     6        5       4 3 2 1 0
//   pfn or node   LARGE HOST_W   MMU_W   D A W R PRESENT
//
//   PRESENT  the entry translates; without R the hardware faults on it (access tracking: R and W were taken to see the next use)
//   MMU_W    KVM would let the guest write: W alone is missing, for the dirty log or for access tracking
//   HOST_W   the host's entry was writable when the page was looked up
//
// Beside each leaf stands the generation of its frame at that time, for the events. Memory of table pages is not modelled: KVM
// keeps a cache of them that it fills before it takes mmu_lock.

import { OBJ_DRIVER } from '../../base/footprint.ts';
import type { PhysMemory } from '../../hw/phys.ts';

export const SPTE_PRESENT = 1;
export const SPTE_R = 2;
export const SPTE_W = 4;
export const SPTE_A = 8;
export const SPTE_D = 16;
export const SPTE_MMU_W = 32;
export const SPTE_HOST_W = 64;
export const SPTE_LARGE = 128;

/** Pages of a leaf of level 1. */
export const LARGE_PAGES = 512;
/** Objects in footprints (OBJ_DRIVER): the table as a whole, and its pages after it. */
const TABLE = 0xd0000000;
/** Ranges of more pages are noted as the whole table. */
const PAGES_NOTED = 16;
const POOL_NODES = 8;

export class Sptes {
  readonly #memory: PhysMemory;
  /** Entries: node * 512 + index. Node 0 is the root. */
  words = new Int32Array(POOL_NODES * 512);
  #generation = new Uint32Array(POOL_NODES * 512);
  /** Of large leaves: the generation of each frame. */
  readonly #largeGenerations = new Map<number, Uint32Array>();
  #nodes = 1;
  readonly #freeNodes: number[] = [];
  /** Leaves present. */
  count = 0;
  /** Where `find` and `next` have found the entry: its place, its level and the first gfn that it maps. */
  at = -1;
  level = 0;
  first = 0;

  constructor(memory: PhysMemory) {
    this.#memory = memory;
  }

  /** Pages of the table, without the root. */
  get tablePages(): number {
    return this.#nodes - 1 - this.#freeNodes.length;
  }

  /** The leaf that maps the guest frame, 0 when none. Sets `at`, `level`, `first`. */
  find(gfn: number): number {
    this.note(gfn, false);
    const hi = (gfn / 0x40000) | 0;
    const lo = gfn - hi * 0x40000;
    const { words } = this;
    const top = words[hi >>> 9]!;
    this.at = -1;
    if (top === 0) return 0;
    const second = words[(top >>> 12) * 512 + (hi & 511)]!;
    if (second === 0) return 0;
    let at = (second >>> 12) * 512 + (lo >>> 9);
    const third = words[at]!;
    if (third === 0) return 0;
    if ((third & SPTE_LARGE) !== 0) {
      this.at = at;
      this.level = 1;
      this.first = gfn - (lo & 511);
      return third;
    }
    at = (third >>> 12) * 512 + (lo & 511);
    this.at = at;
    this.level = 0;
    this.first = gfn;
    return words[at]!;
  }

  /** The first leaf that maps a frame of [gfn, end), 0 when there is none. Sets `at`, `level`, `first`. */
  next(gfn: number, end: number): number {
    for (let g = gfn; g < end; ) {
      const hi = (g / 0x40000) | 0;
      const lo = g - hi * 0x40000;
      const top = this.words[hi >>> 9]!;
      if (top === 0) {
        g = ((hi >>> 9) + 1) * 0x8000000;
        continue;
      }
      const second = this.words[(top >>> 12) * 512 + (hi & 511)]!;
      if (second === 0) {
        g = (hi + 1) * 0x40000;
        continue;
      }
      const third = this.words[(second >>> 12) * 512 + (lo >>> 9)]!;
      const table = hi * 0x40000 + (lo - (lo & 511));
      if ((third & SPTE_LARGE) !== 0) {
        this.at = (second >>> 12) * 512 + (lo >>> 9);
        this.level = 1;
        this.first = table;
        return third;
      }
      for (; third !== 0 && g < end && g < table + 512; g++) {
        const at = (third >>> 12) * 512 + (g - table);
        if (this.words[at] === 0) continue;
        this.at = at;
        this.level = 0;
        this.first = g;
        return this.words[at]!;
      }
      g = Math.max(g, table + 512);
    }
    return 0;
  }

  /** Place of the entry for gfn at the level, with the tables above it made; -1: a larger leaf, or for level 1 a table, is in the way. */
  place(gfn: number, level: number): number {
    const hi = (gfn / 0x40000) | 0;
    const lo = gfn - hi * 0x40000;
    const second = this.#table(hi >>> 9) * 512 + (hi & 511);
    const third = this.#table(second) * 512 + (lo >>> 9);
    if (level === 1) return this.words[third] !== 0 && (this.words[third]! & SPTE_LARGE) === 0 ? -1 : third;
    if ((this.words[third]! & SPTE_LARGE) !== 0) return -1;
    return this.#table(third) * 512 + (lo & 511);
  }

  /** Stores a leaf and the generations of its frames at `at`, the place of `first`; it is then what was found. */
  set(at: number, level: number, first: number, spte: number): void {
    this.noteWrite(first, level);
    this.at = at;
    this.level = level;
    this.first = first;
    const old = this.words[at]!;
    this.words[at] = spte;
    this.count += (spte !== 0 ? 1 : 0) - (old !== 0 ? 1 : 0);
    if (level === 1) this.#largeGenerations.delete(at);
    if (spte === 0) return;
    const { generation } = this.#memory;
    const pfn = spte >>> 12;
    this.#generation[at] = generation[pfn]!;
    if (level === 1) this.#largeGenerations.set(at, generation.slice(pfn, pfn + LARGE_PAGES));
  }

  /** Changes bits of a leaf that goes on mapping the same frames. */
  setBits(at: number, level: number, first: number, spte: number): void {
    this.noteWrite(first, level);
    this.words[at] = spte;
  }

  /** Generation of the frame that the leaf at `at` has for its page `i`. */
  generationAt(at: number, i: number): number {
    return this.#largeGenerations.get(at)?.[i] ?? this.#generation[at]!;
  }

  /** The table of level 0 under a place of level 1 goes; its leaves were taken out before. */
  dropTable(gfn: number): void {
    const hi = (gfn / 0x40000) | 0;
    const lo = gfn - hi * 0x40000;
    const second = (this.words[hi >>> 9]! >>> 12) * 512 + (hi & 511);
    const third = (this.words[second]! >>> 12) * 512 + (lo >>> 9);
    this.noteAll();
    this.#freeNodes.push(this.words[third]! >>> 12);
    this.words[third] = 0;
  }

  /** A large leaf becomes 512 leaves of the same frames and bits (tdp_mmu_split_huge_page). */
  splitLarge(at: number, first: number): void {
    this.noteAll();
    const large = this.words[at]!;
    const generations = this.#largeGenerations.get(at)!;
    this.#largeGenerations.delete(at);
    this.words[at] = 0;
    const node = this.#table(at);
    for (let i = 0; i < LARGE_PAGES; i++) {
      this.words[node * 512 + i] = (large & ~SPTE_LARGE) + (i << 12);
      this.#generation[node * 512 + i] = generations[i]!;
    }
    this.count += LARGE_PAGES - 1;
    this.find(first);
  }

  /** All leaves were taken out: the tables go too. */
  reset(): void {
    this.noteAll();
    this.words.fill(0);
    this.#largeGenerations.clear();
    this.#freeNodes.length = 0;
    this.#nodes = 1;
    this.count = 0;
  }

  /** The node under the entry, made when there is none. */
  #table(at: number): number {
    const entry = this.words[at]!;
    if (entry !== 0) return entry >>> 12;
    let node = this.#freeNodes.pop();
    if (node === undefined) {
      node = this.#nodes++;
      if (node * 512 === this.words.length) this.#grow();
    }
    this.words[at] = (node << 12) | SPTE_PRESENT;
    return node;
  }

  #grow(): void {
    const words = new Int32Array(this.words.length * 2);
    words.set(this.words);
    this.words = words;
    const generation = new Uint32Array(words.length);
    generation.set(this.#generation);
    this.#generation = generation;
  }

  // --- footprints: a step on one page reads the table and touches the page; one on more writes the table

  note(gfn: number, isWrite: boolean): void {
    const { footprint } = this.#memory;
    if (footprint === null) return;
    footprint.note(OBJ_DRIVER, TABLE, false);
    footprint.note(OBJ_DRIVER, TABLE + 1 + (gfn % 0xffffff), isWrite);
  }

  noteAll(): void {
    if (this.#memory.footprint !== null) this.#memory.footprint.note(OBJ_DRIVER, TABLE, true);
  }

  noteWrite(first: number, level: number): void {
    if (level === 0) this.note(first, true);
    else this.noteAll();
  }

  /** Somebody looks for leaves of [gfn, end). */
  noteRange(gfn: number, end: number): void {
    if (this.#memory.footprint === null) return;
    if (end - gfn > PAGES_NOTED) this.noteAll();
    else for (let g = gfn; g < end; g++) this.note(g, false);
  }

  /** What it translates, as numbers in order of gfn. */
  stateWords(): number[] {
    const out: number[] = [];
    for (let g = 0; this.next(g, 2 ** 36) !== 0; g = this.first + (this.level === 1 ? LARGE_PAGES : 1))
      out.push(this.first, this.level, this.words[this.at]!, this.generationAt(this.at, 0));
    return out;
  }
}
