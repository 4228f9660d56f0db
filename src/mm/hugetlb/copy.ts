// Fork's copying of huge pages (mm/hugetlb.c copy_hugetlb_page_range): as for small ones, but the section of a private mapping is a
// CLEAR (recorded). Shared mappings are copied only when they hold private pages; the child then usually shares the PMD table.
//
// Locks: mmapLock of both for write; VMA lock read for shared mappings; ptl of both PMD tables, the child's first.

import { ENOMEM } from '../../abi/errno.ts';
import { PMD_SIZE, VM_MAYWRITE, VM_SHARED } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_FORK } from '../../abi/notifier.ts';
import { LEVEL_PMD, PTE_PS, PTE_RW } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_COPIED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE } from '../page/pages.ts';
import { mkPteHi, mkPteLo, pteFrame, pteMaybeMkwrite, pteMkdirty, pteNone, ptePresent } from '../page/swapops.ts';
import { getPage, pageMaybeDmaPinned } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { copyHugePage } from './huge-page.ts';
import { hugePteAlloc, hugePteOffset, isSharedTable, lastOfTable } from './pmd.ts';
import { allocHugePage } from './reserve.ts';
import { hugepageAddNewAnonRmap, hugepageDupRmap } from './rmap.ts';

/** copy_hugetlb_page_range. 0 or -errno. */
export function* copyHugetlbPageRange(k: Kernel, dst: VmArea, src: VmArea): KernelPath<number> {
  const { mm } = src;
  const isCow = (src.flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE;
  const range = isCow && mm.notifiers !== null ? k.range(mm, src.start, src.end, MMU_NOTIFY_CLEAR, SITE_FORK) : null;
  const lock = isCow ? null : src.hugetlb!.lock;
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  if (lock !== null && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
  let result = 0;
  for (let address = src.start; address < src.end && result === 0; address += PMD_SIZE) {
    const from = hugePteOffset(k, mm, address);
    if (from < 0) {
      address = lastOfTable(address);
      continue;
    }
    const to = yield* hugePteAlloc(k, dst, address);
    if (to < 0) {
      result = -ENOMEM;
      break;
    }
    // A shared table needs no copying.
    if (isSharedTable(k, to)) {
      address = lastOfTable(address);
      continue;
    }
    result = yield* copyEntry(k, dst, src, from, to, address, isCow);
  }
  lock?.readUnlock();
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return result;
}

function* copyEntry(
  k: Kernel,
  dst: VmArea,
  src: VmArea,
  from: number,
  to: number,
  address: number,
  isCow: boolean,
): KernelPath<number> {
  const [dstPtl, srcPtl] = [to >>> 10, from >>> 10];
  if (k.sched.points || !k.ptl.tryLock(dstPtl)) yield* k.ptl.lock(dstPtl);
  if (k.sched.points || !k.ptl.tryLock(srcPtl)) yield* k.ptl.lock(srcPtl);
  const pinned = copyLocked(k, dst, src, from, to, address, isCow);
  if (k.sched.points) yield P_PTES_COPIED;
  k.ptl.unlock(srcPtl);
  k.ptl.unlock(dstPtl);
  return pinned === 0 ? 0 : yield* copyPinned(k, dst, pinned, to, address);
}

/** Head of a pinned page, which the child may not share, with a reference taken; else 0. */
function copyLocked(
  k: Kernel,
  dst: VmArea,
  src: VmArea,
  from: number,
  to: number,
  address: number,
  isCow: boolean,
): number {
  const m = k.memory;
  const { flags } = k.pages;
  let lo = entryLo(m, from);
  const hi = entryHi(m, from);
  if (pteNone(lo, hi)) return 0;
  if (!ptePresent(lo)) {
    writeEntry(m, to, lo, hi, dst.mm.id, address, LEVEL_PMD);
    return 0;
  }
  const head = pteFrame(lo);
  const pageFlags = flags[head]!;
  getPage(k, head);
  if ((pageFlags & (PG_ANON | PG_ANON_EXCLUSIVE)) === (PG_ANON | PG_ANON_EXCLUSIVE)) {
    if (src.mm.hasPinned && pageMaybeDmaPinned(k.pages, head)) return head;
    flags[head] = pageFlags & ~PG_ANON_EXCLUSIVE;
  }
  hugepageDupRmap(k, head, dst, address);
  if (isCow && (lo & PTE_RW) !== 0) {
    lo &= ~PTE_RW;
    writeEntry(m, from, lo, hi, src.mm.id, address, LEVEL_PMD);
  }
  writeEntry(m, to, lo, hi, dst.mm.id, address, LEVEL_PMD);
  return 0;
}

/** The child gets a page of its own with what a pinned page holds. */
function* copyPinned(k: Kernel, dst: VmArea, pinned: number, to: number, address: number): KernelPath<number> {
  const head = allocHugePage(k, dst, address, true);
  if (head < 0) {
    k.fn.putPage(k, pinned);
    return head;
  }
  copyHugePage(k, head, pinned);
  k.fn.putPage(k, pinned);
  const ptl = to >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  hugepageAddNewAnonRmap(k, head, dst, address);
  const lo = pteMaybeMkwrite(pteMkdirty(mkPteLo(head, dst.pageProtLo)), dst.flags) | PTE_PS;
  writeEntry(k.memory, to, lo, mkPteHi(dst.pageProtLo, dst.pageProtHi), dst.mm.id, address, LEVEL_PMD);
  k.ptl.unlock(ptl);
  return 0;
}
