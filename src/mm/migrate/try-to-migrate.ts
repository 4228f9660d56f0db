// Putting migration entries in the place of every mapping of a page (mm/rmap.c try_to_migrate). Page lock held; rmap lock for
// read; no mmapLock. One section for each VMA that may map the page:
//
//   S(CLEAR) ptl PT− F, exclusive? PT=migration entry  rmap− put; unlock; E
//
// No call is made under the ptl: whoever comes upon the entry waits for the page lock, and secondary MMUs hear at E. The entry
// says whether it was writable, or exclusive, young, dirty; it holds no reference and keeps the page's place in RSS.
//
// Kernel names: try_to_migrate_one, page_vma_mapped_walk, page_try_share_anon_rmap.

import { MMU_NOTIFY_CLEAR, SITE_MIGRATE } from '../../abi/notifier.ts';
import { PTE_A, PTE_D, PTE_RW, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import { setPmdMigrationEntry } from '../huge/rmap-walk.ts';
import { splitHugePmdAddress } from '../huge/split-pmd.ts';
import type { Kernel } from '../kernel.ts';
import { announceDirty } from '../page/announce.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_HUGETLB, PG_HWPOISON, PG_KSM } from '../page/pages.ts';
import { migrationType, mkMigrationHi, mkPfnSwapHi, mkPfnSwapLo } from '../page/pfn-swap.ts';
import { ptePresent, SWP_DEVICE_WRITE, SWP_HWPOISON, SWP_SOFT_DIRTY, SWP_UFFD_WP, swapType } from '../page/swapops.ts';
import { setFlushPending, shouldDeferFlush } from '../rmap/flush-batch.ts';
import { mmCounter, updateHiwaterRss } from '../rmap/rmap.ts';
import { TTU_RMAP_LOCKED, TTU_SPLIT_HUGE_PMD } from '../rmap/unmap.ts';
import { mappingWord, rmapLockOf, rmapNext, rmapVma, setEntry } from '../rmap/walk.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';
import { endAddress, firstAddress, isMapped, subpageAt } from './folio.ts';
import { tryToMigrateHugetlbOne } from './hugetlb.ts';

export function* tryToMigrate(k: Kernel, pfn: number, flags: number): KernelPath<void> {
  if (!isMapped(k.pages, pfn)) return;
  if ((k.pages.flags[pfn]! & PG_KSM) !== 0) {
    yield* k.fn.rmapWalkKsm(k, pfn, (vma, address) => migrateKsmPlace(k, pfn, vma, address, flags));
    return;
  }
  const lock = rmapLockOf(k, pfn);
  if (lock === null) return;
  const takeLock = (flags & TTU_RMAP_LOCKED) === 0;
  if (takeLock && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
  for (let at = rmapNext(k, pfn, 0); at >= 0; at = rmapNext(k, pfn, at + 1)) {
    const vma = rmapVma(k, pfn, at);
    const go = yield* k.fn.tryToMigrateOne(k, pfn, vma, firstAddress(k.pages, vma, pfn), flags);
    if (!go || !isMapped(k.pages, pfn)) break;
  }
  if (takeLock) lock.readUnlock();
  if (k.design?.hasRmapNotifiers) yield* k.fn.mmuNotifierPageUnmapped(k, pfn, SITE_MIGRATE);
}

function* migrateKsmPlace(k: Kernel, pfn: number, vma: VmArea, address: number, flags: number): KernelPath<boolean> {
  return (yield* k.fn.tryToMigrateOne(k, pfn, vma, address, flags)) && isMapped(k.pages, pfn);
}

export function* tryToMigrateOne(
  k: Kernel,
  pfn: number,
  vma: VmArea,
  address: number,
  flags: number,
): KernelPath<boolean> {
  const mm = vma.mm;
  if ((k.pages.flags[pfn]! & PG_HUGETLB) !== 0) return yield* tryToMigrateHugetlbOne(k, pfn, vma, address);
  const isSmall = k.pages.order[pfn] === 0;
  if (!isSmall && (flags & TTU_SPLIT_HUGE_PMD) !== 0) yield* splitHugePmdAddress(k, vma, address, true, pfn);
  const end = isSmall ? address + 4096 : endAddress(k.pages, vma, pfn);
  const range = mm.notifiers === null ? null : k.range(mm, address, end, MMU_NOTIFY_CLEAR, SITE_MIGRATE);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let go = true;
  if (!isSmall && (flags & TTU_SPLIT_HUGE_PMD) === 0) go = (yield* setPmdMigrationEntry(k, pfn, vma, address)) >= 0;
  let ptl = 0;
  const first = isSmall ? pfn : subpageAt(k.pages, vma, pfn, address);
  for (let at = address, page = first; go && at < end; at += 4096, page++) {
    let word = mappingWord(k, mm, at, page);
    if (word < 0) continue;
    const table = word >>> 10;
    if (table !== ptl) {
      if (ptl !== 0) k.ptl.unlock(ptl);
      ptl = table;
      if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
      word = mappingWord(k, mm, at, page);
      if (word < 0) continue;
    }
    go = yield* migrateEntry(k, page, vma, at, word, flags);
  }
  if (ptl !== 0) k.ptl.unlock(ptl);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return go;
}

/** Clears one entry and leaves a migration entry. False: it is pinned, the entry is back, stop the walk. ptl held. */
function* migrateEntry(
  k: Kernel,
  pfn: number,
  vma: VmArea,
  address: number,
  word: number,
  ttu: number,
): AtomicPath<boolean> {
  const { flags } = k.pages;
  const mm = vma.mm;
  const head = compoundHead(k.pages, pfn);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteAboutToBeCleared(k, vma, address, SITE_MIGRATE);
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const isAnon = (flags[head]! & PG_ANON) !== 0;
  const isExclusive = isAnon && (flags[pfn]! & PG_ANON_EXCLUSIVE) !== 0;
  if (shouldDeferFlush(k, mm, ttu)) {
    setEntry(k, mm, word, 0, 0, address);
    if (k.sched.points) yield P_PTES_CLEARED;
    yield* setFlushPending(k, mm, (lo & PTE_D) !== 0);
  } else yield* ptepClearFlush(k, vma, address, word, SITE_MIGRATE);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_MIGRATE, !isAnon);
  if (ptePresent(lo) && (lo & PTE_D) !== 0) {
    flags[head] = flags[head]! | PG_DIRTY;
    announceDirty(k, head);
  }
  updateHiwaterRss(mm);
  if ((flags[pfn]! & PG_HWPOISON) !== 0) {
    mm.rss[mmCounter(k.pages, head)]!--;
    setEntry(k, mm, word, mkPfnSwapLo(pfn), mkPfnSwapHi(SWP_HWPOISON), address);
  } else {
    // The entry is clear, so a concurrent pin that still counts on exclusivity shows in the count now.
    if (isExclusive && !k.fn.pageTryShareAnonRmap(k, pfn)) {
      setEntry(k, mm, word, lo, hi, address);
      return false;
    }
    if (ptePresent(lo)) setMigrationEntry(k, mm, word, pfn, lo, isExclusive, address);
    else {
      const type = migrationType(swapType(hi) === SWP_DEVICE_WRITE, isExclusive);
      const bits = lo & (SWP_SOFT_DIRTY | SWP_UFFD_WP);
      setEntry(k, mm, word, mkPfnSwapLo(pfn) | bits, mkPfnSwapHi(type), address);
    }
  }
  k.fn.pageRemoveRmap(k, pfn, vma, address);
  k.fn.putPage(k, pfn);
  return true;
}

/** The migration entry for a present entry `lo`. ptl held. */
export function setMigrationEntry(
  k: Kernel,
  mm: MmStruct,
  word: number,
  pfn: number,
  lo: number,
  isExclusive: boolean,
  address: number,
): void {
  const type = migrationType((lo & PTE_RW) !== 0, isExclusive);
  let swap = mkPfnSwapLo(pfn);
  if ((lo & PTE_SOFT_DIRTY) !== 0) swap |= SWP_SOFT_DIRTY;
  if ((lo & PTE_UFFD_WP) !== 0) swap |= SWP_UFFD_WP;
  setEntry(k, mm, word, swap, mkMigrationHi(type, (lo & PTE_A) !== 0, (lo & PTE_D) !== 0), address);
}
