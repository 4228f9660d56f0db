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

import { EAGAIN } from '../abi/errno.ts';
import {
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_CLEAR_YOUNG,
  CB_INVALIDATE_RANGE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  CB_TEST_YOUNG,
} from '../abi/events.ts';
import { SITE_COW, SITE_HUGETLB, SITE_TRY_TO_UNMAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_CALLBACK } from '../sched/points.ts';
import type { NotifierDesign, NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { Intervals } from './interval.ts';
import { type ListOps, type MmuNotifier, type Subscription, SubscriptionList } from './subscriptions.ts';

/** mmu_notifier_ops of 6.1. Every callback is optional; `mn` is the subscriber, `mm` the address space. An AtomicPath may
 *  busy-wait for hardware but not sleep: it runs under a page-table lock. */
export interface MmuNotifierOps extends ListOps {
  /** The address space goes: at the start of exit_mmap, or from unregister. No mm lock is held; may sleep. On return nothing
   *  of the mm is used nor will be. May run twice at once (exit and unregister), so it must be idempotent. */
  release?(mn: Subscription, mm: NotifierMm): KernelPath<void>;
  /** Aging with a flush: was the range used since the last call? Under ptl. On return the secondary has forgotten the use. */
  clearFlushYoung?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<boolean>;
  /** Aging without a flush: as clearFlushYoung, but a use by a translation cached before may be missed. Under ptl. */
  clearYoung?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<boolean>;
  /** Was the page at `address` used? Nothing is cleared. Under ptl. */
  testYoung?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** The entry of the page becomes (lo, hi); called before the store, under ptl, inside a section that contains it. */
  changePte?(mn: Subscription, mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void>;
  /** A section opens: entries of the range are still in place and will change. Under mmapLock (R or W) or an rmap lock, never
   *  ptl; may sleep unless !range.blockable. On return the secondary uses nothing of the range and maps nothing there until
   *  invalidateRangeEnd. Returns 0, or -EAGAIN if not blockable and it would have to sleep (such a subscriber has no
   *  invalidateRangeEnd: it could not know whether its start had failed). */
  invalidateRangeStart?(mn: Subscription, range: NotifierRange): KernelPath<number>;
  /** The section closes: entries have changed; pages may or may not be free yet. Same locks and same `range` as its start. */
  invalidateRangeEnd?(mn: Subscription, range: NotifierRange): KernelPath<void>;
  /** Entries of [start, end) were cleared or changed, pages not freed yet. Often under ptl. On return no secondary TLB holds
   *  an older translation of the range. A range may be a page-table page that goes: then it is one page at the table's first
   *  address, and walk caches of all that it translated must go too. `end` may be ULONG_MAX. */
  invalidateRange?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<void>;
}

export class Linux61 implements NotifierDesign {
  readonly name: string = 'linux-6.1';
  readonly list: SubscriptionList<MmuNotifierOps>;
  readonly intervals: Intervals<MmuNotifierOps>;
  readonly host: NotifierHost;

  constructor(host: NotifierHost) {
    this.host = host;
    this.list = new SubscriptionList<MmuNotifierOps>(host, 'release-then-unhash');
    this.intervals = new Intervals(this.list);
  }

  *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const refused = yield* this.intervals.start(range);
    if (refused < 0) return refused;
    if (this.list.first(range.mm) === null) return 0;
    const result = yield* this.startList(range);
    // 6.1 forgets this one, so that interval readers would wait for ever (mm/mmu_notifier.c, list side refused).
    if (result < 0) this.intervals.end(range);
    return result;
  }

  /** mn_hlist_invalidate_range_start. On a refusal the rest is still called, then the end of everyone who has one: a
   *  subscriber that can refuse has none, so those who began are told that it is over. */
  *startList(range: NotifierRange): KernelPath<number> {
    const list = this.list;
    const section = list.srcu.readLock();
    let result = 0;
    for (let n = list.first(range.mm); n !== null; n = n.next) {
      if (n.ops.invalidateRangeStart === undefined) continue;
      if (list.host.sched.points) yield P_CALLBACK;
      this.#enterRange(n, CB_INVALIDATE_RANGE_START, range);
      const r = yield* n.ops.invalidateRangeStart(n, range);
      this.#leaveRange(n, CB_INVALIDATE_RANGE_START, range, r);
      if (r < 0 && !range.blockable) result = -EAGAIN;
    }
    if (result < 0) {
      for (let n = list.first(range.mm); n !== null; n = n.next) yield* this.#endOne(n, range);
    }
    list.srcu.readUnlock(section);
    return result;
  }

  *invalidateRangeEnd(range: NotifierRange, onlyEnd: boolean): KernelPath<void> {
    this.intervals.end(range);
    const list = this.list;
    if (list.first(range.mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = n.next) {
      if (!onlyEnd) yield* this.#rangeOne(n, range.mm, range.start, range.end);
      yield* this.#endOne(n, range);
    }
    list.srcu.readUnlock(section);
  }

  *#endOne(n: MmuNotifier<MmuNotifierOps>, range: NotifierRange): KernelPath<void> {
    if (n.ops.invalidateRangeEnd === undefined) return;
    if (this.host.sched.points) yield P_CALLBACK;
    this.#enterRange(n, CB_INVALIDATE_RANGE_END, range);
    yield* n.ops.invalidateRangeEnd(n, range);
    this.#leaveRange(n, CB_INVALIDATE_RANGE_END, range, 0);
  }

  *#rangeOne(n: MmuNotifier<MmuNotifierOps>, mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    if (n.ops.invalidateRange === undefined) return;
    if (this.host.sched.points) yield P_CALLBACK;
    this.list.enterAtomic(n, CB_INVALIDATE_RANGE, mm, start, end);
    yield* n.ops.invalidateRange(n, mm, start, end);
    this.list.leaveAtomic(n, CB_INVALIDATE_RANGE, mm, start, end, 0);
  }

  #enterRange(n: Subscription, callback: number, range: NotifierRange): void {
    if (range.blockable) this.list.enter(n, callback, range.mm, range.start, range.end);
    else this.list.enterAtomic(n, callback, range.mm, range.start, range.end);
  }

  #leaveRange(n: Subscription, callback: number, range: NotifierRange, result: number): void {
    if (range.blockable) this.list.leave(n, callback, range.mm, range.start, range.end, result);
    else this.list.leaveAtomic(n, callback, range.mm, range.start, range.end, result);
  }

  /** mmu_notifier_invalidate_range (__mmu_notifier_invalidate_range): to every list subscriber that has the op. */
  *invalidateRange(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    const list = this.list;
    if (list.first(mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = n.next) yield* this.#rangeOne(n, mm, start, end);
    list.srcu.readUnlock(section);
  }

  *pteClearedAndFlushed(mm: NotifierMm, start: number, end: number, site: number, isFile: boolean): AtomicPath<void> {
    const isAnonReclaim = site === SITE_TRY_TO_UNMAP && !isFile;
    if (site === SITE_COW || site === SITE_HUGETLB || isAnonReclaim) yield* this.invalidateRange(mm, start, end);
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

  /** clear_flush_young and clear_young ask everyone; test_young stops at the first that says yes. */
  *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    const list = this.list;
    const section = list.srcu.readLock();
    let isYoung = false;
    for (let n = list.first(mm); n !== null; n = n.next) {
      const path = youngPath(n, mm, start, end, kind);
      if (path === null) continue;
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

  *release(mm: NotifierMm): KernelPath<void> {
    yield* this.intervals.release(mm);
    yield* this.list.release(mm);
  }

  destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }

  *cpuTlbFlushed(): AtomicPath<void> {}

  *pagesAboutToBeFreed(): AtomicPath<void> {}
}

function youngPath(
  n: MmuNotifier<MmuNotifierOps>,
  mm: NotifierMm,
  start: number,
  end: number,
  kind: number,
): AtomicPath<boolean> | null {
  if (kind === CB_CLEAR_FLUSH_YOUNG) return n.ops.clearFlushYoung?.(n, mm, start, end) ?? null;
  if (kind === CB_CLEAR_YOUNG) return n.ops.clearYoung?.(n, mm, start, end) ?? null;
  return n.ops.testYoung?.(n, mm, start) ?? null;
}
