// Taking sptes away (arch/x86/kvm/mmu/tdp_mmu.c): zapping, ageing, write protection, and the flush of the vCPUs' TLBs. All under
// mmu_lock held for writing, unless said otherwise.
//
// No spte holds a reference on its page: it may be there only as long as the host's entry is. So what is zapped must be out of
// every TLB before mmu_lock is dropped, and what the guest stored is told to the page (PageDirty) when its spte goes.
//
// Kernel names: kvm_tdp_mmu_unmap_gfn_range, tdp_mmu_zap_leafs, handle_changed_spte, age_gfn_range, kvm_flush_remote_tlbs,
// kvm_make_all_cpus_request, kvm_mmu_zap_all_fast.

import { setPageDirty } from '../../mm/file/page-cache.ts';
import { notePage } from '../../mm/rmap/rmap.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_IPI, P_LOCK, P_SPTES_ZAPPED } from '../../sched/points.ts';
import type { Kvm } from './kvm.ts';
import { hvaOf, type Memslot } from './memslots.ts';
import { LARGE_PAGES, SPTE_A, SPTE_D, SPTE_MMU_W, SPTE_R, SPTE_W } from './sptes.ts';
import { KVM_REQ_TLB_FLUSH, type Vcpu } from './vcpu.ts';

/** is_dirty_spte: may the guest have stored through it? */
export function isDirtySpte(kvm: Kvm, spte: number): boolean {
  return (spte & (kvm.config.hasAdBits ? SPTE_D : SPTE_W)) !== 0;
}

/** is_accessed_spte. */
export function isAccessedSpte(kvm: Kvm, spte: number): boolean {
  return (spte & (kvm.config.hasAdBits ? SPTE_A : SPTE_R)) !== 0;
}

/** kvm_set_pfn_dirty. */
export function setPfnDirty(kvm: Kvm, pfn: number): void {
  notePage(kvm.k, pfn);
  setPageDirty(kvm.k, pfn);
}

/** handle_changed_spte for a leaf that goes: its dirty and accessed state moves to the page. */
export function leafGone(kvm: Kvm, spte: number, pages: number): void {
  const pfn = spte >>> 12;
  if (isDirtySpte(kvm, spte)) kvm.fn.setPfnDirty(kvm, pfn);
  if (isAccessedSpte(kvm, spte)) {
    notePage(kvm.k, pfn);
    kvm.k.fn.markPageAccessed(kvm.k, pfn);
  }
  if (kvm.rules.holdsReferences) for (let i = 0; i < pages; i++) kvm.pendingPuts.push(pfn + i);
}

/** Takes the leaf at sptes.at out. */
export function zapLeaf(kvm: Kvm, slot: Memslot, spte: number): void {
  const { sptes } = kvm;
  const { at, level, first } = sptes;
  const pages = level === 1 ? LARGE_PAGES : 1;
  const generation = sptes.generationAt(at, 0);
  sptes.set(at, level, first, 0);
  kvm.stats.zapped++;
  kvm.withdrawn++;
  leafGone(kvm, spte, pages);
  kvm.emitZapped(slot, first, pages, spte >>> 12, generation, isDirtySpte(kvm, spte));
}

/** kvm_unmap_gfn_range: zaps the slot's leaves that map a frame of [gfn, end). True: there was one, and TLBs must be flushed. With
 *  `canYield` mmu_lock may be dropped in between (tdp_mmu_iter_cond_resched), after a flush. */
export function* zapRange(kvm: Kvm, slot: Memslot, gfn: number, end: number, canYield: boolean): AtomicPath<boolean> {
  const { sptes, k, config } = kvm;
  sptes.noteRange(gfn, end);
  let flush = false;
  let zapped = 0;
  let from = gfn;
  for (let spte = sptes.next(from, end); spte !== 0; spte = sptes.next(from, end)) {
    from = Math.max(from, sptes.first);
    zapLeaf(kvm, slot, spte);
    flush = true;
    if (k.sched.points) yield P_SPTES_ZAPPED;
    if (!canYield || ++zapped % config.zapBatch !== 0 || !kvm.mmuLock.isContended) continue;
    yield* kvm.fn.flushRemoteTlbs(kvm, hvaOf(slot, gfn), hvaOf(slot, end));
    flush = false;
    kvm.mmuLock.writeUnlock();
    if (k.sched.points) yield P_LOCK;
    yield* kvm.mmuLock.writeLock();
  }
  return flush;
}

/** kvm_flush_remote_tlbs, after sptes of [start, end) (addresses of the process) were taken away: on return no vCPU uses what its TLB
 *  had, nor has an access in flight through it. */
export function* flushRemoteTlbs(kvm: Kvm, start: number, end: number): AtomicPath<void> {
  kvm.stats.remoteFlushes++;
  yield* kvm.fn.makeAllCpusRequest(kvm, KVM_REQ_TLB_FLUSH);
  kvm.emitFlushed(start, end);
  dropPending(kvm);
}

/** References of sptes that nobody uses any more. */
export function dropPending(kvm: Kvm): void {
  for (const pfn of kvm.pendingPuts.splice(0)) kvm.k.fn.putPage(kvm.k, pfn);
}

/** kvm_make_all_cpus_request with KVM_REQUEST_WAIT: every vCPU that was in guest mode has left it since. */
export function* makeAllCpusRequest(kvm: Kvm, bits: number): AtomicPath<void> {
  const kicked: Vcpu[] = [];
  const before: number[] = [];
  for (const v of kvm.vcpus) {
    if (kvm.k.sched.points) yield P_IPI;
    const { exits } = v;
    if (!v.request(bits)) continue;
    kvm.stats.kicks++;
    kicked.push(v);
    before.push(exits);
  }
  for (let i = 0; i < kicked.length; i++) {
    const v = kicked[i]!;
    const hasExited = (): boolean => {
      v.note();
      return v.exits !== before[i];
    };
    yield* kvm.k.sched.spinUntil(hasExited, v.exitQueue, 'a vCPU to leave the guest');
  }
}

/** age_gfn_range: was a frame of [gfn, end) used since the last time? From now on the next use shows again. */
export function* ageRange(kvm: Kvm, slot: Memslot, gfn: number, end: number): AtomicPath<boolean> {
  const { sptes, k, config } = kvm;
  sptes.noteRange(gfn, end);
  let isYoung = false;
  for (let spte = sptes.next(gfn, end); spte !== 0; ) {
    const { at, level, first } = sptes;
    const after = first + (level === 1 ? LARGE_PAGES : 1);
    if (isAccessedSpte(kvm, spte)) {
      isYoung = true;
      kvm.stats.aged++;
      if (config.hasAdBits) sptes.setBits(at, level, first, spte & ~SPTE_A);
      else trackAccess(kvm, slot, spte);
      if (k.sched.points) yield P_SPTES_ZAPPED;
    }
    spte = sptes.next(after, end);
  }
  return isYoung;
}

/** mark_spte_for_access_track: the rights go, so that the next use faults; stores so far are told to the page. */
function trackAccess(kvm: Kvm, slot: Memslot, spte: number): void {
  const { sptes } = kvm;
  const { at, level, first } = sptes;
  if ((spte & SPTE_W) !== 0) kvm.fn.setPfnDirty(kvm, spte >>> 12);
  kvm.withdrawn++;
  const tracked = spte & ~(SPTE_R | SPTE_W);
  sptes.setBits(at, level, first, tracked);
  kvm.emitMapped(slot, first, level, tracked);
}

/** kvm_test_age_gfn. */
export function testAge(kvm: Kvm, gfn: number, end: number): boolean {
  const { sptes } = kvm;
  sptes.noteRange(gfn, end);
  for (let spte = sptes.next(gfn, end); spte !== 0; ) {
    if (isAccessedSpte(kvm, spte)) return true;
    spte = sptes.next(sptes.first + (sptes.level === 1 ? LARGE_PAGES : 1), end);
  }
  return false;
}

/** Zaps everything (kvm_mmu_zap_all, kvm_mmu_zap_all_fast), and flushes. Takes mmu_lock. */
export function* zapAll(kvm: Kvm): AtomicPath<void> {
  yield* kvm.mmuLock.writeLock();
  for (const slot of kvm.memslots.slots) yield* zapRange(kvm, slot, slot.baseGfn, slot.baseGfn + slot.pages, false);
  yield* kvm.fn.flushRemoteTlbs(kvm, 0, Number.POSITIVE_INFINITY);
  kvm.mmuLock.writeUnlock();
}

/** spte_write_protect for the dirty log: W goes, MMU_W stays, so that the fast fault can give it back. */
export function writeProtectLeaf(kvm: Kvm, slot: Memslot, spte: number): boolean {
  if ((spte & SPTE_W) === 0) return false;
  const { sptes } = kvm;
  const { at, level, first } = sptes;
  if (!kvm.config.hasAdBits) kvm.fn.setPfnDirty(kvm, spte >>> 12);
  kvm.withdrawn++;
  const readOnly = (spte & ~SPTE_W) | SPTE_MMU_W;
  sptes.setBits(at, level, first, readOnly);
  kvm.emitMapped(slot, first, level, readOnly);
  return true;
}
