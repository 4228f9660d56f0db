// follow_page (mm/gup.c) as KSM uses it: the page that an address maps, with a reference, or none. No fault.
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { pteFrame, ptePresent, pteProtnone } from '../page/swapops.ts';
import { getPage } from '../rmap/rmap.ts';
import type { MmStruct } from '../types.ts';

/** The frame mapped at `address`, the zero page included, referenced (a huge page: its head); 0: none. 6.1 sees nothing behind a
 *  PROT_NONE entry (gup_can_follow_protnone): such pages are neither merged nor broken. mmapLock held; takes the ptl. */
export function* followMappedPage(k: Kernel, mm: MmStruct, address: number): AtomicPath<number> {
  const table = pteTable(k, mm, address);
  if (table === 0) return yield* followHuge(k, mm, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const lo = entryLo(k.memory, pteOffset(table, address));
  const pfn = isFollowed(k, lo) && ptePresent(lo) ? pteFrame(lo) : 0;
  if (pfn !== 0) getPage(k, pfn);
  k.ptl.unlock(table);
  return pfn;
}

function isFollowed(k: Kernel, lo: number): boolean {
  return !pteProtnone(lo) || !k.profile.followPageSkipsProtnone;
}

function* followHuge(k: Kernel, mm: MmStruct, address: number): AtomicPath<number> {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
  if (word < 0) return 0;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const pfn = isFollowed(k, lo) && pmdTransHuge(lo) ? pmdFrame(lo) + (vpnLo(address) & 511) : 0;
  if (pfn !== 0) getPage(k, pfn);
  k.ptl.unlock(ptl);
  return pfn;
}
