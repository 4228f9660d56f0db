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
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { Intervals } from './interval.ts';
import { QuietDesign } from './quiet-design.ts';
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

export abstract class StartEndNotifier<Ops extends StartEndOps> extends QuietDesign {
  readonly list: SubscriptionList<Ops>;
  readonly intervals: Intervals<Ops>;
  readonly host: NotifierHost;

  constructor(host: NotifierHost) {
    super();
    this.host = host;
    this.list = new SubscriptionList<Ops>(host, 'release-then-unhash');
    this.intervals = new Intervals(this.list);
  }

  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
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
    for (let n = list.first(range.mm); n !== null; n = list.after(n, range.mm)) {
      if (n.ops.invalidateRangeStart === undefined) continue;
      const r = yield* this.#call(n, CB_INVALIDATE_RANGE_START, range, n.ops.invalidateRangeStart(n, range));
      if (r < 0 && !range.blockable) result = -EAGAIN;
    }
    if (result < 0) {
      for (let n = list.first(range.mm); n !== null; n = list.after(n, range.mm)) yield* this.endOne(n, range);
    }
    list.srcu.readUnlock(section);
    return result;
  }

  override *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    this.intervals.end(range);
    const list = this.list;
    if (list.first(range.mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = list.after(n, range.mm)) yield* this.endOne(n, range);
    list.srcu.readUnlock(section);
  }

  /** The end op of one subscriber. */
  *endOne(n: MmuNotifier<Ops>, range: NotifierRange): KernelPath<void> {
    if (n.ops.invalidateRangeEnd === undefined) return;
    yield* this.#call(n, CB_INVALIDATE_RANGE_END, range, n.ops.invalidateRangeEnd(n, range));
  }

  /** A caller that cannot wait has its callbacks run in atomic context. */
  #call<T>(n: Subscription, callback: number, range: NotifierRange, path: KernelPath<T>): KernelPath<T> {
    const { list } = this;
    if (range.blockable) return list.call(n, callback, range.mm, range.start, range.end, path);
    return list.callAtomic(n, callback, range.mm, range.start, range.end, path as AtomicPath<T>);
  }

  override *changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void> {
    yield* this.list.tellAtomic(mm, CB_CHANGE_PTE, address, address + 4096, (n) =>
      n.ops.changePte?.(n, mm, address, lo, hi),
    );
  }

  /** clear_flush_young and clear_young ask everyone; test_young stops at the first that says yes. */
  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    const { list } = this;
    if (kind === CB_CLEAR_FLUSH_YOUNG)
      return yield* list.ask(mm, kind, start, end, (n) => n.ops.clearFlushYoung?.(n, mm, start, end));
    if (kind === CB_CLEAR_YOUNG)
      return yield* list.ask(mm, kind, start, end, (n) => n.ops.clearYoung?.(n, mm, start, end));
    return yield* list.askUntilYes(mm, CB_TEST_YOUNG, start, end, (n) => n.ops.testYoung?.(n, mm, start));
  }

  override *release(mm: NotifierMm): KernelPath<void> {
    yield* this.intervals.release(mm);
    yield* this.list.release(mm);
  }

  override destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }
}
