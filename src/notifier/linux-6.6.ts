// MMU notifiers of Linux 6.6 and later: secondary TLBs are flushed from the architecture's flush functions. Each flush of the
// CPUs' TLBs is one call of arch_invalidate_secondary_tlbs with the same range, and there is no other.
// Linux: mm/mmu_notifier.c, arch/x86/mm/tlb.c, arch/arm64/include/asm/tlbflush.h.
//
// A subscriber is a mirror (start and end) or a secondary TLB (archInvalidateSecondaryTlbs), not both: registration refuses
// that. invalidateRangeEnd implies nothing any more. What 6.1 left until the end of a section is flushed with the CPUs:
//
//   mremap                              walker under 6.1              walker under 6.6
//     start
//     moves V1 -> F1 to V2
//     flushes CPU TLBs of V1                                            flush V1
//     end                                 flush V1
//
// change_pte went in 6.10; the kernel's profile says whether mm still announces it.

import { EINVAL } from '../abi/errno.ts';
import { CB_ARCH_INVALIDATE_SECONDARY_TLBS } from '../abi/events.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm } from './host.ts';
import { StartEndNotifier, type StartEndOps } from './start-end.ts';
import type { MmuNotifier, Subscription } from './subscriptions.ts';

/** mmu_notifier_ops of 6.6. */
export interface Linux66Ops extends StartEndOps {
  /** The CPUs' TLBs were flushed over [start, end): entries were cleared or changed, pages not freed yet. Often under ptl. On
   *  return no secondary TLB holds an older translation of the range, nor a walk cache of freed page tables. `end` may be
   *  ULONG_MAX. */
  archInvalidateSecondaryTlbs?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<void>;
}

export class Linux66 extends StartEndNotifier<Linux66Ops> {
  readonly name: string;

  /** `name`: linux-6.6 or linux-6.12, alike here. */
  constructor(host: NotifierHost, name = 'linux-6.6') {
    super(host);
    this.name = name;
  }

  /** mmu_notifier_register. -EINVAL also for a subscriber that is both mirror and TLB. */
  *register(mn: MmuNotifier<Linux66Ops>, mm: NotifierMm): KernelPath<number> {
    const { archInvalidateSecondaryTlbs, invalidateRangeStart, invalidateRangeEnd } = mn.ops;
    const isMirror = invalidateRangeStart !== undefined || invalidateRangeEnd !== undefined;
    if (archInvalidateSecondaryTlbs !== undefined && isMirror) return -EINVAL;
    return yield* this.list.register(mn, mm);
  }

  /** mmu_notifier_arch_invalidate_secondary_tlbs. */
  archInvalidateSecondaryTlbs(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.list.tellAtomic(mm, CB_ARCH_INVALIDATE_SECONDARY_TLBS, start, end, (n) =>
      n.ops.archInvalidateSecondaryTlbs?.(n, mm, start, end),
    );
  }

  override gatherFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    _freedTables: boolean,
    _site: number,
  ): AtomicPath<void> {
    // A gather that found another one beside it has no range, and its flush was one of everything (tlb_finish_mmu: fullmm). What is told
    // here is what was flushed; mm of before 6.6 passes what was gathered.
    if (end <= start) return this.archInvalidateSecondaryTlbs(mm, 0, Number.POSITIVE_INFINITY);
    return this.archInvalidateSecondaryTlbs(mm, start, end);
  }

  /** The flush before pteClearedAndFlushed is one of these. */
  override cpuTlbFlushed(mm: NotifierMm, start: number, end: number, _site: number): AtomicPath<void> {
    return this.archInvalidateSecondaryTlbs(mm, start, end);
  }
}
