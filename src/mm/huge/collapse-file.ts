// Collapse of a block of shared memory (mm/khugepaged.c hpage_collapse_scan_file, collapse_file), for khugepaged and MADV_COLLAPSE.
// The page cache is what is collapsed, not a mapping: mmapLock is not held.
//
//   scan      nothing locked: is every page small, on a list, and used by nobody but its entries?
//   replace   a huge page, locked and not up to date, takes each index in turn; the page that was there is locked, isolated, unmapped
//             from everybody (a section for each mapping) and frozen: its references must be the three that are ours
//   flush     the CPU flushes that the unmapping put off
//   copy      contents page by page; each old page is freed at once
//   retract   page tables of the mappings go (retract.ts), so that the next fault maps the huge page whole
//
// Who comes to an index meanwhile finds the huge page and waits for its lock. When a page does not let itself be replaced, the old ones
// are put back and the entries come again by faults.
//
// Files on disks are never collapsed: that needs CONFIG_READ_ONLY_THP_FOR_FS, which x86's default configuration of 6.1 leaves out.
//
// Locks: invalidateLock (R) against cuts, where Linux tests each page for having been truncated; the huge page's lock; the old pages'
// locks, tried. Kernel names: alloc_charge_hpage, page_ref_freeze, shmem_charge.

import { FRAME_FILE } from '../../abi/events.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_COPY } from '../../sched/points.ts';
import { getPageLocked, isCachedAt, isUptodate, noteFile, setPageDirty } from '../file/page-cache.ts';
import { hugePageAdded } from '../file/shmem-huge.ts';
import type { Kernel } from '../kernel.ts';
import { isMapped } from '../migrate/folio.ts';
import { compoundHead, HPAGE_PMD_NR, HPAGE_PMD_ORDER, pageMapcount } from '../page/compound.ts';
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { GFP_KERNEL, PG_ACTIVE, PG_LRU, PG_SWAPBACKED, PG_UNEVICTABLE, PG_UPTODATE } from '../page/pages.ts';
import { isolateLruPage, putbackLruPage } from '../reclaim/lru.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { TTU_BATCH_FLUSH } from '../rmap/flush-batch.ts';
import { getPage, notePage } from '../rmap/rmap.ts';
import { TTU_IGNORE_MLOCK } from '../rmap/unmap.ts';
import type { AddressSpace, MmStruct } from '../types.ts';
import * as S from './scan-result.ts';

/** References of a page that is about to be replaced: ours, the cache's, the isolation's. */
const FROZEN_REFS = 3;

/** A huge page of the file stands at page `start`, or another larger one. */
function compoundResult(k: Kernel, page: number, start: number): number {
  const head = compoundHead(k.pages, page);
  const isWhole = k.pages.order[head] === HPAGE_PMD_ORDER && k.pages.index[head] === start;
  return isWhole ? S.SCAN_PTE_MAPPED_HUGEPAGE : S.SCAN_PAGE_COMPOUND;
}

/** hpage_collapse_scan_file, and the collapse when the block is good for it. mmapLock not held; the file referenced. */
export function* collapseScanFile(
  k: Kernel,
  mm: MmStruct,
  address: number,
  mapping: AddressSpace,
  start: number,
  isKhugepaged: boolean,
): KernelPath<number> {
  const { pages, huge } = k;
  let present = 0;
  let swapped = 0;
  noteFile(k, mapping, false);
  for (let index = start; index < start + HPAGE_PMD_NR; index++) {
    if (mapping.swapped.has(index)) {
      if (isKhugepaged && ++swapped > huge.maxPtesSwap) return S.SCAN_EXCEED_SWAP_PTE;
      continue;
    }
    const pfn = mapping.pages.get(index);
    if (pfn === undefined) continue;
    if (pages.order[compoundHead(pages, pfn)] !== 0) return compoundResult(k, pfn, start);
    if ((pages.flags[pfn]! & PG_LRU) === 0) return S.SCAN_PAGE_LRU;
    notePage(k, pfn);
    if (pages.refcount[pfn] !== 1 + pageMapcount(pages, pfn)) return S.SCAN_PAGE_COUNT;
    present++;
  }
  if (isKhugepaged && present < HPAGE_PMD_NR - huge.maxPtesNone) return S.SCAN_EXCEED_NONE_PTE;
  return yield* k.fn.collapseFile(k, mm, address, mapping, start, isKhugepaged);
}

/** collapse_file: SCAN_*. */
export function* collapseFile(
  k: Kernel,
  mm: MmStruct,
  address: number,
  mapping: AddressSpace,
  start: number,
  isKhugepaged: boolean,
): KernelPath<number> {
  const { pages } = k;
  let head = k.fn.allocPages(k, GFP_KERNEL, HPAGE_PMD_ORDER, FRAME_FILE);
  if (head === 0) return S.SCAN_ALLOC_HUGE_PAGE_FAIL;
  if (mm.memcg !== 0) head = yield* memCgroupCharge(k, mm.memcg, head);
  if (head === 0) return S.SCAN_CGROUP_CHARGE_FAIL;
  const lock = mapping.invalidateLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  tryLockPage(k, head);
  pages.flags[head] = pages.flags[head]! | PG_SWAPBACKED;
  pages.index[head] = start;
  pages.mapping[head] = mapping;
  const old: number[] = [];
  const replaced: number[] = [];
  let result = isEmpty(k, mapping, start) ? S.SCAN_TRUNCATED : S.SCAN_SUCCEED;
  for (let i = 0; i < HPAGE_PMD_NR && result === S.SCAN_SUCCEED; i++) {
    result = yield* replaceIndex(k, mapping, start, i, head, old, replaced);
  }
  yield* k.fn.tryToUnmapFlush(k);
  if (result === S.SCAN_SUCCEED) {
    yield* copyPages(k, old, start, head);
    notePage(k, head);
    pages.flags[head] = pages.flags[head]! | PG_UPTODATE;
    pages.refcount[head] = pages.refcount[head]! + HPAGE_PMD_NR - 1;
    hugePageAdded(k, mapping);
    setPageDirty(k, head);
    k.fn.lruAdd(k, head);
    lock.readUnlock();
    result = yield* k.fn.retractPageTables(k, mapping, start, mm, address, head, isKhugepaged);
    unlockPage(k, head);
    return result;
  }
  rollBack(k, mapping, old, replaced);
  pages.mapping[head] = null;
  lock.readUnlock();
  unlockPage(k, head);
  k.fn.putPage(k, head);
  return result;
}

/** Cut, or punched, meanwhile. */
function isEmpty(k: Kernel, mapping: AddressSpace, start: number): boolean {
  noteFile(k, mapping, false);
  for (let i = start; i < start + HPAGE_PMD_NR; i++) if (mapping.pages.has(i) || mapping.swapped.has(i)) return false;
  return true;
}

/** The huge page takes index start + i. The page that was there goes to `old`, frozen, locked and isolated. */
function* replaceIndex(
  k: Kernel,
  mapping: AddressSpace,
  start: number,
  i: number,
  head: number,
  old: number[],
  replaced: number[],
): KernelPath<number> {
  const { pages } = k;
  const index = start + i;
  noteFile(k, mapping, true);
  let pfn = mapping.pages.get(index);
  if (pfn === undefined && !mapping.swapped.has(index)) {
    mapping.pages.set(index, head + i);
    replaced.push(index);
    return S.SCAN_SUCCEED;
  }
  if (pfn === undefined || !isUptodate(k, pfn)) {
    pfn = yield* getPageLocked(k, mapping, index);
    if (pfn < 0) return S.SCAN_FAIL;
    yield* lockPage(k, pfn);
  } else if (tryLockPage(k, pfn)) getPage(k, pfn);
  else return S.SCAN_PAGE_LOCK;
  let result = S.SCAN_SUCCEED;
  if (!isUptodate(k, pfn)) result = S.SCAN_FAIL;
  else if (pages.order[compoundHead(pages, pfn)] !== 0) result = compoundResult(k, pfn, start);
  else if (!isCachedAt(k, mapping, index, pfn)) result = S.SCAN_TRUNCATED;
  else if (!isolateLruPage(k, pfn)) result = S.SCAN_DEL_PAGE_LRU;
  if (result === S.SCAN_SUCCEED) {
    if (isMapped(pages, pfn)) yield* k.fn.tryToUnmap(k, pfn, TTU_IGNORE_MLOCK | TTU_BATCH_FLUSH);
    notePage(k, pfn);
    if (pages.refcount[pfn] === FROZEN_REFS) {
      pages.refcount[pfn] = 0;
      old.push(pfn);
      noteFile(k, mapping, true);
      mapping.pages.set(index, head + i);
      replaced.push(index);
      return result;
    }
    result = S.SCAN_PAGE_COUNT;
    putbackLruPage(k, pfn);
  }
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
  return result;
}

/** Contents of the old pages, zeros where there was none; the old pages are freed. */
function* copyPages(k: Kernel, old: readonly number[], start: number, head: number): KernelPath<void> {
  const { pages, memory } = k;
  let at = 0;
  for (const pfn of old) {
    const i = pages.index[pfn]! - start;
    for (; at < i; at++) memory.zero(head + at);
    memory.copy(head + at++, pfn);
    notePage(k, pfn);
    pages.mapping[pfn] = null;
    pages.refcount[pfn] = 1;
    pages.flags[pfn] = pages.flags[pfn]! & ~(PG_ACTIVE | PG_UNEVICTABLE);
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    if (k.sched.points) yield P_COPY;
  }
  for (; at < HPAGE_PMD_NR; at++) memory.zero(head + at);
}

/** The page cache as it was. */
function rollBack(k: Kernel, mapping: AddressSpace, old: readonly number[], replaced: readonly number[]): void {
  const { pages } = k;
  noteFile(k, mapping, true);
  for (const index of replaced) mapping.pages.delete(index);
  for (const pfn of old) {
    notePage(k, pfn);
    pages.refcount[pfn] = FROZEN_REFS - 1;
    mapping.pages.set(pages.index[pfn]!, pfn);
    unlockPage(k, pfn);
    putbackLruPage(k, pfn);
  }
}
