// Page tables that stand in the way of a huge page of the page cache (mm/khugepaged.c retract_page_tables,
// collapse_pte_mapped_thp, collapse_and_free_pmd). A table is taken out of the tree, flushed, and freed at once: no gather, no
// RCU; walkers without locks are waited for by an interrupt to every CPU.
//
//   S(CLEAR, block)   PMD− (the whole table leaves the tree), CPU flush, wait for walkers   E   table freed
//
// Two ways lead here. After a collapse the small pages are unmapped from everybody already, and the tables of every mapping are
// empty; where a mapping's mmapLock is taken, khugepaged notes the place and comes again. And a mapping may have small entries of a page
// that is huge by now: then they must all be of that page, and their references and counts go before the table does.
//
// No ptl: the table is reached through mmapLock, through i_mmap and through the anon_vma alone, and all three are held for write. Without
// section and flush, bug 24 of the museum: a device keeps a translation to a page that was freed, and walks a freed table.
//
// D of small entries goes to the page; Linux 6.1 drops it here.

import { PMD_SIZE, VM_UFFD_WP } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_COLLAPSE } from '../../abi/notifier.ts';
import { PTE_D } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { findGetPage, isCachedAt, setPageDirty } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { pteFrame, pteNone, ptePresent, pteSpecial } from '../page/swapops.ts';
import { intervalNext } from '../rmap/interval.ts';
import { getPage, linearPageIndex, mmCounterFile, notePage, vmaAddress } from '../rmap/rmap.ts';
import type { AddressSpace, MmStruct, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { findPmd } from './collapse.ts';
import { pteFree } from './deposit.ts';
import { khugepagedAddPteMappedThp } from './khugepaged-mm.ts';
import { pmdpCollapseFlush } from './pmd-flush.ts';
import { hugepageVmaCheck } from './policy.ts';
import * as S from './scan-result.ts';

/** retract_page_tables: `target` and `targetAddress` are the mapping for which MADV_COLLAPSE works; it maps the page whole at once. The
 *  result for it. Lock of the huge page `head` held. */
export function* retractPageTables(
  k: Kernel,
  mapping: AddressSpace,
  pgoff: number,
  target: MmStruct,
  targetAddress: number,
  head: number,
  isKhugepaged: boolean,
): KernelPath<number> {
  let targetResult = S.SCAN_FAIL;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  for (
    let i = intervalNext(mapping.iMmap, 0, pgoff, pgoff);
    i >= 0;
    i = intervalNext(mapping.iMmap, i + 1, pgoff, pgoff)
  ) {
    const vma = mapping.iMmap[i]!;
    const address = vmaAddress(vma, pgoff);
    const isTarget = vma.mm === target && address === targetAddress;
    const result = yield* retractOne(k, vma, address, head, isTarget, isKhugepaged);
    if (isTarget) targetResult = result;
    else if (result === S.SCAN_PTE_MAPPED_HUGEPAGE) khugepagedAddPteMappedThp(k, vma.mm, address);
  }
  lock.writeUnlock();
  return targetResult;
}

/** One mapping: SCAN_*. SCAN_PTE_MAPPED_HUGEPAGE: its mmapLock is taken, or it is none of MADV_COLLAPSE's business. */
function* retractOne(
  k: Kernel,
  vma: VmArea,
  address: number,
  head: number,
  isTarget: boolean,
  isKhugepaged: boolean,
): KernelPath<number> {
  const { mm } = vma;
  // Private mappings that were written to: their table has other pages in it, and would soon be split again.
  if (vma.anonVma !== null) return S.SCAN_PAGE_ANON;
  if (modPower(address, PMD_SIZE) !== 0 || address < vma.start || vma.end < address + PMD_SIZE) return S.SCAN_VMA_CHECK;
  const found = findPmd(k, mm, address);
  if (found !== S.SCAN_SUCCEED) return found;
  // Only tried: mmapLock is taken before page locks.
  if (!(isKhugepaged || isTarget) || !mm.mmapLock.writeTrylock()) return S.SCAN_PTE_MAPPED_HUGEPAGE;
  let result = S.SCAN_SUCCEED;
  if (vma.anonVma !== null) result = S.SCAN_PAGE_ANON;
  else if (mm.users === 0) result = S.SCAN_ANY_PROCESS;
  // Its table may hold markers.
  else if ((vma.flags & VM_UFFD_WP) !== 0) result = S.SCAN_PTE_UFFD_WP;
  else {
    const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
    yield* k.fn.collapseAndFreePmd(k, vma, address, word);
    if (!isKhugepaged && isTarget) result = yield* setHugePmd(k, vma, address, word, head);
  }
  mm.mmapLock.writeUnlock();
  return result;
}

/** collapse_and_free_pmd: mmapLock and the rmap locks of the VMA held for write. */
export function* collapseAndFreePmd(k: Kernel, vma: VmArea, address: number, word: number): KernelPath<void> {
  const { mm } = vma;
  const range =
    mm.notifiers === null ? null : k.range(mm, address, address + PMD_SIZE, MMU_NOTIFY_CLEAR, SITE_COLLAPSE);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  const table = (yield* pmdpCollapseFlush(k, vma, word, address, SITE_COLLAPSE)) >>> 12;
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  mm.tablePages--;
  pteFree(k, table);
}

/** set_huge_pmd. */
function* setHugePmd(k: Kernel, vma: VmArea, haddr: number, word: number, head: number): KernelPath<number> {
  getPage(k, head);
  if (yield* k.fn.doSetPmd(k, vma, haddr, word, head, false)) return S.SCAN_SUCCEED;
  k.fn.putPage(k, head);
  return S.SCAN_FAIL;
}

/** collapse_pte_mapped_thp: the small entries of a huge page in one mapping go; with `install` the page is mapped whole in their place.
 *  SCAN_*. mmapLock held for write. */
export function* collapsePteMappedThp(k: Kernel, mm: MmStruct, address: number, install: boolean): KernelPath<number> {
  const haddr = address - modPower(address, PMD_SIZE);
  const vma = mm.vmas.findExact(haddr);
  const found = findPmd(k, mm, haddr);
  if (found === S.SCAN_PMD_MAPPED) return found;
  if (vma === null || vma.file === null || vma.end < haddr + PMD_SIZE) return S.SCAN_VMA_CHECK;
  if (!hugepageVmaCheck(k, vma, vma.flags, false, false)) return S.SCAN_VMA_CHECK;
  if ((vma.flags & VM_UFFD_WP) !== 0) return S.SCAN_PTE_UFFD_WP;
  const { mapping } = vma.file.inode;
  const index = linearPageIndex(vma, haddr);
  const head = findGetPage(k, mapping, index);
  if (head === 0) return S.SCAN_PAGE_NULL;
  if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
  let result = S.SCAN_FAIL;
  if (!isCachedAt(k, mapping, index, head)) result = S.SCAN_PAGE_NULL;
  else if (k.pages.order[head] !== HPAGE_PMD_ORDER) result = S.SCAN_FAIL;
  else if (found !== S.SCAN_SUCCEED && found !== S.SCAN_PMD_NONE) result = found;
  else {
    const word = pmdWord(k.memory, mm.pgd, vpnHi(haddr), vpnLo(haddr));
    // The table may be gone already: somebody else was here.
    result = found === S.SCAN_SUCCEED ? yield* dropTable(k, vma, haddr, word, head) : S.SCAN_SUCCEED;
    if (result === S.SCAN_SUCCEED && install) result = yield* setHugePmd(k, vma, haddr, word, head);
  }
  unlockPage(k, head);
  k.fn.putPage(k, head);
  return result;
}

/** Steps 1 to 4: all entries must be of the page; they lose it, then the table goes. */
function* dropTable(k: Kernel, vma: VmArea, haddr: number, word: number, head: number): KernelPath<number> {
  const m = k.memory;
  const lock = vma.file!.inode.mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const table = entryLo(m, word) >>> 12;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  let result = S.SCAN_SUCCEED;
  let count = 0;
  let isDirty = false;
  for (let i = 0; i < HPAGE_PMD_NR && result === S.SCAN_SUCCEED; i++) {
    const lo = entryLo(m, entryWord(table, i));
    if (pteNone(lo, entryHi(m, entryWord(table, i)))) continue;
    if (!ptePresent(lo)) result = S.SCAN_PTE_NON_PRESENT;
    else if (pteSpecial(lo) || pteFrame(lo) !== head + i) result = S.SCAN_FAIL;
    else count++;
    if ((lo & PTE_D) !== 0) isDirty = true;
  }
  if (result !== S.SCAN_SUCCEED) {
    k.ptl.unlock(table);
    lock.writeUnlock();
    return result;
  }
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const at = entryWord(table, i);
    if (!pteNone(entryLo(m, at), entryHi(m, at))) k.fn.pageRemoveRmap(k, head + i, vma, haddr + i * 4096);
  }
  k.ptl.unlock(table);
  if (count > 0) {
    notePage(k, head);
    if (isDirty) setPageDirty(k, head);
    k.pages.refcount[head] = k.pages.refcount[head]! - count;
    vma.mm.rss[mmCounterFile(k.pages, head)]! -= count;
  }
  const anonLock = vma.anonVma === null ? null : vma.anonVma.root.lock;
  if (anonLock !== null && (k.sched.points || !anonLock.tryWrite())) yield* anonLock.writeLock();
  yield* k.fn.collapseAndFreePmd(k, vma, haddr, word);
  if (anonLock !== null) anonLock.writeUnlock();
  lock.writeUnlock();
  return S.SCAN_SUCCEED;
}
