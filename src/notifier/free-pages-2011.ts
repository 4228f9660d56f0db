// The proposal of October 2011 for TLBs that are not a CPU's (three patches against 3.1, never merged): the notifier of 2.6.27 with one
// more call, between start and end, whenever unmapped pages are about to be freed:
//
//   munmap                                  walker
//     start
//     clears V
//     batch full: free_pages                  flushes everything: the call has no range
//     frees F1
//     clears the rest
//     free_pages, end                         flushes everything
//     frees the rest, and page tables         page tables: not covered
//
// A subscriber that cannot keep its hardware from loading translations between start and end drops them in free_pages.
//
// The call needs a moment at which pages are unmapped and not free. One CPU's kernel had none: tlb_fast_mode freed each page while it
// cleared. The series turns that off for an mm with notifiers, in the generic mmu_gather alone. arm, ia64, s390, sh and um had
// gathers of their own: there pages still go at once, no batch ever fills, and the one call that is made, before end, is late.
// `reachesOwnGathers` lifts that limit.
//
// Not covered besides: page-table pages, and what changes entries without freeing (copied pages, KSM, migration, reclaim have
// invalidate_page). Walked under RCU: no callback may sleep.

import { CB_INVALIDATE_RANGE_FREE_PAGES, CB_TEST_YOUNG } from '../abi/events.ts';
import { SITE_EXIT, SITE_HUGETLB, SITE_MUNMAP, SITE_OOM_REAP, SITE_TRUNCATE, SITE_ZAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { Linux2627, type Linux2627Ops, testYoung } from './linux-2.6.27.ts';
import type { Subscription } from './subscriptions.ts';

/** mmu_notifier_ops of the series. */
export interface FreePages2011Ops extends Linux2627Ops {
  /** Entries inside an open section were cleared and their pages go next. Often under ptl. On return no secondary TLB holds a
   *  translation whose entry was cleared; of which range is not said. */
  invalidateRangeFreePages?(mn: Subscription, mm: NotifierMm): AtomicPath<void>;
}

/** Sections in which pages are unmapped (unmap_vmas, __unmap_hugepage_range). */
function unmapsPages(site: number): boolean {
  return (
    site === SITE_MUNMAP ||
    site === SITE_ZAP ||
    site === SITE_TRUNCATE ||
    site === SITE_EXIT ||
    site === SITE_OOM_REAP ||
    site === SITE_HUGETLB
  );
}

export class FreePages2011 extends Linux2627 {
  override readonly name: string = 'free-pages-2011';
  readonly reachesOwnGathers: boolean;

  constructor(host: NotifierHost, reachesOwnGathers = false) {
    super(host);
    this.reachesOwnGathers = reachesOwnGathers;
  }

  override *invalidateRangeEnd(range: NotifierRange, onlyEnd: boolean): KernelPath<void> {
    if (unmapsPages(range.site) && this.list.first(range.mm) !== null) yield* this.freePages(range.mm);
    yield* super.invalidateRangeEnd(range, onlyEnd);
  }

  override *pagesAboutToBeFreed(mm: NotifierMm, _start: number, _end: number, _site: number): AtomicPath<void> {
    yield* this.freePages(mm);
  }

  /** mmu_notifier_invalidate_range_free_pages. */
  freePages(mm: NotifierMm): AtomicPath<void> {
    return this.list.tellAtomic(mm, CB_INVALIDATE_RANGE_FREE_PAGES, 0, 0, (n) =>
      (n.ops as FreePages2011Ops).invalidateRangeFreePages?.(n, mm),
    );
  }

  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    if (kind === CB_TEST_YOUNG) return yield* testYoung(this.list, mm, start);
    return yield* super.young(mm, start, end, kind);
  }

  /** tlb_fast_mode of the series: mm_has_notifiers. */
  override allowsFastMode(mm: NotifierMm, isOwnGather: boolean): boolean {
    if (isOwnGather && !this.reachesOwnGathers) return true;
    return mm.notifiers === null || !mm.notifiers.hasSubscribers;
  }
}
