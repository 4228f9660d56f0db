// Taking a page out of every address space (mm/rmap.c try_to_unmap). Page lock held; rmap lock for read; no mmapLock. Each VMA
// that may map the page has its own section, even when the page turns out not to be mapped there; the walk ends with
// the last mapping.
//
//   anonymous  S(CLEAR) ptl PT− F swap_duplicate, exclusive? PT=swap entry  R  rmap− put; unlock; E
//   lazyfree   the same with no entry left; dirty again or referenced: the entry comes back, no R
//   file       PT− F rmap− put: the page lock keeps the page in the cache, so secondary MMUs hear at E

import { E_SWAP_OUT } from '../../abi/events.ts';
import { MM_ANONPAGES, MM_SWAPENTS, VM_LOCKED } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_TRY_TO_UNMAP } from '../../abi/notifier.ts';
import { PTE_D, PTE_SOFT_DIRTY, PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CLEARED } from '../../sched/points.ts';
import { splitHugePmdAddress, splitInSection } from '../huge/split-pmd.ts';
import type { Kernel } from '../kernel.ts';
import { endAddress, firstAddress, isMapped, subpageAt } from '../migrate/folio.ts';
import { announceDirty } from '../page/announce.ts';
import { compoundHead, totalMapcount } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_HWPOISON, PG_KSM, PG_MLOCKED, PG_SWAPBACKED } from '../page/pages.ts';
import { mkPfnSwapHi, mkPfnSwapLo } from '../page/pfn-swap.ts';
import { mkSwapHi, mkSwapLo, SWP_EXCLUSIVE, SWP_HWPOISON, SWP_SOFT_DIRTY, SWP_UFFD_WP } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';
import { installUffdWpIfNeeded } from '../uffd/marker.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';
import { setFlushPending, shouldDeferFlush } from './flush-batch.ts';
import { mmCounter, mmCounterFile, updateHiwaterRss } from './rmap.ts';
import { mappedWord, rmapLockOf, rmapNext, rmapVma, setEntry } from './walk.ts';

// Flags (enum ttu_flags).
export const TTU_SPLIT_HUGE_PMD = 0x4;
export const TTU_IGNORE_MLOCK = 0x8;
export const TTU_SYNC = 0x10;
export const TTU_IGNORE_HWPOISON = 0x20;
export { TTU_BATCH_FLUSH } from './flush-batch.ts';
export const TTU_RMAP_LOCKED = 0x80;

export function* tryToUnmap(k: Kernel, pfn: number, flags: number): KernelPath<boolean> {
  const pages = k.pages;
  if ((pages.flags[pfn]! & PG_KSM) !== 0) {
    yield* k.fn.rmapWalkKsm(k, pfn, (vma, address) => unmapKsmPlace(k, pfn, vma, address, flags));
    return pages.mapcount[pfn] === 0;
  }
  const lock = isMapped(pages, pfn) ? rmapLockOf(k, pfn) : null;
  if (lock === null) return !isMapped(pages, pfn);
  const takeLock = (flags & TTU_RMAP_LOCKED) === 0;
  if (takeLock && (k.sched.points || !lock.tryRead())) yield* lock.readLock();
  for (let at = rmapNext(k, pfn, 0); at >= 0; at = rmapNext(k, pfn, at + 1)) {
    const vma = rmapVma(k, pfn, at);
    const go = yield* k.fn.tryToUnmapOne(k, pfn, vma, firstAddress(pages, vma, pfn), flags);
    if (!go || !isMapped(pages, pfn)) break;
  }
  if (takeLock) lock.readUnlock();
  if (k.design?.hasRmapNotifiers) yield* k.fn.mmuNotifierPageUnmapped(k, pfn, SITE_TRY_TO_UNMAP);
  return !isMapped(pages, pfn);
}

function* unmapKsmPlace(k: Kernel, pfn: number, vma: VmArea, address: number, flags: number): KernelPath<boolean> {
  return (yield* k.fn.tryToUnmapOne(k, pfn, vma, address, flags)) && k.pages.mapcount[pfn] !== 0;
}

export function* tryToUnmapOne(
  k: Kernel,
  pfn: number,
  vma: VmArea,
  address: number,
  flags: number,
): KernelPath<boolean> {
  const mm = vma.mm;
  const isHuge = k.pages.order[pfn] !== 0;
  const isSplit = isHuge && (flags & TTU_SPLIT_HUGE_PMD) !== 0;
  if (isSplit && !k.profile.unmapSplitsInSection) yield* splitHugePmdAddress(k, vma, address, false, pfn);
  const end = isHuge ? endAddress(k.pages, vma, pfn) : address + 4096;
  const range = mm.notifiers === null ? null : k.range(mm, address, end, MMU_NOTIFY_CLEAR, SITE_TRY_TO_UNMAP);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let go = true;
  if (isSplit && k.profile.unmapSplitsInSection && (vma.flags & VM_LOCKED) === 0)
    yield* splitInSection(k, vma, address, false, pfn);
  if (isHuge) {
    const first = subpageAt(k.pages, vma, pfn, address);
    for (let at = address; at < end && go; at += 4096)
      go = yield* unmapPlace(k, first + (at - address) / 4096, vma, at, flags);
  } else go = yield* unmapPlace(k, pfn, vma, address, flags);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return go;
}

/** One small entry. False: stop the walk. */
function* unmapPlace(k: Kernel, pfn: number, vma: VmArea, address: number, flags: number): KernelPath<boolean> {
  const mm = vma.mm;
  let go = true;
  let word = mappedWord(k, mm, address, pfn);
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappedWord(k, mm, address, pfn);
    if (word >= 0) {
      if ((flags & TTU_IGNORE_MLOCK) === 0 && (vma.flags & VM_LOCKED) !== 0) {
        // The page belongs on the unevictable list (mlock_vma_folio).
        const head = compoundHead(k.pages, pfn);
        k.pages.flags[head] = k.pages.flags[head]! | PG_MLOCKED;
        go = false;
      } else go = yield* unmapEntry(k, pfn, vma, address, word, flags);
    }
    k.ptl.unlock(ptl);
  }
  return go;
}

/** Clears one entry and leaves what its page needs in its place. False: the entry is back, stop the walk. ptl held. */
function* unmapEntry(
  k: Kernel,
  pfn: number,
  vma: VmArea,
  address: number,
  word: number,
  flags: number,
): AtomicPath<boolean> {
  const mm = vma.mm;
  const pages = k.pages;
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteAboutToBeCleared(k, vma, address, SITE_TRY_TO_UNMAP);
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const head = compoundHead(pages, pfn);
  const isAnon = (pages.flags[head]! & PG_ANON) !== 0;
  const anonExclusive = isAnon && (pages.flags[pfn]! & PG_ANON_EXCLUSIVE) !== 0;
  if (shouldDeferFlush(k, mm, flags)) {
    setEntry(k, mm, word, 0, 0, address);
    if (k.sched.points) yield P_PTES_CLEARED;
    yield* setFlushPending(k, mm, (lo & PTE_D) !== 0);
  } else yield* ptepClearFlush(k, vma, address, word, SITE_TRY_TO_UNMAP);
  if ((lo & PTE_D) !== 0) {
    pages.flags[head] = pages.flags[head]! | PG_DIRTY;
    announceDirty(k, head);
  }
  if ((lo & PTE_UFFD_WP) !== 0) installUffdWpIfNeeded(k, vma, address, word, lo, hi);
  updateHiwaterRss(mm);

  if ((pages.flags[pfn]! & PG_HWPOISON) !== 0 && (flags & TTU_IGNORE_HWPOISON) === 0) {
    // No R in 6.1: nobody gets the frame. Older designs are told of every page.
    if (mm.notifiers !== null)
      yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_TRY_TO_UNMAP, true);
    mm.rss[mmCounter(pages, pfn)]!--;
    setEntry(k, mm, word, mkPfnSwapLo(pfn), mkPfnSwapHi(SWP_HWPOISON), address);
  } else if (!isAnon) {
    if (mm.notifiers !== null)
      yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_TRY_TO_UNMAP, true);
    mm.rss[mmCounterFile(pages, pfn)]!--;
  } else if ((pages.flags[head]! & PG_SWAPBACKED) === 0) {
    // MADV_FREE: may be dropped only while nobody wrote it again and only the reclaimer and the entries refer to it.
    if (pages.refcount[head] !== 1 + totalMapcount(pages, head) || (pages.flags[head]! & PG_DIRTY) !== 0) {
      setEntry(k, mm, word, lo, hi, address);
      pages.flags[head] = pages.flags[head]! | PG_SWAPBACKED;
      return false;
    }
    if (mm.notifiers !== null)
      yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_TRY_TO_UNMAP, false);
    mm.rss[MM_ANONPAGES]!--;
  } else {
    const entry = pages.private[pfn]!;
    if (k.fn.swapDuplicate(k, entry) < 0) {
      setEntry(k, mm, word, lo, hi, address);
      return false;
    }
    // The entry is clear, so a concurrent pin that still counts on exclusivity shows in the count now.
    if (anonExclusive && !k.fn.pageTryShareAnonRmap(k, pfn)) {
      k.fn.swapFree(k, entry);
      setEntry(k, mm, word, lo, hi, address);
      return false;
    }
    mm.rss[MM_ANONPAGES]!--;
    mm.rss[MM_SWAPENTS]!++;
    let swap = mkSwapLo(entry);
    if (anonExclusive) swap |= SWP_EXCLUSIVE;
    if ((lo & PTE_SOFT_DIRTY) !== 0) swap |= SWP_SOFT_DIRTY;
    if ((lo & PTE_UFFD_WP) !== 0) swap |= SWP_UFFD_WP;
    setEntry(k, mm, word, swap, mkSwapHi(0, entry), address);
    const m = k.memory;
    if (m.log.on) m.log.emit(E_SWAP_OUT, mm.id, address, address + 4096, pfn, m.generation[pfn]!, entry, 0, 0, 0);
    if (mm.notifiers !== null)
      yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_TRY_TO_UNMAP, false);
  }
  k.fn.pageRemoveRmap(k, pfn, vma, address);
  k.fn.putPage(k, pfn);
  return true;
}
