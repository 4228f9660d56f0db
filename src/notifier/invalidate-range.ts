// The notifier of Linux 3.19 (posted in 2014), the first with invalidate_range: a subscriber that cannot keep its hardware from
// loading translations between start and end is told when the CPU's TLBs are flushed, before pages are freed.
// Linux 3.19: mm/mmu_notifier.c, include/linux/mmu_notifier.h, mm/memory.c tlb_flush_mmu_tlbonly.
//
// What each moment becomes:
//
//   section start/end     start, end; end calls invalidate_range of each subscriber first. only_end came in 4.15, so every
//                         end does. Not for reclaim, write-back's write protection and migration, which opened no section:
//   those three           invalidate_page, for anonymous and file pages alike. A subscriber without that op hears nothing of
//                         reclaim: whoever implements invalidate_range must implement invalidate_page as well (the confusion
//                         of the two in 2017 made guests corrupt memory; 4.14 removed invalidate_page)
//   copied page, KSM      invalidate_range under ptl (ptep_clear_flush_notify), then change_pte
//   gather flush          invalidate_range, page-table pages included
//
// Linux 3.7 to 4.12 called invalidate_page just after ptl was dropped, 2.6.27 under it. Here the moment is under it, so
// invalidatePage may not sleep.

import {
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_INVALIDATE_PAGE,
  CB_INVALIDATE_RANGE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  CB_TEST_YOUNG,
} from '../abi/events.ts';
import { SITE_MIGRATE, SITE_MKCLEAN, SITE_TRY_TO_UNMAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { QuietDesign } from './quiet-design.ts';
import { type ListOps, type Subscription, SubscriptionList } from './subscriptions.ts';

/** mmu_notifier_ops of 3.19. */
export interface InvalidateRangeOps extends ListOps {
  /** At the start of exit_mmap or from unregister; may sleep (SRCU). On return nothing of the mm is used. Idempotent. */
  release?(mn: Subscription, mm: NotifierMm): KernelPath<void>;
  /** Under ptl. Was the range used since the last call? On return the use is forgotten. */
  clearFlushYoung?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<boolean>;
  /** Under ptl. Nothing is cleared. */
  testYoung?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** Under ptl, before the new entry is stored. */
  changePte?(mn: Subscription, mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void>;
  /** Reclaim, write-back or migration cleared the entry of one page. On return no older translation of it is held. */
  invalidatePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<void>;
  /** Entries are still in place. mmapLock or rmap locks, never ptl; may sleep. On return nothing of the range is mapped, nor
   *  will be until invalidateRangeEnd. */
  invalidateRangeStart?(mn: Subscription, range: NotifierRange): KernelPath<void>;
  /** Entries have changed. Same locks. */
  invalidateRangeEnd?(mn: Subscription, range: NotifierRange): KernelPath<void>;
  /** Entries were cleared, pages not freed yet; often under ptl. On return no secondary TLB holds an older translation. */
  invalidateRange?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<void>;
}

/** Reverse-map walks told by invalidate_page instead of a section. */
function isRmapDriven(site: number): boolean {
  return site === SITE_TRY_TO_UNMAP || site === SITE_MKCLEAN || site === SITE_MIGRATE;
}

export class InvalidateRangeDesign extends QuietDesign {
  readonly name: string = 'invalidate-range';
  readonly host: NotifierHost;
  readonly list: SubscriptionList<InvalidateRangeOps>;

  constructor(host: NotifierHost) {
    super();
    this.host = host;
    this.list = new SubscriptionList<InvalidateRangeOps>(host, 'release-then-unhash');
  }

  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    if (isRmapDriven(range.site) || this.list.first(range.mm) === null) return 0;
    yield* this.list.tell(range.mm, CB_INVALIDATE_RANGE_START, range.start, range.end, true, (n) =>
      n.ops.invalidateRangeStart?.(n, range),
    );
    return 0;
  }

  override *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    const { list } = this;
    const { mm, start, end, site } = range;
    if (isRmapDriven(site) || list.first(mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = list.after(n, mm)) {
      const { invalidateRange, invalidateRangeEnd } = n.ops;
      if (invalidateRange !== undefined)
        yield* list.callAtomic(n, CB_INVALIDATE_RANGE, mm, start, end, invalidateRange.call(n.ops, n, mm, start, end));
      if (invalidateRangeEnd !== undefined)
        yield* list.call(n, CB_INVALIDATE_RANGE_END, mm, start, end, invalidateRangeEnd.call(n.ops, n, range));
    }
    list.srcu.readUnlock(section);
  }

  /** mmu_notifier_invalidate_range. */
  invalidateRange(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.list.tellAtomic(mm, CB_INVALIDATE_RANGE, start, end, (n) => n.ops.invalidateRange?.(n, mm, start, end));
  }

  /** mmu_notifier_invalidate_page. */
  invalidatePage(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.list.tellPages(mm, CB_INVALIDATE_PAGE, start, end, (n, a) => n.ops.invalidatePage?.(n, mm, a));
  }

  override pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    _isFile: boolean,
  ): AtomicPath<void> {
    return isRmapDriven(site) ? this.invalidatePage(mm, start, end) : this.invalidateRange(mm, start, end);
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

  override *changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void> {
    yield* this.list.tellAtomic(mm, CB_CHANGE_PTE, address, address + 4096, (n) =>
      n.ops.changePte?.(n, mm, address, lo, hi),
    );
  }

  /** clear_young came in 4.2: nobody is asked. */
  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    const { list } = this;
    if (kind === CB_CLEAR_FLUSH_YOUNG)
      return yield* list.ask(mm, kind, start, end, (n) => n.ops.clearFlushYoung?.(n, mm, start, end));
    if (kind === CB_TEST_YOUNG)
      return yield* list.askUntilYes(mm, kind, start, end, (n) => n.ops.testYoung?.(n, mm, start));
    return false;
  }

  override release(mm: NotifierMm): KernelPath<void> {
    return this.list.release(mm);
  }

  override destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }
}
