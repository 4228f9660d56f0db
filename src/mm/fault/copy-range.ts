// Fork's copying of entries (mm/memory.c copy_page_range, copy_pte_range, copy_present_pte, copy_nonpresent_pte). mmapLock of
// parent and child held for write. Only a VMA with an anon_vma is copied: all other pages can be faulted in again.
//
// In a copy-on-write mapping both sides lose write access; that is a section PROTECTION_PAGE on the parent, and the
// parent's CPU TLBs are flushed once, after the last VMA (dup_mmap). A pinned page must stay the parent's own: the child gets
// a copy at once, allocated outside of the locks.

import { EAGAIN, EBUSY, ENOMEM } from '../../abi/errno.ts';
import { FRAME_ANON } from '../../abi/events.ts';
import {
  MM_ANONPAGES,
  MM_FILEPAGES,
  MM_SHMEMPAGES,
  MM_SWAPENTS,
  PGDIR_SIZE,
  PMD_SIZE,
  PUD_SIZE,
  VM_HUGETLB,
  VM_MAYWRITE,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_SHARED,
  VM_UFFD_WP,
} from '../../abi/mman.ts';
import { MMU_NOTIFY_PROTECTION_PAGE, SITE_FORK } from '../../abi/notifier.ts';
import { PTE_A, PTE_D, PTE_P, PTE_PROTNONE, PTE_RW, PTE_SPECIAL, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, pudTable, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTES_COPIED } from '../../sched/points.ts';
import { tryRestoreExclusivePte } from '../hmm/exclusive.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { GFP_KERNEL, PG_ANON, PG_ANON_EXCLUSIVE, PG_COMPOUND, PG_SWAPBACKED } from '../page/pages.ts';
import {
  isDeviceExclusive,
  isDevicePrivate,
  isMigration,
  readOnlyType,
  swapPfn,
  withSwapType,
} from '../page/pfn-swap.ts';
import {
  isGuardMarker,
  isRealSwap,
  mkPteHi,
  mkPteLo,
  pteFrame,
  pteMaybeMkwrite,
  pteMkdirty,
  SWP_EXCLUSIVE,
  SWP_PTE_MARKER,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapOffset,
  swapType,
} from '../page/swapops.ts';
import { getPage, pageDupRmap, pageMaybeDmaPinned } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { nextPopulatedPmd, nextPopulatedPud, pudEnd } from '../zap/walk-range.ts';
import { pmdAlloc, pteOffset, pteTable, pudAlloc } from './page-tables.ts';

// Why a chunk ended before its time.
const COPY_MORE = 0;
const COPY_NEEDS_PAGE = 1;
const COPY_NO_MEMORY = 2;
const COPY_BUSY = 3;

/** One copy_page_range: what the chunks count, and the page made for a pinned one. */
class CopyState {
  readonly dst: VmArea;
  readonly src: VmArea;
  readonly isCow: boolean;
  readonly isShared: boolean;
  /** The child's memory is watched as well (userfaultfd): its entries keep their marks. */
  readonly keepsUffdWp: boolean;
  status = COPY_MORE;
  prealloc = 0;
  anon = 0;
  file = 0;
  shmem = 0;
  swap = 0;

  constructor(dst: VmArea, src: VmArea) {
    this.dst = dst;
    this.src = src;
    this.isCow = (src.flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE;
    this.keepsUffdWp = (dst.flags & VM_UFFD_WP) !== 0;
    this.isShared = (src.flags & VM_SHARED) !== 0;
  }
}

/** copy_present_page: the pinned page's contents go to the child's own new page. */
function copyPinned(k: Kernel, s: CopyState, pfn: number, dstWord: number, address: number): void {
  const page = s.prealloc;
  s.prealloc = 0;
  k.memory.copy(page, pfn);
  k.fn.pageAddNewAnonRmap(k, page, s.dst, address);
  k.fn.lruAdd(k, page);
  s.anon++;
  const prot = s.dst.pageProtLo;
  const lo = pteMaybeMkwrite(pteMkdirty(mkPteLo(page, prot)), s.dst.flags);
  writeEntry(k.memory, dstWord, lo, mkPteHi(prot, s.dst.pageProtHi), s.dst.mm.id, address, 0);
}

/** An entry that names a page: it counts for the child too. A mapping that is copied on write loses the right to write in both. */
function copyPfnEntry(
  k: Kernel,
  s: CopyState,
  srcWord: number,
  dstWord: number,
  lo: number,
  hi: number,
  address: number,
): void {
  const m = k.memory;
  const { flags } = k.pages;
  const pfn = swapPfn(lo);
  const isDevice = isDevicePrivate(hi);
  if (isDevice || isMigration(hi)) {
    const head = compoundHead(k.pages, pfn);
    if ((flags[head]! & PG_ANON) !== 0) s.anon++;
    else if ((flags[head]! & PG_SWAPBACKED) !== 0) s.shmem++;
    else s.file++;
    const type = s.isCow ? readOnlyType(swapType(hi), false) : swapType(hi);
    if (type !== swapType(hi)) {
      hi = withSwapType(hi, type);
      // Of a page in device memory soft-dirty is not kept.
      if (isDevice) lo &= ~SWP_SOFT_DIRTY;
      writeEntry(m, srcWord, lo, hi, s.src.mm.id, address, 0);
    }
    if (isDevice) {
      flags[pfn] = flags[pfn]! & ~PG_ANON_EXCLUSIVE;
      getPage(k, pfn);
      pageDupRmap(k, pfn, s.dst, address);
    }
  }
  writeEntry(m, dstWord, s.keepsUffdWp ? lo : lo & ~SWP_UFFD_WP, hi, s.dst.mm.id, address, 0);
}

/** A swap entry gets a second user; the parent's is no longer exclusive. False when the count is full. */
function copySwap(
  k: Kernel,
  s: CopyState,
  srcWord: number,
  dstWord: number,
  lo: number,
  hi: number,
  address: number,
): boolean {
  const m = k.memory;
  if (k.fn.swapDuplicate(k, swapOffset(lo, hi)) < 0) return false;
  s.swap++;
  if ((lo & SWP_EXCLUSIVE) !== 0) {
    lo &= ~SWP_EXCLUSIVE;
    writeEntry(m, srcWord, lo, hi, s.src.mm.id, address, 0);
  }
  writeEntry(m, dstWord, s.keepsUffdWp ? lo : lo & ~SWP_UFFD_WP, hi, s.dst.mm.id, address, 0);
  return true;
}

/** copy_nonpresent_pte. COPY_MORE: copied, or made present again (device-exclusive) and still to be copied. */
function copyNonpresent(k: Kernel, s: CopyState, srcWord: number, dstWord: number, address: number): number {
  const m = k.memory;
  const lo = entryLo(m, srcWord);
  const hi = entryHi(m, srcWord);
  if (swapType(hi) === SWP_PTE_MARKER) {
    if (s.keepsUffdWp || isGuardMarker(lo, hi)) writeEntry(m, dstWord, lo, hi, s.dst.mm.id, address, 0);
  } else if (isRealSwap(hi)) {
    if (!copySwap(k, s, srcWord, dstWord, lo, hi, address)) return COPY_NO_MEMORY;
  } else if (isDeviceExclusive(hi)) {
    // The device loses the page.
    if (!tryRestoreExclusivePte(k, s.src, address, srcWord)) return COPY_BUSY;
  } else copyPfnEntry(k, s, srcWord, dstWord, lo, hi, address);
  return COPY_MORE;
}

/** Copies entries of one table from `address` on; the address where it stopped. Both ptls held. */
function copyChunk(k: Kernel, s: CopyState, srcWord: number, dstWord: number, address: number, end: number): number {
  const m = k.memory;
  const { words } = m;
  const tracked = m.footprint !== null;
  const { flags, refcount } = k.pages;
  const srcMm = s.src.mm.id;
  const { hasPinned } = s.src.mm;
  const dstMm = s.dst.mm.id;
  const drop = (s.isShared ? PTE_A | PTE_D : PTE_A) | (s.keepsUffdWp ? 0 : PTE_UFFD_WP);
  for (; address < end; address += 4096, srcWord += 2, dstWord += 2) {
    let lo = tracked ? entryLo(m, srcWord) : words[srcWord]!;
    if ((lo & (PTE_P | PTE_PROTNONE)) === 0) {
      if ((lo | words[srcWord + 1]!) === 0) continue;
      s.status = copyNonpresent(k, s, srcWord, dstWord, address);
      if (s.status !== COPY_MORE) return address;
      lo = entryLo(m, srcWord);
      // Copied, unless the page came back from a device: then it is copied as any other.
      if ((lo & (PTE_P | PTE_PROTNONE)) === 0) continue;
    }
    const hi = entryHi(m, srcWord);
    if ((lo & PTE_SPECIAL) === 0) {
      const pfn = pteFrame(lo);
      const own = flags[pfn]!;
      const head = (own & PG_COMPOUND) === 0 ? pfn : compoundHead(k.pages, pfn);
      const pageFlags = head === pfn ? own : flags[head]!;
      if ((pageFlags & PG_ANON) !== 0) {
        if ((own & PG_ANON_EXCLUSIVE) !== 0) {
          if (hasPinned && pageMaybeDmaPinned(k.pages, head)) {
            if (s.prealloc === 0) {
              s.status = COPY_NEEDS_PAGE;
              return address;
            }
            copyPinned(k, s, pfn, dstWord, address);
            continue;
          }
          flags[pfn] = own & ~PG_ANON_EXCLUSIVE;
        }
        s.anon++;
      } else if ((pageFlags & PG_SWAPBACKED) !== 0) s.shmem++;
      else s.file++;
      refcount[head] = refcount[head]! + 1;
      pageDupRmap(k, pfn, s.dst, address);
    }
    if (s.isCow && (lo & PTE_RW) !== 0) {
      lo &= ~PTE_RW;
      writeEntry(m, srcWord, lo, hi, srcMm, address, 0);
    }
    writeEntry(m, dstWord, lo & ~drop, hi, dstMm, address, 0);
  }
  return address;
}

/** copy_pte_range: one table's part [address, end). 0 or -ENOMEM. */
function* copyPteRange(k: Kernel, s: CopyState, address: number, end: number): KernelPath<number> {
  const srcTable = pteTable(k, s.src.mm, address);
  while (address < end) {
    s.status = COPY_MORE;
    let dstTable = pteTable(k, s.dst.mm, address);
    if (dstTable === 0) dstTable = yield* k.fn.pteAlloc(k, s.dst.mm, address);
    if (dstTable === 0) return -ENOMEM;
    if (k.sched.points || !k.ptl.tryLock(dstTable)) yield* k.ptl.lock(dstTable);
    if (k.sched.points || !k.ptl.tryLock(srcTable)) yield* k.ptl.lock(srcTable);
    while (address < end && s.status === COPY_MORE) {
      const stop = Math.min(end, address + k.stride * 4096);
      address = copyChunk(k, s, pteOffset(srcTable, address), pteOffset(dstTable, address), address, stop);
      if (k.sched.points) yield P_PTES_COPIED;
    }
    k.ptl.unlock(srcTable);
    k.ptl.unlock(dstTable);
    if (s.status === COPY_NO_MEMORY) return -ENOMEM;
    if (s.status === COPY_BUSY) return -EBUSY;
    if (s.status === COPY_NEEDS_PAGE) {
      let page = k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON);
      if (page === 0) page = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON);
      if (page === 0) return -ENOMEM;
      s.prealloc = page;
    }
  }
  return 0;
}

/** copy_pmd_range for one PMD entry. */
function copyPmdRange(k: Kernel, s: CopyState, address: number, end: number): KernelPath<number> {
  return pteTable(k, s.src.mm, address) !== 0 ? copyPteRange(k, s, address, end) : copyHuge(k, s, address, end);
}

/** The same where the entry is no table; it may have become one when it is looked at. */
function* copyHuge(k: Kernel, s: CopyState, address: number, end: number): KernelPath<number> {
  const word = pmdWord(k.memory, s.src.mm.pgd, vpnHi(address), vpnLo(address));
  const result = yield* k.fn.copyHugePmd(k, s.dst, s.src, word, address);
  if (result !== -EAGAIN || pteTable(k, s.src.mm, address) === 0) return result === -EAGAIN ? 0 : result;
  return yield* copyPteRange(k, s, address, end);
}

/** Has the child all PUD and PMD tables that the parent has in the VMA? False also where it would take long to see. */
function hasUpperTables(k: Kernel, dst: VmArea, src: VmArea): boolean {
  const m = k.memory;
  const { start } = src;
  const pud = start - modPower(start, PUD_SIZE) + PUD_SIZE;
  return src.end <= pud && pmdWord(m, dst.mm.pgd, vpnHi(start), vpnLo(start)) >= 0;
}

/** The child gets every PUD and PMD table that the parent has in the VMA, filled or not. False: out of memory. */
function* makeUpperTables(k: Kernel, dst: VmArea, src: VmArea): KernelPath<boolean> {
  const m = k.memory;
  const end = src.end;
  for (let at = src.start; at < end; at = at - modPower(at, PGDIR_SIZE) + PGDIR_SIZE) {
    if (pudTable(m, src.mm.pgd, vpnHi(at)) === 0) continue;
    if (pudTable(m, dst.mm.pgd, vpnHi(at)) === 0 && (yield* pudAlloc(k, dst.mm, at)) === 0) return false;
  }
  for (let at = nextPopulatedPud(m, src.mm.pgd, src.start, end); at < end; ) {
    if (pmdWord(m, dst.mm.pgd, vpnHi(at), vpnLo(at)) < 0 && (yield* pmdAlloc(k, dst.mm, at)) === 0) return false;
    at = nextPopulatedPud(m, src.mm.pgd, pudEnd(at, end), end);
  }
  return true;
}

export function* copyPageRange(k: Kernel, dst: VmArea, src: VmArea): KernelPath<number> {
  // vma_needs_copy.
  const isWatched = (dst.flags & VM_UFFD_WP) !== 0;
  if (src.anonVma === null && !isWatched && !src.maybeGuard && (src.flags & (VM_PFNMAP | VM_MIXEDMAP)) === 0) return 0;
  if ((src.flags & VM_HUGETLB) !== 0) return yield* k.fn.copyHugetlbPageRange(k, dst, src);
  const s = new CopyState(dst, src);
  const mm = src.mm;
  const range =
    s.isCow && mm.notifiers !== null ? k.range(mm, src.start, src.end, MMU_NOTIFY_PROTECTION_PAGE, SITE_FORK) : null;
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let result = 0;
  if (!hasUpperTables(k, dst, src) && !(yield* makeUpperTables(k, dst, src))) result = -ENOMEM;
  let address = nextPopulatedPmd(k.memory, mm.pgd, src.start, src.end);
  while (address < src.end && result === 0) {
    const end = Math.min(src.end, address - modPower(address, PMD_SIZE) + PMD_SIZE);
    result = yield* copyPmdRange(k, s, address, end);
    address = nextPopulatedPmd(k.memory, mm.pgd, end, src.end);
  }
  if (s.prealloc !== 0) k.fn.putPage(k, s.prealloc);
  const rss = dst.mm.rss;
  rss[MM_ANONPAGES]! += s.anon;
  rss[MM_FILEPAGES]! += s.file;
  rss[MM_SHMEMPAGES]! += s.shmem;
  rss[MM_SWAPENTS]! += s.swap;
  if (range !== null) {
    range.hasFailed = result < 0;
    yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  }
  return result;
}
