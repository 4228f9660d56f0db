// Moving entries to another address (mm/mremap.c move_page_tables): pages stay where they are, rmap finds them because the new
// VMA's pgoff moves along. Extents of 1 GiB and 2 MiB that are aligned on both sides move by their table (HAVE_MOVE_PUD,
// HAVE_MOVE_PMD); the rest entry by entry. The old place is flushed on the CPUs before the locks are dropped, the secondary
// TLBs only hear the end of the section; the new place is not announced at all.
//
// Locks: mmapLock for write; rmap locks of the VMA when a rmap walk could miss a page (old place after it was emptied, new
// place before it was filled): always for whole tables, else when the caller says so; then the ptls of both tables, old first.
// Kernel names: get_extent, move_pgt_entry, move_normal_pud, move_normal_pmd, move_ptes, take_rmap_locks.

import { PMD_SIZE, PUD_SIZE, VM_HUGETLB } from '../../abi/mman.ts';
import { MMU_NOTIFY_UNMAP, SITE_MREMAP } from '../../abi/notifier.ts';
import { LEVEL_PMD, LEVEL_PTE, LEVEL_PUD, PTE_P, PTE_PS, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, pudWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_MOVED } from '../../sched/points.ts';
import { pmdAlloc, pteTable, pudAlloc } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { isGuardMarker, isPteMarker, ptePresent, SWP_SOFT_DIRTY, SWP_UFFD_WP } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';
import { hasUffdWithoutEventRemap } from '../uffd/events.ts';
import { modPower } from '../vma/address.ts';

export function* movePageTables(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  newVma: VmArea,
  newAddr: number,
  len: number,
  needRmapLocks: boolean,
): KernelPath<number> {
  if (len === 0) return 0;
  if ((vma.flags & VM_HUGETLB) !== 0) return yield* k.fn.moveHugetlbPageTables(k, vma, oldAddr, newVma, newAddr, len);
  const mm = vma.mm;
  const end = oldAddr + len;
  const shift = newAddr - oldAddr;
  const range = mm.notifiers === null ? null : k.range(mm, oldAddr, end, MMU_NOTIFY_UNMAP, SITE_MREMAP);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let at = oldAddr;
  while (at < end) {
    const moved = yield* moveExtent(k, vma, at, newVma, at + shift, end, needRmapLocks);
    if (moved === 0) break;
    at += moved;
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return at - oldAddr;
}

/** get_extent: bytes up to the next boundary of `size` in the old or the new place. */
function extentOf(size: number, oldAddr: number, end: number, newAddr: number): number {
  return Math.min(end - oldAddr, size - modPower(oldAddr, size), size - modPower(newAddr, size));
}

/** Moves (or skips, when empty) the next extent; its length, or 0 when out of memory. */
function* moveExtent(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  newVma: VmArea,
  newAddr: number,
  end: number,
  needRmapLocks: boolean,
): KernelPath<number> {
  const m = k.memory;
  const mm = vma.mm;
  const large = extentOf(PUD_SIZE, oldAddr, end, newAddr);
  const oldPud = pudWord(m, mm.pgd, vpnHi(oldAddr));
  if (oldPud < 0 || (entryLo(m, oldPud) & PTE_P) === 0) return large;
  // A generator for each table costs more than the move: only where one is missing.
  let toPud = pudWord(m, mm.pgd, vpnHi(newAddr));
  if (toPud < 0) {
    const pudTable = yield* pudAlloc(k, mm, newAddr);
    if (pudTable === 0) return 0;
    toPud = entryWord(pudTable, vpnHi(newAddr) & 511);
  }
  if (large === PUD_SIZE && (yield* k.fn.moveNormalTable(k, vma, oldAddr, newAddr, oldPud, toPud, LEVEL_PUD)))
    return large;
  const extent = extentOf(PMD_SIZE, oldAddr, end, newAddr);
  const oldPmd = pmdWord(m, mm.pgd, vpnHi(oldAddr), vpnLo(oldAddr));
  const pmd = entryLo(m, oldPmd);
  if ((pmd | entryHi(m, oldPmd)) === 0) return extent;
  let toPmd = pmdWord(m, mm.pgd, vpnHi(newAddr), vpnLo(newAddr));
  if (toPmd < 0) {
    const pmdTable = yield* pmdAlloc(k, mm, newAddr);
    if (pmdTable === 0) return 0;
    toPmd = entryWord(pmdTable, vpnLo(newAddr) >>> 9);
  }
  if ((pmd & (PTE_P | PTE_PS)) !== PTE_P) {
    if (extent === PMD_SIZE && (yield* k.fn.moveHugePmd(k, vma, oldAddr, newAddr, oldPmd, toPmd, needRmapLocks)))
      return extent;
    yield* k.fn.splitHugePmd(k, vma, oldAddr, false, 0);
    // A page of a file leaves nothing behind: faults map it at the new place.
    if ((entryLo(m, oldPmd) & (PTE_P | PTE_PS)) !== PTE_P) return extent;
  } else if (extent === PMD_SIZE && (yield* k.fn.moveNormalTable(k, vma, oldAddr, newAddr, oldPmd, toPmd, LEVEL_PMD)))
    return extent;
  if (pteTable(k, mm, newAddr) === 0 && (yield* k.fn.pteAlloc(k, mm, newAddr)) === 0) return 0;
  yield* k.fn.movePtes(k, vma, oldAddr, newVma, newAddr, extent, needRmapLocks);
  return extent;
}

/** move_normal_pmd, move_normal_pud: one entry of `level` takes its whole table along. False when the new place is taken. */
export function* moveNormalTable(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  newAddr: number,
  from: number,
  to: number,
  level: number,
): KernelPath<boolean> {
  const m = k.memory;
  const mm = vma.mm;
  if ((entryLo(m, to) | entryHi(m, to)) !== 0 || hasUffdWithoutEventRemap(vma)) return false;
  const size = level === LEVEL_PUD ? PUD_SIZE : PMD_SIZE;
  yield* takeRmapLocks(k, vma);
  const oldTable = from >>> 10;
  const newTable = to >>> 10;
  if (k.sched.points || !k.ptl.tryLock(oldTable)) yield* k.ptl.lock(oldTable);
  if (newTable !== oldTable && (k.sched.points || !k.ptl.tryLock(newTable))) yield* k.ptl.lock(newTable);
  const lo = entryLo(m, from);
  const hi = entryHi(m, from);
  writeEntry(m, from, 0, 0, mm.id, oldAddr, level);
  writeEntry(m, to, lo, hi, mm.id, newAddr, level);
  if (k.sched.points) yield P_PTES_MOVED;
  yield* k.fn.flushTlbMmRange(k, mm, oldAddr, oldAddr + size, 12, true, SITE_MREMAP);
  if (newTable !== oldTable) k.ptl.unlock(newTable);
  k.ptl.unlock(oldTable);
  dropRmapLocks(vma);
  return true;
}

/** move_ptes: `len` bytes inside one page table on both sides. */
export function* movePtes(
  k: Kernel,
  vma: VmArea,
  oldAddr: number,
  newVma: VmArea,
  newAddr: number,
  len: number,
  needRmapLocks: boolean,
): KernelPath<void> {
  const mm = vma.mm;
  const oldTable = pteTable(k, mm, oldAddr);
  const newTable = pteTable(k, newVma.mm, newAddr);
  if (needRmapLocks) yield* takeRmapLocks(k, vma);
  if (k.sched.points || !k.ptl.tryLock(oldTable)) yield* k.ptl.lock(oldTable);
  if (newTable !== oldTable && (k.sched.points || !k.ptl.tryLock(newTable))) yield* k.ptl.lock(newTable);
  yield* moveLocked(k, vma, oldTable, oldAddr, newTable, newAddr, len);
  if (newTable !== oldTable) k.ptl.unlock(newTable);
  k.ptl.unlock(oldTable);
  if (needRmapLocks) dropRmapLocks(vma);
}

function* moveLocked(
  k: Kernel,
  vma: VmArea,
  oldTable: number,
  oldAddr: number,
  newTable: number,
  newAddr: number,
  len: number,
): AtomicPath<void> {
  const mm = vma.mm;
  if (mm.tlbFlushBatched) yield* k.fn.flushTlbBatchedPending(k, mm);
  let from = entryWord(oldTable, vpnLo(oldAddr) & 511);
  let to = entryWord(newTable, vpnLo(newAddr) & 511);
  let anyPresent = false;
  for (let done = 0; done < len; ) {
    const left = ((len - done) / 4096) | 0;
    const count = left < k.stride ? left : k.stride;
    if (moveEntries(k, vma, from, oldAddr + done, to, newAddr + done, count)) anyPresent = true;
    from += count * 2;
    to += count * 2;
    done += count * 4096;
    if (k.sched.points) yield P_PTES_MOVED;
  }
  if (anyPresent) yield* k.fn.flushTlbMmRange(k, mm, oldAddr, oldAddr + len, 12, true, SITE_MREMAP);
}

/** Moves `count` entries, marking them soft-dirty. True when one was present. */
function moveEntries(
  k: Kernel,
  vma: VmArea,
  from: number,
  oldAddr: number,
  to: number,
  newAddr: number,
  count: number,
): boolean {
  const m = k.memory;
  const mmId = vma.mm.id;
  const keep = hasUffdWithoutEventRemap(vma) ? ~PTE_UFFD_WP : -1;
  const keepSwap = keep === -1 ? -1 : ~SWP_UFFD_WP;
  const words = m.words;
  const tracked = m.footprint !== null;
  let anyPresent = false;
  for (let i = 0; i < count; i++) {
    const at = from + 2 * i;
    const lo = tracked ? entryLo(m, at) : words[at]!;
    const hi = words[at + 1]!;
    if ((lo | hi) === 0) continue;
    const isPresent = ptePresent(lo);
    if (isPresent) anyPresent = true;
    const bytes = i * 4096;
    writeEntry(m, at, 0, 0, mmId, oldAddr + bytes, LEVEL_PTE);
    if (keep !== -1 && !isPresent && isPteMarker(lo, hi) && !isGuardMarker(lo, hi)) continue;
    const newLo = isPresent ? (lo & keep) | PTE_SOFT_DIRTY : (lo & keepSwap) | SWP_SOFT_DIRTY;
    writeEntry(m, to + 2 * i, newLo, hi, mmId, newAddr + bytes, LEVEL_PTE);
  }
  return anyPresent;
}

/** take_rmap_locks: no rmap walk may run between the two stores. */
export function* takeRmapLocks(k: Kernel, vma: VmArea): KernelPath<void> {
  if (vma.file !== null) {
    const lock = vma.file.inode.mapping.iMmapRwsem;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  }
  if (vma.anonVma !== null) {
    const lock = vma.anonVma.root.lock;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  }
}

export function dropRmapLocks(vma: VmArea): void {
  if (vma.anonVma !== null) vma.anonVma.root.lock.writeUnlock();
  if (vma.file !== null) vma.file.inode.mapping.iMmapRwsem.writeUnlock();
}
