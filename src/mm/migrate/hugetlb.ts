// Migration of hugetlb pages (the hugetlb parts of mm/migrate.c and mm/rmap.c; mm/hugetlb.c isolate_hugetlb, move_hugetlb_state). One entry in
// the PMD table maps each page; it becomes a migration entry, and the new page's entry afterwards:
//
//   S(CLEAR, widened where tables may be shared) PT−, CPU flush of the first small page, PT=migration entry, rmap− put; E
//
// A table that other mappings share is unlinked whole instead. The new page comes from the pool; the old one goes back to it.
//
// Locks: page locks; rmap lock (for files i_mmap_rwsem for write, as tables may be unshared); ptl of the PMD table. Kernel names:
// unmap_and_move_huge_page, putback_active_hugepage, huge_ptep_clear_flush, huge_pmd_unshare.

import { EAGAIN, ENOMEM } from '../../abi/errno.ts';
import { E_PTE_CLEAR_FLUSH } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_HUGETLB, SITE_MIGRATE } from '../../abi/notifier.ts';
import { LEVEL_PMD, PTE_A, PTE_D, PTE_PS, PTE_RW, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTE_SET, P_PTES_CLEARED } from '../../sched/points.ts';
import { noteFile, setPageDirty } from '../file/page-cache.ts';
import { adjustRangeIfPmdSharingPossible, hugePmdUnshareFlush, hugePteOffset } from '../hugetlb/pmd.ts';
import { hugepageAddAnonRmap, hugepageDupRmap, hugepageRemoveRmap } from '../hugetlb/rmap.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_UPTODATE } from '../page/pages.ts';
import {
  isMigration,
  isMigrationDirty,
  isMigrationYoung,
  migrationType,
  mkMigrationHi,
  mkPfnSwapLo,
  swapPfn,
} from '../page/pfn-swap.ts';
import {
  mkPteHi,
  mkPteLo,
  pteMaybeMkwrite,
  pteMkdirty,
  ptePresent,
  SWP_MIGRATION_READ,
  SWP_MIGRATION_WRITE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapType,
} from '../page/swapops.ts';
import { getPage, notePage } from '../rmap/rmap.ts';
import { TTU_RMAP_LOCKED } from '../rmap/unmap.ts';
import type { AddressSpace, VmArea } from '../types.ts';
import { isMapped } from './folio.ts';
import type { NewPage, PutNewPage } from './migrate-pages.ts';
import { MIGRATE_ASYNC } from './mode.ts';
import { folioCopy } from './move-folio.ts';

/** Word of the entry at `address` that maps the page, or -1. */
function mappingWord(k: Kernel, vma: VmArea, address: number, head: number): number {
  const word = hugePteOffset(k, vma.mm, address);
  if (word < 0) return -1;
  const lo = entryLo(k.memory, word);
  return ptePresent(lo) && lo >>> 12 === head ? word : -1;
}

function migrationWord(k: Kernel, vma: VmArea, address: number, head: number): number {
  const word = hugePteOffset(k, vma.mm, address);
  if (word < 0) return -1;
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  return !ptePresent(lo) && isMigration(hi) && swapPfn(lo) === head ? word : -1;
}

/** try_to_migrate_one of a huge page. */
export function* tryToMigrateHugetlbOne(k: Kernel, head: number, vma: VmArea, address: number): KernelPath<boolean> {
  const { mm } = vma;
  const range = mm.notifiers === null ? null : k.range(mm, address, address + PMD_SIZE, MMU_NOTIFY_CLEAR, SITE_MIGRATE);
  if (range !== null) {
    adjustRangeIfPmdSharingPossible(vma, range);
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  let go = true;
  let word = mappingWord(k, vma, address, head);
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappingWord(k, vma, address, head);
    const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_MIGRATE);
    const isUnshared = word >= 0 && k.fn.hugePmdUnshare(k, tlb, vma, address, word);
    if (word >= 0 && !isUnshared) go = yield* setEntry(k, vma, address, word, head);
    k.ptl.unlock(ptl);
    if (isUnshared) {
      yield* hugePmdUnshareFlush(k, tlb);
      const { start, end } = range ?? { start: address, end: address + PMD_SIZE };
      if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, start, end, SITE_HUGETLB, false);
    }
    yield* k.fn.tlbFinishMmu(k, tlb);
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return go;
}

/** The migration entry. False: the page is pinned, the entry is as it was. ptl held. */
function* setEntry(k: Kernel, vma: VmArea, address: number, word: number, head: number): AtomicPath<boolean> {
  const m = k.memory;
  const { flags } = k.pages;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  if (m.log.on) m.log.emit(E_PTE_CLEAR_FLUSH, vma.mm.id, address, address + PMD_SIZE, 0, 0, 0, 0, 0, 0);
  writeEntry(m, word, 0, 0, vma.mm.id, address, LEVEL_PMD);
  if (k.sched.points) yield P_PTES_CLEARED;
  yield* k.fn.flushTlbPage(k, vma, address, SITE_MIGRATE);
  const isFile = (flags[head]! & PG_ANON) === 0;
  if (vma.mm.notifiers !== null)
    yield* k.fn.mmuNotifierPteCleared(k, vma.mm, address, address + 4096, SITE_MIGRATE, isFile);
  const exclusive = PG_ANON | PG_ANON_EXCLUSIVE;
  const isExclusive = (flags[head]! & exclusive) === exclusive;
  if (isExclusive && !k.fn.pageTryShareAnonRmap(k, head)) {
    writeEntry(m, word, lo, hi, vma.mm.id, address, LEVEL_PMD);
    return false;
  }
  if ((lo & PTE_D) !== 0) setPageDirty(k, head);
  let swap = mkPfnSwapLo(head);
  if ((lo & PTE_SOFT_DIRTY) !== 0) swap |= SWP_SOFT_DIRTY;
  if ((lo & PTE_UFFD_WP) !== 0) swap |= SWP_UFFD_WP;
  const type = migrationType((lo & PTE_RW) !== 0, isExclusive);
  const swapHi = mkMigrationHi(type, (lo & PTE_A) !== 0, (lo & PTE_D) !== 0);
  writeEntry(m, word, swap, swapHi, vma.mm.id, address, LEVEL_PMD);
  hugepageRemoveRmap(k, head, vma, address);
  k.fn.putPage(k, head);
  return true;
}

/** remove_migration_pte of a huge page: the entry that names `src` maps `dst`. */
export function* removeHugetlbEntry(
  k: Kernel,
  src: number,
  dst: number,
  vma: VmArea,
  address: number,
): KernelPath<void> {
  let word = migrationWord(k, vma, address, src);
  if (word < 0) return;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  word = migrationWord(k, vma, address, src);
  if (word >= 0) mapAgain(k, vma, address, word, dst);
  k.ptl.unlock(ptl);
  if (k.sched.points) yield P_PTE_SET;
}

function mapAgain(k: Kernel, vma: VmArea, address: number, word: number, head: number): void {
  const { flags } = k.pages;
  const old = entryLo(k.memory, word);
  const oldHi = entryHi(k.memory, word);
  const type = swapType(oldHi);
  getPage(k, head);
  let lo = mkPteLo(head, vma.pageProtLo) | PTE_PS;
  if ((old & SWP_SOFT_DIRTY) !== 0) lo |= PTE_SOFT_DIRTY;
  if (!isMigrationYoung(oldHi)) lo &= ~PTE_A;
  if ((flags[head]! & PG_DIRTY) !== 0 && isMigrationDirty(oldHi)) lo = pteMkdirty(lo);
  if (type === SWP_MIGRATION_WRITE) lo = pteMaybeMkwrite(lo, vma.flags);
  else if ((old & SWP_UFFD_WP) !== 0) lo |= PTE_UFFD_WP;
  if ((flags[head]! & PG_ANON) !== 0) hugepageAddAnonRmap(k, head, vma, address, type !== SWP_MIGRATION_READ);
  else hugepageDupRmap(k, head, vma, address);
  writeEntry(k.memory, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), vma.mm.id, address, LEVEL_PMD);
}

/** isolate_hugetlb: a reference keeps the page; it is on no list. */
export function isolateHugetlb(k: Kernel, head: number): boolean {
  if (k.pages.refcount[head]! <= 0) return false;
  getPage(k, head);
  return true;
}

/** migrate_huge_page_move_mapping and what follows: place, contents, state. False: somebody else refers to the page. */
function movePlace(k: Kernel, dst: number, src: number): boolean {
  const { pages } = k;
  const { flags } = pages;
  const isAnon = (flags[src]! & PG_ANON) !== 0;
  const mapping = pages.mapping[src]!;
  notePage(k, src);
  if (pages.refcount[src] !== (isAnon ? 1 : 2)) return false;
  notePage(k, dst);
  pages.mapping[dst] = mapping;
  pages.index[dst] = pages.index[src]!;
  flags[dst] = flags[dst]! | (flags[src]! & (PG_ANON | PG_DIRTY | PG_UPTODATE));
  if (!isAnon) {
    const file = mapping as AddressSpace;
    noteFile(k, file, true);
    file.pages.set(pages.index[src]!, dst);
    pages.refcount[dst] = pages.refcount[dst]! + 1;
    pages.refcount[src] = pages.refcount[src]! - 1;
  }
  folioCopy(k, dst, src);
  flags[src] = flags[src]! & ~PG_DIRTY;
  if (!isAnon) pages.mapping[src] = null;
  return true;
}

/** unmap_and_move_huge_page: as unmapAndMove, for a page that isolateHugetlb took. */
export function* unmapAndMoveHugetlb(
  k: Kernel,
  src: number,
  newPage: NewPage,
  putNewPage: PutNewPage,
  force: boolean,
  mode: number,
): KernelPath<number> {
  const { pages } = k;
  if (pages.refcount[src] === 1) {
    k.fn.putPage(k, src);
    return 0;
  }
  const dst = yield* newPage(k, src);
  if (dst === 0) return -ENOMEM;
  let result = -EAGAIN;
  let isLocked = tryLockPage(k, src);
  if (!isLocked && force && mode !== MIGRATE_ASYNC) {
    yield* lockPage(k, src);
    isLocked = true;
  }
  if (isLocked) {
    result = yield* moveLocked(k, src, dst);
    unlockPage(k, src);
  }
  if (result === 0) k.fn.putPage(k, src);
  if (result < 0 && putNewPage !== null) putNewPage(k, dst);
  else k.fn.putPage(k, dst);
  return result;
}

/** Both locked from here; the old page was locked by the caller. */
function* moveLocked(k: Kernel, src: number, dst: number): KernelPath<number> {
  const { pages } = k;
  if (!tryLockPage(k, dst)) return -EAGAIN;
  let result = -EAGAIN;
  const wasMapped = isMapped(pages, src);
  const isFile = (pages.flags[src]! & PG_ANON) === 0;
  if (wasMapped && isFile) {
    const lock = (pages.mapping[src] as AddressSpace).iMmapRwsem;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
    yield* k.fn.tryToMigrate(k, src, TTU_RMAP_LOCKED);
    lock.writeUnlock();
  } else if (wasMapped) yield* k.fn.tryToMigrate(k, src, 0);
  if (!isMapped(pages, src) && movePlace(k, dst, src)) result = 0;
  if (wasMapped) yield* k.fn.removeMigrationPtes(k, src, result === 0 ? dst : src, false);
  unlockPage(k, dst);
  return result;
}
