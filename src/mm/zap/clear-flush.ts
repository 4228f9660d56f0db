// Taking one entry away, or its A bit, with the flush of the CPU TLBs (mm/pgtable-generic.c ptep_clear_flush,
// arch/x86/mm/pgtable.c ptep_clear_flush_young): what copy on write, reclaim, migration, write-back, KSM and probes use. ptl held.

import { E_PTE_CLEAR_FLUSH, E_PTE_YOUNG_FLUSH } from '../../abi/events.ts';
import { LEVEL_PTE, PTE_A, PTE_P } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { ptePresent } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';

/** ptep_clear_flush of the entry at `word`. The entry's old words are to be read before. `site` is SITE_*. The notifier is
 *  the caller's (ptep_clear_flush_notify). */
export function* ptepClearFlush(k: Kernel, vma: VmArea, address: number, word: number, site: number): AtomicPath<void> {
  const m = k.memory;
  const mm = vma.mm;
  if (m.log.on) m.log.emit(E_PTE_CLEAR_FLUSH, mm.id, address, address + 4096, 0, 0, 0, 0, 0, 0);
  const lo = entryLo(m, word);
  writeEntry(m, word, 0, 0, mm.id, address, LEVEL_PTE);
  if (k.sched.points) yield P_PTES_CLEARED;
  // pte_accessible: a PROT_NONE entry may still be cached while a flush is pending.
  if ((lo & PTE_P) !== 0 || (ptePresent(lo) && k.fn.mmTlbFlushPending(k, mm)))
    yield* k.fn.flushTlbPage(k, vma, address, site);
}

/** ptep_clear_flush_young: takes A away; was it set? x86 does not flush for it: an entry that is still cached only makes the page
 *  look older. */
export function ptepClearFlushYoung(k: Kernel, vma: VmArea, address: number, word: number): boolean {
  const m = k.memory;
  const mm = vma.mm;
  if (m.log.on) m.log.emit(E_PTE_YOUNG_FLUSH, mm.id, address, address + 4096, 0, 0, 0, 0, 0, 0);
  const lo = entryLo(m, word);
  const young = (lo & PTE_A) !== 0;
  if (young) writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), mm.id, address, LEVEL_PTE);
  return young;
}
