// A set-associative TLB with address-space tags, used for CPUs, IOMMUs and device TLBs alike; and a page-walk cache.
//
// One entry is four 32-bit words: tagHi (ASID << 18 | vpnHi; -1 empty), tagLo (vpnLo | size << 18), data (pfn << 12 |
// the low flag bits of the leaf entry: RW US A D PS, and NX as TLB_NX), generation of the frame when the entry was made. Sets are chosen by
// the low bits of the page number; the way to replace is round robin per set. 2 MiB and 1 GiB leaves have their own tag
// size and are looked up only while such entries exist.
//
// Beside the entries, for one CPU's translate(): a hint for each set, the 4 KiB translation that hit last there, as a pair of
// doubles each for reads, writes and instruction fetches: centre of the page (NaN: none), and physical minus virtual address. A hint repeats what
// an entry says, so every function that changes an entry forgets the hint of its set; hints belong to one ASID, and
// forgetHints() takes all of them away. Other users (IOMMU, devices) call find() and have no hints.

import { PTE_D, PTE_RW } from '../abi/pte.ts';
import { float64s, int32s, uint8s, uint32s } from '../base/arena.ts';
import { assert } from '../base/assert.ts';
import { type Footprint, OBJ_TLB } from '../base/footprint.ts';

export const TLB_4K = 0;
export const TLB_2M = 1;
export const TLB_1G = 2;
/** Bytes of a translation of each size. */
export const TLB_SIZE_BYTES: readonly number[] = [4096, 0x200000, 0x40000000];

/** In an entry's flags: no instruction fetch. Stands where the leaf has PWT, which means nothing here. */
export const TLB_NX = 8;

const WORDS = 4;
/** From the start of a page to its centre: |va - centre| < 2048 for its bytes, and for no other integer. */
const CENTRE = 2047.5;
const WRITABLE = PTE_RW | PTE_D;
/** No ASID. */
const MIXED = -1;
/** Centre of no page. */
const NONE = Number.NaN;

export class Tlb {
  readonly sets: number;
  readonly ways: number;
  /** tagHi, tagLo, data, generation per entry; entry e starts at 4 * e. */
  readonly entries: Int32Array;
  /** Hint of set s from 8 * s on: centre and difference for reads, writes, fetches (ACCESS_*, twice). */
  readonly hints: Float64Array;
  /** Index of a hint: ((va >>> 9) & hintMask) + 2 * access. */
  readonly hintMask: number;
  readonly #nextWay: Uint8Array;
  readonly #setMask: number;
  readonly #setWords: number;
  /** Entries of 2 MiB and 1 GiB held. */
  largeCount = 0;
  /** Entries held, of any size. */
  count = 0;
  /** ASID of all entries held, or MIXED. */
  #onlyAsid = MIXED;
  #footprint: Footprint | null = null;
  readonly id: number;

  /** `sets` is a power of two. `id` names this TLB in footprints. */
  constructor(sets: number, ways: number, id = 0) {
    this.sets = sets;
    this.ways = ways;
    this.id = id;
    this.#setMask = sets - 1;
    this.#setWords = ways * WORDS;
    this.entries = int32s(sets * ways * WORDS).fill(-1);
    this.#nextWay = uint8s(sets);
    this.hints = float64s(sets * 8).fill(Number.NaN);
    this.hintMask = (sets - 1) * 8;
  }

  get footprint(): Footprint | null {
    return this.#footprint;
  }

  /** With a recorder every look-up is noted, so none may go through a hint. */
  set footprint(recorder: Footprint | null) {
    this.#footprint = recorder;
    this.forgetHints();
  }

  /** Entry `at` hit for the page that begins at `page`: if it is one of 4 KiB, it is tried first from now on. */
  remember(at: number, page: number): void {
    const e = this.entries;
    const tagLo = e[at | 1]!;
    if (this.#footprint !== null || tagLo >>> 18 !== 0) return;
    const data = e[at | 2]!;
    const hint = (tagLo & this.#setMask) << 3;
    const hints = this.hints;
    const difference = (data >>> 12) * 4096 - page;
    hints[hint] = page + CENTRE;
    hints[hint | 1] = difference;
    hints[hint | 2] = (data & WRITABLE) === WRITABLE ? page + CENTRE : NONE;
    hints[hint | 3] = difference;
    hints[hint | 4] = (data & TLB_NX) === 0 ? page + CENTRE : NONE;
    hints[hint | 5] = difference;
  }

  /** Before another address space is loaded. */
  forgetHints(): void {
    this.hints.fill(Number.NaN);
  }

  #forget(set: number): void {
    this.hints[set * 8] = Number.NaN;
    this.hints[set * 8 + 2] = Number.NaN;
    this.hints[set * 8 + 4] = Number.NaN;
  }

  /** Each hint says what an entry of `asid` says. Throws. */
  checkHints(asid: number): void {
    for (let set = 0; set < this.sets; set++) {
      for (const pair of [0, 2, 4]) {
        const centre = this.hints[set * 8 + pair]!;
        if (Number.isNaN(centre)) continue;
        const page = centre - CENTRE;
        const at = this.find(asid, Math.floor(page / 0x40000000), Math.floor(page / 4096) % 0x40000);
        assert(at >= 0 && this.size(at) === TLB_4K, `TLB hint of set ${set}: an entry for page ${page.toString(16)}`);
        assert(this.hints[set * 8 + pair + 1] === this.pfn(at) * 4096 - page, `TLB hint of set ${set}: frame`);
        const flags = this.flags(at);
        const isAllowed = pair === 0 || (pair === 2 ? (flags & WRITABLE) === WRITABLE : (flags & TLB_NX) === 0);
        assert(isAllowed, `TLB hint of set ${set}: rights`);
      }
    }
  }

  /** Offset of the entry that translates the 4 KiB page, or -1. */
  find(asid: number, hi: number, lo: number): number {
    if (this.#footprint !== null) this.#noteFind(hi, lo);
    const tagHi = (asid << 18) | hi;
    const e = this.entries;
    // | and imul instead of + and *: without checks for overflow.
    const size = this.#setWords;
    const first = Math.imul(lo & this.#setMask, size);
    for (let at = first, end = (first + size) | 0; at < end; at = (at + WORDS) | 0) {
      if (e[at | 1] === lo && e[at] === tagHi) return at;
    }
    return this.largeCount === 0 ? -1 : this.#findLarge(asid, hi, lo);
  }

  #note(set: number, isWrite: boolean): void {
    this.#footprint?.note(OBJ_TLB, this.id * 65536 + set, isWrite);
  }

  /** Every search asks whether there are large entries: one that comes or goes changes all sets. */
  #noteChange(set: number, size: number): void {
    if (size === TLB_4K) this.#note(set, true);
    else for (let s = 0; s < this.sets; s++) this.#note(s, true);
  }

  /** A search looks in the set of the page and, while there are large entries, in those of the larger sizes. */
  #noteFind(hi: number, lo: number): void {
    this.#note(lo & this.#setMask, false);
    if (this.largeCount === 0) return;
    this.#note(this.#setOf(hi, (lo >>> 9) << 9, TLB_2M), false);
    this.#note(this.#setOf(hi, 0, TLB_1G), false);
  }

  /** An invalidation looks at each set in which it might find something, also when it finds nothing. */
  #noteInvalidate(start: number, end: number): void {
    const pages = (end - start) / 4096;
    if (pages < this.sets && this.largeCount === 0) {
      for (let page = Math.floor(start / 4096), i = 0; i < pages; i++) this.#note((page + i) & this.#setMask, false);
    } else {
      for (let set = 0; set < this.sets; set++) this.#note(set, false);
    }
  }

  #findLarge(asid: number, hi: number, lo: number): number {
    const two = this.#findSized(asid, hi, (lo >>> 9) << 9, TLB_2M);
    return two >= 0 ? two : this.#findSized(asid, hi, 0, TLB_1G);
  }

  #findSized(asid: number, hi: number, base: number, size: number): number {
    const tagHi = (asid << 18) | hi;
    const tagLo = base | (size << 18);
    const e = this.entries;
    let at = this.#setOf(hi, base, size) * this.ways * WORDS;
    for (const end = at + this.ways * WORDS; at < end; at += WORDS) {
      if (e[at] === tagHi && e[at + 1] === tagLo) return at;
    }
    return -1;
  }

  #setOf(hi: number, base: number, size: number): number {
    return (size === TLB_4K ? base : size === TLB_2M ? base >>> 9 : hi) & this.#setMask;
  }

  pfn(at: number): number {
    return this.entries[at + 2]! >>> 12;
  }

  flags(at: number): number {
    return this.entries[at + 2]! & 0xfff;
  }

  generation(at: number): number {
    return this.entries[at + 3]! >>> 0;
  }

  size(at: number): number {
    return this.entries[at + 1]! >>> 18;
  }

  asid(at: number): number {
    return this.entries[at]! >>> 18;
  }

  /** First byte address that entry `at` translates. */
  address(at: number): number {
    return (this.entries[at]! & 0x3ffff) * 0x40000000 + (this.entries[at + 1]! & 0x3ffff) * 4096;
  }

  isUsed(at: number): boolean {
    return this.entries[at] !== -1;
  }

  /** Enters a translation (replacing one of the same page); returns its offset. `flags` are the low 12 bits of the leaf. */
  insert(asid: number, hi: number, lo: number, size: number, pfn: number, flags: number, generation: number): number {
    const base = size === TLB_4K ? lo : size === TLB_2M ? (lo >>> 9) << 9 : 0;
    const set = this.#setOf(hi, base, size);
    if (this.#footprint !== null) this.#noteChange(set, size);
    this.#forget(set);
    let at = this.#findSized(asid, hi, base, size);
    if (at < 0) {
      const way = this.#nextWay[set]!;
      this.#nextWay[set] = way + 1 === this.ways ? 0 : way + 1;
      at = (set * this.ways + way) * WORDS;
      if (this.entries[at] !== -1) this.drop(at);
      if (this.count === 0) this.#onlyAsid = asid;
      else if (asid !== this.#onlyAsid) this.#onlyAsid = MIXED;
      this.count++;
      if (size !== TLB_4K) this.largeCount++;
    }
    const e = this.entries;
    e[at] = (asid << 18) | hi;
    e[at + 1] = base | (size << 18);
    e[at + 2] = (pfn << 12) | (flags & 0xfff);
    e[at + 3] = generation | 0;
    return at;
  }

  /** Marks entry `at` dirty or accessed: ORs flag bits. */
  addFlags(at: number, flags: number): void {
    this.#forget((at / (this.ways * WORDS)) | 0);
    this.entries[at + 2] = this.entries[at + 2]! | flags;
  }

  drop(at: number): void {
    const set = (at / (this.ways * WORDS)) | 0;
    const size = this.size(at);
    if (this.#footprint !== null) this.#noteChange(set, size);
    this.#forget(set);
    if (size !== TLB_4K) this.largeCount--;
    this.entries[at] = -1;
    this.entries[at + 1] = -1;
    this.count--;
  }

  /** Drops every entry of `asid` that translates any byte of [start, end); returns how many. */
  invalidateRange(asid: number, start: number, end: number): number {
    if (this.#footprint !== null) this.#noteInvalidate(start, end);
    if (this.count === 0) return 0;
    const pages = (end - start) / 4096;
    if (pages <= 32 && this.largeCount === 0) return this.#invalidatePages(asid, start, end);
    const e = this.entries;
    let dropped = 0;
    for (let at = 0; at < e.length; at += WORDS) {
      const tagHi = e[at]!;
      if (tagHi === -1 || tagHi >>> 18 !== asid) continue;
      const va = this.address(at);
      if (va < end && va + TLB_SIZE_BYTES[this.size(at)]! > start) {
        this.drop(at);
        dropped++;
      }
    }
    return dropped;
  }

  #invalidatePages(asid: number, start: number, end: number): number {
    let dropped = 0;
    for (let va = start - (start & 4095); va < end; va += 4096) {
      const at = this.#findSized(
        asid,
        (va / 0x40000000) | 0,
        ((va - ((va / 0x40000000) | 0) * 0x40000000) | 0) >>> 12,
        TLB_4K,
      );
      if (at >= 0) {
        this.drop(at);
        dropped++;
      }
    }
    return dropped;
  }

  /** Drops all entries of `asid` (-1: of every one); returns how many. */
  invalidateAsid(asid: number): number {
    if (this.#footprint !== null) this.#noteInvalidate(0, Number.POSITIVE_INFINITY);
    if (this.count === 0) return 0;
    if (this.#footprint === null && (asid < 0 || asid === this.#onlyAsid)) return this.#clear();
    let dropped = 0;
    for (let at = 0; at < this.entries.length; at += WORDS) {
      const tagHi = this.entries[at]!;
      if (tagHi !== -1 && (asid < 0 || tagHi >>> 18 === asid)) {
        this.drop(at);
        dropped++;
      }
    }
    return dropped;
  }

  /** Everything goes at once: 0.2 us, where one by one 500 entries cost 3. */
  #clear(): number {
    const dropped = this.count;
    this.entries.fill(-1);
    this.forgetHints();
    this.count = 0;
    this.largeCount = 0;
    return dropped;
  }
}

/** A cache of pointers to page tables (the last level before the leaf): vpn >> 9 -> table frame and its generation.
 *  Direct mapped. INVLPG and an IOMMU's invalidation with the PDE bit drop all entries of the address space. */
export class WalkCache {
  readonly slots: number;
  readonly tagHi: Int32Array;
  readonly tagLo: Int32Array;
  readonly table: Int32Array;
  readonly gen: Uint32Array;
  /** RW and US of the upper levels, ANDed, and TLB_NX if one of them had NX. */
  readonly rights: Int32Array;
  count = 0;
  footprint: Footprint | null = null;
  /** Names this cache in footprints, where it is one object; no TLB has the same number. */
  readonly id: number;

  constructor(slots: number, id = 0x4000) {
    this.id = id;
    this.slots = slots;
    this.tagHi = int32s(slots).fill(-1);
    this.tagLo = int32s(slots);
    this.table = int32s(slots);
    this.gen = uint32s(slots);
    this.rights = int32s(slots);
  }

  /** Slot that points to the page table of the address, or -1. */
  find(asid: number, hi: number, lo: number): number {
    if (this.footprint !== null) this.footprint.note(OBJ_TLB, this.id * 65536, false);
    const slot = (lo >>> 9) & (this.slots - 1);
    return this.tagHi[slot] === ((asid << 18) | hi) && this.tagLo[slot] === lo >>> 9 ? slot : -1;
  }

  insert(asid: number, hi: number, lo: number, table: number, gen: number, rights: number): void {
    if (this.footprint !== null) this.footprint.note(OBJ_TLB, this.id * 65536, true);
    const slot = (lo >>> 9) & (this.slots - 1);
    if (this.tagHi[slot] === -1) this.count++;
    this.tagHi[slot] = (asid << 18) | hi;
    this.tagLo[slot] = lo >>> 9;
    this.table[slot] = table;
    this.gen[slot] = gen;
    this.rights[slot] = rights;
  }

  /** Drops all entries of `asid` (-1: of every one); returns how many. */
  invalidateAsid(asid: number): number {
    if (this.footprint !== null) this.footprint.note(OBJ_TLB, this.id * 65536, this.#holds(asid));
    if (this.count === 0) return 0;
    let dropped = 0;
    for (let s = 0; s < this.slots; s++) {
      if (this.tagHi[s] !== -1 && (asid < 0 || this.tagHi[s]! >>> 18 === asid)) {
        this.tagHi[s] = -1;
        this.count--;
        dropped++;
      }
    }
    return dropped;
  }

  #holds(asid: number): boolean {
    for (let s = 0; s < this.slots; s++) {
      if (this.tagHi[s] !== -1 && (asid < 0 || this.tagHi[s]! >>> 18 === asid)) return true;
    }
    return false;
  }
}
