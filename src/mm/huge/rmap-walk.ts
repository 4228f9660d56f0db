// Walks over the mappings of a huge page: by one entry of 2 MiB, or by small entries for its parts (mm/rmap.c folio_referenced_one,
// mm/huge_memory.c set_pmd_migration_entry, remove_migration_pmd; page_vma_mapped_walk finds either). Locks as in rmap.

import { CB_CLEAR_FLUSH_YOUNG, E_PMD_YOUNG_FLUSH, RMAP_ANON, RMAP_FILE } from '../../abi/events.ts';
import { PMD_SIZE, VM_LOCKED, VM_SEQ_READ } from '../../abi/mman.ts';
import { SITE_MIGRATE, SITE_TRY_TO_UNMAP } from '../../abi/notifier.ts';
import { PTE_A, PTE_D, PTE_RW, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { setPageDirty } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { endAddress, firstAddress, subpageAt } from '../migrate/folio.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_MLOCKED } from '../page/pages.ts';
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
  pteMaybeMkwrite,
  pteMkdirty,
  SWP_MIGRATION_READ,
  SWP_MIGRATION_WRITE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapType,
} from '../page/swapops.ts';
import { getPage } from '../rmap/rmap.ts';
import { mappedWord } from '../rmap/walk.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { ptepClearFlushYoung } from '../zap/clear-flush.ts';
import { mkHugePmdHi, mkHugePmdLo, pmdFrame, pmdIsSwap, pmdTransHuge } from './pmd.ts';
import { pmdpInvalidate, setPmd } from './pmd-flush.ts';
import { pageAddHugeRmap, pageRemoveHugeRmap } from './rmap.ts';

/** Word of the PMD entry that maps the huge page `head` whole at `address`, or -1. Look again under the ptl. */
export function mappedPmdWord(k: Kernel, mm: MmStruct, address: number, head: number): number {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
  if (word < 0) return -1;
  const lo = entryLo(k.memory, word);
  return pmdTransHuge(lo) && pmdFrame(lo) === head ? word : -1;
}

/** folio_referenced_one for a huge page: 1 when the VMA used it, 0 when not, -1 when it is locked in memory. */
export function* hugeReferencedOne(k: Kernel, head: number, vma: VmArea): AtomicPath<number> {
  const { mm } = vma;
  const address = firstAddress(k.pages, vma, head);
  let word = mappedPmdWord(k, mm, address, head);
  if (word < 0) return yield* partsReferenced(k, head, vma, address);
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  word = mappedPmdWord(k, mm, address, head);
  let result = 0;
  if (word >= 0 && (vma.flags & VM_LOCKED) !== 0) {
    k.pages.flags[head] = k.pages.flags[head]! | PG_MLOCKED;
    result = -1;
  } else if (word >= 0) {
    let young = yield* pmdpClearFlushYoung(k, vma, address, word);
    if (mm.notifiers !== null)
      young = (yield* k.fn.mmuNotifierYoung(k, mm, address, address + PMD_SIZE, CB_CLEAR_FLUSH_YOUNG)) || young;
    result = young ? 1 : 0;
  }
  k.ptl.unlock(ptl);
  return result;
}

/** pmdp_clear_flush_young: unlike a small entry's, a huge one's A bit is flushed when it was set. */
function* pmdpClearFlushYoung(k: Kernel, vma: VmArea, haddr: number, word: number): AtomicPath<boolean> {
  const { log } = k.memory;
  if (log.on) log.emit(E_PMD_YOUNG_FLUSH, vma.mm.id, haddr, haddr + PMD_SIZE, 0, 0, 0, 0, 0, 0);
  const lo = entryLo(k.memory, word);
  if ((lo & PTE_A) === 0) return false;
  setPmd(k, vma, word, lo & ~PTE_A, entryHi(k.memory, word), haddr);
  yield* k.fn.flushTlbMmRange(k, vma.mm, haddr, haddr + PMD_SIZE, 12, true, SITE_TRY_TO_UNMAP);
  return true;
}

function* partsReferenced(k: Kernel, head: number, vma: VmArea, start: number): AtomicPath<number> {
  const { mm } = vma;
  const end = endAddress(k.pages, vma, head);
  let referenced = 0;
  for (let at = start, pfn = subpageAt(k.pages, vma, head, start); at < end; at += 4096, pfn++) {
    let word = mappedWord(k, mm, at, pfn);
    if (word < 0) continue;
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappedWord(k, mm, at, pfn);
    if (word >= 0) {
      let young = ptepClearFlushYoung(k, vma, at, word);
      if (mm.notifiers !== null)
        young = (yield* k.fn.mmuNotifierYoung(k, mm, at, at + 4096, CB_CLEAR_FLUSH_YOUNG)) || young;
      if (young && (vma.flags & VM_SEQ_READ) === 0) referenced = 1;
    }
    k.ptl.unlock(ptl);
  }
  return referenced;
}

/** set_pmd_migration_entry, where the page is mapped whole. 1: done, 0: not mapped whole here, -1: pinned, left as it was. */
export function* setPmdMigrationEntry(k: Kernel, head: number, vma: VmArea, haddr: number): AtomicPath<number> {
  const { flags } = k.pages;
  let word = mappedPmdWord(k, vma.mm, haddr, head);
  if (word < 0 || modPower(haddr, PMD_SIZE) !== 0) return 0;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  word = mappedPmdWord(k, vma.mm, haddr, head);
  let result = 0;
  if (word >= 0) {
    const oldHi = entryHi(k.memory, word);
    const old = yield* pmdpInvalidate(k, vma, word, haddr, SITE_MIGRATE);
    if (vma.mm.notifiers !== null)
      yield* k.fn.mmuNotifierPteCleared(k, vma.mm, haddr, haddr + PMD_SIZE, SITE_MIGRATE, false);
    const isExclusive = (flags[head]! & (PG_ANON | PG_ANON_EXCLUSIVE)) === (PG_ANON | PG_ANON_EXCLUSIVE);
    if (isExclusive && !k.fn.pageTryShareAnonRmap(k, head)) {
      setPmd(k, vma, word, old, oldHi, haddr);
      result = -1;
    } else {
      if ((old & PTE_D) !== 0) setPageDirty(k, head);
      const type = migrationType((old & PTE_RW) !== 0, isExclusive);
      let lo = mkPfnSwapLo(head);
      if ((old & PTE_SOFT_DIRTY) !== 0) lo |= SWP_SOFT_DIRTY;
      if ((old & PTE_UFFD_WP) !== 0) lo |= SWP_UFFD_WP;
      setPmd(k, vma, word, lo, mkMigrationHi(type, (old & PTE_A) !== 0, (old & PTE_D) !== 0), haddr);
      pageRemoveHugeRmap(k, head, vma, haddr);
      k.fn.putPage(k, head);
      result = 1;
    }
  }
  k.ptl.unlock(ptl);
  return result;
}

/** remove_migration_pmd: the entry that names `src` maps `dst` whole. False: there is none here. */
export function* removeMigrationPmd(k: Kernel, src: number, dst: number, vma: VmArea): KernelPath<boolean> {
  const { pages } = k;
  const haddr = firstAddress(pages, vma, dst);
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(haddr), vpnLo(haddr));
  if (word < 0 || !namesPage(k, word, src)) return false;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const found = namesPage(k, word, src);
  if (found) {
    const old = entryLo(k.memory, word);
    const oldHi = entryHi(k.memory, word);
    const type = swapType(oldHi);
    const isAnon = (pages.flags[dst]! & PG_ANON) !== 0;
    getPage(k, dst);
    let lo = mkHugePmdLo(dst, vma.pageProtLo);
    if ((old & SWP_SOFT_DIRTY) !== 0) lo |= PTE_SOFT_DIRTY;
    if (type === SWP_MIGRATION_WRITE) lo = pteMaybeMkwrite(lo, vma.flags);
    if ((old & SWP_UFFD_WP) !== 0) lo = (lo | PTE_UFFD_WP) & ~PTE_RW;
    if (!isMigrationYoung(oldHi)) lo &= ~PTE_A;
    if ((pages.flags[dst]! & PG_DIRTY) !== 0 && isMigrationDirty(oldHi)) lo = pteMkdirty(lo);
    if (isAnon && type !== SWP_MIGRATION_READ) pages.flags[dst] = pages.flags[dst]! | PG_ANON_EXCLUSIVE;
    pageAddHugeRmap(k, dst, vma, haddr, isAnon ? RMAP_ANON : RMAP_FILE);
    setPmd(k, vma, word, lo, mkHugePmdHi(vma.pageProtLo, vma.pageProtHi), haddr);
  }
  k.ptl.unlock(ptl);
  return found;
}

function namesPage(k: Kernel, word: number, pfn: number): boolean {
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  return pmdIsSwap(lo, hi) && isMigration(hi) && swapPfn(lo) === pfn;
}
