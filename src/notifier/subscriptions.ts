// The subscriber list that all mm-scoped designs share: one list per mm, newest subscriber first, walked under SRCU.
// Linux: mm/mmu_notifier.c (mmu_notifier_register, _unregister, _get, _put, __mmu_notifier_release, mn_hlist_release).
//
// Guards. The list changes in single steps (subscriptions->lock is held for no longer). A new subscriber appears only while
// mmapLock is held for write and every i_mmap and anon_vma lock of the mm is taken (mm_take_all_locks): each section of mm is
// opened and closed under one of those, so no subscriber ever sees an end without its start:
//
//   munmap thread                                   registering thread
//     start: walks the list, empty                    mmapLock W: waits, the section is open under it
//     clears entries, flushes, end, unlocks
//                                                     mm_take_all_locks, adds itself, drops them
//                                                     first device fault sees the new entries only
//
// A walker stands in an SRCU read section for as long as a callback runs, so unregister, which unlinks and then synchronizes,
// returns only when no callback runs and none will begin. An unlinked node keeps its `next`, as after hlist_del_init_rcu: a
// walker that stands on it goes on along the list.

import { EINVAL, ENOENT, EOVERFLOW } from '../abi/errno.ts';
import {
  CB_ALLOC_NOTIFIER,
  CB_FREE_NOTIFIER,
  CB_RELEASE,
  E_CALLBACK,
  E_CALLBACK_END,
  E_SUBSCRIBE,
  E_UNSUBSCRIBE,
} from '../abi/events.ts';
import { float64s } from '../base/arena.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LIST } from '../base/footprint.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_CALLBACK, P_RELEASE } from '../sched/points.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import { Srcu } from '../sched/srcu.ts';
import type { NotifierHost, NotifierMm } from './host.ts';
import type { IntervalTree } from './interval.ts';

/** Subscriber lists in footprints, by number of the address space. */
const LISTS = 0x5000000;

/** UINT_MAX: `get` refuses to count further. */
const USERS_MAX = 0xffffffff;

/** A subscriber as its own callbacks see it. */
export interface Subscription {
  /** Number in the events; given at registration. */
  readonly id: number;
  readonly mm: NotifierMm | null;
}

/** The callbacks that every design has. */
export interface ListOps {
  release?(mn: Subscription, mm: NotifierMm): KernelPath<void>;
  /** get only: a new notifier for this mm, or -errno. mmapLock W held. */
  allocNotifier?(mm: NotifierMm): object | number;
  /** put only: after the last put and a grace period; no callback runs any more. */
  freeNotifier?(mn: Subscription): void;
}

/** mmu_notifier: one subscriber of one mm. Drivers embed it or extend it. */
export class MmuNotifier<Ops extends ListOps> implements Subscription {
  readonly ops: Ops;
  id = 0;
  mm: NotifierMm | null = null;
  /** References made by `get`. */
  users = 0;
  /** Next older subscriber. Stays when this one is unlinked. */
  next: MmuNotifier<Ops> | null = null;
  /** On the list (the reverse of hlist_unhashed). */
  isHashed = false;

  constructor(ops: Ops) {
    this.ops = ops;
  }
}

/** notifier_subscriptions: what hangs on mm.notifiers. */
export class Subscriptions<Ops extends ListOps> {
  first: MmuNotifier<Ops> | null = null;
  /** Interval subscribers; null until the first (has_itree). */
  intervals: IntervalTree | null = null;

  get hasSubscribers(): boolean {
    return this.first !== null || this.intervals?.hasSubscribers === true;
  }
}

/** When release runs. 'release-then-unhash' (3.7, and 3.10 and later): reclaim still finds a subscriber whose release is running, and
 *  unregister may run it beside exit, so release has to be idempotent. 'unhash-then-release' (2.6.27): exactly one of exit
 *  and unregister runs it, but meanwhile reclaim finds nobody to tell. */
export type ReleaseOrder = 'release-then-unhash' | 'unhash-then-release';

/** What a callback answered, as events have it. */
function resultOf(result: unknown): number {
  return typeof result === 'number' ? result : result === true ? 1 : 0;
}

/** The list core; one per design instance, that is, per kernel. */
export class SubscriptionList<Ops extends ListOps> {
  readonly host: NotifierHost;
  readonly releaseOrder: ReleaseOrder;
  readonly srcu: Srcu;
  /** Callbacks made, by CB_*. */
  readonly callbackCounts = float64s(32);
  #nextId = 1;
  /** SRCU callbacks (free_notifier) under way, and who waits for them. */
  #freeing = 0;
  readonly #freed = new WaitQueue();

  constructor(host: NotifierHost, releaseOrder: ReleaseOrder) {
    this.host = host;
    this.releaseOrder = releaseOrder;
    this.srcu = new Srcu(host.sched);
  }

  /** Subscriptions of the mm. A kernel has one design, so what hangs there is this list's. */
  of(mm: NotifierMm): Subscriptions<Ops> | null {
    return mm.notifiers as Subscriptions<Ops> | null;
  }

  /** Newest subscriber, or null. */
  first(mm: NotifierMm): MmuNotifier<Ops> | null {
    this.#touch(mm, false);
    return mm.notifiers === null ? null : (mm.notifiers as Subscriptions<Ops>).first;
  }

  /** The next older one of a walk. */
  after(n: MmuNotifier<Ops>, mm: NotifierMm): MmuNotifier<Ops> | null {
    this.#touch(mm, false);
    return n.next;
  }

  /** Is it on the list of the mm? */
  has(mn: MmuNotifier<Ops>, mm: NotifierMm): boolean {
    this.#touch(mm, false);
    return mn.isHashed;
  }

  /** The list of the mm is read or changed. */
  #touch(mm: NotifierMm, isWrite: boolean): void {
    this.host.sched.footprint?.note(OBJ_LIST, LISTS + mm.id, isWrite);
  }

  /** mmu_notifier_register. Locks: none of mm's may be held. Returns 0 or -EINVAL (no user of the mm is left). May sleep. */
  *register(mn: MmuNotifier<Ops>, mm: NotifierMm): KernelPath<number> {
    yield* mm.mmapLock.writeLock();
    const result = yield* this.registerLocked(mn, mm);
    mm.mmapLock.writeUnlock();
    return result;
  }

  /** __mmu_notifier_register: as register, mmapLock W held by the caller. null registers nobody but makes mm.notifiers. */
  *registerLocked(mn: MmuNotifier<Ops> | null, mm: NotifierMm): KernelPath<number> {
    assert(mm.mmapLock.isWriteLocked, 'mmu_notifier_register: mmapLock is held for write');
    if (mm.users <= 0) return -EINVAL;
    yield* this.host.takeAllLocks(mm);
    const subscriptions = this.of(mm) ?? new Subscriptions<Ops>();
    mm.notifiers = subscriptions;
    if (mn !== null) {
      assert(!mn.isHashed, 'mmu_notifier_register: not registered yet');
      mm.count++;
      mn.mm = mm;
      mn.users = 1;
      if (mn.id === 0) mn.id = this.takeId();
      mn.next = subscriptions.first;
      mn.isHashed = true;
      subscriptions.first = mn;
      this.#touch(mm, true);
      const hasEnd = 'invalidateRangeEnd' in mn.ops && mn.ops.invalidateRangeEnd !== undefined ? 1 : 0;
      if (this.host.log.on) this.host.log.emit(E_SUBSCRIBE, mm.id, 0, 0, 0, 0, hasEnd, 0, 0, mn.id);
    }
    this.host.dropAllLocks(mm);
    return 0;
  }

  /** hlist_add_head under the list's own lock, and no other: how the proposals before 2.6.27 registered. A section may be open, so
   *  its end may be the first thing that is heard. The mm_struct is not pinned. */
  addHead(mn: MmuNotifier<Ops>, mm: NotifierMm): void {
    assert(!mn.isHashed, 'mmu_notifier_register: not registered yet');
    const subscriptions = this.of(mm) ?? new Subscriptions<Ops>();
    mm.notifiers = subscriptions;
    mn.mm = mm;
    if (mn.id === 0) mn.id = this.takeId();
    mn.next = subscriptions.first;
    mn.isHashed = true;
    subscriptions.first = mn;
    this.#touch(mm, true);
    if (this.host.log.on) this.host.log.emit(E_SUBSCRIBE, mm.id, 0, 0, 0, 0, 0, 0, 0, mn.id);
  }

  /** The subscriber's user has waited for every callback in flight: E_UNSUBSCRIBE says that none comes any more. */
  forget(mn: MmuNotifier<Ops>, mm: NotifierMm): void {
    mn.mm = null;
    if (this.host.log.on) this.host.log.emit(E_UNSUBSCRIBE, mm.id, 0, 0, 0, 0, 0, 0, 0, mn.id);
  }

  /** Number for a subscriber's events. */
  takeId(): number {
    return this.#nextId++;
  }

  /** mmu_notifier_unregister: runs release unless exit did, unlinks, waits for every callback in flight, drops the mm. On
   *  return no callback runs or will run. May sleep; never from a callback. */
  *unregister(mn: MmuNotifier<Ops>, mm: NotifierMm): KernelPath<void> {
    assert(mn.mm === mm && mm.count > 0, 'mmu_notifier_unregister: registered with this mm');
    if (this.has(mn, mm)) {
      if (this.releaseOrder === 'unhash-then-release') this.unhash(mn, mm);
      const section = this.srcu.readLock();
      yield* this.callRelease(mn, mm);
      this.srcu.readUnlock(section);
      this.unhash(mn, mm);
    }
    yield* this.srcu.synchronize();
    mn.mm = null;
    if (this.host.log.on) this.host.log.emit(E_UNSUBSCRIBE, mm.id, 0, 0, 0, 0, 0, 0, 0, mn.id);
    this.host.mmDrop(mm);
  }

  /** mmu_notifier_get: the one notifier of (ops, mm), allocated by ops.allocNotifier at the first call and counted after.
   *  Returns it, or -EOVERFLOW, -EINVAL, or what allocNotifier answered. */
  *get(ops: Ops, mm: NotifierMm): KernelPath<MmuNotifier<Ops> | number> {
    yield* mm.mmapLock.writeLock();
    const result = yield* this.getLocked(ops, mm);
    mm.mmapLock.writeUnlock();
    return result;
  }

  /** mmu_notifier_get_locked. */
  *getLocked(ops: Ops, mm: NotifierMm): KernelPath<MmuNotifier<Ops> | number> {
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) {
      if (n.ops !== ops) continue;
      if (n.users === USERS_MAX) return -EOVERFLOW;
      n.users++;
      return n;
    }
    if (ops.allocNotifier === undefined) return -EINVAL;
    const made = ops.allocNotifier(mm);
    if (typeof made === 'number') return made < 0 ? made : -ENOENT;
    const mn = made as MmuNotifier<Ops>;
    assert(mn.ops === ops, 'mmu_notifier_get: allocNotifier made a notifier of the same ops');
    mn.id = this.takeId();
    this.note(E_CALLBACK, mn, CB_ALLOC_NOTIFIER, mm, 0, 0, 0);
    this.note(E_CALLBACK_END, mn, CB_ALLOC_NOTIFIER, mm, 0, 0, 0);
    const result = yield* this.registerLocked(mn, mm);
    if (result < 0) ops.freeNotifier?.(mn);
    return result < 0 ? result : mn;
  }

  /** mmu_notifier_put: the last one unlinks at once; free_notifier comes after a grace period, from a worker. release is not
   *  called. Does not sleep. */
  put(mn: MmuNotifier<Ops>): void {
    const mm = mn.mm;
    assert(mm !== null && mn.users > 0, 'mmu_notifier_put: held');
    if (--mn.users > 0) return;
    this.unhash(mn, mm);
    this.#freeing++;
    this.host.sched.spawn(`free notifier ${mn.id}`, 'kernel', this.#freeAfterGracePeriod(mn, mm));
  }

  *#freeAfterGracePeriod(mn: MmuNotifier<Ops>, mm: NotifierMm): KernelPath<void> {
    yield* this.srcu.synchronize();
    this.note(E_CALLBACK, mn, CB_FREE_NOTIFIER, mm, 0, 0, 0);
    mn.ops.freeNotifier?.(mn);
    this.note(E_CALLBACK_END, mn, CB_FREE_NOTIFIER, mm, 0, 0, 0);
    mn.mm = null;
    if (this.host.log.on) this.host.log.emit(E_UNSUBSCRIBE, mm.id, 0, 0, 0, 0, 0, 0, 0, mn.id);
    this.host.mmDrop(mm);
    this.#freeing--;
    this.#freed.wakeAll(this.host.sched);
  }

  /** mmu_notifier_synchronize: waits for every free_notifier (before a driver's code goes). */
  *synchronize(): KernelPath<void> {
    yield* this.host.sched.waitUntil(() => this.#freeing === 0, this.#freed, 'free_notifier');
  }

  /** mn_hlist_release, at the start of exit_mmap: every subscriber's release, newest first; when it returns, none runs any
   *  more and pages may go. */
  *release(mm: NotifierMm): KernelPath<void> {
    if (this.releaseOrder === 'unhash-then-release') {
      yield* this.#unhashThenRelease(mm);
    } else {
      // Empty: whoever unregistered had finished its release before it unlinked itself.
      if (this.first(mm) === null) return;
      yield* this.#releaseThenUnhash(mm);
    }
    yield* this.srcu.synchronize();
  }

  *#releaseThenUnhash(mm: NotifierMm): KernelPath<void> {
    const section = this.srcu.readLock();
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) yield* this.callRelease(n, mm);
    for (let n = this.first(mm); n !== null; n = this.first(mm)) this.unhash(n, mm);
    this.srcu.readUnlock(section);
  }

  *#unhashThenRelease(mm: NotifierMm): KernelPath<void> {
    for (let n = this.first(mm); n !== null; n = this.first(mm)) {
      this.unhash(n, mm);
      const section = this.srcu.readLock();
      yield* this.callRelease(n, mm);
      this.srcu.readUnlock(section);
    }
  }

  /** Runs one subscriber's release, if it has one. SRCU is held. */
  *callRelease(mn: MmuNotifier<Ops>, mm: NotifierMm): KernelPath<void> {
    if (mn.ops.release === undefined) return;
    if (this.host.sched.points) yield P_RELEASE;
    this.enter(mn, CB_RELEASE, mm, 0, 0);
    yield* mn.ops.release(mn, mm);
    this.leave(mn, CB_RELEASE, mm, 0, 0, 0);
  }

  /** hlist_del_init_rcu; nothing when it is off the list already. */
  unhash(mn: MmuNotifier<Ops>, mm: NotifierMm): void {
    if (this.host.log.on) this.host.log.emit(E_UNSUBSCRIBE, mm.id, 0, 0, 0, 0, 1, 0, 0, mn.id);
    const subscriptions = this.of(mm);
    if (!this.has(mn, mm) || subscriptions === null) return;
    mn.isHashed = false;
    this.#touch(mm, true);
    if (subscriptions.first === mn) {
      subscriptions.first = mn.next;
      return;
    }
    let before = subscriptions.first;
    while (before !== null && before.next !== mn) before = before.next;
    assert(before !== null, 'hlist_del: on the list');
    before.next = mn.next;
  }

  /** __mmu_notifier_subscriptions_destroy: the mm_struct goes. */
  destroy(mm: NotifierMm): void {
    assert(mm.notifiers === null || !mm.notifiers.hasSubscribers, 'mmu_notifier: nobody is subscribed to a dead mm');
    mm.notifiers = null;
  }

  // --- walks: newest subscriber first; one without the callback (`call` answers undefined) is passed by

  /** Tells every subscriber. `maySleep`: the callback may; else it runs in atomic context. */
  *tell(
    mm: NotifierMm,
    callback: number,
    start: number,
    end: number,
    maySleep: boolean,
    call: (n: MmuNotifier<Ops>) => KernelPath<unknown> | undefined,
  ): KernelPath<void> {
    const section = this.srcu.readLock();
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) {
      const path = call(n);
      if (path === undefined) continue;
      if (maySleep) yield* this.call(n, callback, mm, start, end, path);
      else yield* this.callAtomic(n, callback, mm, start, end, path as AtomicPath<unknown>);
    }
    this.srcu.readUnlock(section);
  }

  /** Tells every subscriber in atomic context: under ptl. */
  *tellAtomic(
    mm: NotifierMm,
    callback: number,
    start: number,
    end: number,
    call: (n: MmuNotifier<Ops>) => AtomicPath<unknown> | undefined,
  ): AtomicPath<void> {
    const section = this.srcu.readLock();
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) {
      const path = call(n);
      if (path !== undefined) yield* this.callAtomic(n, callback, mm, start, end, path);
    }
    this.srcu.readUnlock(section);
  }

  /** The same for callbacks of one page: each subscriber hears all of [start, end) before the next one. */
  *tellPages(
    mm: NotifierMm,
    callback: number,
    start: number,
    end: number,
    call: (n: MmuNotifier<Ops>, address: number) => AtomicPath<unknown> | undefined,
  ): AtomicPath<void> {
    const section = this.srcu.readLock();
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) {
      for (let address = start; address < end; address += 4096) {
        const path = call(n, address);
        if (path === undefined) break;
        yield* this.callAtomic(n, callback, mm, address, address + 4096, path);
      }
    }
    this.srcu.readUnlock(section);
  }

  /** Young test: everyone is asked; does anyone say yes? */
  *ask(
    mm: NotifierMm,
    callback: number,
    start: number,
    end: number,
    call: (n: MmuNotifier<Ops>) => AtomicPath<boolean> | undefined,
  ): AtomicPath<boolean> {
    const section = this.srcu.readLock();
    let isYoung = false;
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) {
      const path = call(n);
      if (path === undefined) continue;
      const used = yield* this.callAtomic(n, callback, mm, start, end, path);
      isYoung ||= used;
    }
    this.srcu.readUnlock(section);
    return isYoung;
  }

  /** The same, ending with the first that says yes. */
  *askUntilYes(
    mm: NotifierMm,
    callback: number,
    start: number,
    end: number,
    call: (n: MmuNotifier<Ops>) => AtomicPath<boolean> | undefined,
  ): AtomicPath<boolean> {
    const section = this.srcu.readLock();
    let isYoung = false;
    for (let n = this.first(mm); n !== null && !isYoung; n = this.after(n, mm)) {
      const path = call(n);
      if (path !== undefined) isYoung = yield* this.callAtomic(n, callback, mm, start, end, path);
    }
    this.srcu.readUnlock(section);
    return isYoung;
  }

  /** Young test of designs whose callback takes one page: everyone is asked about each. */
  *askPages(
    mm: NotifierMm,
    callback: number,
    start: number,
    end: number,
    call: (n: MmuNotifier<Ops>, address: number) => AtomicPath<boolean> | undefined,
  ): AtomicPath<boolean> {
    const section = this.srcu.readLock();
    let isYoung = false;
    for (let n = this.first(mm); n !== null; n = this.after(n, mm)) {
      for (let address = start; address < end; address += 4096) {
        const path = call(n, address);
        if (path === undefined) break;
        const used = yield* this.callAtomic(n, callback, mm, address, address + 4096, path);
        isYoung ||= used;
      }
    }
    this.srcu.readUnlock(section);
    return isYoung;
  }

  /** One callback of one subscriber: a point, and the events around it. SRCU is held. */
  *call<T>(
    n: Subscription,
    callback: number,
    mm: NotifierMm,
    start: number,
    end: number,
    path: KernelPath<T>,
  ): KernelPath<T> {
    if (this.host.sched.points) yield P_CALLBACK;
    this.enter(n, callback, mm, start, end);
    const result = yield* path;
    this.leave(n, callback, mm, start, end, resultOf(result));
    return result;
  }

  /** The same in atomic context. */
  *callAtomic<T>(
    n: Subscription,
    callback: number,
    mm: NotifierMm,
    start: number,
    end: number,
    path: AtomicPath<T>,
  ): AtomicPath<T> {
    if (this.host.sched.points) yield P_CALLBACK;
    this.enterAtomic(n, callback, mm, start, end);
    const result = yield* path;
    this.leaveAtomic(n, callback, mm, start, end, resultOf(result));
    return result;
  }

  /** A callback begins. */
  enter(mn: Subscription, callback: number, mm: NotifierMm, start: number, end: number): void {
    this.callbackCounts[callback]!++;
    if (this.host.log.on) this.note(E_CALLBACK, mn, callback, mm, start, end, 0);
  }

  /** It has returned. */
  leave(mn: Subscription, callback: number, mm: NotifierMm, start: number, end: number, result: number): void {
    if (this.host.log.on) this.note(E_CALLBACK_END, mn, callback, mm, start, end, result);
  }

  /** A callback that must not sleep begins: called under ptl, or for a caller that cannot wait. */
  enterAtomic(mn: Subscription, callback: number, mm: NotifierMm, start: number, end: number): void {
    this.host.sched.current.atomicDepth++;
    this.enter(mn, callback, mm, start, end);
  }

  leaveAtomic(mn: Subscription, callback: number, mm: NotifierMm, start: number, end: number, result: number): void {
    this.host.sched.current.atomicDepth--;
    this.leave(mn, callback, mm, start, end, result);
  }

  note(
    type: number,
    mn: Subscription,
    callback: number,
    mm: NotifierMm,
    start: number,
    end: number,
    result: number,
  ): void {
    const { log, sched } = this.host;
    const isAtomic = type === E_CALLBACK && sched.current.atomicDepth > 0 ? 1 : 0;
    if (log.on) log.emit(type, mm.id, start, end, 0, 0, callback, result, isAtomic, mn.id);
  }
}
