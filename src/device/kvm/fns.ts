// What KVM does, as a table of functions: a livepatch (mistakes.ts) replaces single ones.

import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { MirrorRange } from '../subscribe-mirror.ts';
import type { Kvm } from './kvm.ts';
import type { Memslot, MemslotSet } from './memslots.ts';
import { flushRemoteTlbs, makeAllCpusRequest, setPfnDirty, zapAll } from './mmu.ts';
import {
  ageHvaRange,
  beginInvalidation,
  changePte,
  endInvalidation,
  invalidatePage,
  invalidateRangeEnd,
  invalidateRangeStart,
  testAgeHva,
  unmapHvaRange,
} from './notifier.ts';
import { fastPageFault, isStale, mapPage, sampleSequence } from './page-fault.ts';
import { isCacheStale } from './pfn-cache.ts';
import { swapActiveMemslots } from './slots.ts';
import type { Vcpu } from './vcpu.ts';

export interface KvmFns {
  /** kvm_mmu_notifier_invalidate_range_start, _end. */
  invalidateRangeStart(kvm: Kvm, range: MirrorRange): AtomicPath<number>;
  invalidateRangeEnd(kvm: Kvm, range: MirrorRange): AtomicPath<void>;
  /** kvm_mmu_notifier_invalidate_page, until 4.13. */
  invalidatePage(kvm: Kvm, address: number): AtomicPath<void>;
  /** The handler of start: zaps the sptes of the range, in the slots that show it. */
  unmapHvaRange(kvm: Kvm, range: MirrorRange): AtomicPath<void>;
  /** kvm_mmu_invalidate_begin, kvm_mmu_invalidate_end. mmu_lock held. */
  beginInvalidation(kvm: Kvm, start: number, end: number): void;
  endInvalidation(kvm: Kvm, start: number, end: number): void;
  ageHvaRange(kvm: Kvm, start: number, end: number, flush: boolean): AtomicPath<boolean>;
  testAgeHva(kvm: Kvm, address: number): AtomicPath<boolean>;
  changePte(kvm: Kvm, address: number, lo: number, hi: number): AtomicPath<void>;
  /** kvm_flush_shadow_all. */
  zapAll(kvm: Kvm): AtomicPath<void>;
  flushRemoteTlbs(kvm: Kvm, start: number, end: number): AtomicPath<void>;
  makeAllCpusRequest(kvm: Kvm, bits: number): AtomicPath<void>;
  setPfnDirty(kvm: Kvm, pfn: number): void;
  /** The value of mmu_invalidate_seq before a look-up. */
  sampleSequence(kvm: Kvm): number;
  /** mmu_invalidate_retry_hva. */
  isStale(kvm: Kvm, seq: number, hva: number): boolean;
  fastPageFault(kvm: Kvm, slot: Memslot, gfn: number, isWrite: boolean): AtomicPath<boolean>;
  /** kvm_tdp_mmu_map. True: a new leaf points to the page. */
  mapPage(
    kvm: Kvm,
    slot: Memslot,
    gfn: number,
    pfn: number,
    isWrite: boolean,
    isHostWritable: boolean,
  ): AtomicPath<boolean>;
  /** kvm_vcpu_exit_request: after the mode was set, was something requested? */
  mustLeave(v: Vcpu): boolean;
  /** mmu_notifier_retry_cache. */
  isCacheStale(kvm: Kvm, seq: number): boolean;
  swapActiveMemslots(kvm: Kvm, set: MemslotSet): KernelPath<void>;
}

export const kvmFns: KvmFns = {
  invalidateRangeStart,
  invalidateRangeEnd,
  invalidatePage,
  unmapHvaRange,
  beginInvalidation,
  endInvalidation,
  ageHvaRange,
  testAgeHva,
  changePte,
  zapAll,
  flushRemoteTlbs,
  makeAllCpusRequest,
  setPfnDirty,
  sampleSequence,
  isStale,
  fastPageFault,
  mapPage,
  mustLeave: (v) => v.requests !== 0,
  isCacheStale,
  swapActiveMemslots,
};
