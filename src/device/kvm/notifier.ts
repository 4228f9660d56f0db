// KVM as a subscriber (virt/kvm/kvm_main.c kvm_mmu_notifier_*). A section:
//
//   start   active count up; pfn caches of the range are invalidated; for each slot that shows a part of the range: its sptes are
//           zapped, under mmu_lock, which at the first slot also opens the section for faults; TLBs are flushed before the unlock
//   end     the same look-up; if a slot was hit: sequence up, section closed; active count down
//
// What a fault has looked up meanwhile is thrown away (page-fault.ts). Memslots do not change while the active count is not 0, so
// start and end find the same slots.
//
// Kernel names: __kvm_handle_hva_range, kvm_mmu_invalidate_begin, kvm_mmu_invalidate_end, kvm_unmap_gfn_range, kvm_set_spte_gfn.

import { PTE_RW } from '../../abi/pte.ts';
import { ptePfn } from '../../hw/pte.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { MirrorRange } from '../subscribe-mirror.ts';
import { reloadApicPage } from './apic.ts';
import type { Kvm } from './kvm.ts';
import { gfnOf, type Memslot } from './memslots.ts';
import { ageRange, testAge, zapLeaf, zapRange } from './mmu.ts';
import { invalidateCaches } from './pfn-cache.ts';
import { SPTE_HOST_W, SPTE_MMU_W, SPTE_W } from './sptes.ts';

/** gfns of the slot that show [start, end): [gfn, last). */
function gfnRange(slot: Memslot, start: number, end: number): readonly [number, number] {
  const from = Math.max(start, slot.hva);
  const to = Math.min(end, slot.hvaEnd);
  return [gfnOf(slot, from), gfnOf(slot, to + 4095)];
}

/** A new section of the process begins or ends: seen by updaters of memslots and by pfn caches. */
function countActive(kvm: Kvm, by: 1 | -1): void {
  kvm.noteActive(true);
  kvm.mnActiveInvalidateCount = Math.max(0, kvm.mnActiveInvalidateCount + by);
  if (kvm.mnActiveInvalidateCount === 0) kvm.activeQueue.wakeAll(kvm.k.sched);
}

export function* invalidateRangeStart(kvm: Kvm, range: MirrorRange): AtomicPath<number> {
  if (kvm.k.sched.points) yield P_DRIVER;
  countActive(kvm, 1);
  yield* invalidateCaches(kvm, range.start, range.end);
  yield* kvm.fn.unmapHvaRange(kvm, range);
  if (kvm.rules.reloadsApicAtStart) yield* reloadApicPage(kvm, range.start, range.end);
  return 0;
}

/** __kvm_handle_hva_range with the handler of start. */
export function* unmapHvaRange(kvm: Kvm, range: MirrorRange): AtomicPath<void> {
  const { start, end } = range;
  const idx = kvm.srcu.readLock();
  kvm.noteSlots(false);
  const slots = kvm.memslots.ofRange(start, end);
  if (slots.length > 0 || !kvm.rules.countsOnlySlots) {
    yield* kvm.mmuLock.writeLock();
    kvm.fn.beginInvalidation(kvm, start, end);
    let flush = false;
    for (const slot of slots) {
      const [gfn, last] = gfnRange(slot, start, end);
      if (yield* zapRange(kvm, slot, gfn, last, range.canSleep)) flush = true;
    }
    if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, start, end);
    kvm.mmuLock.writeUnlock();
  }
  kvm.srcu.readUnlock(idx);
}

export function beginInvalidation(kvm: Kvm, start: number, end: number): void {
  kvm.noteSequence(true);
  kvm.mmuInvalidateInProgress++;
  const isFirst = kvm.mmuInvalidateInProgress === 1;
  kvm.mmuInvalidateRangeStart = isFirst ? start : Math.min(kvm.mmuInvalidateRangeStart, start);
  kvm.mmuInvalidateRangeEnd = isFirst ? end : Math.max(kvm.mmuInvalidateRangeEnd, end);
}

export function* invalidateRangeEnd(kvm: Kvm, range: MirrorRange): AtomicPath<void> {
  if (kvm.k.sched.points) yield P_DRIVER;
  const idx = kvm.srcu.readLock();
  kvm.noteSlots(false);
  const isHit = kvm.memslots.ofRange(range.start, range.end).length > 0;
  if (isHit || !kvm.rules.countsOnlySlots) {
    yield* kvm.mmuLock.writeLock();
    kvm.fn.endInvalidation(kvm, range.start, range.end);
    kvm.mmuLock.writeUnlock();
  }
  kvm.srcu.readUnlock(idx);
  countActive(kvm, -1);
}

/** The sequence rises before the count falls: a fault that sees the section closed sees the new sequence. */
export function endInvalidation(kvm: Kvm, _start: number, _end: number): void {
  kvm.noteSequence(true);
  kvm.mmuInvalidateSeq++;
  // The proposals of 2008 let a new subscriber hear the end of a section that it did not see begin.
  kvm.mmuInvalidateInProgress = Math.max(0, kvm.mmuInvalidateInProgress - 1);
  kvm.sectionQueue.wakeAll(kvm.k.sched);
}

/** Until 4.13: the entry of the page was cleared, outside of any section. A look-up from now on sees that; one from before is told by
 *  the sequence. */
export function invalidatePage(kvm: Kvm, address: number): AtomicPath<void> {
  return zapHva(kvm, address, address + 4096, true);
}

/** Zaps and flushes what shows [start, end), outside of any section. `movesSequence`: faults that have looked up before try again. */
export function* zapHva(kvm: Kvm, start: number, end: number, movesSequence: boolean): AtomicPath<void> {
  const idx = kvm.srcu.readLock();
  kvm.noteSlots(false);
  yield* kvm.mmuLock.writeLock();
  if (movesSequence) {
    kvm.noteSequence(true);
    kvm.mmuInvalidateSeq++;
  }
  let flush = false;
  for (const slot of kvm.memslots.ofRange(start, end)) {
    const [gfn, last] = gfnRange(slot, start, end);
    if (yield* zapRange(kvm, slot, gfn, last, false)) flush = true;
  }
  if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, start, end);
  kvm.mmuLock.writeUnlock();
  kvm.srcu.readUnlock(idx);
}

/** clear_flush_young (flush) and clear_young. */
export function* ageHvaRange(kvm: Kvm, start: number, end: number, flush: boolean): AtomicPath<boolean> {
  const idx = kvm.srcu.readLock();
  kvm.noteSlots(false);
  const slots = kvm.memslots.ofRange(start, end);
  let isYoung = false;
  if (slots.length > 0) {
    yield* kvm.mmuLock.writeLock();
    for (const slot of slots) {
      const [gfn, last] = gfnRange(slot, start, end);
      if (yield* ageRange(kvm, slot, gfn, last)) isYoung = true;
    }
    if (isYoung && flush) yield* kvm.fn.flushRemoteTlbs(kvm, start, end);
    kvm.mmuLock.writeUnlock();
  }
  kvm.srcu.readUnlock(idx);
  return isYoung;
}

export function* testAgeHva(kvm: Kvm, address: number): AtomicPath<boolean> {
  const idx = kvm.srcu.readLock();
  kvm.noteSlots(false);
  const slots = kvm.memslots.ofRange(address, address + 4096);
  let isYoung = false;
  if (slots.length > 0) {
    yield* kvm.mmuLock.writeLock();
    for (const slot of slots) isYoung ||= testAge(kvm, gfnOf(slot, address), gfnOf(slot, address) + 1);
    kvm.mmuLock.writeUnlock();
  }
  kvm.srcu.readUnlock(idx);
  return isYoung;
}

/** The entry of the page will be (lo, hi). Inside a section start has zapped it already, and this finds nothing. */
export function* changePte(kvm: Kvm, address: number, lo: number, _hi: number): AtomicPath<void> {
  kvm.stats.changePte++;
  kvm.noteSequence(false);
  const isOld = kvm.rules.repointsOutsideSections;
  if (!isOld && kvm.mmuInvalidateInProgress === 0) return;
  const idx = kvm.srcu.readLock();
  kvm.noteSlots(false);
  yield* kvm.mmuLock.writeLock();
  if (isOld) {
    kvm.noteSequence(true);
    kvm.mmuInvalidateSeq++;
  }
  let flush = false;
  for (const slot of kvm.memslots.ofRange(address, address + 4096)) {
    if (setSpteGfn(kvm, slot, gfnOf(slot, address), lo)) flush = true;
  }
  if (flush) yield* kvm.fn.flushRemoteTlbs(kvm, address, address + 4096);
  kvm.mmuLock.writeUnlock();
  kvm.srcu.readUnlock(idx);
}

/** kvm_set_spte_gfn: zapped when the host's entry is writable, else pointed to the new frame without W. */
function setSpteGfn(kvm: Kvm, slot: Memslot, gfn: number, lo: number): boolean {
  const { sptes } = kvm;
  const spte = sptes.find(gfn);
  if (spte === 0) return false;
  const { at, level, first } = sptes;
  zapLeaf(kvm, slot, spte);
  if ((lo & PTE_RW) !== 0 || level > 0) return true;
  const moved = (spte & 0xfff & ~(SPTE_W | SPTE_HOST_W | SPTE_MMU_W)) | (ptePfn(lo) << 12);
  sptes.set(at, level, first, moved);
  kvm.emitMapped(slot, gfn, level, moved);
  return true;
}
