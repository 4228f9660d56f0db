// Page tables as the record announced them: a copy of every word of every table page, made from E_PTE and E_PTE_AD alone.
// Keyed by table frame, as memory is, so that moving a whole table (mremap) moves all entries below it.
//
// Linux keeps more in an entry than the hardware reads. P decides for the hardware; an entry without P may still be Linux's
// own: PROT_NONE (G set, frame number inverted) or a swap-like value (anything else that is not zero).

import { PTE_D, PTE_P, PTE_PROTNONE, PTE_PS } from '../abi/pte.ts';
import { int32s, uint8s } from '../base/arena.ts';

export const SLOT_WRITTEN = 1;
/** A device made a translation from this leaf since it was installed. */
export const SLOT_TRANSLATED = 2;

export const LOOKUP_NONE = 0;
export const LOOKUP_LEAF = 1;
/** The record does not say (it began after the table was filled). */
export const LOOKUP_UNKNOWN = 2;

/** Bytes that one entry of each level spans. */
export const LEVEL_SPAN: readonly number[] = [0x1000, 0x200000, 0x40000000, 0x8000000000];
export const LEVELS = 4;

export class TableCopy {
  readonly lo = int32s(512);
  readonly hi = int32s(512);
  readonly slot = uint8s(512);
  /** Entries that are not zero. */
  used = 0;
  /** True when the record contains the allocation, so that an unwritten entry is known to be zero. */
  isComplete = false;

  reset(isComplete: boolean): void {
    this.lo.fill(0);
    this.hi.fill(0);
    this.slot.fill(0);
    this.used = 0;
    this.isComplete = isComplete;
  }
}

/** Frame that an entry maps for Linux: present or PROT_NONE; -1 when none (swap, migration, empty). */
export function mappedFrame(lo: number): number {
  if ((lo & PTE_P) !== 0) return lo >>> 12;
  return (lo & PTE_PROTNONE) !== 0 ? (~lo >>> 12) & 0xfffff : -1;
}

/** A swap-like entry: not empty, present neither for the hardware nor for Linux. */
export function isSwapLike(lo: number, hi: number): boolean {
  return (lo & (PTE_P | PTE_PROTNONE)) === 0 && (lo | hi) !== 0;
}

/** Is the entry of this level a leaf (it maps memory itself)? */
export function isLeafEntry(lo: number, level: number): boolean {
  return level === 0 || (lo & PTE_PS) !== 0;
}

/** Index in its table of the entry that translates `va` at `level`. */
export function entryIndex(va: number, level: number): number {
  const hi = Math.floor(va / 0x40000000);
  if (level >= 2) return (level === 3 ? hi / 512 : hi) & 511;
  const rest = va - hi * 0x40000000;
  return (level === 1 ? rest / 0x200000 : rest / 0x1000) & 511;
}

const MAPPED_DIRTY = PTE_P | PTE_D;

export class ShadowTables {
  readonly #tables: (TableCopy | undefined)[] = [];
  readonly #spare: TableCopy[] = [];
  readonly #roots = new Map<number, number>();
  /** Address space of the last lookup, and its root table. */
  #lastMm = -1;
  #lastRoot = -1;
  /** Result of the last lookup: table, index, level, and the entry's low word. */
  table: TableCopy | null = null;
  index = 0;
  level = 0;
  lo = 0;

  root(mm: number, pfn: number): void {
    this.#roots.set(mm, pfn);
    this.#lastMm = -1;
  }

  forget(mm: number): void {
    this.#roots.delete(mm);
    this.#lastMm = -1;
  }

  /** The frame became a table page: all its entries are zero. */
  allocate(pfn: number): void {
    const table = this.#tables[pfn] ?? this.#spare.pop() ?? new TableCopy();
    table.reset(true);
    this.#tables[pfn] = table;
  }

  /** The table in frame `pfn`, or null. */
  at(pfn: number): TableCopy | null {
    return this.#tables[pfn] ?? null;
  }

  /** The frame stopped being a table page. */
  free(pfn: number): void {
    const table = this.#tables[pfn];
    if (table === undefined) return;
    this.#tables[pfn] = undefined;
    this.#spare.push(table);
  }

  /** The table that a store went to; learned from the store itself when the record began later. */
  touch(mm: number, pfn: number, level: number): TableCopy {
    let table = this.#tables[pfn];
    if (table === undefined) {
      table = this.#spare.pop() ?? new TableCopy();
      table.reset(false);
      this.#tables[pfn] = table;
    }
    if (level === LEVELS - 1) this.root(mm, pfn);
    return table;
  }

  /** Finds the leaf entry for `va`: sets table, index, level and lo. Empty and non-present leaves are LOOKUP_NONE. */
  find(mm: number, va: number): number {
    if (mm !== this.#lastMm) {
      this.#lastMm = mm;
      this.#lastRoot = this.#roots.get(mm) ?? -1;
    }
    let pfn = this.#lastRoot;
    if (pfn < 0) return LOOKUP_UNKNOWN;
    const hi = Math.floor(va / 0x40000000);
    const lo18 = ((va - hi * 0x40000000) / 4096) | 0;
    for (let level = LEVELS - 1; ; level--) {
      const table = this.#tables[pfn];
      if (table === undefined) return LOOKUP_UNKNOWN;
      const index = level === 3 ? (hi >>> 9) & 511 : level === 2 ? hi & 511 : level === 1 ? lo18 >>> 9 : lo18 & 511;
      const lo = table.lo[index]!;
      this.table = table;
      this.index = index;
      this.level = level;
      this.lo = lo;
      if ((lo & PTE_P) === 0) {
        return table.isComplete || (table.slot[index]! & SLOT_WRITTEN) !== 0 ? LOOKUP_NONE : LOOKUP_UNKNOWN;
      }
      if (isLeafEntry(lo, level)) return LOOKUP_LEAF;
      pfn = lo >>> 12;
    }
  }

  /** Does an entry with D set map the frame? Looks at every table: for the end of a run. */
  isDirty(pfn: number): boolean {
    return this.#tables.some((table) =>
      table?.lo.some((lo) => (lo & MAPPED_DIRTY) === MAPPED_DIRTY && lo >>> 12 === pfn),
    );
  }

  /** Frame that the leaf of the last lookup maps for `va`. */
  frameOf(va: number): number {
    const base = this.lo >>> 12;
    if (this.level === 0) return base;
    const span = LEVEL_SPAN[this.level]!;
    return base + Math.floor((va % span) / 4096);
  }
}
