// Migration for drivers (mm/migrate_device.c): pages of a range of one VMA go to device memory, or come back.
//
//   setup      S(MIGRATE, owner); each entry becomes a migration entry, its page locked and referenced; F; E; then every other mapping of
//              those pages is taken away too (try_to_migrate); pages that are still referred to come back where they were
//   the driver allocates destination pages, locked, and copies
//   pages      each page's place and state go to its destination; a hole gets the destination as a new page
//   finalize   migration entries map the destinations (or the old pages again); locks and references are dropped
//
// A source word is 0 (nothing to do), MIGRATE_PFN_MIGRATE (a hole), or the frame with flags. Between the steps the pages are locked and
// mapped nowhere: their contents do not change. A CPU that touches one waits for its lock.
//
// Locks: mmapLock read; page locks are taken by trying only, so two migrations cannot wait for each other. Kernel names:
// migrate_vma_collect_pmd, migrate_device_unmap, migrate_vma_check_page, migrate_vma_insert_page, migrate_device_range.

import { EBUSY, EINVAL } from '../../abi/errno.ts';
import { VM_HUGETLB, VM_IO, VM_MIXEDMAP, VM_PFNMAP } from '../../abi/mman.ts';
import { MMU_NOTIFY_MIGRATE, SITE_MIGRATE_VMA } from '../../abi/notifier.ts';
import { PTE_D, PTE_RW } from '../../abi/pte.ts';
import { assert } from '../../base/assert.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import { pteTable } from '../fault/page-tables.ts';
import { pmdFrame, pmdIsTable, pmdTransHuge } from '../huge/pmd.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { isMapped } from '../migrate/folio.ts';
import { isolateForMigration } from '../migrate/isolate.ts';
import { folioMigrateFlags } from '../migrate/move-folio.ts';
import { setMigrationEntry } from '../migrate/try-to-migrate.ts';
import { announceDirty } from '../page/announce.ts';
import { isCompound } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { isZoneDevice, PG_ANON, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_SWAPCACHE } from '../page/pages.ts';
import { isDevicePrivate, migrationType, mkPfnSwapHi, mkPfnSwapLo, swapPfn } from '../page/pfn-swap.ts';
import {
  pteFrame,
  ptePresent,
  pteSpecial,
  SWP_DEVICE_WRITE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapType,
} from '../page/swapops.ts';
import { putbackLruPage } from '../reclaim/lru.ts';
import { getPage } from '../rmap/rmap.ts';
import { setEntry } from '../rmap/walk.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';
import { pagemapOf } from './device-memory.ts';
import { insertPage } from './insert-page.ts';

/** The page may be moved; the frame's low bits hold its number. */
export const MIGRATE_PFN_MIGRATE = 1 << 28;
/** Its entry was writable (source), or shall be (destination). */
export const MIGRATE_PFN_WRITE = 1 << 29;
/** A frame is named. */
export const MIGRATE_PFN_VALID = 1 << 30;
const PFN_MASK = 0xfffff;

// enum migrate_vma_direction.
export const MIGRATE_VMA_SELECT_SYSTEM = 1;
export const MIGRATE_VMA_SELECT_DEVICE_PRIVATE = 2;

/** migrate_pfn. */
export function migratePfn(pfn: number): number {
  return pfn | MIGRATE_PFN_VALID;
}

/** migrate_pfn_to_page: the frame, or 0. */
export function migratePage(word: number): number {
  return (word & MIGRATE_PFN_VALID) === 0 ? 0 : word & PFN_MASK;
}

/** struct migrate_vma. */
export class MigrateVma {
  readonly vma: VmArea;
  readonly start: number;
  end: number;
  readonly src: Int32Array;
  readonly dst: Int32Array;
  /** Pages that the range has, and those of them that were collected. */
  npages = 0;
  cpages = 0;
  readonly owner: object | null;
  readonly flags: number;
  /** The page whose fault this migration answers, or 0: the fault has a reference on it. */
  readonly faultPage: number;

  constructor(vma: VmArea, start: number, end: number, owner: object | null, flags: number, faultPage = 0) {
    this.vma = vma;
    this.start = start;
    this.end = end;
    this.owner = owner;
    this.flags = flags;
    this.faultPage = faultPage;
    const count = Math.max(0, (end - start) / 4096);
    this.src = new Int32Array(count);
    this.dst = new Int32Array(count);
  }
}

/** migrate_vma_setup. 0, or -EINVAL: the range does not lie in one ordinary VMA. */
export function* migrateVmaSetup(k: Kernel, args: MigrateVma): KernelPath<number> {
  const { vma, start, end } = args;
  const isOdd = (vma.flags & (VM_HUGETLB | VM_IO | VM_PFNMAP | VM_MIXEDMAP)) !== 0;
  if (isOdd || start % 4096 !== 0 || end % 4096 !== 0 || start >= end) return -EINVAL;
  if (start < vma.start || start >= vma.end || end > vma.end) return -EINVAL;
  if (args.faultPage !== 0 && !isZoneDevice(k.pages, args.faultPage)) return -EINVAL;
  args.src.fill(0);
  yield* k.fn.migrateVmaCollect(k, args);
  if (args.cpages > 0) yield* k.fn.migrateDeviceUnmap(k, args.src, args.npages, args.faultPage);
  return 0;
}

/** migrate_vma_collect: one section; page table by page table. */
export function* migrateVmaCollect(k: Kernel, args: MigrateVma): KernelPath<void> {
  const { mm } = args.vma;
  const range = mm.notifiers === null ? null : k.range(mm, args.start, args.end, MMU_NOTIFY_MIGRATE, SITE_MIGRATE_VMA);
  if (range !== null) {
    range.owner = args.owner;
    yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  }
  for (let at = args.start; at < args.end; ) {
    const next = Math.min(args.end, at - modPower(at, 0x200000) + 0x200000);
    const isReady = yield* splitHuge(k, args.vma, at);
    const table = pteTable(k, mm, at);
    if (!isReady) collectNothing(args, (next - at) / 4096);
    else if (table === 0) collectHole(args, (next - at) / 4096);
    else yield* collectTable(k, args, table, at, next);
    at = next;
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  args.end = args.start + args.npages * 4096;
}

/** Of migrate_vma_collect_pmd: a huge mapping becomes entries first. False: it stands, or is on its way elsewhere. A huge page of a file is passed
 *  over (device memory holds anonymous pages only). */
function* splitHuge(k: Kernel, vma: VmArea, address: number): KernelPath<boolean> {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  if (word < 0) return true;
  const isTableOrNone = (): boolean => pmdIsTable(entryLo(k.memory, word)) || pmdIsNone(k, word);
  if (isTableOrNone()) return true;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  if (!pmdTransHuge(lo) || vma.file !== null) {
    k.ptl.unlock(ptl);
    return isTableOrNone();
  }
  const head = pmdFrame(lo);
  if (isHugeZero(k, head)) {
    k.ptl.unlock(ptl);
    yield* k.fn.splitHugePmd(k, vma, address, false, 0);
    return pmdIsTable(entryLo(k.memory, word));
  }
  getPage(k, head);
  k.ptl.unlock(ptl);
  let failed = -EBUSY;
  if (tryLockPage(k, head)) {
    failed = yield* k.fn.splitHugePage(k, head, null);
    unlockPage(k, head);
  }
  k.fn.putPage(k, head);
  return failed === 0 && isTableOrNone();
}

function pmdIsNone(k: Kernel, word: number): boolean {
  return (entryLo(k.memory, word) | entryHi(k.memory, word)) === 0;
}

/** migrate_vma_collect_skip. */
function collectNothing(args: MigrateVma, count: number): void {
  args.src.fill(0, args.npages, args.npages + count);
  args.dst.fill(0, args.npages, args.npages + count);
  args.npages += count;
}

/** migrate_vma_collect_hole: only anonymous memory is populated. */
function collectHole(args: MigrateVma, count: number): void {
  for (let i = 0; i < count; i++) {
    args.dst[args.npages] = 0;
    if (args.vma.file === null) args.cpages++;
    args.src[args.npages++] = args.vma.file === null ? MIGRATE_PFN_MIGRATE : 0;
  }
}

/** migrate_vma_collect_pmd: [start, end) inside one page table. */
function* collectTable(k: Kernel, args: MigrateVma, table: number, start: number, end: number): KernelPath<void> {
  const { mm } = args.vma;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  let word = entryWord(table, vpnLo(start) & 511);
  let unmapped = false;
  for (let at = start; at < end; at += 4096, word += 2) {
    const wasPresent = ptePresent(entryLo(k.memory, word));
    const source = yield* collectEntry(k, args, at, word);
    if (wasPresent && migratePage(source) !== 0) unmapped = true;
    args.dst[args.npages] = 0;
    args.src[args.npages++] = source;
  }
  if (unmapped) yield* k.fn.flushTlbMmRange(k, mm, start, end, 12, true, SITE_MIGRATE_VMA);
  k.ptl.unlock(table);
}

/** The source word for the entry, which is a migration entry afterwards if a page was collected. ptl held. */
function* collectEntry(k: Kernel, args: MigrateVma, address: number, word: number): AtomicPath<number> {
  const { flags } = k.pages;
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  if ((lo | hi) === 0) {
    if (args.vma.file !== null) return 0;
    args.cpages++;
    return MIGRATE_PFN_MIGRATE;
  }
  let pfn = 0;
  let isWritable = false;
  if (!ptePresent(lo)) {
    if (!isDevicePrivate(hi)) return 0;
    pfn = swapPfn(lo);
    if ((args.flags & MIGRATE_VMA_SELECT_DEVICE_PRIVATE) === 0 || pagemapOf(k, pfn).owner !== args.owner) return 0;
    isWritable = swapType(hi) === SWP_DEVICE_WRITE;
  } else {
    if ((args.flags & MIGRATE_VMA_SELECT_SYSTEM) === 0) return 0;
    if (pteSpecial(lo)) {
      if (pteFrame(lo) !== k.zeroPfn) return 0;
      args.cpages++;
      return MIGRATE_PFN_MIGRATE;
    }
    pfn = pteFrame(lo);
    isWritable = (lo & PTE_RW) !== 0;
  }
  if (k.pages.mapping[pfn] === null || isCompound(k.pages, pfn)) return 0;
  // The reference keeps everybody else from moving or reclaiming the page.
  getPage(k, pfn);
  if (!tryLockPage(k, pfn)) {
    k.fn.putPage(k, pfn);
    return 0;
  }
  const isAnon = (flags[pfn]! & PG_ANON) !== 0;
  const isExclusive = isAnon && (flags[pfn]! & PG_ANON_EXCLUSIVE) !== 0;
  if (!isExclusive) {
    setEntry(k, args.vma.mm, word, 0, 0, address);
    if (k.sched.points) yield P_PTES_CLEARED;
  } else {
    yield* ptepClearFlush(k, args.vma, address, word, SITE_MIGRATE_VMA);
    if (!k.fn.pageTryShareAnonRmap(k, pfn)) {
      setEntry(k, args.vma.mm, word, lo, hi, address);
      unlockPage(k, pfn);
      k.fn.putPage(k, pfn);
      return 0;
    }
  }
  args.cpages++;
  if (ptePresent(lo)) {
    if ((lo & PTE_D) !== 0) {
      flags[pfn] = flags[pfn]! | PG_DIRTY;
      announceDirty(k, pfn);
    }
    setMigrationEntry(k, args.vma.mm, word, pfn, lo, isExclusive, address);
  } else {
    const bits = lo & (SWP_SOFT_DIRTY | SWP_UFFD_WP);
    const type = mkPfnSwapHi(migrationType(isWritable, isExclusive));
    setEntry(k, args.vma.mm, word, mkPfnSwapLo(pfn) | bits, type, address);
  }
  k.fn.pageRemoveRmap(k, pfn, args.vma, address);
  k.fn.putPage(k, pfn);
  return migratePfn(pfn) | MIGRATE_PFN_MIGRATE | (isWritable ? MIGRATE_PFN_WRITE : 0);
}

/** migrate_vma_check_page: does nobody refer to the page beside its mappings, its cache, the collection and the fault? */
function hasNoOtherUsers(k: Kernel, pfn: number, faultPage: number): boolean {
  const { flags, mapping, mapcount, refcount } = k.pages;
  let extra = pfn === faultPage ? 2 : 1;
  const isCached = (flags[pfn]! & PG_SWAPCACHE) !== 0 || ((flags[pfn]! & PG_ANON) === 0 && mapping[pfn] !== null);
  if (isCached) extra++;
  return refcount[pfn]! - extra <= mapcount[pfn]!;
}

/** migrate_device_unmap: takes the collected pages off their lists and out of every other address space. Those that cannot be had go back
 *  where they were, and lose MIGRATE_PFN_MIGRATE, then their word. */
export function* migrateDeviceUnmap(k: Kernel, src: Int32Array, npages: number, faultPage: number): KernelPath<void> {
  let restore = 0;
  for (let i = 0; i < npages; i++) {
    const pfn = migratePage(src[i]!);
    if (pfn === 0) continue;
    const isDevice = isZoneDevice(k.pages, pfn);
    if (!isDevice) {
      if (!isolateForMigration(k, pfn)) {
        src[i] = src[i]! & ~MIGRATE_PFN_MIGRATE;
        restore++;
        continue;
      }
      // The isolation's reference serves from now on.
      k.fn.putPage(k, pfn);
    }
    if (isMapped(k.pages, pfn)) yield* k.fn.tryToMigrate(k, pfn, 0);
    if (!isMapped(k.pages, pfn) && hasNoOtherUsers(k, pfn, faultPage)) continue;
    if (!isDevice) {
      getPage(k, pfn);
      putbackLruPage(k, pfn);
    }
    src[i] = src[i]! & ~MIGRATE_PFN_MIGRATE;
    restore++;
  }
  for (let i = 0; i < npages && restore > 0; i++) {
    const pfn = migratePage(src[i]!);
    if (pfn === 0 || (src[i]! & MIGRATE_PFN_MIGRATE) !== 0) continue;
    yield* k.fn.removeMigrationPtes(k, pfn, pfn, false);
    src[i] = 0;
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
    restore--;
  }
}

/** migrate_vma_pages: the driver has filled `dst` and copied. Words of pages that could not be moved lose MIGRATE_PFN_MIGRATE. */
export function* migrateVmaPages(k: Kernel, args: MigrateVma): KernelPath<void> {
  const { src, dst } = args;
  const { mm } = args.vma;
  let range: NotifierRange | null = null;
  for (let i = 0; i < args.npages; i++) {
    const to = migratePage(dst[i]!);
    const from = migratePage(src[i]!);
    if (to === 0) {
      src[i] = src[i]! & ~MIGRATE_PFN_MIGRATE;
      continue;
    }
    if (from !== 0) {
      if (!movePlace(k, to, from, from === args.faultPage)) src[i] = src[i]! & ~MIGRATE_PFN_MIGRATE;
      continue;
    }
    if ((src[i]! & MIGRATE_PFN_MIGRATE) === 0) continue;
    const address = args.start + i * 4096;
    if (range === null && mm.notifiers !== null) {
      range = k.range(mm, address, args.end, MMU_NOTIFY_MIGRATE, SITE_MIGRATE_VMA);
      range.owner = args.owner;
      yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
    }
    if (!(yield* insertPage(k, args.vma, address, to))) src[i] = src[i]! & ~MIGRATE_PFN_MIGRATE;
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, true);
}

/** __migrate_device_pages for a page that exists: its place and its state, not its contents. */
function movePlace(k: Kernel, to: number, from: number, isFaultPage: boolean): boolean {
  const { flags } = k.pages;
  if (isZoneDevice(k.pages, to)) {
    // Device memory holds anonymous pages only, and no swap slot.
    if ((flags[from]! & PG_ANON) === 0) return false;
    if ((flags[from]! & PG_SWAPCACHE) !== 0 && !k.fn.folioFreeSwap(k, from)) return false;
  }
  if (k.fn.folioMigrateMapping(k, to, from, isFaultPage ? 1 : 0) < 0) return false;
  folioMigrateFlags(k, to, from);
  return true;
}

/** migrate_vma_finalize: entries, locks, references. */
export function* migrateVmaFinalize(k: Kernel, args: MigrateVma): KernelPath<void> {
  yield* migrateDeviceFinalize(k, args.src, args.dst, args.npages);
}

/** migrate_device_finalize. */
export function* migrateDeviceFinalize(k: Kernel, src: Int32Array, dst: Int32Array, npages: number): KernelPath<void> {
  for (let i = 0; i < npages; i++) {
    const from = migratePage(src[i]!);
    let to = migratePage(dst[i]!);
    if (to !== 0 && (from === 0 || (src[i]! & MIGRATE_PFN_MIGRATE) === 0)) {
      // Not used, or (a hole) inserted: the entry has a reference of its own.
      unlockPage(k, to);
      k.fn.putPage(k, to);
      to = 0;
    }
    if (from === 0) continue;
    const now = to === 0 ? from : to;
    if (!isZoneDevice(k.pages, now)) k.fn.lruAdd(k, now);
    yield* k.fn.removeMigrationPtes(k, from, now, false);
    unlockPage(k, from);
    k.fn.putPage(k, from);
    if (to === 0) continue;
    unlockPage(k, to);
    k.fn.putPage(k, to);
  }
}

/** migrate_device_range: every page of device memory [first, first + count), whoever maps it. Source words are left for
 *  migrateDevicePages and migrateDeviceFinalize; the driver fills `dst`. */
export function* migrateDeviceRange(k: Kernel, src: Int32Array, first: number, count: number): KernelPath<void> {
  assert(isZoneDevice(k.pages, first), 'migrateDeviceRange: memory of a device');
  for (let i = 0; i < count; i++) {
    src[i] = 0;
    const pfn = first + i;
    if (k.pages.refcount[pfn] === 0) continue;
    getPage(k, pfn);
    if (tryLockPage(k, pfn)) src[i] = migratePfn(pfn) | MIGRATE_PFN_MIGRATE;
    else k.fn.putPage(k, pfn);
  }
  yield* k.fn.migrateDeviceUnmap(k, src, count, 0);
}

/** migrate_device_pages. */
export function migrateDevicePages(k: Kernel, src: Int32Array, dst: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const [to, from] = [migratePage(dst[i]!), migratePage(src[i]!)];
    if (from !== 0 && (to === 0 || !movePlace(k, to, from, false))) src[i] = src[i]! & ~MIGRATE_PFN_MIGRATE;
  }
}
