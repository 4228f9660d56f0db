// The radix of a long-mode page table: four levels of 512 entries in frames. Addresses are split once into two 18-bit
// halves: `vpnHi` = PGD and PUD index, `vpnLo` = PMD and PTE index. Knows nothing of Linux; who allocates tables is the kernel's.

import { PTE_P, PTE_PS } from '../abi/pte.ts';
import type { PhysMemory } from './phys.ts';
import { entryLo, entryWord } from './pte.ts';

/** Upper 18 bits of the virtual page number (va / 2^30). */
export function vpnHi(va: number): number {
  return (va / 0x40000000) | 0;
}

/** Lower 18 bits of the virtual page number. */
export function vpnLo(va: number): number {
  return ((va - ((va / 0x40000000) | 0) * 0x40000000) | 0) >>> 12;
}

/** Address of a page from its two halves. */
export function vpnAddress(hi: number, lo: number): number {
  return hi * 0x40000000 + lo * 4096;
}

/** Frame of the PUD table for the address, or 0. */
export function pudTable(m: PhysMemory, root: number, hi: number): number {
  const lo = entryLo(m, entryWord(root, hi >>> 9));
  return (lo & PTE_P) === 0 ? 0 : lo >>> 12;
}

/** Word index of the PUD entry, or -1 when no PUD table exists. */
export function pudWord(m: PhysMemory, root: number, hi: number): number {
  const table = pudTable(m, root, hi);
  return table === 0 ? -1 : entryWord(table, hi & 511);
}

/** Word index of the PMD entry, or -1 when no PMD table exists (or a 1 GiB leaf maps the range). */
export function pmdWord(m: PhysMemory, root: number, hi: number, lo: number): number {
  const word = pudWord(m, root, hi);
  if (word < 0) return -1;
  const pud = entryLo(m, word);
  return (pud & (PTE_P | PTE_PS)) === PTE_P ? entryWord(pud >>> 12, lo >>> 9) : -1;
}

/** Word index of the PTE, or -1 when no page table exists (or a larger leaf maps the range). */
export function pteWord(m: PhysMemory, root: number, hi: number, lo: number): number {
  const word = pmdWord(m, root, hi, lo);
  if (word < 0) return -1;
  const pmd = entryLo(m, word);
  return (pmd & (PTE_P | PTE_PS)) === PTE_P ? entryWord(pmd >>> 12, lo & 511) : -1;
}
