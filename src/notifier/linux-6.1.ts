// MMU notifiers of Linux 6.1: list subscribers with start/end, invalidate_range and the young tests; interval subscribers.
// Linux: mm/mmu_notifier.c, include/linux/mmu_notifier.h, Documentation/mm/mmu_notifier.rst.
//
// A subscriber takes one of two shapes. A mirror (KVM) keeps its own table: it erases the range in invalidateRangeStart and
// refuses to map there until invalidateRangeEnd. A walker (an IOMMU that shares the CPU's tables) cannot refuse; it needs a
// call after the entries are gone and before the pages are, which is invalidateRange:
//
//   munmap                          walker with start/end only        walker with invalidateRange
//     start                           flush (will refill)
//     clear entries
//     end                             flush                             flush (end calls invalidateRange)
//     flush CPU TLBs
//     invalidateRange                                                   flush
//     free pages
//
// When the batch of pages is full, or a dirty file page was met, pages are freed before end; invalidateRange still comes first.
//
// When invalidateRange is called: by end, for each subscriber just before its own end (not by only_end); under ptl for a copied
// page and for an anonymous page that reclaim unmaps; at every flush of an mmu_gather. Not for file pages in reclaim, write
// protection for write-back, nor KSM: nothing can reuse those pages before end.

import { CB_INVALIDATE_RANGE } from '../abi/events.ts';
import { SITE_COW, SITE_HUGETLB, SITE_SPLIT_PMD, SITE_TRY_TO_UNMAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierMm, NotifierRange } from './host.ts';
import { StartEndNotifier, type StartEndOps } from './start-end.ts';
import type { MmuNotifier, Subscription } from './subscriptions.ts';

/** mmu_notifier_ops of 6.1. */
export interface MmuNotifierOps extends StartEndOps {
  /** Entries of [start, end) were cleared or changed, pages not freed yet. Often under ptl. On return no secondary TLB holds
   *  an older translation of the range. A range may be a page-table page that goes: then it is one page at the table's first
   *  address, and walk caches of all that it translated must go too. `end` may be ULONG_MAX. */
  invalidateRange?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<void>;
}

export class Linux61 extends StartEndNotifier<MmuNotifierOps> {
  readonly name: string = 'linux-6.1';

  override *invalidateRangeEnd(range: NotifierRange, onlyEnd: boolean): KernelPath<void> {
    this.intervals.end(range);
    const list = this.list;
    if (list.first(range.mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = list.after(n, range.mm)) {
      if (!onlyEnd) yield* this.#rangeOne(n, range.mm, range.start, range.end);
      yield* this.endOne(n, range);
    }
    list.srcu.readUnlock(section);
  }

  *#rangeOne(n: MmuNotifier<MmuNotifierOps>, mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    if (n.ops.invalidateRange === undefined) return;
    yield* this.list.callAtomic(n, CB_INVALIDATE_RANGE, mm, start, end, n.ops.invalidateRange(n, mm, start, end));
  }

  /** mmu_notifier_invalidate_range (__mmu_notifier_invalidate_range): to every list subscriber that has the op. */
  *invalidateRange(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    if (this.list.first(mm) === null) return;
    yield* this.list.tellAtomic(mm, CB_INVALIDATE_RANGE, start, end, (n) => n.ops.invalidateRange?.(n, mm, start, end));
  }

  override *pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    isFile: boolean,
  ): AtomicPath<void> {
    const isAnonReclaim = site === SITE_TRY_TO_UNMAP && !isFile;
    const isOther = site === SITE_COW || site === SITE_HUGETLB || site === SITE_SPLIT_PMD;
    if (isOther || isAnonReclaim) yield* this.invalidateRange(mm, start, end);
  }

  override gatherFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    _freedTables: boolean,
    _site: number,
  ): AtomicPath<void> {
    return this.invalidateRange(mm, start, end);
  }
}
