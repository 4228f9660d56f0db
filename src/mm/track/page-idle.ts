// Idle page tracking (mm/page_idle.c, /sys/kernel/mm/page_idle/bitmap): user space marks frames idle and asks later which still
// are. Marking takes A from every entry of the page and asks the secondary MMUs (clear_young: nothing need be flushed); so does
// asking, for every page that is still marked. What was found used is kept in PG_YOUNG, so that reclaim learns of it.
//
// Only pages on an LRU list; a tail page is never idle. Page lock for file and KSM pages; rmap lock; ptl. Kernel names:
// page_idle_get_page, page_idle_clear_pte_refs, page_idle_bitmap_read, page_idle_bitmap_write.

import { CB_CLEAR_YOUNG } from '../../abi/events.ts';
import { LEVEL_PMD, LEVEL_PTE, PTE_A } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead, totalMapcount } from '../page/compound.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_IDLE, PG_KSM, PG_LRU, PG_YOUNG } from '../page/pages.ts';
import { getPage, notePage, vmaAddress } from '../rmap/rmap.ts';
import { mappedWord, rmapLockOf, rmapNext, rmapVma } from '../rmap/walk.ts';
import type { VmArea } from '../types.ts';

/** Frames that one word of the bitmap covers. */
const BITMAP_CHUNK = 64;

/** page_idle_get_page: is the frame a page whose use can be told? It is referenced then. */
function getIdlePage(k: Kernel, pfn: number): boolean {
  const { flags, head, refcount } = k.pages;
  if (pfn >= k.pages.count || head[pfn] !== 0) return false;
  if ((flags[pfn]! & PG_LRU) === 0 || refcount[pfn] === 0) return false;
  getPage(k, pfn);
  return true;
}

/** page_idle_clear_pte_refs. */
function* clearPteRefs(k: Kernel, pfn: number): KernelPath<void> {
  const { flags, mapping, index } = k.pages;
  if (totalMapcount(k.pages, pfn) === 0 || mapping[pfn] === null) return;
  const isKsm = (flags[pfn]! & PG_KSM) !== 0;
  const needsLock = isKsm || (flags[pfn]! & PG_ANON) === 0;
  if (needsLock && !tryLockPage(k, pfn)) return;
  if (isKsm) {
    yield* k.fn.rmapWalkKsm(k, pfn, function* (vma, address) {
      yield* clearOne(k, pfn, vma, address);
      return true;
    });
  } else {
    const lock = rmapLockOf(k, pfn);
    if (lock !== null) {
      if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
      for (let at = rmapNext(k, pfn, 0); at >= 0; at = rmapNext(k, pfn, at + 1)) {
        const vma = rmapVma(k, pfn, at);
        yield* clearOne(k, pfn, vma, vmaAddress(vma, index[pfn]!));
      }
      lock.readUnlock();
    }
  }
  if (needsLock) unlockPage(k, pfn);
}

/** page_idle_clear_pte_refs_one (ptep_clear_young_notify). */
function* clearOne(k: Kernel, pfn: number, vma: VmArea, address: number): AtomicPath<void> {
  const frames = 1 << k.pages.order[pfn]!;
  if (frames > 1 && address >= vma.start && (yield* clearHuge(k, pfn, vma, address))) return;
  for (let i = 0; i < frames; i++) {
    const at = address + i * 4096;
    if (at >= vma.start && at < vma.end) yield* clearSmall(k, pfn + i, vma, at);
  }
}

/** False: the block is not mapped by one entry. */
function* clearHuge(k: Kernel, pfn: number, vma: VmArea, address: number): AtomicPath<boolean> {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  if (word < 0) return false;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const isMapped = pmdTransHuge(lo) && pmdFrame(lo) === pfn;
  if (isMapped) yield* clearYoungNotify(k, vma, pfn, word, address, LEVEL_PMD);
  k.ptl.unlock(ptl);
  return isMapped;
}

function* clearSmall(k: Kernel, pfn: number, vma: VmArea, address: number): AtomicPath<void> {
  let word = mappedWord(k, vma.mm, address, pfn);
  if (word < 0) return;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  word = mappedWord(k, vma.mm, address, pfn);
  if (word >= 0) yield* clearYoungNotify(k, vma, compoundHead(k.pages, pfn), word, address, LEVEL_PTE);
  k.ptl.unlock(ptl);
}

/** ptep_clear_young_notify, pmdp_clear_young_notify; what it found goes to the page. ptl held. */
function* clearYoungNotify(
  k: Kernel,
  vma: VmArea,
  pfn: number,
  word: number,
  address: number,
  level: number,
): AtomicPath<void> {
  const m = k.memory;
  const { mm } = vma;
  const lo = entryLo(m, word);
  let young = (lo & PTE_A) !== 0;
  if (young) writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), mm.id, address, level);
  const size = level === LEVEL_PMD ? 0x200000 : 4096;
  if (mm.notifiers !== null)
    young = (yield* k.fn.mmuNotifierYoung(k, mm, address, address + size, CB_CLEAR_YOUNG)) || young;
  if (!young) return;
  // Only now does reclaim not know any more that the page was used.
  notePage(k, pfn);
  k.pages.flags[pfn] = (k.pages.flags[pfn]! & ~PG_IDLE) | PG_YOUNG;
}

/** A write of one bit: marks the frame idle. */
export function* pageIdleSet(k: Kernel, pfn: number): KernelPath<void> {
  if (!getIdlePage(k, pfn)) return;
  yield* clearPteRefs(k, pfn);
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_IDLE;
  k.fn.putPage(k, pfn);
}

/** One bit of a read: is the frame still idle? */
function* testIdle(k: Kernel, pfn: number): KernelPath<boolean> {
  if (!getIdlePage(k, pfn)) return false;
  const { flags } = k.pages;
  // It may have been used through an entry since, and nobody noticed yet.
  if ((flags[pfn]! & PG_IDLE) !== 0) yield* clearPteRefs(k, pfn);
  const isIdle = (flags[pfn]! & PG_IDLE) !== 0;
  k.fn.putPage(k, pfn);
  return isIdle;
}

/** A read of the word of the bitmap that holds the frame's bit (user space can read no less): all of its frames are asked. The
 *  frame's own bit. */
export function* pageIdleGet(k: Kernel, pfn: number): KernelPath<boolean> {
  let isIdle = false;
  const first = pfn - (pfn % BITMAP_CHUNK);
  for (let at = first; at < first + BITMAP_CHUNK; at++) {
    const idle = yield* testIdle(k, at);
    if (at === pfn) isIdle = idle;
  }
  return isIdle;
}
