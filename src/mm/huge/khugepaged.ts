// khugepaged (mm/khugepaged.c): goes through the registered address spaces block by block and collapses what is worth it, a given number
// of entries at a time; the next scan goes on where this one stopped.
//
// mmapLock is only tried: an address space in use is passed by. A collapse drops it, and ends the visit; the cursor stays, and the next
// visit begins behind the block. Before a visit the places are done that a collapse elsewhere has left behind (retract.ts).
//
// The thread makes one scan and then sleeps; here until somebody wakes it (a write to scan_sleep_millisecs does in Linux, too), as
// there is no time that passes.
//
// Kernel names: khugepaged_do_scan, khugepaged_scan_mm_slot, collect_mm_slot, khugepaged_collapse_pte_mapped_thps, khugepaged_wait_work.

import { PMD_SIZE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { lruAddDrain } from '../reclaim/lru-add-batch.ts';
import { linearPageIndex } from '../rmap/rmap.ts';
import { hasTaskWork, runTaskWork } from '../syscalls/edge.ts';
import type { VmArea } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { mmDrop } from '../vma/mm-drop.ts';
import { findPmd } from './collapse.ts';
import { khugepagedAddPteMappedThp, nextSlot, noteKhugepaged } from './khugepaged-mm.ts';
import { hugepageVmaCheck } from './policy.ts';
import * as S from './scan-result.ts';
import type { KhugepagedSlot } from './state.ts';

/** khugepaged_has_work. */
function hasWork(k: Kernel): boolean {
  noteKhugepaged(k, false);
  return k.huge.slots.size > 0 && k.huge.enabled !== 'never';
}

/** khugepaged_do_scan: up to `pages` entries, or once round all address spaces. Number of blocks collapsed. */
export function* khugepagedScan(k: Kernel, pages = k.huge.pagesToScan): KernelPath<number> {
  const { huge } = k;
  const before = huge.pagesCollapsed;
  let passes = 0;
  let mayWait = true;
  lruAddDrain(k);
  for (let progress = 0; progress < pages; ) {
    if (k.sched.points) yield P_RECLAIM;
    if (huge.scanSlot === null) passes++;
    if (!hasWork(k) || passes >= 2) break;
    progress += yield* scanMmSlot(k, pages - progress);
    if (huge.lastResult !== S.SCAN_ALLOC_HUGE_PAGE_FAIL) continue;
    // The second failure in one scan ends it; after the first khugepaged sleeps for a minute.
    if (!mayWait) break;
    mayWait = false;
  }
  if (hasTaskWork(k)) yield* runTaskWork(k);
  return huge.pagesCollapsed - before;
}

/** khugepaged_scan_mm_slot: a visit. What it counts as progress, in entries. */
function* scanMmSlot(k: Kernel, pages: number): KernelPath<number> {
  const { huge } = k;
  noteKhugepaged(k, true);
  huge.lastResult = S.SCAN_FAIL;
  let slot = huge.scanSlot;
  if (slot === null) {
    slot = huge.slots.values().next().value!;
    huge.scanSlot = slot;
    huge.scanAddress = 0;
  }
  const { mm } = slot;
  if (slot.pteMapped.length > 0) yield* collapsePteMappedThps(k, slot);
  let progress = 0;
  // Where the visit ended; null: through with the address space, or its lock is taken.
  let at: VmArea | null = null;
  if (mm.mmapLock.readTrylock()) {
    progress = 1;
    let isLocked = true;
    at = mm.users === 0 ? null : mm.vmas.find(huge.scanAddress);
    for (; at !== null; at = mm.vmas.next(at)) {
      const first = Math.ceil(at.start / PMD_SIZE) * PMD_SIZE;
      const end = Math.floor(at.end / PMD_SIZE) * PMD_SIZE;
      if (!hugepageVmaCheck(k, at, at.flags, false, true) || huge.scanAddress > end) {
        progress++;
        continue;
      }
      if (huge.scanAddress < first) huge.scanAddress = first;
      while (huge.scanAddress < end && isLocked && progress < pages) {
        isLocked = yield* scanBlock(k, at, huge.scanAddress);
        huge.scanAddress += PMD_SIZE;
        progress += HPAGE_PMD_NR;
      }
      if (!isLocked || progress >= pages) break;
    }
    if (isLocked) mm.mmapLock.readUnlock();
  }
  noteKhugepaged(k, true);
  if (mm.users === 0 || at === null) leaveSlot(k, slot);
  return progress;
}

/** One block. False: mmapLock was dropped. */
function* scanBlock(k: Kernel, vma: VmArea, address: number): KernelPath<boolean> {
  const { huge } = k;
  const { mm, file } = vma;
  let isLocked = true;
  let result: number;
  if (file !== null) {
    file.refcount++;
    const pgoff = linearPageIndex(vma, address);
    mm.mmapLock.readUnlock();
    isLocked = false;
    result = yield* k.fn.collapseScanFile(k, mm, address, file.inode.mapping, pgoff, true);
    fput(k, file);
  } else {
    result = yield* k.fn.collapseScanPmd(k, vma, address, true);
    isLocked = !huge.lockDropped;
  }
  if (result === S.SCAN_PTE_MAPPED_HUGEPAGE) {
    result = findPmd(k, mm, address);
    if (result === S.SCAN_SUCCEED) khugepagedAddPteMappedThp(k, mm, address);
  }
  if (result === S.SCAN_SUCCEED) huge.pagesCollapsed++;
  huge.lastResult = result;
  return isLocked;
}

/** The cursor goes on; the slot of an address space that has ended goes (collect_mm_slot). */
function leaveSlot(k: Kernel, slot: KhugepagedSlot): void {
  const { huge } = k;
  huge.scanSlot = nextSlot(k, slot);
  huge.scanAddress = 0;
  if (huge.scanSlot === null) huge.fullScans++;
  if (slot.mm.users > 0) return;
  huge.slots.delete(slot.mm);
  mmDrop(k, slot.mm);
}

/** khugepaged_collapse_pte_mapped_thps. */
function* collapsePteMappedThps(k: Kernel, slot: KhugepagedSlot): KernelPath<void> {
  const { mm } = slot;
  if (!mm.mmapLock.writeTrylock()) return;
  if (mm.users > 0) {
    for (const address of slot.pteMapped) yield* k.fn.collapsePteMappedThp(k, mm, address, false);
  }
  slot.pteMapped.length = 0;
  mm.mmapLock.writeUnlock();
}

/** The thread; spawned as a daemon in interleaved runs: a scan each time that it is woken. */
export function* khugepaged(k: Kernel): KernelPath<void> {
  const { huge } = k;
  const isWanted = (): boolean => huge.scanWanted && hasWork(k);
  for (;;) {
    yield* k.sched.waitUntil(isWanted, huge.wait, 'khugepaged: work');
    huge.scanWanted = false;
    yield* k.fn.khugepagedScan(k, huge.pagesToScan);
  }
}

/** A write to scan_sleep_millisecs: khugepaged scans now. */
export function wakeKhugepaged(k: Kernel): void {
  noteKhugepaged(k, true);
  k.huge.scanWanted = true;
  k.huge.wait.wakeAll(k.sched);
}
