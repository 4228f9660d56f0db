// The CPUs' page table as a driver reads it without a lock: whoever holds mmapLock, or the page lock of what he looks for, may.

import { PTE_PS } from '../abi/pte.ts';
import { pmdWord, pteWord, vpnHi, vpnLo } from '../hw/page-table.ts';
import type { PhysMemory } from '../hw/phys.ts';
import { entryLo, ptePfn } from '../hw/pte.ts';

/** Frame of the page at `address` when its entry has all of the bits `wanted` (PTE_*); else 0. Of a block of 2 MiB the one page. */
export function lookUpEntry(m: PhysMemory, pgd: number, address: number, wanted: number): number {
  const [hi, lo] = [vpnHi(address), vpnLo(address)];
  const pmd = pmdWord(m, pgd, hi, lo);
  if (pmd < 0) return 0;
  const block = entryLo(m, pmd);
  if ((block & PTE_PS) !== 0) return (block & wanted) === wanted ? (ptePfn(block) & ~511) + (lo & 511) : 0;
  const word = pteWord(m, pgd, hi, lo);
  const entry = word < 0 ? 0 : entryLo(m, word);
  return (entry & wanted) === wanted ? ptePfn(entry) : 0;
}
