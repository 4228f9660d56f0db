// What the notifiers of Linux since 5.5 have in common: list subscribers with start and end, young tests and change_pte, and
// interval subscribers. linux-6.1.ts and linux-6.6.ts add what tells a secondary TLB.
// Linux: mm/mmu_notifier.c, include/linux/mmu_notifier.h, Documentation/mm/mmu_notifier.rst.

import { EAGAIN } from '../abi/errno.ts';
import {
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_CLEAR_YOUNG,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  CB_TEST_YOUNG,
} from '../abi/events.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_CALLBACK } from '../sched/points.ts';
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { Intervals } from './interval.ts';
import { type ListOps, type MmuNotifier, type Subscription, SubscriptionList } from './subscriptions.ts';

/** The callbacks that did not change from 5.5 to today. Every one is optional; `mn` is the subscriber, `mm` the address space.
 *  An AtomicPath may busy-wait for hardware but not sleep: it runs under a page-table lock. */
export interface StartEndOps extends ListOps {
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
}

export class StartEndNotifier<Ops extends StartEndOps> {
  readonly list: SubscriptionList<Ops>;
  readonly intervals: Intervals<Ops>;
  readonly host: NotifierHost;

  constructor(host: NotifierHost) {
    this.host = host;
    this.list = new SubscriptionList<Ops>(host, 'release-then-unhash');
    this.intervals = new Intervals(this.list);
  }

  *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const refused = yield* this.intervals.start(range);
    if (refused < 0) return refused;
    if (this.list.first(range.mm) === null) return 0;
    // A refusal of the list does not end what the intervals were told: the count of open sections stays one too high, and from
    // the next section that hits an interval on, its readers wait for ever (__mmu_notifier_invalidate_range_start has it so).
    return yield* this.startList(range);
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
      for (let n = list.first(range.mm); n !== null; n = n.next) yield* this.endOne(n, range);
    }
    list.srcu.readUnlock(section);
    return result;
  }

  *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    this.intervals.end(range);
    const list = this.list;
    if (list.first(range.mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = n.next) yield* this.endOne(n, range);
    list.srcu.readUnlock(section);
  }

  /** The end op of one subscriber. */
  *endOne(n: MmuNotifier<Ops>, range: NotifierRange): KernelPath<void> {
    if (n.ops.invalidateRangeEnd === undefined) return;
    if (this.host.sched.points) yield P_CALLBACK;
    this.#enterRange(n, CB_INVALIDATE_RANGE_END, range);
    yield* n.ops.invalidateRangeEnd(n, range);
    this.#leaveRange(n, CB_INVALIDATE_RANGE_END, range, 0);
  }

  #enterRange(n: Subscription, callback: number, range: NotifierRange): void {
    if (range.blockable) this.list.enter(n, callback, range.mm, range.start, range.end);
    else this.list.enterAtomic(n, callback, range.mm, range.start, range.end);
  }

  #leaveRange(n: Subscription, callback: number, range: NotifierRange, result: number): void {
    if (range.blockable) this.list.leave(n, callback, range.mm, range.start, range.end, result);
    else this.list.leaveAtomic(n, callback, range.mm, range.start, range.end, result);
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
}

function youngPath(
  n: MmuNotifier<StartEndOps>,
  mm: NotifierMm,
  start: number,
  end: number,
  kind: number,
): AtomicPath<boolean> | null {
  if (kind === CB_CLEAR_FLUSH_YOUNG) return n.ops.clearFlushYoung?.(n, mm, start, end) ?? null;
  if (kind === CB_CLEAR_YOUNG) return n.ops.clearYoung?.(n, mm, start, end) ?? null;
  return n.ops.testYoung?.(n, mm, start) ?? null;
}
