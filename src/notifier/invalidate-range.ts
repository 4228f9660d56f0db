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
import { P_CALLBACK } from '../sched/points.ts';
import type { NotifierDesign, NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { type ListOps, type MmuNotifier, type Subscription, SubscriptionList } from './subscriptions.ts';

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

export class InvalidateRangeDesign implements NotifierDesign {
  readonly name: string = 'invalidate-range';
  readonly host: NotifierHost;
  readonly list: SubscriptionList<InvalidateRangeOps>;

  constructor(host: NotifierHost) {
    this.host = host;
    this.list = new SubscriptionList<InvalidateRangeOps>(host, 'release-then-unhash');
  }

  *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const list = this.list;
    if (isRmapDriven(range.site) || list.first(range.mm) === null) return 0;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = n.next) {
      if (n.ops.invalidateRangeStart === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enter(n, CB_INVALIDATE_RANGE_START, range.mm, range.start, range.end);
      yield* n.ops.invalidateRangeStart(n, range);
      list.leave(n, CB_INVALIDATE_RANGE_START, range.mm, range.start, range.end, 0);
    }
    list.srcu.readUnlock(section);
    return 0;
  }

  *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    const list = this.list;
    if (isRmapDriven(range.site) || list.first(range.mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = n.next) {
      yield* this.#rangeOne(n, range.mm, range.start, range.end);
      if (n.ops.invalidateRangeEnd === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enter(n, CB_INVALIDATE_RANGE_END, range.mm, range.start, range.end);
      yield* n.ops.invalidateRangeEnd(n, range);
      list.leave(n, CB_INVALIDATE_RANGE_END, range.mm, range.start, range.end, 0);
    }
    list.srcu.readUnlock(section);
  }

  *#rangeOne(n: MmuNotifier<InvalidateRangeOps>, mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    if (n.ops.invalidateRange === undefined) return;
    if (this.host.sched.points) yield P_CALLBACK;
    this.list.enterAtomic(n, CB_INVALIDATE_RANGE, mm, start, end);
    yield* n.ops.invalidateRange(n, mm, start, end);
    this.list.leaveAtomic(n, CB_INVALIDATE_RANGE, mm, start, end, 0);
  }

  /** mmu_notifier_invalidate_range. */
  *invalidateRange(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    const list = this.list;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = n.next) yield* this.#rangeOne(n, mm, start, end);
    list.srcu.readUnlock(section);
  }

  /** mmu_notifier_invalidate_page. */
  *invalidatePage(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    const list = this.list;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = n.next) {
      if (n.ops.invalidatePage === undefined) continue;
      for (let address = start; address < end; address += 4096) {
        if (this.host.sched.points) yield P_CALLBACK;
        list.enterAtomic(n, CB_INVALIDATE_PAGE, mm, address, address + 4096);
        yield* n.ops.invalidatePage(n, mm, address);
        list.leaveAtomic(n, CB_INVALIDATE_PAGE, mm, address, address + 4096, 0);
      }
    }
    list.srcu.readUnlock(section);
  }

  pteClearedAndFlushed(mm: NotifierMm, start: number, end: number, site: number, _isFile: boolean): AtomicPath<void> {
    return isRmapDriven(site) ? this.invalidatePage(mm, start, end) : this.invalidateRange(mm, start, end);
  }

  gatherFlushed(mm: NotifierMm, start: number, end: number, _freedTables: boolean, _site: number): AtomicPath<void> {
    return this.invalidateRange(mm, start, end);
  }

  *changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void> {
    const list = this.list;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = n.next) {
      if (n.ops.changePte === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enterAtomic(n, CB_CHANGE_PTE, mm, address, address + 4096);
      yield* n.ops.changePte(n, mm, address, lo, hi);
      list.leaveAtomic(n, CB_CHANGE_PTE, mm, address, address + 4096, 0);
    }
    list.srcu.readUnlock(section);
  }

  /** clear_young came in 4.2: nobody is asked. */
  *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    const list = this.list;
    const section = list.srcu.readLock();
    let isYoung = false;
    for (let n = list.first(mm); n !== null; n = n.next) {
      const path =
        kind === CB_CLEAR_FLUSH_YOUNG
          ? n.ops.clearFlushYoung?.(n, mm, start, end)
          : kind === CB_TEST_YOUNG
            ? n.ops.testYoung?.(n, mm, start)
            : undefined;
      if (path === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enterAtomic(n, kind, mm, start, end);
      const used = yield* path;
      list.leaveAtomic(n, kind, mm, start, end, used ? 1 : 0);
      isYoung = isYoung || used;
      if (used && kind === CB_TEST_YOUNG) break;
    }
    list.srcu.readUnlock(section);
    return isYoung;
  }

  release(mm: NotifierMm): KernelPath<void> {
    return this.list.release(mm);
  }

  destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }

  *cpuTlbFlushed(): AtomicPath<void> {}

  *pagesAboutToBeFreed(): AtomicPath<void> {}
}
