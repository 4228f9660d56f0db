// Translations by virtual page: the table of a mirror device, and the TLB of each of its engines. An entry translates a
// block of one or more pages to consecutive frames; whatever touches a part of a block takes all of it away, as hardware
// with large entries does. Nothing is ever replaced for want of room: a TLB that forgets is kinder to a wrong driver.
//
// For an explorer each page is an object of its own, and the map as a whole is another: steps on single pages read it, steps
// on long ranges write it.

import { OBJ_DRIVER } from '../base/footprint.ts';
import type { PhysMemory } from '../hw/phys.ts';

/** Ranges of more pages are noted as the whole map. */
const PAGES_NOTED = 16;

export class Translation {
  readonly va: number;
  readonly pages: number;
  /** Frame of the first page. */
  readonly pfn: number;
  /** Of each frame, when the driver made the entry. */
  readonly generations: readonly number[];
  readonly isWritable: boolean;
  /** Set by the device, as an MMU with accessed and dirty bits does. */
  isAccessed = false;
  isDirty = false;
  /** The page is the device's alone: atomic operations may use it. */
  isAtomic = false;

  constructor(va: number, pages: number, pfn: number, generations: readonly number[], isWritable: boolean) {
    this.va = va;
    this.pages = pages;
    this.pfn = pfn;
    this.generations = generations;
    this.isWritable = isWritable;
  }

  get end(): number {
    return this.va + this.pages * 4096;
  }
}

export class TranslationMap {
  readonly #memory: PhysMemory;
  /** The map in footprints; its pages follow, by the low 26 bits of their number. */
  readonly #identity: number;
  readonly #byPage = new Map<number, Translation>();

  constructor(memory: PhysMemory, identity: number) {
    this.#memory = memory;
    this.#identity = identity;
  }

  /** Pages translated. */
  get size(): number {
    return this.#byPage.size;
  }

  /** The entry that translates the page of `va`, or null. */
  find(va: number): Translation | null {
    const page = Math.floor(va / 4096);
    this.#note(page, false);
    return this.#byPage.get(page) ?? null;
  }

  /** The entry's bits or what it translates to change. */
  noteWrite(va: number): void {
    this.#note(Math.floor(va / 4096), true);
  }

  /** Puts the entry in; what it overlaps goes, and is returned. */
  insert(t: Translation): Translation[] {
    const replaced = this.remove(t.va, t.end);
    const first = t.va / 4096;
    for (let i = 0; i < t.pages; i++) {
      this.#note(first + i, true);
      this.#byPage.set(first + i, t);
    }
    return replaced;
  }

  /** Takes out every entry that meets [start, end); in order of address. */
  remove(start: number, end: number): Translation[] {
    const found = this.entries(start, end, true);
    for (const t of found) {
      const first = t.va / 4096;
      for (let i = 0; i < t.pages; i++) {
        this.#note(first + i, true);
        this.#byPage.delete(first + i);
      }
    }
    return found;
  }

  /** The entries that meet [start, end), in order of address. `isWrite`: the caller will change them. */
  entries(start: number, end: number, isWrite: boolean): Translation[] {
    const first = Math.floor(start / 4096);
    const count = Math.ceil((end - first * 4096) / 4096);
    const found = new Set<Translation>();
    if (count <= PAGES_NOTED) {
      for (let page = first; page < first + count; page++) {
        this.#note(page, isWrite);
        const t = this.#byPage.get(page);
        if (t !== undefined) found.add(t);
      }
    } else {
      this.#noteAll(isWrite);
      for (const t of this.#byPage.values()) if (t.va < end && t.end > start) found.add(t);
    }
    return [...found].sort((a, b) => a.va - b.va);
  }

  /** What it translates, as numbers in order of address. */
  words(): number[] {
    const bits = (t: Translation): number =>
      (t.isWritable ? 1 : 0) + (t.isAccessed ? 2 : 0) + (t.isDirty ? 4 : 0) + (t.isAtomic ? 8 : 0);
    return [...this.#byPage.entries()]
      .sort((a, b) => a[0] - b[0])
      .flatMap(([page, t]) => [page, t.va, t.pages, t.pfn, ...t.generations, bits(t)]);
  }

  #note(page: number, isWrite: boolean): void {
    const { footprint } = this.#memory;
    if (footprint === null) return;
    footprint.note(OBJ_DRIVER, this.#identity, false);
    footprint.note(OBJ_DRIVER, this.#identity + 1 + (page % 0x3ffffff), isWrite);
  }

  #noteAll(isWrite: boolean): void {
    const { footprint } = this.#memory;
    if (footprint !== null) footprint.note(OBJ_DRIVER, this.#identity, isWrite);
  }
}
