// swapon and swapoff (mm/swapfile.c). Turning an area off brings back everything that is in it: first shared memory, then address
// space by address space, entry by entry; nothing is unmapped, so no notifier hears of it. Pages come through the swap cache, where other
// users of the slot find them. What is left in the cache alone then gives its slot back.
//
// A page comes back old and read-only, as its VMA allows: the next write is a reuse fault.
//
// Locks: mmapLock for read, ptl inside, page lock outside of it. Kernel names: try_to_unuse, shmem_unuse, unuse_mm, unuse_vma,
// unuse_pte_range, unuse_pte, find_next_to_unuse.

import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import { E_SWAP_IN } from '../../abi/events.ts';
import { MM_ANONPAGES, MM_SWAPENTS } from '../../abi/mman.ts';
import { LEVEL_PTE, PTE_A, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { isShmem } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { PG_SWAPCACHE } from '../page/pages.ts';
import {
  isRealSwap,
  mkPteHi,
  mkPteLo,
  pteIsSwap,
  SWP_EXCLUSIVE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapOffset,
} from '../page/swapops.ts';
import { getPage } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { nextPopulatedPmd, pmdEnd } from '../zap/walk-range.ts';
import { lookupSwapCache } from './readahead.ts';

/** swapon of an area of `pages` slots; `isSynchronous`: its device answers at once. 0, or -EINVAL when there is one already. */
export function swapon(k: Kernel, pages: number, isSynchronous: boolean): number {
  if (k.swap.pages > 0) return -EINVAL;
  k.swap.turnOn(pages, isSynchronous);
  return 0;
}

/** swapoff. 0, -EINVAL when there is no area, -ENOMEM when memory is short (the area stays on). */
export function* swapoff(k: Kernel): KernelPath<number> {
  if (k.swap.pages === 0) return -EINVAL;
  k.swap.isWritable = false;
  const r = yield* tryToUnuse(k);
  if (r < 0) k.swap.isWritable = true;
  else k.swap.turnOff();
  return r;
}

/** try_to_unuse. */
function* tryToUnuse(k: Kernel): KernelPath<number> {
  while (k.swap.used > 0) {
    const before = k.swap.used;
    let r = yield* shmemUnuse(k);
    for (const mm of [...k.mms.values()]) if (r >= 0 && !mm.isExiting) r = yield* unuseMm(k, mm);
    if (r < 0) return r;
    for (let slot = k.swap.nextUsed(1); slot !== 0; slot = k.swap.nextUsed(slot + 1)) yield* dropCached(k, slot);
    // Somebody swapped an entry between two address spaces, or exits: look again. Without any gain memory is short.
    if (k.swap.used >= before) return -ENOMEM;
  }
  return 0;
}

/** A slot that only the cache holds. */
function* dropCached(k: Kernel, slot: number): KernelPath<void> {
  const pfn = k.swap.cached(slot);
  if (pfn === 0) return;
  getPage(k, pfn);
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if (k.pages.private[pfn] === slot) k.fn.folioFreeSwap(k, pfn);
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
}

/** shmem_unuse: swapped pages of shared memory go back to their page caches. */
function* shmemUnuse(k: Kernel): KernelPath<number> {
  for (const inode of [...k.inodes.values()]) {
    const { mapping } = inode;
    if (!isShmem(mapping)) continue;
    for (const index of [...mapping.swapped.keys()].sort((a, b) => a - b)) {
      const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
      if (pfn === -ENOMEM) return pfn;
      if (pfn > 0) k.fn.putPage(k, pfn);
    }
  }
  return 0;
}

function* unuseMm(k: Kernel, mm: MmStruct): KernelPath<number> {
  if (mm.rss[MM_SWAPENTS] === 0) return 0;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let r = 0;
  for (let vma = mm.vmas.first(); vma !== null && r >= 0; vma = mm.vmas.next(vma)) {
    if (vma.anonVma !== null) r = yield* unuseVma(k, vma);
  }
  lock.readUnlock();
  return r;
}

function* unuseVma(k: Kernel, vma: VmArea): KernelPath<number> {
  const m = k.memory;
  const root = vma.mm.pgd;
  for (let at = nextPopulatedPmd(m, root, vma.start, vma.end); at < vma.end; ) {
    const next = pmdEnd(at, vma.end);
    const table = entryLo(m, pmdWord(m, root, vpnHi(at), vpnLo(at))) >>> 12;
    for (; at < next; at += 4096) {
      const word = entryWord(table, vpnLo(at) & 511);
      const lo = entryLo(m, word);
      const hi = entryHi(m, word);
      if (!pteIsSwap(lo, hi) || !isRealSwap(hi)) continue;
      const r = yield* unuseEntry(k, vma, at, word);
      if (r < 0) return r;
    }
    at = nextPopulatedPmd(m, root, next, vma.end);
  }
  return 0;
}

/** The body of unuse_pte_range: one entry. 0 or -ENOMEM. */
function* unuseEntry(k: Kernel, vma: VmArea, address: number, word: number): KernelPath<number> {
  const m = k.memory;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  const entry = swapOffset(lo, hi);
  let pfn = lookupSwapCache(k, entry, vma, address);
  if (pfn === 0) pfn = yield* k.fn.swapinReadahead(k, entry, vma, address);
  if (pfn === 0) return entryLo(m, word) === lo ? -ENOMEM : 0;
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isOurs = (k.pages.flags[pfn]! & PG_SWAPCACHE) !== 0 && k.pages.private[pfn] === entry;
  if (isOurs && entryLo(m, word) === lo && entryHi(m, word) === hi) unusePte(k, vma, address, word, pfn);
  k.ptl.unlock(ptl);
  k.fn.folioFreeSwap(k, pfn);
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  return 0;
}

/** unuse_pte. ptl and page lock held. */
function unusePte(k: Kernel, vma: VmArea, address: number, word: number, pfn: number): void {
  const m = k.memory;
  const mm = vma.mm;
  const old = entryLo(m, word);
  const entry = swapOffset(old, entryHi(m, word));
  mm.rss[MM_SWAPENTS]!--;
  mm.rss[MM_ANONPAGES]!++;
  getPage(k, pfn);
  k.fn.pageAddAnonRmap(k, pfn, vma, address, (old & SWP_EXCLUSIVE) !== 0);
  let lo = mkPteLo(pfn, vma.pageProtLo) & ~PTE_A;
  if ((old & SWP_SOFT_DIRTY) !== 0) lo |= PTE_SOFT_DIRTY;
  if ((old & SWP_UFFD_WP) !== 0) lo |= PTE_UFFD_WP;
  writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), mm.id, address, LEVEL_PTE);
  k.fn.swapFree(k, entry);
  if (m.log.on) m.log.emit(E_SWAP_IN, mm.id, address, address + 4096, pfn, m.generation[pfn]!, entry, 0, 0, 0);
}
