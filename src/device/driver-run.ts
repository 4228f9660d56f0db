// Runs an author's driver: one DriverInstance for each bound address space. It calls the callbacks, turns mistakes of the
// author that types cannot catch into one clear error, and tells the explorer when code of the driver runs.
//
// A driver's variables are invisible, so the whole instance is one object in footprints. Code of the driver runs when a callback
// begins, and when a step of hw that it waited for has ended: both note the object as written. Steps in between, inside hw,
// touch what they touch.

import { SLEEP_WAIT } from '../abi/locks.ts';
import { InputError } from '../base/assert.ts';
import { OBJ_DRIVER } from '../base/footprint.ts';
import type { Kernel } from '../mm/kernel.ts';
import { isMapped } from '../mm/migrate/folio.ts';
import { lockPage, unlockPage } from '../mm/page/page-lock.ts';
import type { MmStruct } from '../mm/types.ts';
import type { NotifierDesign } from '../notifier/host.ts';
import { IntervalNotifier, type Intervals } from '../notifier/interval.ts';
import { MmuNotifiersV4 } from '../notifier/mmu-notifiers-v4.ts';
import type { ListOps } from '../notifier/subscriptions.ts';
import { Mutex, SpinLocks } from '../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_DRIVER } from '../sched/points.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import { type AnyCallbacks, checkCallbacks, type Driver } from './define-driver.ts';
import type { CommonHw, DesignName, Interval, IntervalHw, RmapHw } from './driver-face.ts';
import { intervalsOf, type ListSubscription, subscribeList } from './driver-ops.ts';

/** The instance in footprints. */
const INSTANCE = 0x30000000;
/** ULONG_MAX & PAGE_MASK: the end of an interval over everything, as drivers with one write it. */
const LAST_PAGE = 2 ** 64 - 4096;
/** Spinlocks of a driver, and mutexes. Each is a lock class of its own. */
const DRIVER_LOCKS = 8;

/** A step of hw that was made and not begun: `yield*` is missing, unless it is begun later. */
interface Pending {
  readonly name: string;
  readonly maySleep: boolean;
}

/** One bound address space of a driver. */
export class DriverInstance {
  readonly k: Kernel;
  readonly driver: Driver;
  readonly design: NotifierDesign;
  readonly mm: MmStruct;
  callbacks: AnyCallbacks = {};
  readonly #pending = new Set<Pending>();
  /** An error that came out of the kernel through the driver. */
  #foreign: unknown = null;
  #list: ListSubscription | null = null;
  readonly intervals: Intervals<ListOps> | null;
  /** The interval over the whole address space; null when the driver has no `invalidate`. */
  whole: IntervalNotifier | null = null;
  readonly #inserted = new Set<IntervalNotifier>();

  constructor(k: Kernel, driver: Driver, mm: MmStruct) {
    if (k.design === null) throw new InputError(`driver ${driver.name}: the kernel has no notifier design`);
    if (!driver.designs.includes(k.design.name as DesignName))
      throw new InputError(
        `driver ${driver.name}: written for design ${driver.designs.join(', ')}, not ${k.design.name}`,
      );
    this.k = k;
    this.driver = driver;
    this.design = k.design;
    this.mm = mm;
    this.intervals = intervalsOf(k.design);
  }

  /** Makes the callbacks. Throws InputError for those that the design does not have. */
  create(hw: object): void {
    this.note();
    this.callbacks = checkCallbacks(this.driver, this.design.name as DesignName, this.driver.create(hw));
  }

  /** Code of the driver runs in this step. */
  note(): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) footprint.note(OBJ_DRIVER, INSTANCE, true);
  }

  has(name: string): boolean {
    return this.callbacks[name] !== undefined;
  }

  error(text: string): InputError {
    return new InputError(`driver ${this.driver.name}: ${text}`);
  }

  // --- callbacks

  /** Calls a callback to its end; its result. */
  *call(name: string, ...args: unknown[]): KernelPath<unknown> {
    this.note();
    const made = this.#guard(name, () => this.callbacks[name]!.apply(this.callbacks, args));
    if (made instanceof Promise)
      throw this.error(`${name} is async; write it as a generator: *${name}(...) with yield* before each step of hw`);
    if (typeof (made as Generator | undefined)?.next !== 'function') {
      this.#checkPending(name);
      return made;
    }
    const path = made as KernelPath<unknown>;
    for (;;) {
      const r = this.#guard(name, () => path.next());
      if (r.done === true) {
        this.#checkPending(name);
        return r.value;
      }
      if (typeof r.value !== 'number')
        throw this.error(
          `${name} yields ${typeof r.value}; write yield* before a step of hw, and hw.step() for a bare one`,
        );
      yield r.value;
    }
  }

  /** The same where the design says that the callback may not sleep; that it does not is the scheduler's to see. */
  callAtomic<T>(name: string, ...args: unknown[]): AtomicPath<T> {
    return this.call(name, ...args) as unknown as AtomicPath<T>;
  }

  /** What the driver's code throws is the driver's mistake; what comes from below is passed on. */
  #guard<T>(name: string, run: () => T): T {
    try {
      return run();
    } catch (e) {
      if (e instanceof InputError || e === this.#foreign) throw e;
      const text = e instanceof Error ? e.message : String(e);
      throw new InputError(`driver ${this.driver.name}: ${name} throws: ${text}`, { cause: e });
    }
  }

  #checkPending(name: string): void {
    for (const p of this.#pending) throw this.error(`${name} calls hw.${p.name}() without yield*: its steps never run`);
  }

  // --- steps of hw

  /** A step of hw for the driver: when it has ended, the driver's code goes on. */
  atomic<T>(name: string, path: AtomicPath<T>): AtomicPath<T> {
    const pending: Pending = { name, maySleep: false };
    this.#pending.add(pending);
    return this.#run(pending, path as unknown as KernelPath<T>) as unknown as AtomicPath<T>;
  }

  /** The same for a step that may sleep (might_sleep: wrong in atomic context even where it would not have to wait). */

  sleeping<T>(name: string, path: KernelPath<T>): KernelPath<T> {
    const pending: Pending = { name, maySleep: true };
    this.#pending.add(pending);
    return this.#run(pending, path);
  }

  *#run<T>(pending: Pending, path: KernelPath<T>): KernelPath<T> {
    this.#pending.delete(pending);
    const { sched } = this.k;
    if (pending.maySleep && sched.current.atomicDepth > 0) {
      sched.mightSleep(SLEEP_WAIT, `hw.${pending.name}`);
      sched.onAtomicSleep?.(sched.current);
    }
    let result: T;
    try {
      result = yield* path;
    } catch (e) {
      this.#foreign = e;
      throw e;
    }
    this.note();
    return result;
  }

  // --- subscriptions

  /** Registers what the driver has callbacks for, then calls its bind. 0 or -errno. */
  *subscribe(): KernelPath<number> {
    const list = subscribeList(this);
    if (list !== null) {
      const result = yield* list.register();
      if (result < 0) return result;
      this.#list = list;
    }
    if (this.has('invalidate')) {
      const made = yield* this.insertInterval(0, Number.POSITIVE_INFINITY);
      if (typeof made === 'number') {
        yield* this.unsubscribe();
        return made;
      }
      this.whole = made;
    }
    if (!this.has('bind')) return 0;
    const result = yield* this.call('bind');
    if (typeof result !== 'number' || result >= 0) return 0;
    yield* this.unsubscribe();
    return result;
  }

  /** The driver's unbind; then nothing is heard any more. */
  *close(): KernelPath<void> {
    if (this.has('unbind')) yield* this.call('unbind');
    yield* this.unsubscribe();
  }

  *unsubscribe(): KernelPath<void> {
    for (const sub of [...this.#inserted]) yield* this.removeInterval(sub);
    if (this.#list !== null) yield* this.#list.unregister();
    this.#list = null;
  }

  *insertInterval(start: number, end: number): KernelPath<IntervalNotifier | number> {
    if (this.intervals === null) throw this.error(`design ${this.design.name} has no interval subscribers`);
    if (!this.has('invalidate')) throw this.error('an interval needs the callback invalidate(range, seq)');
    const sub = new IntervalNotifier({
      invalidate: (s, range, seq) => this.#invalidate(s, range, seq),
    });
    const length = Math.min(end, LAST_PAGE) - start;
    const result = yield* this.intervals.insert(sub, this.mm, start, length);
    if (result < 0) return result;
    this.#inserted.add(sub);
    return sub;
  }

  *#invalidate(sub: IntervalNotifier, range: RangeOf, seq: number): KernelPath<boolean> {
    const { start, end, event, blockable } = range;
    return (yield* this.call('invalidate', { start, end, event, blockable }, seq, sub)) !== false;
  }

  *removeInterval(sub: IntervalNotifier): KernelPath<void> {
    this.#inserted.delete(sub);
    yield* this.intervals!.remove(sub);
  }
}

interface RangeOf {
  readonly start: number;
  readonly end: number;
  readonly event: number;
  readonly blockable: boolean;
}

/** What every driver's hw has. */
export class DriverHw implements CommonHw, IntervalHw, RmapHw {
  readonly instance: DriverInstance;
  readonly #spin: SpinLocks[] = [];
  readonly #mutexes: Mutex[] = [];
  readonly #queue = new WaitQueue();

  constructor(instance: DriverInstance) {
    this.instance = instance;
    const { sched } = instance.k;
    for (let n = 0; n < DRIVER_LOCKS; n++) {
      const name = (kind: string): number => sched.lockClasses.define(`${instance.driver.name} ${kind} ${n}`);
      this.#spin.push(new SpinLocks(sched, name('lock'), 1));
      this.#mutexes.push(new Mutex(sched, name('mutex'), 0));
    }
  }

  // --- locks

  #of<T>(locks: readonly T[], n: number): T {
    const lock = locks[n];
    if (lock === undefined) throw this.instance.error(`lock ${n} is not one of 0 to ${DRIVER_LOCKS - 1}`);
    return lock;
  }

  lock(n = 0): AtomicPath<void> {
    return this.instance.atomic('lock', this.#of(this.#spin, n).lock(0));
  }

  unlock(n = 0): void {
    const lock = this.#of(this.#spin, n);
    if (!lock.isHeldByCurrent(0)) throw this.instance.error(`unlock(${n}) of a lock that this thread does not hold`);
    lock.unlock(0);
  }

  mutexLock(n = 0): KernelPath<void> {
    return this.instance.sleeping('mutexLock', this.#of(this.#mutexes, n).lock());
  }

  mutexTryLock(n = 0): boolean {
    return this.#of(this.#mutexes, n).trylock();
  }

  mutexUnlock(n = 0): void {
    const mutex = this.#of(this.#mutexes, n);
    if (!mutex.isHeldByCurrent)
      throw this.instance.error(`mutexUnlock(${n}) of a mutex that this thread does not hold`);
    mutex.unlock();
  }

  // --- waiting

  waitUntil(condition: () => boolean, what = 'the driver'): KernelPath<void> {
    const { instance } = this;
    const isTrue = (): boolean => {
      instance.note();
      return condition();
    };
    return instance.sleeping('waitUntil', instance.k.sched.waitUntil(isTrue, this.#queue, what));
  }

  spinUntil(condition: () => boolean, what = 'the driver'): AtomicPath<void> {
    const { instance } = this;
    const isTrue = (): boolean => {
      instance.note();
      return condition();
    };
    return instance.atomic('spinUntil', instance.k.sched.spinUntil(isTrue, this.#queue, what));
  }

  wake(): void {
    this.#queue.wakeAll(this.instance.k.sched);
  }

  step(): AtomicPath<void> {
    return this.instance.atomic('step', this.point());
  }

  *point(): AtomicPath<void> {
    if (this.instance.k.sched.points) yield P_DRIVER;
  }

  // --- intervals

  #interval(interval: Interval | undefined): IntervalNotifier {
    const sub = (interval as IntervalNotifier | undefined) ?? this.instance.whole;
    if (sub === null)
      throw this.instance.error('there is no interval: the driver has no callback invalidate(range, seq)');
    return sub;
  }

  insertInterval(start: number, end: number): KernelPath<Interval | number> {
    return this.instance.sleeping('insertInterval', this.instance.insertInterval(start, end));
  }

  removeInterval(interval: Interval): KernelPath<void> {
    return this.instance.sleeping('removeInterval', this.instance.removeInterval(interval as IntervalNotifier));
  }

  readBegin(interval?: Interval): KernelPath<number> {
    const sub = this.#interval(interval);
    return this.instance.sleeping('readBegin', this.instance.intervals!.readBegin(sub));
  }

  readRetry(seq: number, interval?: Interval): boolean {
    return this.instance.intervals!.readRetry(this.#interval(interval), seq);
  }

  setSeq(seq: number, interval?: Interval): void {
    this.instance.intervals!.setSeq(this.#interval(interval), seq);
  }

  // --- external reverse maps

  lockPage(page: number): KernelPath<void> {
    return this.instance.sleeping('lockPage', lockPage(this.instance.k, page));
  }

  unlockPage(page: number): void {
    unlockPage(this.instance.k, page);
  }

  isPageMapped(page: number): boolean {
    return isMapped(this.instance.k.pages, page);
  }

  exportPage(page: number): void {
    const { design } = this.instance;
    if (!(design instanceof MmuNotifiersV4) || !this.instance.has('rmapInvalidatePage'))
      throw this.instance.error('exportPage needs design mmu-notifiers-v4 and the callback rmapInvalidatePage(page)');
    design.rmap.exportPage(page);
  }
}
