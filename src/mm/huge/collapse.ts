// Collapse of small anonymous pages into a huge one (mm/khugepaged.c), for khugepaged and MADV_COLLAPSE.
//
//   scan      under the ptl: is the block worth it, is every page free of other references?
//   mmapLock dropped, a huge page taken; mmapLock for write, all looked at again
//   section   S(CLEAR, block)  PMD− (the whole page table leaves the tree), CPU flush  E
//   isolate   each page locked, off the LRU, its references counted: nobody can come to it any more, through these entries or others
//   copy      page by page: contents, entry cleared (no notifier, no flush: the table is out of reach), old page freed
//   map       the table is deposited, the PMD maps the huge page
//
// When isolation fails, the PMD points to the same table again, without a word to anybody: nothing had changed.
//
// Locks: mmapLock for write, anon_vma lock for write until the pages are isolated. Kernel names: hpage_collapse_scan_pmd,
// collapse_huge_page, __collapse_huge_page_isolate, __collapse_huge_page_copy, __collapse_huge_page_swapin,
// hugepage_vma_revalidate, find_pmd_or_thp_or_none, release_pte_pages.

import { CB_TEST_YOUNG, FRAME_ANON } from '../../abi/events.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  MM_ANONPAGES,
  PMD_SIZE,
  VM_FAULT_ERROR,
  VM_FAULT_RETRY,
  VM_LOCKED,
} from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_COLLAPSE } from '../../abi/notifier.ts';
import { LEVEL_PTE, PTE_A, PTE_RW, PTE_TABLE, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_COPY, P_PTE_SET } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import {
  compoundHead,
  compoundNr,
  HPAGE_PMD_NR,
  HPAGE_PMD_ORDER,
  pageMapcount,
  totalMapcount,
} from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import {
  GFP_KERNEL,
  PG_ANON,
  PG_LOCKED,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPCACHE,
  PG_UPTODATE,
  PG_YOUNG,
} from '../page/pages.ts';
import { pteFrame, pteMaybeMkwrite, pteMkdirty, pteNone, ptePresent, pteSpecial } from '../page/swapops.ts';
import { isolateLruPage, putbackLruPage } from '../reclaim/lru.ts';
import { lruAddBatch, lruAddDrain } from '../reclaim/lru-add-batch.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { notePage } from '../rmap/rmap.ts';
import { freeSwapCache } from '../swap/swap-cache.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { isArmed } from './armed.ts';
import { deposit } from './deposit.ts';
import { mkHugePmdHi, mkHugePmdLo, pmdIsTable, pmdTransHuge } from './pmd.ts';
import { pmdpCollapseFlush, setPmd } from './pmd-flush.ts';
import { hugepageVmaCheck, transhugeVmaSuitable } from './policy.ts';
import { pageAddNewHugeRmap } from './rmap.ts';
import * as S from './scan-result.ts';

/** The PMD entry of a block: S.SCAN_SUCCEED when it points to a page table. */
export function findPmd(k: Kernel, mm: MmStruct, haddr: number): number {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(haddr), vpnLo(haddr));
  if (word < 0) return S.SCAN_PMD_NULL;
  const lo = entryLo(k.memory, word);
  if ((lo | entryHi(k.memory, word)) === 0) return S.SCAN_PMD_NONE;
  if (pmdTransHuge(lo)) return S.SCAN_PMD_MAPPED;
  return pmdIsTable(lo) ? S.SCAN_SUCCEED : S.SCAN_PMD_NULL;
}

/** hugepage_vma_revalidate after mmapLock was dropped. The VMA, or the negative of a SCAN_*. */
export function revalidate(
  k: Kernel,
  mm: MmStruct,
  haddr: number,
  expectAnon: boolean,
  isKhugepaged: boolean,
): VmArea | number {
  if (mm.users === 0) return -S.SCAN_ANY_PROCESS;
  const vma = mm.vmas.findExact(haddr);
  if (vma === null) return -S.SCAN_VMA_NULL;
  if (!transhugeVmaSuitable(vma, haddr)) return -S.SCAN_ADDRESS_RANGE;
  if (!hugepageVmaCheck(k, vma, vma.flags, false, isKhugepaged)) return -S.SCAN_VMA_CHECK;
  if (expectAnon && (vma.anonVma === null || vma.file !== null)) return -S.SCAN_PAGE_ANON;
  return vma;
}

/** is_refcount_suitable: only entries and the swap cache refer to the page. */
function isRefcountSuitable(k: Kernel, head: number): boolean {
  notePage(k, head);
  const cached = (k.pages.flags[head]! & PG_SWAPCACHE) !== 0 ? compoundNr(k.pages, head) : 0;
  return k.pages.refcount[head] === totalMapcount(k.pages, head) + cached;
}

/** hpage_collapse_scan_pmd, and the collapse when the block is good for it. mmapLock held for read; dropped if k.huge.lockDropped. */
export function* collapseScanPmd(k: Kernel, vma: VmArea, haddr: number, isKhugepaged: boolean): KernelPath<number> {
  const { mm } = vma;
  k.huge.lockDropped = false;
  const found = findPmd(k, mm, haddr);
  if (found !== S.SCAN_SUCCEED) return found;
  const table = entryLo(k.memory, pmdWord(k.memory, mm.pgd, vpnHi(haddr), vpnLo(haddr))) >>> 12;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const scan = new Scan(isKhugepaged);
  let result = S.SCAN_SUCCEED;
  for (let i = 0; i < HPAGE_PMD_NR && result === S.SCAN_SUCCEED; i++) {
    result = scanEntry(k, vma, scan, entryWord(table, i));
    if (result !== S.SCAN_SUCCEED || !isKhugepaged || scan.page === 0) continue;
    const isYoung = scan.isYoung || (k.pages.flags[scan.page]! & (PG_REFERENCED | PG_YOUNG)) !== 0;
    const asks = !isYoung && mm.notifiers !== null;
    if (isYoung || (asks && (yield* k.fn.mmuNotifierYoung(k, mm, haddr, haddr + 4096, CB_TEST_YOUNG))))
      scan.referenced++;
  }
  k.ptl.unlock(table);
  if (result !== S.SCAN_SUCCEED) return result;
  if (!scan.isWritable) return S.SCAN_PAGE_RO;
  if (isKhugepaged && (scan.referenced === 0 || (scan.swapped > 0 && scan.referenced < HPAGE_PMD_NR / 2)))
    return S.SCAN_LACK_REFERENCED_PAGE;
  k.huge.lockDropped = true;
  return yield* k.fn.collapseHugePage(k, mm, haddr, scan.swapped > 0, isKhugepaged);
}

/** What a scan of 512 entries counts. */
class Scan {
  readonly isKhugepaged: boolean;
  none = 0;
  swapped = 0;
  shared = 0;
  referenced = 0;
  isWritable = false;
  /** Of the last entry: head of its page (0: none), and its A bit. */
  page = 0;
  isYoung = false;

  constructor(isKhugepaged: boolean) {
    this.isKhugepaged = isKhugepaged;
  }
}

function scanEntry(k: Kernel, vma: VmArea, scan: Scan, word: number): number {
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const { huge, pages } = k;
  scan.page = 0;
  if (!pteNone(lo, hi) && !ptePresent(lo)) {
    scan.swapped++;
    return scan.isKhugepaged && scan.swapped > huge.maxPtesSwap ? S.SCAN_EXCEED_SWAP_PTE : S.SCAN_SUCCEED;
  }
  if (pteNone(lo, hi) || pteSpecial(lo)) {
    scan.none++;
    const isTooMany = isArmed(vma) || (scan.isKhugepaged && scan.none > huge.maxPtesNone);
    return isTooMany ? S.SCAN_EXCEED_NONE_PTE : S.SCAN_SUCCEED;
  }
  if ((lo & PTE_UFFD_WP) !== 0) return S.SCAN_PTE_UFFD_WP;
  if ((lo & PTE_RW) !== 0) scan.isWritable = true;
  const pfn = pteFrame(lo);
  if (pageMapcount(pages, pfn) > 1) {
    scan.shared++;
    if (scan.isKhugepaged && scan.shared > huge.maxPtesShared) return S.SCAN_EXCEED_SHARED_PTE;
  }
  const head = compoundHead(pages, pfn);
  const f = pages.flags[head]!;
  if ((f & PG_LRU) === 0) return S.SCAN_PAGE_LRU;
  if ((f & PG_LOCKED) !== 0) return S.SCAN_PAGE_LOCK;
  if ((f & PG_ANON) === 0) return S.SCAN_PAGE_ANON;
  if (!isRefcountSuitable(k, head)) return S.SCAN_PAGE_COUNT;
  scan.page = head;
  scan.isYoung = (lo & PTE_A) !== 0;
  return S.SCAN_SUCCEED;
}

/** collapse_huge_page: mmapLock held for read, dropped. SCAN_*. */
export function* collapseHugePage(
  k: Kernel,
  mm: MmStruct,
  haddr: number,
  hasSwapped: boolean,
  isKhugepaged: boolean,
): KernelPath<number> {
  const lock = mm.mmapLock;
  lock.readUnlock();
  let head = k.fn.allocPages(k, GFP_KERNEL, HPAGE_PMD_ORDER, FRAME_ANON);
  if (head === 0) return S.SCAN_ALLOC_HUGE_PAGE_FAIL;
  if (mm.memcg !== 0) head = yield* memCgroupCharge(k, mm.memcg, head);
  if (head === 0) return S.SCAN_CGROUP_CHARGE_FAIL;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let vma = revalidate(k, mm, haddr, true, isKhugepaged);
  let result = typeof vma === 'number' ? -vma : findPmd(k, mm, haddr);
  let isLocked = true;
  if (result === S.SCAN_SUCCEED && hasSwapped) {
    result = yield* swapin(k, vma as VmArea, haddr);
    isLocked = result === S.SCAN_SUCCEED;
  }
  if (isLocked) lock.readUnlock();
  if (result === S.SCAN_SUCCEED) {
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
    vma = revalidate(k, mm, haddr, true, isKhugepaged);
    result = typeof vma === 'number' ? -vma : findPmd(k, mm, haddr);
    if (result === S.SCAN_SUCCEED) result = yield* collapseLocked(k, vma as VmArea, haddr, head, isKhugepaged);
    lock.writeUnlock();
  }
  if (result !== S.SCAN_SUCCEED) k.fn.putPage(k, head);
  return result;
}

/** __collapse_huge_page_swapin: mmapLock held for read; dropped when it fails. */
function* swapin(k: Kernel, vma: VmArea, haddr: number): KernelPath<number> {
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const address = haddr + i * 4096;
    const pmd = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
    if (pmd < 0 || !pmdIsTable(entryLo(k.memory, pmd))) {
      vma.mm.mmapLock.readUnlock();
      return S.SCAN_PMD_NULL;
    }
    const word = entryWord(entryLo(k.memory, pmd) >>> 12, i);
    const lo = entryLo(k.memory, word);
    if (ptePresent(lo) || pteNone(lo, entryHi(k.memory, word))) continue;
    const r = yield* k.fn.doSwapPage(k, vma, address, FAULT_FLAG_ALLOW_RETRY);
    if ((r & VM_FAULT_RETRY) !== 0) return S.SCAN_PAGE_LOCK;
    if ((r & VM_FAULT_ERROR) !== 0) {
      vma.mm.mmapLock.readUnlock();
      return S.SCAN_FAIL;
    }
  }
  return S.SCAN_SUCCEED;
}

/** The collapse itself. mmapLock held for write; the PMD points to a page table. */
function* collapseLocked(
  k: Kernel,
  vma: VmArea,
  haddr: number,
  head: number,
  isKhugepaged: boolean,
): KernelPath<number> {
  const { mm } = vma;
  const word = pmdWord(k.memory, mm.pgd, vpnHi(haddr), vpnLo(haddr));
  const ptl = word >>> 10;
  const anonLock = vma.anonVma!.root.lock;
  if (k.sched.points || !anonLock.tryWrite()) yield* anonLock.writeLock();
  const range = mm.notifiers === null ? null : k.range(mm, haddr, haddr + PMD_SIZE, MMU_NOTIFY_CLEAR, SITE_COLLAPSE);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const table = (yield* pmdpCollapseFlush(k, vma, word, haddr, SITE_COLLAPSE)) >>> 12;
  k.ptl.unlock(ptl);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const isolated: number[] = [];
  const result = isolatePages(k, vma, table, isolated, isKhugepaged);
  k.ptl.unlock(table);
  if (result !== S.SCAN_SUCCEED) {
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    setPmd(k, vma, word, (table << 12) | PTE_TABLE, 0, haddr);
    k.ptl.unlock(ptl);
    anonLock.writeUnlock();
    return result;
  }
  anonLock.writeUnlock();
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const wasMapped = copyEntry(k, vma, table, i, haddr, head);
    if (wasMapped && k.sched.points) yield P_COPY;
  }
  for (const page of isolated) {
    if (k.pages.order[page] === 0) continue;
    unlockPage(k, page);
    freeSwapCache(k, page);
    lruAddDrain(k);
    putbackLruPage(k, page);
  }
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  k.pages.flags[head] = k.pages.flags[head]! | PG_UPTODATE;
  pageAddNewHugeRmap(k, head, vma, haddr);
  // A large page does not wait in the batch, and takes what is in it along; in locked memory it joins another one.
  if ((vma.flags & VM_LOCKED) === 0) lruAddDrain(k);
  k.fn.lruAdd(k, head);
  mm.tablePages--;
  deposit(k, mm, ptl, table);
  const lo = pteMaybeMkwrite(pteMkdirty(mkHugePmdLo(head, vma.pageProtLo)), vma.flags);
  setPmd(k, vma, word, lo, mkHugePmdHi(vma.pageProtLo, vma.pageProtHi), haddr);
  k.ptl.unlock(ptl);
  if (k.sched.points) yield P_PTE_SET;
  return S.SCAN_SUCCEED;
}

/** __collapse_huge_page_isolate: ptl held. On failure the pages are back where they were. */
function isolatePages(k: Kernel, vma: VmArea, table: number, isolated: number[], isKhugepaged: boolean): number {
  const scan = new Scan(isKhugepaged);
  let result = S.SCAN_SUCCEED;
  for (let i = 0; i < HPAGE_PMD_NR && result === S.SCAN_SUCCEED; i++) {
    result = isolateEntry(k, vma, scan, entryWord(table, i), isolated);
  }
  if (result === S.SCAN_SUCCEED) {
    if (!scan.isWritable) result = S.SCAN_PAGE_RO;
    else if (isKhugepaged && scan.referenced === 0) result = S.SCAN_LACK_REFERENCED_PAGE;
  }
  if (result === S.SCAN_SUCCEED) return result;
  for (const page of isolated.splice(0)) {
    unlockPage(k, page);
    putbackLruPage(k, page);
  }
  return result;
}

function isolateEntry(k: Kernel, vma: VmArea, scan: Scan, word: number, isolated: number[]): number {
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const { pages, huge } = k;
  if (pteNone(lo, hi) || (ptePresent(lo) && pteSpecial(lo))) {
    scan.none++;
    const isTooMany = isArmed(vma) || (scan.isKhugepaged && scan.none > huge.maxPtesNone);
    return isTooMany ? S.SCAN_EXCEED_NONE_PTE : S.SCAN_SUCCEED;
  }
  if (!ptePresent(lo)) return S.SCAN_PTE_NON_PRESENT;
  if ((lo & PTE_UFFD_WP) !== 0) return S.SCAN_PTE_UFFD_WP;
  const pfn = pteFrame(lo);
  if (pageMapcount(pages, pfn) > 1) {
    scan.shared++;
    if (scan.isKhugepaged && scan.shared > huge.maxPtesShared) return S.SCAN_EXCEED_SHARED_PTE;
  }
  const head = compoundHead(pages, pfn);
  if (pages.order[head] === 0 || !isolated.includes(head)) {
    if (!tryLockPage(k, head)) return S.SCAN_PAGE_LOCK;
    if (!isRefcountSuitable(k, head)) {
      unlockPage(k, head);
      return S.SCAN_PAGE_COUNT;
    }
    if (!isolateLruPage(k, head)) {
      unlockPage(k, head);
      return S.SCAN_DEL_PAGE_LRU;
    }
    isolated.push(head);
  }
  if (scan.isKhugepaged && ((lo & PTE_A) !== 0 || (pages.flags[head]! & (PG_REFERENCED | PG_YOUNG)) !== 0))
    scan.referenced++;
  if ((lo & PTE_RW) !== 0) scan.isWritable = true;
  return S.SCAN_SUCCEED;
}

/** __collapse_huge_page_copy for entry `i`. False: it mapped nothing. */
function copyEntry(k: Kernel, vma: VmArea, table: number, i: number, haddr: number, head: number): boolean {
  const m = k.memory;
  const word = entryWord(table, i);
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  const address = haddr + i * 4096;
  if (pteNone(lo, hi) || pteSpecial(lo)) {
    m.zero(head + i);
    vma.mm.rss[MM_ANONPAGES]!++;
    if (pteSpecial(lo)) writeEntry(m, word, 0, 0, vma.mm.id, address, LEVEL_PTE);
    return false;
  }
  const pfn = pteFrame(lo);
  const isSmall = k.pages.order[compoundHead(k.pages, pfn)] === 0;
  m.copy(head + i, pfn);
  // release_pte_page: the isolation's reference becomes the batch's. In locked memory the batch that counts is the one of
  // munlock_page, which the page joins once it is unmapped.
  const isLocked = (vma.flags & VM_LOCKED) !== 0;
  if (isSmall) unlockPage(k, pfn);
  if (isSmall && !isLocked) lruAddBatch(k, pfn);
  writeEntry(m, word, 0, 0, vma.mm.id, address, LEVEL_PTE);
  k.fn.pageRemoveRmap(k, pfn, vma, address);
  if (isSmall && isLocked) lruAddBatch(k, pfn);
  if (isSmall) freeSwapCache(k, pfn);
  k.fn.putPage(k, pfn);
  return true;
}
