// Filling pages on behalf of a monitor (mm/userfaultfd.c): UFFDIO_COPY, ZEROPAGE and CONTINUE put pages where the entry is none,
// WRITEPROTECT marks entries that are there. Filling tells no notifier: nothing was mapped.
//
// Locks: mmapLock of the target for read, ptl for each entry. The source of a copy belongs to the monitor and may be the same
// address space: it is copied without faulting under mmapLock, and when it is not there, with the lock dropped.
// Kernel names: mcopy_atomic, mfill_zeropage, mcopy_continue, mfill_atomic_install_pte, mcopy_atomic_pte, mfill_zeropage_pte,
// mcontinue_atomic_pte, shmem_mfill_atomic_pte, mwriteprotect_range, uffd_wp_range, find_dst_vma.

import { EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM } from '../../abi/errno.ts';
import { FRAME_ANON, FRAME_FILE } from '../../abi/events.ts';
import { MM_ANONPAGES, VM_HUGETLB, VM_SHARED, VM_UFFD_WP, VM_WRITE } from '../../abi/mman.ts';
import { SITE_MPROTECT } from '../../abi/notifier.ts';
import { PTE_P, PTE_PS, PTE_RW, PTE_SPECIAL, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { addToPageCache, filePages, isCachedAt, isShmem, noteFile } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, unlockPage } from '../page/page-lock.ts';
import { GFP_KERNEL, PG_DIRTY, PG_SWAPBACKED, PG_UPTODATE } from '../page/pages.ts';
import { mkPteHi, mkPteLo, pteMkdirty, pteNone, pteNoneMostly } from '../page/swapops.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { linearPageIndex, mmCounterFile } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { wantsManualWriteUpgrade } from '../vma/flags.ts';
import { MM_CP_TRY_CHANGE_WRITABLE, MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE } from '../zap/cp-flags.ts';
import { UFFDIO_COPY_MODE_WP, type UserfaultfdCtx } from './context.ts';
import { noteUffd } from './fault.ts';

/** enum mcopy_atomic_mode. */
export const MCOPY_ATOMIC_NORMAL = 0;
export const MCOPY_ATOMIC_ZEROPAGE = 1;
export const MCOPY_ATOMIC_CONTINUE = 2;

/** find_dst_vma: the registered VMA that holds the whole range, or null. */
function findDstVma(mm: MmStruct, start: number, len: number): VmArea | null {
  const vma = mm.vmas.findExact(start);
  return vma === null || start + len > vma.end || vma.uffd === null ? null : vma;
}

/** __mcopy_atomic: fills [start, start + len) of the context's address space, page after page. `source` gives the bytes of the
 *  page at that offset (COPY; null: they cannot be read). Bytes filled, or -errno when the first page failed. */
export function* mcopyAtomic(
  k: Kernel,
  ctx: UserfaultfdCtx,
  start: number,
  len: number,
  mode: number,
  flags: number,
  source: ((offset: number) => KernelPath<Uint8Array | null>) | null,
): KernelPath<number> {
  const mm = ctx.mm;
  const lock = mm.mmapLock;
  let done = 0;
  let error = 0;
  while (done < len && error === 0) {
    // The source may lie in the same address space: it is read before the lock is taken.
    // The checks of the target come first all the same.
    if (source !== null) error = checkTarget(ctx, start, len, mode, flags);
    if (error !== 0) break;
    const bytes = source === null ? null : yield* source(done);
    if (source !== null && bytes === null) error = -EFAULT;
    if (error !== 0) break;
    if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    const vma = findDstVma(mm, start, len);
    noteUffd(k, ctx, false);
    error = checkTarget(ctx, start, len, mode, flags);
    if (error === 0) error = yield* fillPage(k, vma!, start + done, mode, (flags & UFFDIO_COPY_MODE_WP) !== 0, bytes);
    lock.readUnlock();
    if (error === 0) done += 4096;
  }
  return done > 0 ? done : error;
}

function checkTarget(ctx: UserfaultfdCtx, start: number, len: number, mode: number, flags: number): number {
  if (ctx.mmapChanging > 0) return -EAGAIN;
  const vma = findDstVma(ctx.mm, start, len);
  return vma === null ? -ENOENT : checkFill(vma, mode, flags);
}

function checkFill(vma: VmArea, mode: number, flags: number): number {
  if ((flags & UFFDIO_COPY_MODE_WP) !== 0 && (vma.flags & VM_UFFD_WP) === 0) return -EINVAL;
  const isShmemVma = vma.file !== null && isShmem(vma.file.inode.mapping);
  if (vma.file !== null && !isShmemVma) return -EINVAL;
  return mode === MCOPY_ATOMIC_CONTINUE && !isShmemVma ? -EINVAL : 0;
}

/** mfill_atomic_pte with the table made first. mmapLock R. 0 or -errno. */
function* fillPage(
  k: Kernel,
  vma: VmArea,
  address: number,
  mode: number,
  protect: boolean,
  bytes: Uint8Array | null,
): KernelPath<number> {
  const isPrivate = (vma.flags & VM_SHARED) === 0;
  if (isPrivate && needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return -ENOMEM;
  let table = pteTable(k, vma.mm, address);
  if (table === 0) {
    if (isHugeLeaf(k, vma.mm, address)) return -EEXIST;
    table = yield* k.fn.pteAlloc(k, vma.mm, address);
    if (table === 0) return isHugeLeaf(k, vma.mm, address) ? -EFAULT : -ENOMEM;
  }
  if (mode === MCOPY_ATOMIC_CONTINUE) return yield* continuePage(k, vma, address, table);
  if (!isPrivate) return yield* fillShmem(k, vma, address, table, protect, bytes);
  if (mode === MCOPY_ATOMIC_ZEROPAGE) return yield* fillZeroPage(k, vma, address, table);
  const pfn = yield* newPage(k, vma.mm, FRAME_ANON, bytes);
  if (pfn === 0) return -ENOMEM;
  const result = yield* installPte(k, vma, address, table, pfn, false, protect);
  if (result < 0) k.fn.putPage(k, pfn);
  return result;
}

function isHugeLeaf(k: Kernel, mm: MmStruct, address: number): boolean {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
  return word >= 0 && (entryLo(k.memory, word) & (PTE_P | PTE_PS)) === (PTE_P | PTE_PS);
}

/** A new page with the bytes given, or zeros; 0 when out of memory. */
function* newPage(k: Kernel, mm: MmStruct, purpose: number, bytes: Uint8Array | null): KernelPath<number> {
  let pfn = k.fn.allocPage(k, GFP_KERNEL, purpose);
  if (pfn === 0) pfn = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, purpose);
  if (pfn !== 0 && mm.memcg !== 0) pfn = yield* memCgroupCharge(k, mm.memcg, pfn);
  if (pfn === 0) return 0;
  if (bytes === null) k.memory.zero(pfn);
  else k.memory.bytes.set(bytes, pfn * 4096);
  if (k.sched.points) yield P_FAULT_PAGE_READY;
  return pfn;
}

/** mfill_atomic_install_pte: the caller's reference goes to the entry when the result is 0; otherwise -EEXIST, or -EFAULT beyond
 *  the end of the file. A PTE marker may be overwritten. */
function* installPte(
  k: Kernel,
  vma: VmArea,
  address: number,
  table: number,
  pfn: number,
  isCached: boolean,
  protect: boolean,
): KernelPath<number> {
  const m = k.memory;
  const word = pteOffset(table, address);
  let lo = pteMkdirty(mkPteLo(pfn, vma.pageProtLo));
  const isWritable = (vma.flags & VM_WRITE) !== 0 && !protect && (!isCached || (vma.flags & VM_SHARED) !== 0);
  lo = isWritable ? lo | PTE_RW : lo & ~PTE_RW;
  if (protect) lo |= PTE_UFFD_WP;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const error = cannotInstall(k, vma, address, word);
  if (error === 0) {
    if (isCached) {
      k.fn.pageAddFileRmap(k, pfn, vma, address);
      vma.mm.rss[mmCounterFile(k.pages, pfn)]!++;
    } else {
      k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
      k.fn.lruAdd(k, pfn);
      vma.mm.rss[MM_ANONPAGES]!++;
    }
    writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), vma.mm.id, address, 0);
  }
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return error;
}

function cannotInstall(k: Kernel, vma: VmArea, address: number, word: number): number {
  if (vma.file !== null) {
    noteFile(k, vma.file.inode.mapping, false);
    if (linearPageIndex(vma, address) >= filePages(vma.file.inode.mapping)) return -EFAULT;
  }
  return pteNoneMostly(entryLo(k.memory, word), entryHi(k.memory, word)) ? 0 : -EEXIST;
}

/** mfill_zeropage_pte: the shared zero page, in private memory. */
function* fillZeroPage(k: Kernel, vma: VmArea, address: number, table: number): KernelPath<number> {
  const m = k.memory;
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  let error = cannotInstall(k, vma, address, word);
  if (error === 0 && !pteNone(entryLo(m, word), entryHi(m, word))) error = -EEXIST;
  if (error === 0) {
    const lo = mkPteLo(k.zeroPfn, vma.pageProtLo) | PTE_SPECIAL;
    writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), vma.mm.id, address, 0);
  }
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return error;
}

/** shmem_mfill_atomic_pte: a new page of the file (-EEXIST when it has one), then mapped. */
function* fillShmem(
  k: Kernel,
  vma: VmArea,
  address: number,
  table: number,
  protect: boolean,
  bytes: Uint8Array | null,
): KernelPath<number> {
  const mapping = vma.file!.inode.mapping;
  const index = linearPageIndex(vma, address);
  const pfn = yield* newPage(k, vma.mm, FRAME_FILE, bytes);
  if (pfn === 0) return -ENOMEM;
  noteFile(k, mapping, false);
  const isTaken = mapping.pages.has(index) || mapping.swapped.has(index);
  if (isTaken || index >= filePages(mapping)) {
    k.fn.putPage(k, pfn);
    return isTaken ? -EEXIST : -EFAULT;
  }
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_SWAPBACKED | PG_UPTODATE | PG_DIRTY;
  addToPageCache(k, mapping, index, pfn);
  k.fn.lruAdd(k, pfn);
  const result = yield* installPte(k, vma, address, table, pfn, true, protect);
  if (result < 0) {
    k.fn.deleteFromPageCache(k, pfn);
    k.fn.putPage(k, pfn);
  }
  unlockPage(k, pfn);
  return result;
}

/** mcontinue_atomic_pte: maps the page that the file has; -EFAULT when it has none. */
function* continuePage(k: Kernel, vma: VmArea, address: number, table: number): KernelPath<number> {
  const mapping = vma.file!.inode.mapping;
  const index = linearPageIndex(vma, address);
  noteFile(k, mapping, false);
  if (!mapping.pages.has(index) && !mapping.swapped.has(index)) return -EFAULT;
  const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
  if (pfn < 0) return pfn;
  yield* lockPage(k, pfn);
  const result = isCachedAt(k, mapping, index, pfn)
    ? yield* installPte(k, vma, address, table, pfn, true, false)
    : -EFAULT;
  unlockPage(k, pfn);
  if (result < 0) k.fn.putPage(k, pfn);
  return result;
}

/** mwriteprotect_range: marks or unmarks [start, start + len), inside one VMA registered for it. 0, -EAGAIN, -ENOENT, -EINVAL. */
export function* mwriteprotectRange(
  k: Kernel,
  ctx: UserfaultfdCtx,
  start: number,
  len: number,
  enable: boolean,
): KernelPath<number> {
  const lock = ctx.mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  noteUffd(k, ctx, false);
  const vma = findDstVma(ctx.mm, start, len);
  let result = 0;
  if (ctx.mmapChanging > 0) result = -EAGAIN;
  else if (vma === null || (vma.flags & VM_UFFD_WP) === 0) result = -ENOENT;
  else if ((vma.flags & VM_HUGETLB) !== 0 && (start % 0x200000 !== 0 || len % 0x200000 !== 0)) result = -EINVAL;
  else yield* k.fn.uffdWpRange(k, vma, start, len, enable);
  lock.readUnlock();
  return result;
}

/** uffd_wp_range: mmapLock R or W. */
export function* uffdWpRange(k: Kernel, vma: VmArea, start: number, len: number, enable: boolean): KernelPath<void> {
  const tlb = k.fn.tlbGatherMmu(k, vma.mm, false, SITE_MPROTECT);
  let cpFlags = enable ? MM_CP_UFFD_WP : MM_CP_UFFD_WP_RESOLVE;
  if (!enable && k.profile.writableAtOnce && wantsManualWriteUpgrade(vma)) cpFlags |= MM_CP_TRY_CHANGE_WRITABLE;
  yield* k.fn.changeProtection(k, tlb, vma, start, start + len, cpFlags);
  yield* k.fn.tlbFinishMmu(k, tlb);
}
