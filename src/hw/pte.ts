// Page-table entries as pairs of 32-bit words in physical memory. The only module that indexes them. Every store goes
// through writeEntry or orEntry, which emit the event; reads go through entryLo/entryHi.
//
// Order of a 64-bit store made of two halves (as Linux does for PAE): to install, high word first and low word (with P)
// last; to clear, low word first.

import { E_PTE, E_PTE_AD } from '../abi/events.ts';
import { OBJ_ENTRY } from '../base/footprint.ts';
import type { PhysMemory } from './phys.ts';

/** Word index of entry `index` (0..511) of the table in frame `table`. */
export function entryWord(table: number, index: number): number {
  return (table << 10) + (index << 1);
}

export function entryLo(m: PhysMemory, word: number): number {
  if (m.footprint !== null) m.footprint.note(OBJ_ENTRY, word, false);
  return m.words[word]!;
}

export function entryHi(m: PhysMemory, word: number): number {
  return m.words[word + 1]!;
}

/** PFN of a hardware-present entry. */
export function ptePfn(lo: number): number {
  return lo >>> 12;
}

/** Stores an entry. `va` is the address that the entry translates, `mm` the address space it belongs to (for the event). */
export function writeEntry(
  m: PhysMemory,
  word: number,
  lo: number,
  hi: number,
  mm: number,
  va: number,
  level: number,
): void {
  if (m.log.on || m.footprint !== null) announce(m, E_PTE, word, lo, hi, mm, va, level);
  m.words[word + 1] = hi;
  m.words[word] = lo;
}

/** Atomically sets bits (A, D) in the low word, as the hardware walker and atomic bit operations do. */
export function orEntry(m: PhysMemory, word: number, bits: number, mm: number, va: number, level: number): void {
  const lo = m.words[word]! | bits;
  if (m.log.on || m.footprint !== null) announce(m, E_PTE_AD, word, lo, m.words[word + 1]!, mm, va, level);
  m.words[word] = lo;
}

const SPAN = [4096, 0x200000, 0x40000000, 0x8000000000];

function announce(
  m: PhysMemory,
  type: number,
  word: number,
  lo: number,
  hi: number,
  mm: number,
  va: number,
  level: number,
): void {
  if (m.footprint !== null) m.footprint.note(OBJ_ENTRY, word, true);
  if (m.log.on)
    m.log.emit(type, mm, va, va + SPAN[level]!, word >>> 10, level, lo, hi, m.words[word]!, m.words[word + 1]!);
}
