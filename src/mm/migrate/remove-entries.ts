// The end of a migration: every migration entry that names the old page maps the new one, or the old one again when it stayed where it is
// (mm/migrate.c remove_migration_ptes). Page locks held; rmap lock for read. No notifier: nothing was mapped.
//
// A migration may end in memory of a device, which no CPU can reach: the entry then becomes a device-private entry.
//
// Kernel names: remove_migration_pte, rmap_walk.

import { MM_ANONPAGES, VM_LOCKED } from '../../abi/mman.ts';
import { PTE_A, PTE_SOFT_DIRTY, PTE_SPECIAL, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { removeMigrationPmd } from '../huge/rmap-walk.ts';
import type { Kernel } from '../kernel.ts';
import { isZoneDevice, PG_ANON, PG_COMPOUND, PG_DIRTY, PG_HUGETLB, PG_KSM, PG_MLOCKED } from '../page/pages.ts';
import {
  isMigration,
  isMigrationDirty,
  isMigrationYoung,
  mkPfnSwapHi,
  mkPfnSwapLo,
  swapPfn,
} from '../page/pfn-swap.ts';
import {
  mkPteHi,
  mkPteLo,
  pteMaybeMkwrite,
  pteMkdirty,
  ptePresent,
  SWP_DEVICE_READ,
  SWP_DEVICE_WRITE,
  SWP_MIGRATION_READ,
  SWP_MIGRATION_WRITE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapType,
} from '../page/swapops.ts';
import { getPage } from '../rmap/rmap.ts';
import { rmapLockOf, rmapNext, rmapVma, setEntry } from '../rmap/walk.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { endAddress, firstAddress, subpageAt } from './folio.ts';
import { removeHugetlbEntry } from './hugetlb.ts';

/** `toZeroPage`: a page that holds nothing but zeros need not come back (RMP_USE_SHARED_ZEROPAGE). */
export function* removeMigrationPtes(
  k: Kernel,
  src: number,
  dst: number,
  isLocked: boolean,
  toZeroPage = false,
): KernelPath<void> {
  const { pages } = k;
  if ((pages.flags[dst]! & PG_KSM) !== 0) {
    yield* k.fn.rmapWalkKsm(k, dst, (vma, address) => removeKsmPlace(k, src, dst, vma, address));
    return;
  }
  const lock = rmapLockOf(k, dst);
  if (lock === null) return;
  if (!isLocked && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
  for (let at = rmapNext(k, dst, 0); at >= 0; at = rmapNext(k, dst, at + 1)) {
    const vma = rmapVma(k, dst, at);
    yield* k.fn.removeMigrationPte(k, src, dst, vma, firstAddress(pages, vma, dst), toZeroPage);
  }
  if (!isLocked) lock.readUnlock();
}

function* removeKsmPlace(k: Kernel, src: number, dst: number, vma: VmArea, address: number): KernelPath<boolean> {
  yield* k.fn.removeMigrationPte(k, src, dst, vma, address);
  return true;
}

/** Word of the migration entry at `address` that names `pfn`; -1 when it does not. */
function migrationWord(k: Kernel, mm: MmStruct, address: number, pfn: number): number {
  const table = pteTable(k, mm, address);
  if (table === 0) return -1;
  const word = pteOffset(table, address);
  const lo = entryLo(k.memory, word);
  return !ptePresent(lo) && isMigration(entryHi(k.memory, word)) && swapPfn(lo) === pfn ? word : -1;
}

export function* removeMigrationPte(
  k: Kernel,
  src: number,
  dst: number,
  vma: VmArea,
  address: number,
  toZeroPage = false,
): KernelPath<void> {
  const { pages } = k;
  const mm = vma.mm;
  const isSmall = pages.order[dst] === 0;
  if ((pages.flags[dst]! & PG_HUGETLB) !== 0) {
    yield* removeHugetlbEntry(k, src, dst, vma, address);
    return;
  }
  if (!isSmall && (yield* removeMigrationPmd(k, src, dst, vma))) return;
  const end = isSmall ? address + 4096 : endAddress(pages, vma, dst);
  let fresh = isSmall ? dst : subpageAt(pages, vma, dst, address);
  let ptl = 0;
  for (let at = address; at < end; at += 4096, fresh++) {
    const old = src + (fresh - dst);
    let word = migrationWord(k, mm, at, old);
    if (word < 0) continue;
    const table = word >>> 10;
    if (table !== ptl) {
      if (ptl !== 0) k.ptl.unlock(ptl);
      ptl = table;
      if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
      word = migrationWord(k, mm, at, old);
      if (word < 0) continue;
    }
    if (!toZeroPage || !mapZeroInstead(k, vma, at, word, fresh))
      mapAgain(k, vma, at, word, fresh, (pages.flags[dst]! & PG_DIRTY) !== 0, (pages.flags[dst]! & PG_ANON) !== 0);
    if (k.sched.points) yield P_PTE_SET;
  }
  if (ptl !== 0) k.ptl.unlock(ptl);
}

/** try_to_map_unused_to_zeropage. ptl held. */
function mapZeroInstead(k: Kernel, vma: VmArea, address: number, word: number, pfn: number): boolean {
  if ((k.pages.flags[pfn]! & (PG_MLOCKED | PG_COMPOUND)) !== 0 || (vma.flags & VM_LOCKED) !== 0) return false;
  const m = k.memory;
  m.touch(pfn, false);
  if (m.words.subarray(pfn * 1024, pfn * 1024 + 1024).some((w) => w !== 0)) return false;
  const marks = entryLo(m, word) & SWP_UFFD_WP ? PTE_UFFD_WP : 0;
  const lo = mkPteLo(k.zeroPfn, vma.pageProtLo) | PTE_SPECIAL | marks;
  setEntry(k, vma.mm, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), address);
  vma.mm.rss[MM_ANONPAGES]!--;
  return true;
}

/** One entry. ptl held. */
function mapAgain(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  pfn: number,
  isDirty: boolean,
  isAnon: boolean,
): void {
  const old = entryLo(k.memory, word);
  const oldHi = entryHi(k.memory, word);
  const type = swapType(oldHi);
  getPage(k, pfn);
  if (isAnon) k.fn.pageAddAnonRmap(k, pfn, vma, address, type !== SWP_MIGRATION_READ);
  else k.fn.pageAddFileRmap(k, pfn, vma, address);
  const isWritable = type === SWP_MIGRATION_WRITE;
  if (isZoneDevice(k.pages, pfn)) {
    const bits = old & (SWP_SOFT_DIRTY | SWP_UFFD_WP);
    const hi = mkPfnSwapHi(isWritable ? SWP_DEVICE_WRITE : SWP_DEVICE_READ);
    setEntry(k, vma.mm, word, mkPfnSwapLo(pfn) | bits, hi, address);
    return;
  }
  let lo = mkPteLo(pfn, vma.pageProtLo);
  if ((old & SWP_SOFT_DIRTY) !== 0) lo |= PTE_SOFT_DIRTY;
  if (!isMigrationYoung(oldHi)) lo &= ~PTE_A;
  if (isDirty && isMigrationDirty(oldHi)) lo = pteMkdirty(lo);
  if (isWritable) lo = pteMaybeMkwrite(lo, vma.flags);
  else if ((old & SWP_UFFD_WP) !== 0) lo |= PTE_UFFD_WP;
  setEntry(k, vma.mm, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), address);
}
