// Faults that a huge page can serve (mm/huge_memory.c do_huge_pmd_anonymous_page, do_huge_pmd_wp_page; mm/memory.c
// __handle_mm_fault, wp_huge_pmd). mmapLock held for read. Every function may answer VM_FAULT_FALLBACK: the small-page path then
// goes on with the same fault.
//
//   nothing mapped in the block   read: the huge zero page   write: a new huge page   no memory, no room in the VMA: small pages
//   write to a huge page          exclusive, or the only reference: reuse   else, and for the zero page: split, small copy

import { FRAME_ANON } from '../../abi/events.ts';
import {
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  MM_ANONPAGES,
  PMD_SIZE,
  VM_ACCESS_FLAGS,
  VM_FAULT_FALLBACK,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
} from '../../abi/mman.ts';
import { SITE_UPGRADE } from '../../abi/notifier.ts';
import { PTE_A, PTE_RW, PTE_UFFD_WP } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import { faultWrite } from '../fault/fault-write.ts';
import { pmdAlloc } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { vmaAllocPages } from '../numa/alloc.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON_EXCLUSIVE, PG_SWAPCACHE } from '../page/pages.ts';
import { pteMaybeMkwrite, pteMkdirty, pteProtnone } from '../page/swapops.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage, pageMoveAnonRmap } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { deposit, pteAllocOne, pteFree } from './deposit.ts';
import { mayFaultFileHuge } from './file-fault.ts';
import { khugepagedEnterVma } from './khugepaged-mm.ts';
import { mkHugePmdHi, mkHugePmdLo, pmdFrame, pmdIsSwap, pmdTransHuge } from './pmd.ts';
import { setPmd } from './pmd-flush.ts';
import { hugepageVmaCheck, transhugeVmaSuitable } from './policy.ts';
import { pageAddNewHugeRmap } from './rmap.ts';
import { isHugeZero, mmGetHugeZeroPage } from './zero-page.ts';

/** Is the fault one for handleHugePmd? Asked when the block has no page table. */
export function mayFaultHuge(k: Kernel, vma: VmArea, address: number): boolean {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  if (word >= 0 && (entryLo(k.memory, word) | entryHi(k.memory, word)) !== 0) return true;
  if (vma.file !== null) return mayFaultFileHuge(k, vma, address);
  return hugepageVmaCheck(k, vma, vma.flags, true, true);
}

/** The PMD level of __handle_mm_fault. */
export function handleHugePmd(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  const lo = word < 0 ? 0 : entryLo(k.memory, word);
  const hi = word < 0 ? 0 : entryHi(k.memory, word);
  if ((lo | hi) === 0) {
    if (vma.file !== null) return k.fn.doFileHugeFault(k, vma, address, flags);
    return k.fn.doHugePmdAnonymousPage(k, vma, address, flags);
  }
  if (pmdIsSwap(lo, hi)) return k.fn.pmdMigrationEntryWait(k, vma, word);
  if (!pmdTransHuge(lo)) return fallback();
  if (pteProtnone(lo) && (vma.flags & VM_ACCESS_FLAGS) !== 0) return k.fn.doHugePmdNumaPage(k, vma, address, word);
  if ((flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)) === 0 || (lo & PTE_RW) !== 0)
    return hugePmdSetAccessed(k, vma, address, word, lo, flags);
  const asksMonitor = (vma.flags & VM_UFFD_WP) !== 0 && (lo & PTE_UFFD_WP) !== 0;
  if (vma.file === null && asksMonitor && (flags & FAULT_FLAG_UNSHARE) === 0)
    return k.fn.handleUserfault(k, vma, address, flags, VM_UFFD_WP);
  return vma.file === null ? k.fn.doHugePmdWpPage(k, vma, address, word, lo, flags) : splitAndFallBack(k, vma, address);
}

function* fallback(): AtomicPath<number> {
  return VM_FAULT_FALLBACK;
}

function* splitAndFallBack(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  yield* k.fn.splitHugePmd(k, vma, address, false, 0);
  return VM_FAULT_FALLBACK;
}

export function* doHugePmdAnonymousPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const haddr = address - modPower(address, PMD_SIZE);
  if (!transhugeVmaSuitable(vma, haddr)) return VM_FAULT_FALLBACK;
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return VM_FAULT_OOM;
  khugepagedEnterVma(k, vma, vma.flags);
  const pmdTable = yield* pmdAlloc(k, vma.mm, address);
  if (pmdTable === 0) return VM_FAULT_OOM;
  const word = entryWord(pmdTable, vpnLo(address) >>> 9);
  if ((flags & FAULT_FLAG_WRITE) === 0 && k.huge.useZeroPage) return yield* mapHugeZero(k, vma, address, word, flags);
  let head = vmaAllocPages(k, vma, haddr, HPAGE_PMD_ORDER, FRAME_ANON);
  if (head !== 0 && vma.mm.memcg !== 0) head = yield* memCgroupCharge(k, vma.mm.memcg, head);
  if (head === 0) return VM_FAULT_FALLBACK;
  const pgtable = yield* pteAllocOne(k);
  if (pgtable === 0) {
    k.fn.putPage(k, head);
    return VM_FAULT_OOM;
  }
  for (let i = 0; i < HPAGE_PMD_NR; i++) k.memory.zero(head + i);
  if (k.sched.points) yield P_FAULT_PAGE_READY;
  const ptl = pmdTable;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isNone = (entryLo(k.memory, word) | entryHi(k.memory, word)) === 0;
  const result = isNone && vma.mm.isUnstable ? VM_FAULT_SIGBUS : 0;
  const isAsked = isNone && result === 0 && (vma.flags & VM_UFFD_MISSING) !== 0;
  const isMapped = isNone && result === 0 && !isAsked;
  if (isMapped) mapHugeAnon(k, vma, haddr, word, head, pgtable);
  k.ptl.unlock(ptl);
  if (!isMapped) {
    pteFree(k, pgtable);
    k.fn.putPage(k, head);
  }
  if (isAsked) return yield* k.fn.handleUserfault(k, vma, address, flags, VM_UFFD_MISSING);
  if (k.sched.points) yield P_PTE_SET;
  return result;
}

/** The last step of a huge fault and of a collapse: the new page is mapped. ptl of the PMD table held. */
export function mapHugeAnon(k: Kernel, vma: VmArea, haddr: number, word: number, head: number, pgtable: number): void {
  const { mm } = vma;
  pageAddNewHugeRmap(k, head, vma, haddr);
  k.fn.lruAdd(k, head);
  deposit(k, mm, word >>> 10, pgtable);
  const lo = pteMaybeMkwrite(pteMkdirty(mkHugePmdLo(head, vma.pageProtLo)), vma.flags);
  setPmd(k, vma, word, lo, mkHugePmdHi(vma.pageProtLo, vma.pageProtHi), haddr);
  mm.rss[MM_ANONPAGES]! += HPAGE_PMD_NR;
}

/** set_huge_zero_page. */
function* mapHugeZero(k: Kernel, vma: VmArea, address: number, word: number, flags: number): KernelPath<number> {
  const { mm } = vma;
  const haddr = address - modPower(address, PMD_SIZE);
  const pgtable = yield* pteAllocOne(k);
  if (pgtable === 0) return VM_FAULT_OOM;
  const zero = mmGetHugeZeroPage(k, mm);
  if (zero === 0) {
    pteFree(k, pgtable);
    return VM_FAULT_FALLBACK;
  }
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const isNone = (entryLo(k.memory, word) | entryHi(k.memory, word)) === 0;
  const result = isNone && mm.isUnstable ? VM_FAULT_SIGBUS : 0;
  const isAsked = isNone && result === 0 && (vma.flags & VM_UFFD_MISSING) !== 0;
  if (isNone && result === 0 && !isAsked) {
    deposit(k, mm, ptl, pgtable);
    const lo = mkHugePmdLo(zero, vma.pageProtLo);
    setPmd(k, vma, word, lo, mkHugePmdHi(vma.pageProtLo, vma.pageProtHi), haddr);
  }
  k.ptl.unlock(ptl);
  if (!isNone || result !== 0 || isAsked) pteFree(k, pgtable);
  if (isAsked) return yield* k.fn.handleUserfault(k, vma, address, flags, VM_UFFD_MISSING);
  if (k.sched.points) yield P_PTE_SET;
  return result;
}

/** huge_pmd_set_accessed: somebody else was first, or the TLB was stale. */
function* hugePmdSetAccessed(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  orig: number,
  flags: number,
): AtomicPath<number> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  if (pmdTransHuge(lo) && pmdFrame(lo) === pmdFrame(orig)) {
    const isWrite = (flags & FAULT_FLAG_WRITE) !== 0 && (lo & PTE_RW) !== 0;
    const now = isWrite ? pteMkdirty(lo) | PTE_A : lo | PTE_A;
    const haddr = address - modPower(address, PMD_SIZE);
    if (now !== lo) setPmd(k, vma, word, now, entryHi(k.memory, word), haddr);
  }
  k.ptl.unlock(ptl);
  return 0;
}

/** `orig`: the low word when the fault looked. */
export function* doHugePmdWpPage(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  orig: number,
  flags: number,
): KernelPath<number> {
  const head = pmdFrame(orig);
  if (!isHugeZero(k, head)) {
    const { flags: pageFlags } = k.pages;
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    if (entryLo(k.memory, word) !== orig) {
      k.ptl.unlock(ptl);
      return 0;
    }
    let isOurs = (pageFlags[head]! & PG_ANON_EXCLUSIVE) !== 0;
    if (!isOurs) {
      if (!tryLockPage(k, head)) {
        getPage(k, head);
        k.ptl.unlock(ptl);
        yield* lockPage(k, head);
        if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
        if (entryLo(k.memory, word) !== orig) {
          k.ptl.unlock(ptl);
          unlockPage(k, head);
          k.fn.putPage(k, head);
          return 0;
        }
        k.fn.putPage(k, head);
      }
      isOurs = takeOver(k, vma, head);
      unlockPage(k, head);
    }
    if (isOurs) {
      const isUnshare = (flags & FAULT_FLAG_UNSHARE) !== 0;
      if (!isUnshare) yield* reuse(k, vma, address, word);
      k.ptl.unlock(ptl);
      return isUnshare ? 0 : faultWrite(k);
    }
    k.ptl.unlock(ptl);
  }
  yield* k.fn.splitHugePmd(k, vma, address, false, 0);
  return VM_FAULT_FALLBACK;
}

/** Is this mapping the only reference? Then the page is this VMA's own from now on. Page lock held. */
function takeOver(k: Kernel, vma: VmArea, head: number): boolean {
  const { flags, refcount } = k.pages;
  if ((flags[head]! & PG_ANON_EXCLUSIVE) !== 0) return true;
  const inSwapCache = (flags[head]! & PG_SWAPCACHE) !== 0;
  if (refcount[head]! > 1 + (inSwapCache ? HPAGE_PMD_NR : 0)) return false;
  if (inSwapCache) k.fn.folioFreeSwap(k, head);
  if (refcount[head] !== 1) return false;
  pageMoveAnonRmap(k, head, vma);
  return true;
}

function* reuse(k: Kernel, vma: VmArea, address: number, word: number): AtomicPath<void> {
  const lo = pteMaybeMkwrite(pteMkdirty(entryLo(k.memory, word) | PTE_A), vma.flags);
  const haddr = address - modPower(address, PMD_SIZE);
  setPmd(k, vma, word, lo, entryHi(k.memory, word), haddr);
  k.stats.cowReuses++;
  if (k.config.flushOnUpgrade) yield* k.fn.flushTlbMmRange(k, vma.mm, haddr, haddr + PMD_SIZE, 21, false, SITE_UPGRADE);
}
