// Finding the populated parts of a range without looking at every page: an empty PGD, PUD or PMD entry skips 512 GiB, 1 GiB
// or 2 MiB at once. Callers hold mmapLock, so tables do not go away; those that appear meanwhile may be missed, as in Linux.

import { PMD_SIZE, PUD_SIZE } from '../../abi/mman.ts';
import { PTE_P } from '../../abi/pte.ts';
import { vpnHi, vpnLo } from '../../hw/page-table.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import { modPower } from '../vma/address.ts';

const PMDS_PER_PUD = 512;

/** First address of [address, end) whose PMD entry is not none, or `end`: `address` itself or a multiple of 2 MiB. */
export function nextPopulatedPmd(m: PhysMemory, root: number, address: number, end: number): number {
  while (address < end) {
    address = nextPopulatedPud(m, root, address, end);
    if (address >= end) return end;
    const hi = vpnHi(address);
    const pgd = entryLo(m, entryWord(root, hi >>> 9));
    const table = entryLo(m, entryWord(pgd >>> 12, hi & 511)) >>> 12;
    const stop = Math.min(PMDS_PER_PUD, Math.ceil((end - hi * PUD_SIZE) / PMD_SIZE));
    for (let i = vpnLo(address) >>> 9; i < stop; i++) {
      const word = entryWord(table, i);
      if ((entryLo(m, word) | entryHi(m, word)) !== 0) {
        const base = hi * PUD_SIZE + i * PMD_SIZE;
        return base > address ? base : address;
      }
    }
    address = (hi + 1) * PUD_SIZE;
  }
  return end;
}

/** First address of [address, end) with a PMD table: `address` itself or a multiple of 1 GiB; `end` when there is none. */
export function nextPopulatedPud(m: PhysMemory, root: number, address: number, end: number): number {
  while (address < end) {
    const hi = vpnHi(address);
    const pgd = entryLo(m, entryWord(root, hi >>> 9));
    if ((pgd & PTE_P) === 0) {
      address = ((hi >>> 9) + 1) * 512 * PUD_SIZE;
      continue;
    }
    const stop = Math.min(512, Math.ceil(end / PUD_SIZE) - (hi >>> 9) * 512);
    for (let i = hi & 511; i < stop; i++) {
      if ((entryLo(m, entryWord(pgd >>> 12, i)) & PTE_P) === 0) continue;
      const base = ((hi >>> 9) * 512 + i) * PUD_SIZE;
      return base > address ? base : address;
    }
    address = ((hi >>> 9) + 1) * 512 * PUD_SIZE;
  }
  return end;
}

/** pmd_addr_end. */
export function pmdEnd(address: number, end: number): number {
  const next = address - modPower(address, PMD_SIZE) + PMD_SIZE;
  return next < end ? next : end;
}

/** pud_addr_end. */
export function pudEnd(address: number, end: number): number {
  const next = address - modPower(address, PUD_SIZE) + PUD_SIZE;
  return next < end ? next : end;
}
