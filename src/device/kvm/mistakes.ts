// Mistakes that a driver like KVM can make, each one omission in one function. A check must find every one of them.

import { type KvmFns, kvmFns } from './fns.ts';
import { dropPending } from './mmu.ts';

export interface KvmMistake {
  /** What is wrong, in a line. */
  readonly summary: string;
  readonly fns: Partial<KvmFns>;
}

export const KVM_MISTAKES: Readonly<Record<string, KvmMistake>> = {
  'no-sequence': {
    summary: 'a fault asks whether a section is open, not whether one has ended since its look-up',
    fns: { isStale: (kvm, _seq, hva) => kvmFns.isStale(kvm, kvm.mmuInvalidateSeq, hva) },
  },
  'no-count': {
    summary: 'a fault asks whether a section has ended since its look-up, not whether one is open',
    fns: {
      isStale: (kvm, seq) => {
        kvm.noteSequence(false);
        return kvm.mmuInvalidateSeq !== seq;
      },
    },
  },
  'late-sample': {
    summary: 'the sequence is sampled after the look-up',
    fns: { sampleSequence: () => -1, isStale: (kvm, _seq, hva) => kvmFns.isStale(kvm, kvm.mmuInvalidateSeq, hva) },
  },
  'last-range-only': {
    summary: 'the range of the open sections is that of the last one, not the union',
    fns: {
      beginInvalidation(kvm, start, end) {
        kvmFns.beginInvalidation(kvm, start, end);
        kvm.mmuInvalidateRangeStart = start;
        kvm.mmuInvalidateRangeEnd = end;
      },
    },
  },
  'flush-after-unlock': {
    summary: 'start requests the flush and does not wait for the vCPUs',
    fns: {
      *flushRemoteTlbs(kvm, start, end) {
        for (const v of kvm.vcpus) v.request(1);
        kvm.emitFlushed(start, end);
        dropPending(kvm);
      },
    },
  },
  'no-flush': {
    summary: 'sptes are zapped, TLBs keep what they have',
    fns: { *flushRemoteTlbs() {} },
  },
  'no-kick': {
    summary: 'requests are made, vCPUs in guest mode are not kicked out',
    fns: {
      *makeAllCpusRequest(kvm, bits) {
        for (const v of kvm.vcpus) {
          v.note();
          v.requests |= bits;
        }
      },
    },
  },
  'no-recheck': {
    summary: 'a vCPU enters the guest without looking at its requests again after it has set its mode',
    fns: { mustLeave: () => false },
  },
  'no-dirty': {
    summary: 'what the guest stored is not told to the page when its spte goes',
    fns: { setPfnDirty: () => {} },
  },
  'no-release': {
    summary: 'the end of the address space zaps nothing',
    fns: { *zapAll() {} },
  },
  'always-writable': {
    summary: 'a fault for reading installs W whatever the host says',
    fns: { mapPage: (kvm, slot, gfn, pfn, isWrite) => kvmFns.mapPage(kvm, slot, gfn, pfn, isWrite, true) },
  },
  'end-before-sequence': {
    summary: 'end closes the section and does not move the sequence',
    fns: {
      endInvalidation(kvm, start, end) {
        const seq = kvm.mmuInvalidateSeq;
        kvmFns.endInvalidation(kvm, start, end);
        kvm.mmuInvalidateSeq = seq;
      },
    },
  },
  'slots-without-wait': {
    summary: 'memslots are published while a section is open, whose end then finds other slots than its start',
    fns: {
      *swapActiveMemslots(kvm, set) {
        kvm.noteSlots(true);
        kvm.memslots = set;
        kvm.slotsQueue.wakeAll(kvm.k.sched);
        yield* kvm.srcu.synchronize();
      },
    },
  },
  'cache-without-count': {
    summary: 'a pfn cache is refreshed while a section is open: only the sequence is asked',
    fns: {
      isCacheStale: (kvm, seq) => {
        kvm.noteSequence(false);
        return kvm.mmuInvalidateSeq !== seq;
      },
    },
  },
  'first-page-only': {
    summary: 'start zaps the first page of its range',
    fns: {
      unmapHvaRange: (kvm, range) =>
        kvmFns.unmapHvaRange(kvm, { ...range, end: Math.min(range.end, range.start + 4096) }),
    },
  },
};
