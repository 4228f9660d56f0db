// move_pages(2) behind its argument checks (mm/migrate.c do_pages_move, do_pages_stat). Pages are looked up and isolated one after
// the other, those with one target as a group; a group is moved when the target changes, when a page could not be isolated, and at
// the end. Then the group's status words are written.
//
// Locks: mmapLock read for each look-up; nothing while pages move. Kernel names: add_page_for_migration,
// move_pages_and_store_status, do_move_pages_to_node, alloc_migration_target.

import { EACCES, EBUSY, EFAULT, ENODEV, ENOENT } from '../../abi/errno.ts';
import { VM_HUGETLB, VM_IO, VM_PFNMAP } from '../../abi/mman.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { isMappedShared } from '../huge/age.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { pageToNid } from '../page/nodes.ts';
import { isZoneDevice, PG_HUGETLB } from '../page/pages.ts';
import { pteFrame, pteNone, ptePresent, pteProtnone, pteSpecial } from '../page/swapops.ts';
import { getPage, linearPageIndex } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { isolateHugetlb } from './hugetlb.ts';
import { isolateForMigration } from './isolate.ts';
import { putbackMovablePages } from './migrate-pages.ts';
import { MIGRATE_SYNC, MR_SYSCALL } from './mode.ts';
import { targetOn } from './targets.ts';

/** vma_migratable. */
export function vmaMigratable(vma: VmArea): boolean {
  return (vma.flags & (VM_IO | VM_PFNMAP)) === 0;
}

/** follow_page(FOLL_GET | FOLL_DUMP): the mapped page, referenced; 0 when there is none; -EFAULT for a hole in anonymous memory and
 *  for the zero page. Takes the ptl. */
export function* followPageDump(k: Kernel, vma: VmArea, address: number): AtomicPath<number> {
  if ((vma.flags & VM_HUGETLB) !== 0) return yield* followHugetlb(k, vma, address);
  const hole = vma.file === null && !k.profile.moveHoleIsNoPage ? -EFAULT : 0;
  const huge = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  if (huge >= 0 && pmdTransHuge(entryLo(k.memory, huge))) return yield* followHuge(k, vma, address, huge, hole);
  const table = pteTable(k, vma.mm, address);
  if (table === 0) return hole;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const word = pteOffset(table, address);
  const lo = entryLo(k.memory, word);
  let result = 0;
  // An entry of PROT_NONE, or of a NUMA hint, is not followed (gup_can_follow_protnone).
  if (pteProtnone(lo) && k.profile.followPageSkipsProtnone) result = 0;
  else if (!ptePresent(lo)) result = pteNone(lo, entryHi(k.memory, word)) ? hole : 0;
  else if (pteSpecial(lo)) result = -EFAULT;
  else {
    result = pteFrame(lo);
    getPage(k, result);
  }
  k.ptl.unlock(table);
  return result;
}

/** follow_trans_huge_pmd: the small page within the huge one. */
function* followHuge(k: Kernel, _vma: VmArea, address: number, word: number, hole: number): AtomicPath<number> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  let result = hole;
  if (pmdTransHuge(lo) && !(pteProtnone(lo) && k.profile.followPageSkipsProtnone)) {
    result = isHugeZero(k, pmdFrame(lo)) ? -EFAULT : pmdFrame(lo) + (vpnLo(address) & 511);
    if (result > 0) getPage(k, result);
  }
  k.ptl.unlock(ptl);
  return result;
}

/** hugetlb_follow_page_mask. */
function* followHugetlb(k: Kernel, vma: VmArea, address: number): AtomicPath<number> {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  let result = -EFAULT;
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    const lo = entryLo(k.memory, word);
    if (ptePresent(lo)) {
      result = pteFrame(lo) + (vpnLo(address) & 511);
      getPage(k, result);
    }
    k.ptl.unlock(ptl);
  }
  const index = Math.floor(linearPageIndex(vma, address) / 512) * 512;
  return result < 0 && vma.file!.inode.mapping.pages.has(index) ? 0 : result;
}

/** add_page_for_migration: 1 the page is in `list`; 0 it is on `node` already; -EFAULT, -ENOENT, -EACCES (somebody else maps it
 *  too), -EBUSY. */
function* addPageForMigration(
  k: Kernel,
  mm: MmStruct,
  address: number,
  node: number,
  list: number[],
  migrateAll: boolean,
): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const vma = mm.vmas.findExact(address);
  let result = -EFAULT;
  if (vma !== null && vmaMigratable(vma)) {
    const page = yield* followPageDump(k, vma, address - (address % 4096));
    if (page <= 0) result = page === 0 ? -ENOENT : page;
    else {
      if (isZoneDevice(k.pages, page)) result = -ENOENT;
      else if (pageToNid(k, page) === node) result = 0;
      else if (isMappedShared(k, page) && !migrateAll) result = -EACCES;
      else {
        const head = compoundHead(k.pages, page);
        const isHugetlb = (k.pages.flags[head]! & PG_HUGETLB) !== 0;
        // Of a hugetlb page only the first address counts.
        if (isHugetlb && page !== head) result = -EACCES;
        else result = (isHugetlb ? isolateHugetlb(k, head) : isolateForMigration(k, head)) ? 1 : -EBUSY;
        if (result === 1) list.push(head);
      }
      k.fn.putPage(k, page);
    }
  }
  lock.readUnlock();
  return result;
}

/** store_status: words [from, to) of the program's array are written now. */
export type OnStore = ((from: number, to: number) => KernelPath<void>) | null;

/** move_pages_and_store_status for pages [start, end) of the call: 0, -errno, or how many pages were not moved. */
function* moveGroup(
  k: Kernel,
  list: number[],
  node: number,
  status: Int32Array,
  start: number,
  end: number,
  onStore: OnStore,
): KernelPath<number> {
  if (list.length === 0) return 0;
  const failed = yield* k.fn.migratePages(k, list, targetOn(node), null, MIGRATE_SYNC, MR_SYSCALL);
  if (failed !== 0) {
    putbackMovablePages(k, list);
    list.length = 0;
    return failed > 0 ? failed + status.length - end : failed;
  }
  status.fill(node, start, end);
  if (onStore !== null) yield* onStore(start, end);
  return 0;
}

/** do_pages_move. `status` has one word for each address. 0, -errno (-ENODEV, -EACCES, -ENOMEM), or the number of pages that could not be
 *  moved, those not tried included. */
export function* doPagesMove(
  k: Kernel,
  mm: MmStruct,
  addresses: readonly number[],
  targets: readonly number[],
  status: Int32Array,
  migrateAll: boolean,
  onStore: OnStore = null,
): KernelPath<number> {
  const list: number[] = [];
  const count = addresses.length;
  let node = -1;
  let start = 0;
  let i = 0;
  let result = 0;
  for (; i < count; i++) {
    const target = targets[i]!;
    if (target < 0 || target >= k.nodes.length) {
      result = -ENODEV;
      break;
    }
    if (node < 0) {
      node = target;
      start = i;
    } else if (target !== node) {
      result = yield* moveGroup(k, list, node, status, start, i, onStore);
      if (result !== 0) return result;
      start = i;
      node = target;
    }
    const queued = yield* addPageForMigration(k, mm, addresses[i]!, node, list, migrateAll);
    if (queued > 0) continue;
    // Why a page could not be queued is told in its status and stops nothing.
    status[i] = queued === 0 ? node : queued;
    if (onStore !== null) yield* onStore(i, i + 1);
    result = yield* moveGroup(k, list, node, status, start, i, onStore);
    if (result !== 0) return result > 0 ? result - 1 : result;
    node = -1;
  }
  const last = yield* moveGroup(k, list, node, status, start, i, onStore);
  return result >= 0 ? last : result;
}

/** do_pages_stat: the node of each page, or -EFAULT, -ENOENT. */
export function* doPagesStat(
  k: Kernel,
  mm: MmStruct,
  addresses: readonly number[],
  status: Int32Array,
): KernelPath<number> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  for (let i = 0; i < addresses.length; i++) {
    const address = addresses[i]!;
    const vma = mm.vmas.findExact(address);
    let result = -EFAULT;
    if (vma !== null) {
      const page = yield* followPageDump(k, vma, address - (address % 4096));
      result = page === 0 ? -ENOENT : page;
      if (page > 0) {
        result = isZoneDevice(k.pages, page) ? -ENOENT : pageToNid(k, page);
        k.fn.putPage(k, page);
      }
    }
    status[i] = result;
  }
  lock.readUnlock();
  return 0;
}
