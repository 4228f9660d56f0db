// Changing the protection of a range of entries (mm/mprotect.c change_protection). The VMA has its new flags and pageProt
// already. Sections open where the first populated table is found, one for each 1 GiB (6.1) or 512 GiB (by 6.12: in practice
// one for each piece of a VMA); they end before the CPU flush, which is the gather's and comes after all VMAs of the call.
//
// An entry asks for a flush only when it was present for the hardware and lost or changed something that a TLB holds
// (pte_needs_flush). RO -> RW is such a change too, but usually changes no entry: the write fault does.
//
// Locks: mmapLock for write; ptl inside. Kernel names: change_pud_range, change_pmd_range, change_pte_range,
// can_change_pte_writable, pte_needs_flush.

import { PGDIR_SIZE, VM_HUGETLB, VM_MAYWRITE, VM_SHARED, VM_SOFTDIRTY } from '../../abi/mman.ts';
import { MMU_NOTIFY_PROTECTION_VMA, SITE_MPROTECT } from '../../abi/notifier.ts';
import {
  LEVEL_PTE,
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_P,
  PTE_PCD,
  PTE_PROTNONE,
  PTE_PS,
  PTE_PWT,
  PTE_RW,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_US,
} from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_PTES_CHANGED } from '../../sched/points.ts';
import { pteTable } from '../fault/page-tables.ts';
import { changePmd } from '../huge/change.ts';
import { isHugeMapped } from '../huge/mapped.ts';
import type { Kernel } from '../kernel.ts';
import { LOCAL_NODE } from '../numa/alloc.ts';
import { compoundHead } from '../page/compound.ts';
import { pageToNid } from '../page/nodes.ts';
import {
  isZoneDevice,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_COMPOUND,
  PG_DIRTY,
  PG_KSM,
  PG_SWAPBACKED,
} from '../page/pages.ts';
import { isDevicePrivate, isMigration, isPfnSwap, readOnlyType, swapPfn, withSwapType } from '../page/pfn-swap.ts';
import {
  isPteMarker,
  pteFrame,
  pteModifyHi,
  pteModifyLo,
  pteNone,
  ptePresent,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapType,
  UFFD_WP_MARKER_HI,
  UFFD_WP_MARKER_LO,
} from '../page/swapops.ts';
import { notePage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { MM_CP_PROT_NUMA, MM_CP_TRY_CHANGE_WRITABLE, MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE } from './cp-flags.ts';
import { CLEARED_PTES, type MmuGather } from './mmu-gather.ts';
import { nextPopulatedPmd, nextPopulatedPud, pmdEnd, pudEnd } from './walk-range.ts';

export function* changeProtection(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  start: number,
  end: number,
  cpFlags: number,
): KernelPath<number> {
  if ((vma.flags & VM_HUGETLB) !== 0) return yield* k.fn.hugetlbChangeProtection(k, vma, start, end);
  const m = k.memory;
  const root = vma.mm.pgd;
  const perPud = k.profile.mprotectSectionPerPud;
  let changed = 0;
  // A none entry of a file is write-protected by a marker, which needs a table.
  if ((cpFlags & MM_CP_UFFD_WP) !== 0 && vma.file !== null) yield* makeTables(k, vma, start, end);
  for (let address = start; address < end; ) {
    // The first populated piece opens the section; it ends with the 1 GiB or 512 GiB.
    const first = perPud ? nextPopulatedPmd(m, root, address, end) : nextPopulatedPud(m, root, address, end);
    if (first >= end) break;
    const to = perPud ? pudEnd(first, end) : Math.min(end, first - (first % PGDIR_SIZE) + PGDIR_SIZE);
    const range: NotifierRange | null =
      vma.mm.notifiers === null ? null : k.range(vma.mm, first, to, MMU_NOTIFY_PROTECTION_VMA, SITE_MPROTECT);
    if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
    for (let at = nextPopulatedPmd(m, root, first, to); at < to; ) {
      const next = pmdEnd(at, to);
      const word = pmdWord(m, root, vpnHi(at), vpnLo(at));
      const pmd = entryLo(m, word);
      if ((pmd & (PTE_P | PTE_PS)) === PTE_P) {
        changed += yield* k.fn.changePteRange(k, tlb, vma, pmd >>> 12, at, next, cpFlags);
      } else changed += yield* changePmd(k, tlb, vma, word, at, next, cpFlags);
      at = nextPopulatedPmd(m, root, next, to);
    }
    if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
    address = to;
  }
  return changed;
}

/** change_prepare for uffd_wp_protect_file. Where memory runs out the rest stays without, as in Linux. */
function* makeTables(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  for (let at = start; at < end; at = pmdEnd(at, end)) {
    if (pteTable(k, vma.mm, at) !== 0 || isHugeMapped(k, vma, at)) continue;
    if ((yield* k.fn.pteAlloc(k, vma.mm, at)) === 0) return;
  }
}

/** [start, end) inside page table `table`. Number of present entries. */
export function* changePteRange(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  table: number,
  start: number,
  end: number,
  cpFlags: number,
): AtomicPath<number> {
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if (vma.mm.tlbFlushBatched) yield* k.fn.flushTlbBatchedPending(k, vma.mm);
  let changed = 0;
  let word = entryWord(table, vpnLo(start) & 511);
  for (let address = start; address < end; ) {
    const left = ((end - address) / 4096) | 0;
    const count = left < k.stride ? left : k.stride;
    if ((cpFlags & ~MM_CP_TRY_CHANGE_WRITABLE) === 0)
      changed += changeEntries(k, tlb, vma, word, address, count, cpFlags !== 0);
    else if ((cpFlags & MM_CP_PROT_NUMA) !== 0) changed += changeHints(k, tlb, vma, word, address, count);
    else changed += changeMarks(k, tlb, vma, word, address, count, cpFlags);
    word += count * 2;
    address += count * 4096;
    if (k.sched.points) yield P_PTES_CHANGED;
  }
  k.ptl.unlock(table);
  return changed;
}

// A change of these, in either direction, must reach the TLBs; so must a loss of P or D.
const FLUSH_ON_CHANGE = PTE_RW | PTE_US | PTE_PWT | PTE_PCD | PTE_PS | PTE_G;
const FLUSH_ON_CLEAR = PTE_D | PTE_P;

/** pte_needs_flush. The PFN part of the low word changes only together with P (PROT_NONE). */
function pteNeedsFlush(oldLo: number, oldHi: number, newLo: number, newHi: number): boolean {
  if ((oldLo & PTE_P) === 0) return false;
  const diff = oldLo ^ newLo;
  return (diff & FLUSH_ON_CHANGE) !== 0 || (diff & oldLo & FLUSH_ON_CLEAR) !== 0 || oldHi !== newHi;
}

// pte_modify between two protections with P set: what stays of the low word.
const KEPT = 0xfffff000 | PTE_PCD | PTE_PWT | PTE_SPECIAL | PTE_A | PTE_D | PTE_SOFT_DIRTY | PTE_UFFD_WP;

/** `count` entries from word index `word` on. Number of present ones. */
function changeEntries(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  count: number,
  tryWritable: boolean,
): number {
  const m = k.memory;
  const mmId = vma.mm.id;
  const protLo = vma.pageProtLo;
  const protHi = vma.pageProtHi;
  const isPresentProt = (protLo & PTE_P) !== 0;
  const set = protLo & ~KEPT;
  const words = m.words;
  const tracked = m.footprint !== null;
  let present = 0;
  let first = -1;
  let end = 0;
  for (let i = 0; i < count; i++) {
    const at = word + 2 * i;
    const lo = tracked ? entryLo(m, at) : words[at]!;
    const hi = words[at + 1]!;
    if ((lo & PTE_P) === 0 && !ptePresent(lo)) {
      if ((lo | hi) !== 0 && isPfnSwap(hi) && changePfnEntry(k, mmId, at, start + i * 4096, lo, hi)) present++;
      continue;
    }
    let newLo = isPresentProt && (lo & PTE_P) !== 0 ? (lo & KEPT) | set : pteModifyLo(lo, protLo);
    const newHi = isPresentProt ? protHi : pteModifyHi(protLo, protHi);
    if (tryWritable && (newLo & PTE_RW) === 0 && canChangePteWritable(k, vma, newLo)) newLo |= PTE_RW;
    present++;
    if (newLo === lo && newHi === hi) continue;
    writeEntry(m, at, newLo, newHi, mmId, start + i * 4096, LEVEL_PTE);
    if (!pteNeedsFlush(lo, hi, newLo, newHi)) continue;
    if (first < 0) first = i;
    end = i + 1;
  }
  if (end > 0) tlb.addRange(start + first * 4096, start + end * 4096, CLEARED_PTES);
  return present;
}

/** The same for NUMA balancing: `count` entries lose every right but remember RW (pte_mk_savedwrite). Number of those. */
function changeHints(k: Kernel, tlb: MmuGather, vma: VmArea, word: number, start: number, count: number): number {
  const m = k.memory;
  let changed = 0;
  for (let i = 0; i < count; i++) {
    const at = word + 2 * i;
    const address = start + i * 4096;
    const lo = entryLo(m, at);
    const hi = entryHi(m, at);
    if (!ptePresent(lo)) {
      if ((lo | hi) !== 0 && isPfnSwap(hi) && changePfnEntry(k, vma.mm.id, at, address, lo, hi)) changed++;
      continue;
    }
    if ((lo & PTE_P) === 0 || !wantsHint(k, vma, lo)) continue;
    changed++;
    const prot = PTE_A | PTE_PROTNONE | (lo & PTE_RW);
    writeEntry(m, at, pteModifyLo(lo, prot), pteModifyHi(prot, 0), vma.mm.id, address, LEVEL_PTE);
    tlb.addRange(address, address + 4096, CLEARED_PTES);
  }
  return changed;
}

/** Is a hint of use? Not for the zero page and pages of KSM or of a device, nor for those that others refer to, that cannot be moved
 *  without waiting, or that are on the node of the only task already. */
function wantsHint(k: Kernel, vma: VmArea, lo: number): boolean {
  const { flags, refcount } = k.pages;
  if ((lo & PTE_SPECIAL) !== 0) return false;
  const pfn = pteFrame(lo);
  const head = compoundHead(k.pages, pfn);
  const f = flags[head]!;
  notePage(k, head);
  if (isZoneDevice(k.pages, pfn) || (f & PG_KSM) !== 0) return false;
  if ((vma.flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE && refcount[head] !== 1) return false;
  if ((f & (PG_SWAPBACKED | PG_DIRTY)) === PG_DIRTY) return false;
  return (vma.flags & VM_SHARED) !== 0 || vma.mm.users !== 1 || pageToNid(k, pfn) !== LOCAL_NODE;
}

/** The same for the flags of userfaultfd: sets or clears the write-protect mark of `count` entries, present or not. */
function changeMarks(
  k: Kernel,
  tlb: MmuGather,
  vma: VmArea,
  word: number,
  start: number,
  count: number,
  cpFlags: number,
): number {
  const m = k.memory;
  const protect = (cpFlags & MM_CP_UFFD_WP) !== 0;
  let changed = 0;
  for (let i = 0; i < count; i++) {
    const at = word + 2 * i;
    const address = start + i * 4096;
    const lo = entryLo(m, at);
    const hi = entryHi(m, at);
    if (!ptePresent(lo)) {
      if (changeMarkAbsent(k, vma, at, address, lo, hi, cpFlags)) changed++;
      continue;
    }
    changed++;
    let newLo = pteModifyLo(lo, vma.pageProtLo);
    const newHi = pteModifyHi(vma.pageProtLo, vma.pageProtHi);
    if (protect) newLo = (newLo & ~PTE_RW) | PTE_UFFD_WP;
    else if ((cpFlags & MM_CP_UFFD_WP_RESOLVE) !== 0) newLo &= ~PTE_UFFD_WP;
    if ((cpFlags & MM_CP_TRY_CHANGE_WRITABLE) !== 0 && canChangePteWritable(k, vma, newLo)) newLo |= PTE_RW;
    if (newLo === lo && newHi === hi) continue;
    writeEntry(m, at, newLo, newHi, vma.mm.id, address, LEVEL_PTE);
    if (pteNeedsFlush(lo, hi, newLo, newHi)) tlb.addRange(address, address + 4096, CLEARED_PTES);
  }
  return changed;
}

/** Swap entries carry the mark themselves; a none entry of a file is marked by a PTE marker. True when it changed. */
function changeMarkAbsent(
  k: Kernel,
  vma: VmArea,
  word: number,
  address: number,
  lo: number,
  hi: number,
  cpFlags: number,
): boolean {
  const m = k.memory;
  const protect = (cpFlags & MM_CP_UFFD_WP) !== 0;
  const resolve = (cpFlags & MM_CP_UFFD_WP_RESOLVE) !== 0;
  if (!pteNone(lo, hi) && isPfnSwap(hi) && changePfnEntry(k, vma.mm.id, word, address, lo, hi)) {
    lo = entryLo(m, word);
    hi = entryHi(m, word);
  }
  let newLo = lo;
  let newHi = hi;
  if (pteNone(lo, hi)) {
    if (!protect || vma.file === null) return false;
    newLo = UFFD_WP_MARKER_LO;
    newHi = UFFD_WP_MARKER_HI;
  } else if (isPteMarker(lo, hi)) {
    if (!resolve) return false;
    newLo = 0;
    newHi = 0;
  } else if (protect) newLo |= SWP_UFFD_WP;
  else if (resolve) newLo &= ~SWP_UFFD_WP;
  if (newLo === lo && newHi === hi) return false;
  writeEntry(m, word, newLo, newHi, vma.mm.id, address, LEVEL_PTE);
  return true;
}

/** An entry that names a page loses the right to write, whatever the new protection: a fault will look. True when it had one. */
function changePfnEntry(k: Kernel, mmId: number, word: number, address: number, lo: number, hi: number): boolean {
  const from = swapType(hi);
  const head = compoundHead(k.pages, swapPfn(lo));
  const keepsExclusive = isMigration(hi) && (k.pages.flags[head]! & PG_ANON) !== 0;
  const to = readOnlyType(from, keepsExclusive);
  if (to === from) return false;
  const kept = isDevicePrivate(hi) ? lo & ~SWP_SOFT_DIRTY : lo;
  writeEntry(k.memory, word, kept, withSwapType(hi, to), mmId, address, LEVEL_PTE);
  return true;
}

/** The same of a part of a large page, whose head says that it is anonymous. */
function isExclusivePart(k: Kernel, pfn: number): boolean {
  const { flags } = k.pages;
  return (flags[pfn]! & PG_ANON_EXCLUSIVE) !== 0 && (flags[compoundHead(k.pages, pfn)]! & PG_ANON) !== 0;
}

/** can_change_pte_writable: may the entry become writable without a fault? Dirty and shared, or exclusively ours (until 6.1 dirty too). */
function canChangePteWritable(k: Kernel, vma: VmArea, lo: number): boolean {
  if ((lo & PTE_P) === 0) return false;
  if ((lo & PTE_D) === 0 && ((vma.flags & VM_SHARED) !== 0 || !k.profile.writableAtOnce)) return false;
  if ((vma.flags & VM_SOFTDIRTY) === 0 && (lo & PTE_SOFT_DIRTY) === 0) return false;
  if ((lo & PTE_UFFD_WP) !== 0) return false;
  if ((vma.flags & VM_SHARED) !== 0) return true;
  if ((lo & PTE_SPECIAL) !== 0) return false;
  const exclusive = PG_ANON | PG_ANON_EXCLUSIVE;
  const pfn = pteFrame(lo);
  const { flags } = k.pages;
  const f = flags[pfn]!;
  return (f & exclusive) === exclusive || ((f & PG_COMPOUND) !== 0 && isExclusivePart(k, pfn));
}
