// Reservations (mm/hugetlb.c): made when a mapping is made, used up by its faults, given back when it goes.
//
//   shared    belong to the file: its map says which indices are reserved or in use; they stay after munmap, until a truncation
//   private   belong to the VMA of the process that mapped it; a forked child has none and lives on what nobody reserved
//
// Locks: mmapLock for write where a VMA comes or goes; the fault mutex of the index else. Kernel names: hugetlb_reserve_pages,
// hugetlb_unreserve_pages, vma_needs_reservation, vma_has_reserves, alloc_huge_page, hugetlb_vm_op_open, hugetlb_vm_op_close,
// hugetlb_dup_vma_private, clear_vma_resv_huge_pages.

import { ENOSPC } from '../../abi/errno.ts';
import { PMD_SIZE, VM_MAYSHARE, VM_NORESERVE } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_HUGETLB_RESTORE } from '../page/pages.ts';
import type { Inode, VmArea } from '../types.ts';
import { dequeueHugePage, hugetlbAcctMemory } from './pool.ts';
import { ReserveMap } from './reserve-map.ts';
import { HugetlbVma, newVmaLock } from './state.ts';

/** vma_hugecache_offset: index of the huge page in the file. */
export function hugeIndex(vma: VmArea, address: number): number {
  return Math.floor((address - vma.start) / PMD_SIZE) + vma.pgoff / HPAGE_PMD_NR;
}

/** hugetlb_reserve_pages for indices [from, to): of the file when `vma` is null or shared, else of the VMA. 0 or -ENOMEM. */
export function hugetlbReservePages(
  k: Kernel,
  inode: Inode,
  from: number,
  to: number,
  vma: VmArea | null,
  vmFlags: number,
): number {
  if (vma !== null) initVma(k, vma);
  if ((vmFlags & VM_NORESERVE) !== 0) return 0;
  if (vma !== null && (vma.flags & VM_MAYSHARE) === 0) {
    const r = hugetlbAcctMemory(k, to - from);
    if (r < 0) return r;
    vma.hugetlb!.reserve = new ReserveMap();
    return 0;
  }
  const map = inode.hugetlb!.reserve;
  const r = hugetlbAcctMemory(k, map.missing(from, to));
  if (r === 0) map.add(from, to);
  return r;
}

function initVma(k: Kernel, vma: VmArea): void {
  vma.hugetlb = new HugetlbVma();
  if ((vma.flags & VM_MAYSHARE) !== 0) vma.hugetlb.lock = newVmaLock(k.sched, vma.mm.id, vma.start);
}

/** hugetlb_unreserve_pages: the file loses indices [from, to), `freed` of which had a page. */
export function hugetlbUnreservePages(k: Kernel, inode: Inode, from: number, to: number, freed: number): void {
  hugetlbAcctMemory(k, freed - inode.hugetlb!.reserve.remove(from, to));
}

/** hugetlb_dup_vma_private: fork's copy of a VMA, or the source of a move, has no reservations. */
export function hugetlbDupVmaPrivate(k: Kernel, vma: VmArea): void {
  initVma(k, vma);
}

/** hugetlb_vm_op_open: a piece of a VMA becomes a VMA (split, mremap) and shares the reservations. */
export function hugetlbVmOpOpen(k: Kernel, vma: VmArea, from: VmArea): void {
  initVma(k, vma);
  const state = vma.hugetlb!;
  state.reserve = from.hugetlb!.reserve;
  state.isUnmapped = from.hugetlb!.isUnmapped;
  if (state.reserve !== null) state.reserve.users++;
}

/** hugetlb_vm_op_close: a private VMA gives back what it reserved and did not use. */
export function hugetlbVmOpClose(k: Kernel, vma: VmArea): void {
  const map = vma.hugetlb?.reserve ?? null;
  if (map === null) return;
  hugetlbAcctMemory(k, -map.missing(hugeIndex(vma, vma.start), hugeIndex(vma, vma.end)));
  map.users--;
}

/** clear_vma_resv_huge_pages: after a move the new VMA has the reservations. */
export function clearVmaResvHugePages(k: Kernel, vma: VmArea): void {
  const map = vma.hugetlb!.reserve;
  if (map !== null) map.users--;
  hugetlbDupVmaPrivate(k, vma);
}

/** vma_needs_reservation: must a fault at huge page `index` take a page that nobody reserved? */
function needsReservation(vma: VmArea, index: number): boolean {
  if ((vma.flags & VM_MAYSHARE) !== 0) return vma.file!.inode.hugetlb!.reserve.missing(index, index + 1) > 0;
  const map = vma.hugetlb!.reserve;
  return map === null || map.count(index, index + 1) > 0;
}

/** vma_has_reserves: is one of the reserved pages meant for this fault? */
function hasReserves(vma: VmArea, needs: boolean): boolean {
  if ((vma.flags & VM_MAYSHARE) !== 0) return !needs;
  if ((vma.flags & VM_NORESERVE) !== 0) return false;
  return vma.hugetlb!.reserve !== null && !needs;
}

/** vma_commit_reservation: the index is in use now (file), or has used its reservation (private). */
function commitReservation(vma: VmArea, index: number): void {
  const map = (vma.flags & VM_MAYSHARE) !== 0 ? vma.file!.inode.hugetlb!.reserve : vma.hugetlb!.reserve;
  if (map !== null) map.add(index, index + 1);
}

/** alloc_huge_page: head of a page with refcount 1 for the address, or -ENOSPC. `avoidReserve`: a copy for which nothing was
 *  reserved. */
export function allocHugePage(k: Kernel, vma: VmArea, address: number, avoidReserve: boolean): number {
  const index = hugeIndex(vma, address);
  const needs = needsReservation(vma, index) || avoidReserve;
  const head = dequeueHugePage(k, !avoidReserve && hasReserves(vma, needs));
  if (head === 0) return -ENOSPC;
  commitReservation(vma, index);
  return head;
}

/** restore_reserve_on_error: a page got by allocHugePage is put back unused. The caller puts the page afterwards. */
export function restoreReserveOnError(k: Kernel, vma: VmArea, address: number, head: number): void {
  const map = (vma.flags & VM_MAYSHARE) !== 0 ? vma.file!.inode.hugetlb!.reserve : vma.hugetlb!.reserve;
  const index = hugeIndex(vma, address);
  // A reserved page: shared indices stay in the map, private ones leave it, so that the reservation is there again.
  const isReserved = (k.pages.flags[head]! & PG_HUGETLB_RESTORE) !== 0;
  const isShared = (vma.flags & VM_MAYSHARE) !== 0;
  if (map !== null && isReserved !== isShared) map.remove(index, index + 1);
}

/** A private page goes while its VMA stays: the reservation that it used is there again (since 6.9). Set PG_HUGETLB_RESTORE then, so
 *  that the free page is counted as promised. */
export function restoreReservationOfAnon(vma: VmArea, address: number): boolean {
  const map = (vma.flags & VM_MAYSHARE) !== 0 ? null : vma.hugetlb!.reserve;
  if (map === null) return false;
  const index = hugeIndex(vma, address);
  map.remove(index, index + 1);
  return true;
}

/** Number of reservations of the VMA that are still to come: for checks. */
export function unusedReservations(vma: VmArea): number {
  const map = vma.hugetlb?.reserve ?? null;
  return map === null ? 0 : map.missing(hugeIndex(vma, vma.start), hugeIndex(vma, vma.end));
}
