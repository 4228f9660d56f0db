// Mapping a huge page of the page cache whole (mm/memory.c do_set_pmd, finish_fault; mm/filemap.c filemap_map_pmd). Only in a block
// without a page table, whose place in the VMA is that of the page in the file. Unlike anonymous memory no page table is put by: a
// split of the mapping just clears the entry, and faults come again. No notifier: the entry was none.
//
//   read             the page is in the cache and its lock is free: mapped at once (fault-around)
//   read, write      locked, mapped, unlocked; a shared write marks the page dirty
//   private write    a small copy, as ever
//
// The entry of a read has the VMA's protections: in a shared writable mapping it can be written, and only D tells. Locks: mmapLock (R), page lock,
// ptl of the PMD table.

import { RMAP_FILE } from '../../abi/events.ts';
import {
  FAULT_FLAG_WRITE,
  PMD_SIZE,
  VM_FAULT_FALLBACK,
  VM_FAULT_LOCKED,
  VM_FAULT_MAJOR,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_SHARED,
  VM_UFFD_MINOR,
  VM_UFFD_WP,
} from '../../abi/mman.ts';
import { vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { faultDirtySharedPage, filemapFault } from '../fault/file-fault.ts';
import { pmdAlloc } from '../fault/page-tables.ts';
import { filePages, isShmem, noteFile } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead, HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_HWPOISON, PG_READAHEAD, PG_UPTODATE } from '../page/pages.ts';
import { pteMaybeMkwrite, pteMkdirty } from '../page/swapops.ts';
import { getPage, linearPageIndex, mmCounterFile } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { mkHugePmdHi, mkHugePmdLo } from './pmd.ts';
import { setPmd } from './pmd-flush.ts';
import { transhugeVmaSuitable } from './policy.ts';
import { pageAddHugeRmap } from './rmap.ts';
import { shmemIsHuge } from './shmem-policy.ts';

/** May the fault of a file in a block without a page table meet, or make, a huge page? */
export function mayFaultFileHuge(k: Kernel, vma: VmArea, address: number): boolean {
  const { inode } = vma.file!;
  const { mapping } = inode;
  if (!isShmem(mapping)) return false;
  noteFile(k, mapping, false);
  const index = linearPageIndex(vma, address);
  const page = mapping.hugePages === 0 ? undefined : mapping.pages.get(index);
  const isHuge = page !== undefined && k.pages.order[compoundHead(k.pages, page)] === HPAGE_PMD_ORDER;
  if (!isHuge && !shmemIsHuge(k, inode, index, vma.flags, false, vma.mm)) return false;
  return transhugeVmaSuitable(vma, address - modPower(address, PMD_SIZE));
}

/** A frame of the page is broken (PG_has_hwpoisoned): its entry must be a small one, so that an access to it is noticed. */
function hasHwpoisoned(k: Kernel, head: number): boolean {
  for (let pfn = head; pfn < head + HPAGE_PMD_NR; pfn++) if ((k.pages.flags[pfn]! & PG_HWPOISON) !== 0) return true;
  return false;
}

export function* doFileHugeFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const { mm } = vma;
  const { mapping } = vma.file!.inode;
  const isWrite = (flags & FAULT_FLAG_WRITE) !== 0;
  const index = linearPageIndex(vma, address);
  noteFile(k, mapping, false);
  if ((isWrite && (vma.flags & VM_SHARED) === 0) || index >= filePages(mapping)) return VM_FAULT_FALLBACK;
  const pmdTable = yield* pmdAlloc(k, mm, address);
  if (pmdTable === 0) return VM_FAULT_OOM;
  const word = entryWord(pmdTable, vpnLo(address) >>> 9);
  const haddr = address - modPower(address, PMD_SIZE);
  const isAround = k.config.faultAroundPages > 1 && (vma.flags & (VM_UFFD_WP | VM_UFFD_MINOR)) === 0;
  if (!isWrite && isAround && (yield* mapCachedHuge(k, vma, haddr, word, index))) return VM_FAULT_NOPAGE;
  const found = yield* filemapFault(k, vma, address, flags);
  if (found < 0) return -found;
  const head = compoundHead(k.pages, found >>> 1);
  let result = VM_FAULT_FALLBACK;
  if (mm.isUnstable && (vma.flags & VM_SHARED) === 0) result = VM_FAULT_SIGBUS;
  else if (k.pages.order[head] === HPAGE_PMD_ORDER && !hasHwpoisoned(k, head)) {
    if (yield* k.fn.doSetPmd(k, vma, haddr, word, head, isWrite)) result = 0;
  }
  if (result !== 0) {
    unlockPage(k, head);
    k.fn.putPage(k, head);
    return result;
  }
  const bits = VM_FAULT_LOCKED | ((found & 1) !== 0 ? VM_FAULT_MAJOR : 0);
  if (!isWrite) {
    unlockPage(k, head);
    return bits;
  }
  return bits | faultDirtySharedPage(k, vma, head, false, flags);
}

/** filemap_map_pmd: true when the page of `index` is huge, and mapped now. */
function* mapCachedHuge(k: Kernel, vma: VmArea, haddr: number, word: number, index: number): KernelPath<boolean> {
  const page = vma.file!.inode.mapping.pages.get(index);
  if (page === undefined) return false;
  const head = compoundHead(k.pages, page);
  if (k.pages.order[head] !== HPAGE_PMD_ORDER || hasHwpoisoned(k, head)) return false;
  if ((k.pages.flags[head]! & (PG_UPTODATE | PG_READAHEAD)) !== PG_UPTODATE || !tryLockPage(k, head)) return false;
  getPage(k, head);
  const isMapped = yield* k.fn.doSetPmd(k, vma, haddr, word, head, false);
  unlockPage(k, head);
  if (!isMapped) k.fn.putPage(k, head);
  return isMapped;
}

export function* doSetPmd(
  k: Kernel,
  vma: VmArea,
  haddr: number,
  word: number,
  head: number,
  isWrite: boolean,
): AtomicPath<boolean> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isNone = (entryLo(k.memory, word) | entryHi(k.memory, word)) === 0;
  if (isNone) {
    let lo = mkHugePmdLo(head, vma.pageProtLo);
    if (isWrite) lo = pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
    vma.mm.rss[mmCounterFile(k.pages, head)]! += HPAGE_PMD_NR;
    pageAddHugeRmap(k, head, vma, haddr, RMAP_FILE);
    setPmd(k, vma, word, lo, mkHugePmdHi(vma.pageProtLo, vma.pageProtHi), haddr);
  }
  k.ptl.unlock(ptl);
  if (isNone && k.sched.points) yield P_PTE_SET;
  return isNone;
}
