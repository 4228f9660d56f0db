// The two changes of an entry that merging makes (mm/ksm.c):
//
//   write_protect_page   S(CLEAR) ptl  writable, dirty or exclusive? PT− F  alone? C PT=read-only, clean  unlock E
//   replace_page         S(CLEAR) ptl  same entry? rmap+ of the KSM page  PT− F C PT=KSM page  rmap−  put  unlock E
//
// Between PT− and the count nobody can take a new reference through the entry, so that a reference too many (a pin, I/O under
// way) is seen, and the entry comes back as it was. The second change puts a page with the same bytes in the place of a
// read-only one: 6.1 tells secondary MMUs no more than change_pte and the section's end.
//
// Locks: mmapLock for read, the lock of the page; ptl inside. Nobody else holds the page's bytes still but its read-only entry.

import { MM_ANONPAGES } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_KSM } from '../../abi/notifier.ts';
import { PTE_D, PTE_RW, PTE_SPECIAL } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { announceDirty } from '../page/announce.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_SWAPCACHE } from '../page/pages.ts';
import { mkPteHi, mkPteLo } from '../page/swapops.ts';
import { getPage, updateHiwaterRss, vmaAddress } from '../rmap/rmap.ts';
import { mappedWord, setEntry } from '../rmap/walk.ts';
import type { AnonVma, VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';
import { pageStableNode } from './stable-tree.ts';

/** page_address_in_vma: where the VMA maps this anonymous page, or -1. A KSM page has no address of its own. */
function pageAddressInVma(k: Kernel, pfn: number, vma: VmArea): number {
  const { mapping, index } = k.pages;
  if (vma.anonVma === null || pageStableNode(k, pfn) !== null) return -1;
  const anonVma = mapping[pfn] as AnonVma | null;
  if (anonVma === null || anonVma.root !== vma.anonVma.root) return -1;
  const address = vmaAddress(vma, index[pfn]!);
  return address >= vma.start && address < vma.end ? address : -1;
}

function* clearAndFlush(k: Kernel, vma: VmArea, word: number, address: number): AtomicPath<void> {
  yield* ptepClearFlush(k, vma, address, word, SITE_KSM);
  if (vma.mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, vma.mm, address, address + 4096, SITE_KSM, false);
}

/** set_pte_at_notify. */
function* setEntryNotify(
  k: Kernel,
  vma: VmArea,
  word: number,
  lo: number,
  hi: number,
  address: number,
): AtomicPath<void> {
  if (vma.mm.notifiers !== null && k.profile.changePte) yield* k.fn.mmuNotifierChangePte(k, vma.mm, address, lo, hi);
  setEntry(k, vma.mm, word, lo, hi, address);
}

/** write_protect_page: true when the page's entry in this VMA is read-only now; k.ksm.origLo and origHi are that entry. */
export function* writeProtectPage(k: Kernel, vma: VmArea, pfn: number): KernelPath<boolean> {
  const address = pageAddressInVma(k, pfn, vma);
  if (address < 0) return false;
  const { mm } = vma;
  const range = mm.notifiers === null ? null : k.range(mm, address, address + 4096, MMU_NOTIFY_CLEAR, SITE_KSM);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let isDone = false;
  let word = mappedWord(k, mm, address, pfn);
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappedWord(k, mm, address, pfn);
    if (word >= 0) isDone = yield* protectEntry(k, vma, pfn, word, address);
    k.ptl.unlock(ptl);
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return isDone;
}

/** ptl held. */
function* protectEntry(k: Kernel, vma: VmArea, pfn: number, word: number, address: number): AtomicPath<boolean> {
  const { pages, memory: m, ksm } = k;
  const { mm } = vma;
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  const isExclusive = (pages.flags[pfn]! & (PG_ANON | PG_ANON_EXCLUSIVE)) === (PG_ANON | PG_ANON_EXCLUSIVE);
  if ((lo & (PTE_RW | PTE_D)) !== 0 || isExclusive || k.fn.mmTlbFlushPending(k, mm)) {
    yield* clearAndFlush(k, vma, word, address);
    const inSwapCache = (pages.flags[pfn]! & PG_SWAPCACHE) !== 0 ? 1 : 0;
    const isAlone = pages.mapcount[pfn]! + 1 + inSwapCache === pages.refcount[pfn];
    if (!isAlone || (isExclusive && !k.fn.pageTryShareAnonRmap(k, pfn))) {
      setEntry(k, mm, word, lo, hi, address);
      return false;
    }
    if ((lo & PTE_D) !== 0) {
      pages.flags[pfn] = pages.flags[pfn]! | PG_DIRTY;
      announceDirty(k, pfn);
    }
    yield* setEntryNotify(k, vma, word, lo & ~(PTE_RW | PTE_D), hi, address);
  }
  ksm.origLo = entryLo(m, word);
  ksm.origHi = entryHi(m, word);
  return true;
}

/** replace_page: maps `kpfn` (a KSM page, or the zero page) where `pfn` was mapped with the entry that writeProtectPage left. */
export function* replacePage(k: Kernel, vma: VmArea, pfn: number, kpfn: number): KernelPath<boolean> {
  const address = pageAddressInVma(k, pfn, vma);
  if (address < 0) return false;
  const { mm } = vma;
  const word = mappedWord(k, mm, address, pfn);
  if (word < 0) return false;
  const { origLo, origHi } = k.ksm;
  const range = mm.notifiers === null ? null : k.range(mm, address, address + 4096, MMU_NOTIFY_CLEAR, SITE_KSM);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isSame = entryLo(k.memory, word) === origLo && entryHi(k.memory, word) === origHi;
  if (isSame) yield* putInPlace(k, vma, pfn, kpfn, word, address);
  k.ptl.unlock(ptl);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  if (k.sched.points) yield P_PTE_SET;
  return isSame;
}

/** ptl held. */
function* putInPlace(
  k: Kernel,
  vma: VmArea,
  pfn: number,
  kpfn: number,
  word: number,
  address: number,
): AtomicPath<void> {
  let lo = mkPteLo(kpfn, vma.pageProtLo);
  if (kpfn === k.zeroPfn) {
    // The zero page has no rmap, reference or place in the RSS.
    lo |= PTE_SPECIAL;
    updateHiwaterRss(vma.mm);
    vma.mm.rss[MM_ANONPAGES]!--;
  } else {
    getPage(k, kpfn);
    k.fn.pageAddAnonRmap(k, kpfn, vma, address, false);
  }
  yield* clearAndFlush(k, vma, word, address);
  yield* setEntryNotify(k, vma, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), address);
  k.fn.pageRemoveRmap(k, pfn, vma, address);
  if (k.pages.mapcount[pfn] === 0) k.fn.folioFreeSwap(k, pfn);
  k.fn.putPage(k, pfn);
}
