// Is there a huge entry at an address? For walks that only look.

import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { pmdIsSwap, pmdTransHuge } from './pmd.ts';

/** A huge page, or one on its way to other frames. */
export function isHugeMapped(k: Kernel, vma: VmArea, address: number): boolean {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  if (word < 0) return false;
  const lo = entryLo(k.memory, word);
  return pmdTransHuge(lo) || pmdIsSwap(lo, entryHi(k.memory, word));
}
