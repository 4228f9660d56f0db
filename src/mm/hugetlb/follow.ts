// get_user_pages of a huge page (mm/hugetlb.c follow_hugetlb_page): small page by small page; references and pins are the head's.
// mmapLock read; ptl of the PMD table.

import { PTE_P, PTE_RW } from '../../abi/pte.ts';
import { entryLo } from '../../hw/pte.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { FOLL_GET, FOLL_PIN, FOLL_WRITE } from '../gup/flags.ts';
import { FAULT_PLAIN, FAULT_TO_UNSHARE } from '../gup/gup.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE } from '../page/pages.ts';
import { notePage, pinPage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { hugePteOffset } from './pmd.ts';

export function* followHugetlbPage(k: Kernel, vma: VmArea, address: number, flags: number): AtomicPath<number> {
  const word = hugePteOffset(k, vma.mm, address);
  if (word < 0) return FAULT_PLAIN;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const found = followEntry(k, entryLo(k.memory, word), flags);
  k.ptl.unlock(ptl);
  return found < 0 ? found : found + modPower(address, 0x200000) / 4096;
}

function followEntry(k: Kernel, lo: number, flags: number): number {
  const isWrite = (flags & FOLL_WRITE) !== 0;
  if ((lo & PTE_P) === 0 || (isWrite && (lo & PTE_RW) === 0)) return FAULT_PLAIN;
  const { pages } = k;
  const head = lo >>> 12;
  const isShared = (pages.flags[head]! & (PG_ANON | PG_ANON_EXCLUSIVE)) === PG_ANON;
  if ((flags & (FOLL_WRITE | FOLL_PIN)) === FOLL_PIN && isShared) return FAULT_TO_UNSHARE;
  notePage(k, head);
  if ((flags & FOLL_PIN) !== 0) pinPage(k, head);
  else if ((flags & FOLL_GET) !== 0) pages.refcount[head]!++;
  return head;
}
