// Interval subscribers (Linux 5.5 and later: mmu_interval_notifier): a driver that mirrors part of an address space learns of
// invalidations of that part, and gets a sequence number with which it detects that a lookup was overtaken by one.
// Linux: mm/mmu_notifier.c (mn_itree_*, mmu_interval_read_begin, __mmu_interval_notifier_insert, _remove).
//
// State per mm, all under one spinlock (here: changed in single steps):
//
//   seq      even: no interval is being invalidated; odd: some are
//   active   open sections of the mm, whether or not they hit an interval
//   deferred inserts and removals that wait until seq becomes even, because callbacks walk the tree meanwhile
//
// A driver's fault and an invalidation of the same range:
//
//   fault                                          munmap
//     s = intervalReadBegin(sub)                     start: seq odd; invalidate(sub): driver lock, setSeq(seq),
//     looks pages up (may sleep)                            erase what is mapped, unlock
//     driver lock                                    entries cleared
//     intervalReadRetry(sub, s)? start again         end: seq even, wakes readers
//     program the device; unlock
//
// An invalidation that starts after ReadBegin has either set sub.seq (retry) or still waits for the driver lock, and erases
// what was just programmed. One that is open at ReadBegin makes it wait. There is no callback at the end.

import { EAGAIN, EINVAL, EOVERFLOW } from '../abi/errno.ts';
import { CB_INTERVAL_INVALIDATE, E_SUBSCRIBE, E_UNSUBSCRIBE } from '../abi/events.ts';
import { SLEEP_SECTIONS } from '../abi/locks.ts';
import { ULONG_MAX } from '../abi/mman.ts';
import { MMU_NOTIFY_RELEASE } from '../abi/notifier.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LIST } from '../base/footprint.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_CALLBACK } from '../sched/points.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import type { NotifierMm, NotifierRange } from './host.ts';
import { IntervalIndex, IntervalNode } from './interval-tree.ts';
import type { ListOps, Subscription, SubscriptionList } from './subscriptions.ts';

/** Trees and subscribers in footprints, by number of the address space and of the subscriber. */
const LIST_TREES = 0x1000000;
const LIST_SUBSCRIBERS = 0x2000000;

export interface IntervalOps {
  /** Called at the start of a section that meets the interval; `range` is the whole section, not the overlap. Under mmapLock
   *  or rmap locks; may sleep only if range.blockable. On return, true: setSeq(sub, seq) was called under the driver's lock,
   *  and the device holds nothing of the overlap. False: only when not blockable and it would have to wait. */
  invalidate(sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean>;
}

/** mmu_interval_notifier over [start, last]; last byte inclusive as in Linux: a range may end at ULONG_MAX. */
export class IntervalNotifier extends IntervalNode implements Subscription {
  readonly ops: IntervalOps;
  id = 0;
  mm: NotifierMm | null = null;
  /** Value of the tree's seq at the last invalidation of this subscriber. Guarded by the driver's lock. */
  seq = 0;
  isInTree = false;

  constructor(ops: IntervalOps) {
    super();
    this.ops = ops;
  }
}

/** The interval side of one mm's subscriptions. */
export class IntervalTree {
  seq = 2;
  active = 0;
  /** Ascending start, ties in insertion order. Unchanged while seq is odd and callbacks walk it. */
  readonly index = new IntervalIndex<IntervalNotifier>();
  readonly deferred: IntervalNotifier[] = [];
  readonly queue = new WaitQueue();

  get isInvalidating(): boolean {
    return this.seq % 2 === 1;
  }

  get hasSubscribers(): boolean {
    return this.index.size > 0 || this.deferred.length > 0;
  }

  add(sub: IntervalNotifier): void {
    this.index.insert(sub);
    sub.isInTree = true;
  }

  take(sub: IntervalNotifier): void {
    assert(sub.isInTree, 'mmu_interval_notifier: in the tree');
    this.index.remove(sub);
    sub.isInTree = false;
  }
}

/** The interval operations of a design, on top of its list core. */
export class Intervals<Ops extends ListOps> {
  readonly list: SubscriptionList<Ops>;

  constructor(list: SubscriptionList<Ops>) {
    this.list = list;
  }

  /** The address space's tree, with its seq and its count: one object. */
  #tree(mm: NotifierMm, isWrite: boolean): IntervalTree | null {
    this.list.host.sched.footprint?.note(OBJ_LIST, LIST_TREES + mm.id, isWrite);
    return this.list.of(mm)?.intervals ?? null;
  }

  /** The subscriber's seq. */
  #note(sub: IntervalNotifier, isWrite: boolean): void {
    this.list.host.sched.footprint?.note(OBJ_LIST, LIST_SUBSCRIBERS + sub.id, isWrite);
  }

  /** mmu_interval_notifier_insert over `length` bytes. Locks: none of mm's held (the first insert registers). Returns 0, or
   *  -EOVERFLOW (length 0, or past the end of the address space), -EINVAL (no user of the mm is left). */
  *insert(sub: IntervalNotifier, mm: NotifierMm, start: number, length: number): KernelPath<number> {
    if (this.#tree(mm, false) === null) {
      yield* mm.mmapLock.writeLock();
      const result = yield* this.#makeTree(mm);
      mm.mmapLock.writeUnlock();
      if (result < 0) return result;
    }
    return this.#insertChecked(sub, mm, start, length);
  }

  /** mmu_interval_notifier_insert_locked: the same with mmapLock held for writing. */
  *insertLocked(sub: IntervalNotifier, mm: NotifierMm, start: number, length: number): KernelPath<number> {
    if (this.#tree(mm, false) === null) {
      const result = yield* this.#makeTree(mm);
      if (result < 0) return result;
    }
    return this.#insertChecked(sub, mm, start, length);
  }

  /** mmapLock held for writing. */
  *#makeTree(mm: NotifierMm): KernelPath<number> {
    const result = yield* this.list.registerLocked(null, mm);
    const made = this.list.of(mm);
    this.#tree(mm, true);
    if (made !== null && made.intervals === null) made.intervals = new IntervalTree();
    return result;
  }

  #insertChecked(sub: IntervalNotifier, mm: NotifierMm, start: number, length: number): number {
    if (length <= 0 || start + (length - 1) >= 2 ** 64) return -EOVERFLOW;
    if (mm.users <= 0) return -EINVAL;
    this.#insertNow(sub, mm, start, length);
    return 0;
  }

  #insertNow(sub: IntervalNotifier, mm: NotifierMm, start: number, length: number): void {
    const tree = this.#tree(mm, true)!;
    assert(sub.mm === null, 'mmu_interval_notifier_insert: not inserted yet');
    if (sub.id === 0) sub.id = this.list.takeId();
    sub.mm = mm;
    sub.start = start;
    sub.last = start + (length - 1);
    mm.count++;
    this.#note(sub, true);
    // A subscriber that joins during any section counts as being invalidated until that section ends.
    if (tree.active === 0) {
      sub.seq = tree.seq - 1;
      tree.add(sub);
    } else {
      if (tree.isInvalidating) tree.deferred.unshift(sub);
      else {
        tree.seq++;
        tree.add(sub);
      }
      sub.seq = tree.seq;
    }
    const log = this.list.host.log;
    if (log.on) log.emit(E_SUBSCRIBE, mm.id, start, start + length, 0, 0, 0, 0, 1, sub.id);
  }

  /** mmu_interval_notifier_remove: on return no callback runs or will run. Waits for open invalidations, so never from a
   *  callback nor inside a section. */
  *remove(sub: IntervalNotifier): KernelPath<void> {
    const mm = sub.mm;
    assert(mm !== null, 'mmu_interval_notifier_remove: inserted');
    const tree = this.#tree(mm, true)!;
    this.list.host.sched.mightSleep(SLEEP_SECTIONS, 'interval invalidation');
    if (!tree.isInvalidating) tree.take(sub);
    else if (!sub.isInTree) tree.deferred.splice(tree.deferred.indexOf(sub), 1);
    else {
      tree.deferred.unshift(sub);
      const seq = tree.seq;
      yield* this.#whileInvalidating(mm, tree, seq);
    }
    sub.mm = null;
    const log = this.list.host.log;
    if (log.on) log.emit(E_UNSUBSCRIBE, mm.id, sub.start, sub.last + 1, 0, 0, 0, 0, 1, sub.id);
    this.list.host.mmDrop(mm);
  }

  /** mmu_interval_set_seq: inside invalidate, under the driver's lock. */
  setSeq(sub: IntervalNotifier, seq: number): void {
    this.#note(sub, true);
    sub.seq = seq;
  }

  /** mmu_interval_read_begin: waits while the subscriber is being invalidated; returns the number for readRetry. */
  *readBegin(sub: IntervalNotifier): KernelPath<number> {
    const tree = this.#tree(sub.mm!, false)!;
    this.list.host.sched.mightSleep(SLEEP_SECTIONS, 'interval invalidation');
    this.#note(sub, false);
    const seq = sub.seq;
    if (seq === tree.seq) yield* this.#whileInvalidating(sub.mm!, tree, seq);
    return seq;
  }

  /** Waits until the tree's seq is another one. */
  #whileInvalidating(mm: NotifierMm, tree: IntervalTree, seq: number): KernelPath<void> {
    const isOver = (): boolean => {
      this.#tree(mm, false);
      return tree.seq !== seq;
    };
    return this.list.host.sched.waitUntil(isOver, tree.queue, 'interval invalidation');
  }

  /** mmu_interval_read_retry, under the driver's lock: true = an invalidation came between, start again. */
  readRetry(sub: IntervalNotifier, seq: number): boolean {
    this.#note(sub, false);
    return sub.seq !== seq;
  }

  /** mn_itree_invalidate: start of a section. 0, or -EAGAIN when a subscriber would have to wait (then no end follows). */
  *start(range: NotifierRange): KernelPath<number> {
    if (this.list.of(range.mm)?.intervals == null) return 0;
    const tree = this.#tree(range.mm, true)!;
    tree.active++;
    const { start, end } = range;
    let sub = tree.index.first(start, end);
    if (sub !== null && !tree.isInvalidating) tree.seq++;
    const seq = tree.seq;
    for (; sub !== null; sub = tree.index.next(sub, start, end)) {
      if (this.list.host.sched.points) yield P_CALLBACK;
      const isDone = yield* this.#invalidate(sub, range, seq);
      if (isDone || range.blockable) continue;
      this.end(range);
      return -EAGAIN;
    }
    return 0;
  }

  *#invalidate(sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    const list = this.list;
    const mm = range.mm;
    if (range.blockable) list.enter(sub, CB_INTERVAL_INVALIDATE, mm, range.start, range.end);
    else list.enterAtomic(sub, CB_INTERVAL_INVALIDATE, mm, range.start, range.end);
    const isDone = yield* sub.ops.invalidate(sub, range, seq);
    if (range.blockable) list.leave(sub, CB_INTERVAL_INVALIDATE, mm, range.start, range.end, isDone ? 1 : 0);
    else list.leaveAtomic(sub, CB_INTERVAL_INVALIDATE, mm, range.start, range.end, isDone ? 1 : 0);
    return isDone;
  }

  /** mn_itree_inv_end. */
  end(range: NotifierRange): void {
    if (this.list.of(range.mm)?.intervals == null) return;
    const tree = this.#tree(range.mm, true)!;
    tree.active--;
    if (tree.active > 0 || !tree.isInvalidating) return;
    tree.seq++;
    for (const sub of tree.deferred) {
      if (sub.isInTree) tree.take(sub);
      else tree.add(sub);
    }
    tree.deferred.length = 0;
    tree.queue.wakeAll(this.list.host.sched);
  }

  /** mn_itree_release: exit tells every interval once, with RELEASE over [0, ULONG_MAX). */
  *release(mm: NotifierMm): KernelPath<void> {
    if (this.list.of(mm)?.intervals == null) return;
    const range: NotifierRange = {
      mm,
      start: 0,
      end: ULONG_MAX,
      event: MMU_NOTIFY_RELEASE,
      site: 0,
      blockable: true,
      owner: null,
      id: 0,
      hasFailed: false,
    };
    yield* this.start(range);
    this.end(range);
  }
}
