// The fault of a vCPU that its sptes do not allow (arch/x86/kvm/mmu/mmu.c kvm_tdp_page_fault, tdp_mmu.c kvm_tdp_mmu_map). mm_users and
// kvm.srcu are held by the caller throughout.
//
//   0  the fast fault: only W or access tracking is in the way, and a compare-and-exchange gives it back, without mmu_lock
//   1  seq = mmu_invalidate_seq
//   2  the page is looked up and referenced; may sleep, and anything may happen to it meanwhile
//   3  mmu_lock (since 5.12 the read side: sptes are installed by compare-and-exchange)
//   4  a section over the address is open now, or one has ended since 1: what was looked up is stale, the guest tries again
//   5  the spte: W only when the host's entry was writable
//   6  unlock, put the page
//
// Both tests of 4 are needed:
//
//   fault                              section A                    fault                           section B
//     seq = 7                                                         seq = 7
//     looks V up: F1                     start: V is zapped                                           start
//                                        clears V's entry             looks V up: F1, still there
//                                        end: seq 8                   in_progress is 1: stale           clears V's entry
//     seq is 8: stale                                                                                   end

import { EFAULT } from '../../abi/errno.ts';
import { PTE_PS } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import { getUserPagesUnlocked } from '../../mm/gup/fast.ts';
import { FOLL_FAST_ONLY, FOLL_GET, FOLL_WRITE } from '../../mm/gup/flags.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER, P_GUP } from '../../sched/points.ts';
import type { Kvm } from './kvm.ts';
import { hvaOf, type Memslot } from './memslots.ts';
import { zapLeaf } from './mmu.ts';
import {
  LARGE_PAGES,
  SPTE_A,
  SPTE_D,
  SPTE_HOST_W,
  SPTE_LARGE,
  SPTE_MMU_W,
  SPTE_PRESENT,
  SPTE_R,
  SPTE_W,
} from './sptes.ts';
import type { Vcpu } from './vcpu.ts';

/** What was looked up is stale: the guest enters, and faults again. */
export const RET_PF_RETRY = 0;
/** The slot is on its way out: again with the next set of slots. */
export const RET_PF_INVALID_SLOT = 1;
/** The sptes allow the access now. */
export const RET_PF_FIXED = 2;

/** One fault: RET_PF_*; or -EFAULT: no slot, no such page: user space hears of it. */
export function* pageFault(kvm: Kvm, v: Vcpu, gfn: number, isWrite: boolean): KernelPath<number> {
  const { k } = kvm;
  kvm.stats.faults++;
  kvm.noteSlots(false);
  const slot = kvm.memslots.ofGfn(gfn);
  if (slot === null || (isWrite && slot.isReadonly)) return -EFAULT;
  if (slot.isInvalid) return RET_PF_INVALID_SLOT;
  if (yield* kvm.fn.fastPageFault(kvm, slot, gfn, isWrite)) {
    kvm.stats.fastFaults++;
    return RET_PF_FIXED;
  }
  const hva = hvaOf(slot, gfn);
  if (k.sched.points) yield P_DRIVER;
  const seq = kvm.fn.sampleSequence(kvm);
  if (kvm.rules.asksBeforeLookup && kvm.fn.isStale(kvm, seq, hva)) {
    yield* kvm.sectionEnd(hva);
    return RET_PF_RETRY;
  }
  let pfn = yield* hvaToPfn(kvm, v, hva, isWrite);
  if (pfn < 0) return pfn;
  const isHostWritable = pfn >= HOST_WRITABLE;
  pfn %= HOST_WRITABLE;
  if (k.sched.points) yield P_GUP;
  const { mmuLock, rules } = kvm;
  yield* rules.sharesLock ? mmuLock.readLock() : mmuLock.writeLock();
  const isStaleNow = kvm.fn.isStale(kvm, seq, hva);
  const isNew = !isStaleNow && (yield* kvm.fn.mapPage(kvm, slot, gfn, pfn, isWrite, isHostWritable));
  if (rules.sharesLock) mmuLock.readUnlock();
  else mmuLock.writeUnlock();
  if (!isNew || !rules.holdsReferences) k.fn.putPage(k, pfn);
  if (!isStaleNow) return RET_PF_FIXED;
  yield* kvm.sectionEnd(hva);
  return RET_PF_RETRY;
}

export function sampleSequence(kvm: Kvm): number {
  kvm.noteSequence(false);
  return kvm.mmuInvalidateSeq;
}

/** mmu_invalidate_retry_hva. mmu_lock held: the count before the sequence. */
export function isStale(kvm: Kvm, seq: number, hva: number): boolean {
  kvm.noteSequence(false);
  if (kvm.isBlocked(hva)) {
    kvm.stats.retriesOpen++;
    return true;
  }
  if (kvm.mmuInvalidateSeq === seq) return false;
  kvm.stats.retriesSeq++;
  return true;
}

/** Added to a frame number: the host's entry is writable. */
const HOST_WRITABLE = 0x1000000;

/** hva_to_pfn: the page, referenced, + HOST_WRITABLE; or -errno. A fault for reading tries for a writable entry too, without sleeping, so that
 *  the store that often follows needs no second fault. */
function* hvaToPfn(kvm: Kvm, v: Vcpu, hva: number, isWrite: boolean): KernelPath<number> {
  const { k, mm } = kvm;
  const fastWrite = FOLL_WRITE | FOLL_GET | FOLL_FAST_ONLY;
  if ((yield* k.fn.getUserPagesFast(k, mm, hva, 1, fastWrite, v.page)) === 1) return v.page[0]! + HOST_WRITABLE;
  const got = yield* getUserPagesUnlocked(k, mm, hva, 1, isWrite ? FOLL_WRITE : 0, v.page);
  if (got !== 1) return got < 0 ? got : -EFAULT;
  if (isWrite) return v.page[0]! + HOST_WRITABLE;
  const pfn = v.page[0]!;
  if ((yield* k.fn.getUserPagesFast(k, mm, hva, 1, fastWrite, v.page)) !== 1) return pfn;
  k.fn.putPage(k, pfn);
  return v.page[0]! + HOST_WRITABLE;
}

/** fast_page_fault. True: it was fixed, or nothing was wrong. */
export function* fastPageFault(kvm: Kvm, slot: Memslot, gfn: number, isWrite: boolean): AtomicPath<boolean> {
  const { sptes } = kvm;
  const old = sptes.find(gfn);
  if (old === 0) return false;
  if ((old & SPTE_R) !== 0 && (!isWrite || (old & SPTE_W) !== 0)) return true;
  let fixed = old | SPTE_R;
  if (isWrite && (old & SPTE_MMU_W) !== 0) {
    // Large leaves are not made writable while stores are logged: they are split by the slow fault.
    if (sptes.level > 0 && slot.dirty !== null) return false;
    fixed |= SPTE_W;
  }
  if (isWrite && (fixed & SPTE_W) === 0) return false;
  if (kvm.k.sched.points) yield P_DRIVER;
  // try_cmpxchg64.
  if (sptes.find(gfn) !== old) return true;
  const { at, level, first } = sptes;
  sptes.setBits(at, level, first, fixed);
  if (((fixed ^ old) & SPTE_W) !== 0) {
    markDirtyInSlot(kvm, slot, gfn);
  }
  kvm.emitMapped(slot, first, level, fixed);
  return true;
}

/** mark_page_dirty_in_slot. */
export function markDirtyInSlot(kvm: Kvm, slot: Memslot, gfn: number): void {
  if (slot.dirty === null) return;
  kvm.sptes.note(gfn, true);
  slot.dirty.add(gfn);
}

/** kvm_tdp_mmu_map. True: a new leaf points to the page. The read side of mmu_lock is held; with a leaf of another frame or size in the way it is taken out and flushed
 *  first, as tdp_mmu_zap_spte_atomic does. */
export function* mapPage(
  kvm: Kvm,
  slot: Memslot,
  gfn: number,
  pfn: number,
  isWrite: boolean,
  isHostWritable: boolean,
): AtomicPath<boolean> {
  const { sptes } = kvm;
  const isWritable = isHostWritable && !slot.isReadonly;
  // The log wants to hear of the first store: W is given for a store only.
  const hasW = isWritable && (isWrite || slot.dirty === null);
  const level = hostLevel(kvm, slot, gfn, pfn);
  const first = level === 1 ? gfn - (gfn % LARGE_PAGES) : gfn;
  const base = level === 1 ? pfn - (gfn - first) : pfn;
  while (yield* clearTheWay(kvm, slot, gfn, level, base));
  const at = sptes.place(gfn, level);
  const old = sptes.words[at]!;
  let spte = (base << 12) | SPTE_PRESENT | SPTE_R | (level === 1 ? SPTE_LARGE : 0);
  if (isHostWritable) spte |= SPTE_HOST_W;
  if (isWritable) spte |= SPTE_MMU_W;
  if (hasW) spte |= SPTE_W;
  if (kvm.config.hasAdBits) spte |= SPTE_A | (hasW ? SPTE_D : 0);
  // Another vCPU was faster, and has given as much or more.
  const rights = SPTE_R | SPTE_W;
  if (old !== 0 && (spte & rights & ~old) === 0) return false;
  sptes.set(at, level, first, spte);
  if (level === 1) kvm.stats.largeMapped++;
  if (hasW) markDirtyInSlot(kvm, slot, gfn);
  kvm.emitMapped(slot, first, level, spte);
  return old === 0;
}

/** host_pfn_mapping_level and the limits of the slot: 1 when the host maps 2 MiB here that line up with the guest's and the slot shows
 *  all of them. Valid under mmu_lock after the test for staleness: the host's entry does not change without a section. */
function hostLevel(kvm: Kvm, slot: Memslot, gfn: number, pfn: number): number {
  if (!kvm.config.hasLargePages || slot.dirty !== null || kvm.rules.holdsReferences) return 0;
  const first = gfn - (gfn % LARGE_PAGES);
  if (first < slot.baseGfn || first + LARGE_PAGES > slot.baseGfn + slot.pages) return 0;
  const hva = hvaOf(slot, gfn);
  if ((hva / 4096) % LARGE_PAGES !== gfn % LARGE_PAGES || pfn % LARGE_PAGES !== gfn % LARGE_PAGES) return 0;
  const { memory } = kvm.k;
  const word = pmdWord(memory, kvm.mm.pgd, vpnHi(hva), vpnLo(hva));
  return word >= 0 && (entryLo(memory, word) & PTE_PS) !== 0 ? 1 : 0;
}

/** Takes out what stands where the new leaf goes and does not go together with it. True: there was something; look again. */
function* clearTheWay(kvm: Kvm, slot: Memslot, gfn: number, level: number, base: number): AtomicPath<boolean> {
  const { sptes } = kvm;
  const first = level === 1 ? gfn - (gfn % LARGE_PAGES) : gfn;
  const end = first + (level === 1 ? LARGE_PAGES : 1);
  let flush = false;
  for (let spte = sptes.next(first, end); spte !== 0; spte = sptes.next(first, end)) {
    if (sptes.level === level && spte >>> 12 === base) break;
    // A large leaf that the host no longer maps as one, or that must be logged page by page.
    if (sptes.level > level) kvm.stats.largeSplit++;
    zapLeaf(kvm, slot, spte);
    flush = true;
  }
  if (level === 1 && sptes.place(gfn, 1) < 0) sptes.dropTable(gfn);
  const block = first - (first % LARGE_PAGES);
  if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, hvaOf(slot, block), hvaOf(slot, block + LARGE_PAGES));
  return flush;
}
