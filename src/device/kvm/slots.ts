// Changing memslots at run time (virt/kvm/kvm_main.c __kvm_set_memory_region, kvm_set_memslot). slots_lock is held throughout.
//
//   delete, move   the slot is published as invalid: new faults on it wait; after an SRCU grace period none is under way with the old
//                  one; then every spte is zapped, and the new set is published
//   flags          the dirty log goes on: published first, so that faults from now on log; then W is taken from every spte
//
// A set is published only while no section is open anywhere in the process: start and end of a section must find the same slots, or
// in_progress would not come back to 0.
//
//   section                               updater
//     start: active 1, slot 0 is hit
//       in_progress 1                       wants to delete slot 0: waits for active 0
//     end: slot 0 is hit
//       in_progress 0, active 0             publishes

import { EEXIST, EINVAL, ENOENT } from '../../abi/errno.ts';
import { PTE_PS } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { MemslotRegion } from './config.ts';
import { type Kvm, newSlot } from './kvm.ts';
import { hvaOf, type Memslot, type MemslotSet } from './memslots.ts';
import { writeProtectLeaf, zapLeaf } from './mmu.ts';
import { LARGE_PAGES } from './sptes.ts';

/** KVM_SET_USER_MEMORY_REGION: makes, moves, deletes (null) slot `id`, or changes its flags. 0; -EEXIST: guest frames that another slot has;
 *  -EINVAL: size, address or read-only of a slot cannot change; -ENOENT: nothing to delete. */
export function* setMemoryRegion(kvm: Kvm, id: number, region: MemslotRegion | null): KernelPath<number> {
  yield* kvm.slotsLock.lock();
  const result = yield* setRegionLocked(kvm, id, region);
  kvm.slotsLock.unlock();
  return result;
}

function* setRegionLocked(kvm: Kvm, id: number, region: MemslotRegion | null): KernelPath<number> {
  const old = kvm.memslots.withId(id);
  if (region === null) {
    if (old === null) return -ENOENT;
    yield* invalidateSlot(kvm, old);
    yield* kvm.fn.swapActiveMemslots(kvm, kvm.memslots.replacing(id, null));
    return 0;
  }
  const slot = newSlot(id, region);
  if (old !== null && (slot.hva !== old.hva || slot.pages !== old.pages || slot.isReadonly !== old.isReadonly))
    return -EINVAL;
  const overlaps = (s: Memslot): boolean =>
    s.id !== id && s.baseGfn < slot.baseGfn + slot.pages && slot.baseGfn < s.baseGfn + s.pages;
  if (kvm.memslots.slots.some(overlaps)) return -EEXIST;
  if (old !== null && old.baseGfn === slot.baseGfn) return yield* changeFlags(kvm, old, slot);
  if (old !== null) yield* invalidateSlot(kvm, old);
  yield* kvm.fn.swapActiveMemslots(kvm, kvm.memslots.replacing(id, slot));
  return 0;
}

/** kvm_swap_active_memslots. */
export function* swapActiveMemslots(kvm: Kvm, set: MemslotSet): KernelPath<void> {
  const isQuiet = (): boolean => {
    kvm.noteActive(true);
    return kvm.mnActiveInvalidateCount === 0;
  };
  yield* kvm.k.sched.waitUntil(isQuiet, kvm.activeQueue, 'sections');
  kvm.noteSlots(true);
  kvm.memslots = set;
  kvm.slotsQueue.wakeAll(kvm.k.sched);
  yield* kvm.srcu.synchronize();
}

/** kvm_invalidate_memslot. x86 zaps the whole VM (kvm_mmu_zap_all_fast). */
function* invalidateSlot(kvm: Kvm, slot: Memslot): KernelPath<void> {
  yield* kvm.fn.swapActiveMemslots(kvm, kvm.memslots.replacing(slot.id, { ...slot, isInvalid: true }));
  yield* kvm.fn.zapAll(kvm);
}

/** kvm_mmu_slot_apply_flags. */
function* changeFlags(kvm: Kvm, old: Memslot, slot: Memslot): KernelPath<number> {
  if ((old.dirty === null) === (slot.dirty === null)) return 0;
  yield* kvm.fn.swapActiveMemslots(kvm, kvm.memslots.replacing(slot.id, slot));
  yield* kvm.mmuLock.writeLock();
  const flush = slot.dirty === null ? zapCollapsible(kvm, slot) : removeWriteAccess(kvm, slot);
  if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, slot.hva, slot.hvaEnd);
  kvm.mmuLock.writeUnlock();
  return 0;
}

/** kvm_mmu_slot_try_split_huge_pages and kvm_mmu_slot_remove_write_access. */
function removeWriteAccess(kvm: Kvm, slot: Memslot): boolean {
  const { sptes } = kvm;
  const end = slot.baseGfn + slot.pages;
  sptes.noteAll();
  let flush = false;
  for (let spte = sptes.next(slot.baseGfn, end); spte !== 0; spte = sptes.next(sptes.first + 1, end)) {
    if (sptes.level === 1) {
      kvm.stats.largeSplit++;
      sptes.splitLarge(sptes.at, sptes.first);
      spte = sptes.words[sptes.at]!;
    }
    if (writeProtectLeaf(kvm, slot, spte)) flush = true;
  }
  return flush;
}

/** kvm_mmu_zap_collapsible_sptes: small leaves where the host maps a huge page, so that the next fault maps all of it. */
function zapCollapsible(kvm: Kvm, slot: Memslot): boolean {
  const { sptes, k, mm } = kvm;
  const end = slot.baseGfn + slot.pages;
  sptes.noteAll();
  let flush = false;
  for (let spte = sptes.next(slot.baseGfn, end); spte !== 0; ) {
    const { first, level } = sptes;
    const hva = hvaOf(slot, first);
    const word = pmdWord(k.memory, mm.pgd, vpnHi(hva), vpnLo(hva));
    if (level === 0 && word >= 0 && (entryLo(k.memory, word) & PTE_PS) !== 0) {
      zapLeaf(kvm, slot, spte);
      flush = true;
    }
    spte = sptes.next(first + (level === 1 ? LARGE_PAGES : 1), end);
  }
  return flush;
}

/** KVM_GET_DIRTY_LOG: the slot's guest frames stored to since the log was last read, in order; they are write-protected again, and on return no
 *  vCPU stores to one without a new entry in the log. -ENOENT: the slot is not logged. */
export function* getDirtyLog(kvm: Kvm, id: number): KernelPath<number | readonly number[]> {
  yield* kvm.slotsLock.lock();
  const slot = kvm.memslots.withId(id);
  const log = slot?.dirty ?? null;
  if (slot === null || log === null) {
    kvm.slotsLock.unlock();
    return -ENOENT;
  }
  yield* kvm.mmuLock.writeLock();
  kvm.sptes.noteAll();
  const gfns = [...log].sort((a, b) => a - b);
  log.clear();
  const flush = protectAgain(kvm, slot, gfns);
  kvm.mmuLock.writeUnlock();
  // After the unlock: what is stored through a TLB meanwhile is in the pages that the caller copies after this.
  if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, slot.hva, slot.hvaEnd);
  kvm.slotsLock.unlock();
  return gfns;
}

/** KVM_CLEAR_DIRTY_LOG: the same for single frames, of which the caller has a log. */
export function* clearDirtyLog(kvm: Kvm, id: number, gfns: readonly number[]): KernelPath<number> {
  yield* kvm.slotsLock.lock();
  const slot = kvm.memslots.withId(id);
  const log = slot?.dirty ?? null;
  if (slot === null || log === null) {
    kvm.slotsLock.unlock();
    return -ENOENT;
  }
  yield* kvm.mmuLock.writeLock();
  const cleared = gfns.filter((gfn) => log.delete(gfn));
  const flush = protectAgain(kvm, slot, cleared);
  kvm.mmuLock.writeUnlock();
  if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, slot.hva, slot.hvaEnd);
  kvm.slotsLock.unlock();
  return 0;
}

/** kvm_arch_mmu_enable_log_dirty_pt_masked. */
function protectAgain(kvm: Kvm, slot: Memslot, gfns: readonly number[]): boolean {
  let flush = false;
  for (const gfn of gfns) {
    const spte = kvm.sptes.find(gfn);
    if (spte !== 0 && writeProtectLeaf(kvm, slot, spte)) flush = true;
  }
  return flush;
}

/** A fault that found its slot invalid waits for the next set; srcu is not held. */
export function* nextMemslots(kvm: Kvm, set: MemslotSet): KernelPath<void> {
  const isNew = (): boolean => {
    kvm.noteSlots(false);
    return kvm.memslots !== set;
  };
  yield* kvm.k.sched.waitUntil(isNew, kvm.slotsQueue, 'memslots');
}
