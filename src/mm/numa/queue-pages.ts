// Which pages of a range are on nodes where they shall not be (mm/mempolicy.c queue_pages_range): the walk of mbind and of
// migrate_pages. Pages are taken off their lists in the order of VMAs and addresses. A page that others map too stays, silently, unless
// MPOL_MF_MOVE_ALL is given; the zero page, pages of devices and of special mappings are passed over.
//
// Locks: mmapLock held; ptl for each table. Kernel names: queue_pages_test_walk, queue_pages_pte_range, queue_pages_pmd,
// queue_pages_hugetlb, queue_pages_required, migrate_page_add.

import { EFAULT, EIO } from '../../abi/errno.ts';
import { FRAME_KERNEL } from '../../abi/events.ts';
import { VM_HUGETLB } from '../../abi/mman.ts';
import { PTE_P, PTE_PS } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { pmdFrame, pmdIsSwap, pmdTransHuge } from '../huge/pmd.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { isolateHugetlb } from '../migrate/hugetlb.ts';
import { isolateForMigration } from '../migrate/isolate.ts';
import { vmaMigratable } from '../migrate/move-pages.ts';
import { compoundHead, pageMapcount } from '../page/compound.ts';
import { pageToNid } from '../page/nodes.ts';
import { isZoneDevice } from '../page/pages.ts';
import { pteFrame, ptePresent, pteSpecial } from '../page/swapops.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { nextPopulatedPmd, pmdEnd } from '../zap/walk-range.ts';

export const MPOL_MF_STRICT = 1;
export const MPOL_MF_MOVE = 2;
export const MPOL_MF_MOVE_ALL = 4;
const MPOL_MF_MOVES = MPOL_MF_MOVE | MPOL_MF_MOVE_ALL;

/** struct queue_pages. */
export interface QueuePages {
  /** MPOL_MF_*. */
  readonly flags: number;
  /** Pages on these nodes are wanted; `inverted`: those on any other. */
  readonly nodes: readonly number[];
  readonly inverted: boolean;
  /** Holes are no error. */
  readonly allowsHoles: boolean;
  /** The pages, isolated, in order. */
  readonly pages: number[];
}

/** queue_pages_range: 0; 1: something cannot be moved; -EFAULT: a hole, or nothing mapped at all; -EIO: a page is where it shall not
 *  be, and nobody asked to move it. The caller owns what is in `qp.pages` in every case. */
export function* queuePagesRange(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  qp: QueuePages,
): KernelPath<number> {
  let first = true;
  for (let vma = mm.vmas.intersects(start, end); vma !== null && vma.start < end; ) {
    if (first && !qp.allowsHoles && vma.start > start) return -EFAULT;
    first = false;
    const next: VmArea | null = mm.vmas.find(vma.end);
    if (!qp.allowsHoles && vma.end < end && (next === null || next.start > vma.end)) return -EFAULT;
    if (qp.flags !== 0 && (vmaMigratable(vma) || (qp.flags & MPOL_MF_STRICT) !== 0)) {
      const result = yield* queueVma(k, vma, Math.max(start, vma.start), Math.min(end, vma.end), qp);
      if (result !== 0) return result;
    }
    vma = next;
  }
  return first ? -EFAULT : 0;
}

function* queueVma(k: Kernel, vma: VmArea, start: number, end: number, qp: QueuePages): KernelPath<number> {
  const m = k.memory;
  const root = vma.mm.pgd;
  const isHugetlb = (vma.flags & VM_HUGETLB) !== 0;
  for (let at = nextPopulatedPmd(m, root, start, end); at < end; ) {
    const next = pmdEnd(at, end);
    const word = pmdWord(m, root, vpnHi(at), vpnLo(at));
    const lo = entryLo(m, word);
    let result = 0;
    if (isHugetlb) result = yield* queueHugetlb(k, vma, word, qp);
    else if ((lo & (PTE_P | PTE_PS)) === PTE_P) result = yield* queuePteRange(k, vma, lo >>> 12, at, next, qp);
    else result = yield* queuePmd(k, vma, word, qp);
    if (result !== 0) return result;
    at = nextPopulatedPmd(m, root, next, end);
  }
  return 0;
}

/** queue_pages_required: is the page among those wanted? */
function isRequired(k: Kernel, pfn: number, qp: QueuePages): boolean {
  return qp.nodes.includes(pageToNid(k, pfn)) !== qp.inverted;
}

/** migrate_page_add: false when the page cannot be moved, and MPOL_MF_STRICT asks for that to be told. */
function addPage(k: Kernel, pfn: number, qp: QueuePages): boolean {
  const head = compoundHead(k.pages, pfn);
  if ((qp.flags & MPOL_MF_MOVE_ALL) === 0 && pageMapcount(k.pages, head) !== 1) return true;
  if (isolateForMigration(k, head)) qp.pages.push(head);
  else if ((qp.flags & MPOL_MF_STRICT) !== 0) return false;
  return true;
}

function* queuePteRange(
  k: Kernel,
  vma: VmArea,
  table: number,
  start: number,
  end: number,
  qp: QueuePages,
): AtomicPath<number> {
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  let hasUnmovable = false;
  let at = start;
  for (; at < end; at += 4096) {
    const lo = entryLo(k.memory, entryWord(table, vpnLo(at) & 511));
    if (!ptePresent(lo) || pteSpecial(lo)) continue;
    const pfn = pteFrame(lo);
    // PageReserved: what the kernel shows of itself ([vdso]).
    if (isZoneDevice(k.pages, pfn) || k.pages.purpose[pfn] === FRAME_KERNEL || !isRequired(k, pfn, qp)) continue;
    if ((qp.flags & MPOL_MF_MOVES) === 0) break;
    if (!vmaMigratable(vma)) {
      hasUnmovable = true;
      break;
    }
    if (!addPage(k, pfn, qp)) hasUnmovable = true;
  }
  k.ptl.unlock(table);
  if (hasUnmovable) return 1;
  return at < end ? -EIO : 0;
}

function* queuePmd(k: Kernel, vma: VmArea, word: number, qp: QueuePages): AtomicPath<number> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  let result = 0;
  if (pmdIsSwap(lo, entryHi(k.memory, word))) result = -EIO;
  else if (pmdTransHuge(lo) && !isHugeZero(k, pmdFrame(lo)) && isRequired(k, pmdFrame(lo), qp)) {
    if ((qp.flags & MPOL_MF_MOVES) === 0) result = -EIO;
    else if (!vmaMigratable(vma) || !addPage(k, pmdFrame(lo), qp)) result = 1;
  }
  k.ptl.unlock(ptl);
  return result;
}

function* queueHugetlb(k: Kernel, vma: VmArea, word: number, qp: QueuePages): AtomicPath<number> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  let result = 0;
  if (ptePresent(lo) && isRequired(k, pmdFrame(lo), qp)) {
    const head = pmdFrame(lo);
    const all = (qp.flags & MPOL_MF_MOVE_ALL) !== 0;
    if (qp.flags === MPOL_MF_STRICT) result = -EIO;
    else if (!vmaMigratable(vma)) result = 1;
    else if (all || pageMapcount(k.pages, head) === 1) {
      if (isolateHugetlb(k, head)) qp.pages.push(head);
      else if ((qp.flags & MPOL_MF_STRICT) !== 0) result = 1;
    }
  }
  k.ptl.unlock(ptl);
  return result;
}
