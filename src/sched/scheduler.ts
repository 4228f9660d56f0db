// Cooperative kernel threads. A run is a pure function of the choices that the chooser makes: which runnable thread steps
// next, and every other choice (allocation failure, delays) through `choose`.
//
// Three ways to run the same paths:
//   run(path)            to its end, points off; other threads run only while it waits
//   step()               one step of a thread that the chooser picks (seeded random, or an explorer)
//   stepThread(t)        one step of a thread that the caller picks
//
// A thread that waits (sleeping or spinning) leaves the runnable set and names what it waits for; wake() puts it back.

import { E_MIGHT_SLEEP } from '../abi/events.ts';
import { SLEEP_WAIT } from '../abi/locks.ts';
import { assert } from '../base/assert.ts';
import type { Footprint } from '../base/footprint.ts';
import type { RecordLog } from '../base/record-log.ts';
import type { Rng } from '../base/rng.ts';
import { LockClasses } from './lock-classes.ts';
import type { AtomicPath, KernelPath } from './path.ts';
import { P_SLEEP, P_SPIN } from './points.ts';

export const RUNNABLE = 0;
export const SLEEPING = 1;
export const SPINNING = 2;
export const DONE = 3;

/** Why a choice is asked for. */
export const CHOOSE_THREAD = 0;
export const CHOOSE_ALLOC_FAILURE = 1;
export const CHOOSE_DELAY = 2;
export const CHOOSE_WORKLOAD = 3;

export interface Chooser {
  /** An integer in [0, n). `why` is one of CHOOSE_*. */
  choose(n: number, why: number): number;
}

/** The seeded random chooser. */
export class RandomChooser implements Chooser {
  readonly rng: Rng;

  constructor(rng: Rng) {
    this.rng = rng;
  }

  choose(n: number, _why: number): number {
    return n === 1 ? 0 : this.rng.below(n);
  }
}

/** Always the first alternative: no failures, no delays. */
export const firstChooser: Chooser = { choose: () => 0 };

export type Lane = 'cpu' | 'kernel' | 'device' | 'iommu';

export class Thread {
  readonly id: number;
  readonly name: string;
  readonly lane: Lane;
  state = RUNNABLE;
  /** What it waits for, for reports. */
  waitingFor = '';
  /** The point where it stands. */
  point = 0;
  /** > 0: holds a spinlock or runs an atomic callback; sleeping now is a finding. */
  atomicDepth = 0;
  /** Opened and not yet closed sections (I40 is judged from events; this serves reports). */
  path: KernelPath<unknown> | null;
  result: unknown;
  /** Position in the runnable list, -1 when not in it. */
  slot = -1;
  /** CPU on which it runs, where somebody asks which of several it is. */
  cpu = 0;
  /** The task for which it runs, as whoever starts its work says; null: the kernel itself. */
  owner: object | null = null;
  /** Address of the page fault that it takes. */
  faultAddress = 0;
  /** Step at which a timed wait ends. */
  wakeAtStep = 0;
  /** What it waits for in waitSteady: it is enabled, for an explorer, when that holds. */
  until: (() => boolean) | null = null;

  constructor(id: number, name: string, lane: Lane, path: KernelPath<unknown> | null) {
    this.id = id;
    this.name = name;
    this.lane = lane;
    this.path = path;
  }
}

/** A path that is run to its end waits, and nothing can go on. */
export class Deadlock extends Error {}

export class Scheduler {
  readonly threads: Thread[] = [];
  readonly #runnable: Thread[] = [];
  #timed: Thread[] = [];
  /** Earliest step at which one of #timed is due. */
  #nextDue = Number.POSITIVE_INFINITY;
  chooser: Chooser;
  readonly log: RecordLog;
  readonly lockClasses = new LockClasses();
  /** Preemption points on? Read by every kernel path before it yields a point. */
  points = false;
  /** Thread that runs now. Outside of threads: `boot`. */
  current: Thread;
  readonly boot: Thread;
  steps = 0;
  /** The current step only tried again what the thread waits for, in vain: it changed nothing but wait queues. Asked by explorers. */
  hasOnlyWaited = false;
  /** The explorer's recorder, null otherwise. */
  footprint: Footprint | null = null;
  /** Called when a thread really sleeps in atomic context; the lock-order monitor (E_MIGHT_SLEEP) sees also what might have. */
  onAtomicSleep: ((thread: Thread) => void) | null = null;
  /** Threads that stand still but do not keep the world alive (daemons): kswapd, IOMMU. */
  readonly daemons = new Set<Thread>();

  constructor(log: RecordLog, chooser: Chooser = firstChooser) {
    this.log = log;
    this.chooser = chooser;
    this.boot = new Thread(0, 'boot', 'cpu', null);
    this.threads.push(this.boot);
    this.current = this.boot;
  }

  spawn(name: string, lane: Lane, path: KernelPath<unknown>, daemon = false): Thread {
    const t = new Thread(this.threads.length, name, lane, path);
    this.threads.push(t);
    this.#makeRunnable(t);
    if (daemon) this.daemons.add(t);
    return t;
  }

  choose(n: number, why: number): number {
    return this.chooser.choose(n, why);
  }

  get runnableCount(): number {
    return this.#runnable.length;
  }

  runnableAt(i: number): Thread {
    return this.#runnable[i]!;
  }

  #makeRunnable(t: Thread): void {
    t.state = RUNNABLE;
    if (t.slot >= 0 || t.path === null) return;
    t.slot = this.#runnable.length;
    this.#runnable.push(t);
  }

  #takeOut(t: Thread): void {
    const last = this.#runnable.pop()!;
    if (last !== t) {
      this.#runnable[t.slot] = last;
      last.slot = t.slot;
    }
    t.slot = -1;
  }

  /** Makes a waiting thread runnable. */
  wake(t: Thread): void {
    if (t.state === SLEEPING || t.state === SPINNING) {
      t.waitingFor = '';
      this.#makeRunnable(t);
    }
  }

  /** The current thread waits: call, then yield P_SLEEP (or P_SPIN), then test the condition again. */
  prepareWait(state: typeof SLEEPING | typeof SPINNING, what: string): void {
    const t = this.current;
    if (state === SLEEPING && t.atomicDepth > 0) this.onAtomicSleep?.(t);
    t.state = state;
    t.waitingFor = what;
    if (t.slot >= 0) this.#takeOut(t);
  }

  /** Like prepareWait, where the thread stood at a point right before it looked: its step changed nothing. */
  prepareWaitOnly(state: typeof SLEEPING | typeof SPINNING, what: string): void {
    this.prepareWait(state, what);
    this.hasOnlyWaited = true;
  }

  /** might_sleep, might_alloc: announces that the current thread may sleep here for SLEEP_* (abi/locks), now or another time. */
  mightSleep(kind: number, what: string): void {
    if (this.log.on && (kind !== SLEEP_WAIT || this.current.atomicDepth > 0))
      this.log.emit(E_MIGHT_SLEEP, 0, 0, 0, 0, 0, kind, this.lockClasses.define(what), 0, 0);
  }

  /** Waits for `count` steps of the world. */
  *sleepSteps(count: number, what: string): KernelPath<void> {
    this.mightSleep(SLEEP_WAIT, what);
    const t = this.current;
    t.wakeAtStep = this.steps + count;
    // Somebody else's wake() does not end it early.
    while (this.steps < t.wakeAtStep) {
      this.prepareWait(SLEEPING, what);
      if (!this.#timed.includes(t)) this.#timed.push(t);
      if (t.wakeAtStep < this.#nextDue) this.#nextDue = t.wakeAtStep;
      yield P_SLEEP;
    }
  }

  /** Wakes the threads whose time has come, the earliest first. */
  #wakeTimed(): void {
    const due = this.#timed.filter((t) => t.wakeAtStep <= this.steps).sort((a, b) => a.wakeAtStep - b.wakeAtStep);
    this.#timed = this.#timed.filter((t) => t.wakeAtStep > this.steps);
    this.#nextDue = Number.POSITIVE_INFINITY;
    for (const t of this.#timed) this.#nextDue = Math.min(this.#nextDue, t.wakeAtStep);
    for (const t of due) this.wake(t);
  }

  /** One step of a chosen thread. False when nothing can run (all done, or a deadlock). */
  step(): boolean {
    if (this.steps >= this.#nextDue) this.#wakeTimed();
    while (this.#runnable.length === 0) {
      if (this.#timed.length === 0) return false;
      this.steps = this.#nextDue;
      this.#wakeTimed();
    }
    this.stepThread(this.#runnable[this.choose(this.#runnable.length, CHOOSE_THREAD)]!);
    return true;
  }

  /** Can the thread make a step? Asked by an explorer (while a recorder is on): whoever waits in waitSteady need not be woken. */
  isEnabled(t: Thread): boolean {
    if (t.path === null) return false;
    return t.until === null ? t.state === RUNNABLE : t.until();
  }

  /** stepThread of a thread that isEnabled. */
  stepEnabled(t: Thread): void {
    if (t.state !== RUNNABLE) this.wake(t);
    this.stepThread(t);
  }

  /** One step of `t`: until its next point, wait or end. */
  stepThread(t: Thread): void {
    assert(t.path !== null && t.state === RUNNABLE, 'stepThread: thread is runnable');
    const previous = this.current;
    this.current = t;
    this.log.actor = t.id;
    this.log.step = ++this.steps;
    this.hasOnlyWaited = false;
    const r = t.path.next();
    if (r.done === true) {
      t.state = DONE;
      t.result = r.value;
      t.path = null;
      if (t.slot >= 0) this.#takeOut(t);
    } else {
      t.point = r.value;
    }
    this.current = previous;
    this.log.actor = previous.id;
  }

  /** Runs a path to its end on the current thread, the others only while it waits. */
  run<T>(path: KernelPath<T> | AtomicPath<T>): T {
    const r = path.next();
    return r.done === true ? r.value : this.#runSlow(path as KernelPath<T>);
  }

  #runSlow<T>(path: KernelPath<T>): T {
    const me = this.current;
    for (;;) {
      while (me.state !== RUNNABLE) {
        // A timed wake-up of this thread alone is no step.
        if (!this.step() && me.state !== RUNNABLE)
          throw new Deadlock(`deadlock: ${me.name} waits for ${me.waitingFor} and nothing else can run`);
      }
      this.steps++;
      const r = path.next();
      if (r.done === true) return r.value;
    }
  }

  /** Steps chosen threads until `until` holds, nothing can run, or `stepsMax` more steps were made. */
  runUntil(until: () => boolean, stepsMax = Number.POSITIVE_INFINITY): 'reached' | 'stuck' | 'limit' {
    const limit = this.steps + stepsMax;
    while (!until()) {
      if (this.steps >= limit) return 'limit';
      if (!this.step()) return 'stuck';
    }
    return 'reached';
  }

  /** Busy-waits until `condition` holds: other threads and the hardware run meanwhile. Never sleeps. */
  *spinUntil(condition: () => boolean, queue: WaitQueue, what: string): AtomicPath<void> {
    for (let isAgain = false; !condition(); isAgain = true) {
      queue.add(this.current);
      this.prepareWait(SPINNING, what);
      this.hasOnlyWaited = isAgain;
      yield P_SPIN;
    }
  }

  /** Sleeps until `condition` holds; `queue` is woken when it may have become true. */
  *waitUntil(condition: () => boolean, queue: WaitQueue, what: string): KernelPath<void> {
    this.mightSleep(SLEEP_WAIT, what);
    for (let isAgain = false; !condition(); isAgain = true) {
      queue.add(this.current);
      this.prepareWait(SLEEPING, what);
      this.hasOnlyWaited = isAgain;
      yield P_SLEEP;
    }
  }

  /** waitUntil for a condition that stays true until this thread goes on, such as a message in a queue that it alone empties.
   *  An explorer need not see the thread look and find nothing: it is not enabled until the condition holds (isEnabled). Whoever
   *  waits notes afterwards what the condition read; `condition` itself notes nothing. */
  *waitSteady(condition: () => boolean, queue: WaitQueue, what: string): KernelPath<void> {
    this.mightSleep(SLEEP_WAIT, what);
    if (this.footprint === null && condition()) return;
    const t = this.current;
    do {
      queue.add(t);
      this.prepareWait(SLEEPING, what);
      t.until = condition;
      yield P_SLEEP;
    } while (!condition());
    t.until = null;
  }

  /** spinUntil in the manner of waitSteady. */
  *spinSteady(condition: () => boolean, queue: WaitQueue, what: string): AtomicPath<void> {
    if (this.footprint === null && condition()) return;
    const t = this.current;
    do {
      queue.add(t);
      this.prepareWait(SPINNING, what);
      t.until = condition;
      yield P_SPIN;
    } while (!condition());
    t.until = null;
  }
}

/** wait_queue_head_t: threads that wait for one condition. wakeAll makes them test it again. */
export class WaitQueue {
  #waiters: Thread[] = [];

  add(t: Thread): void {
    if (!this.#waiters.includes(t)) this.#waiters.push(t);
  }

  get isEmpty(): boolean {
    return this.#waiters.length === 0;
  }

  wakeAll(s: Scheduler): void {
    if (this.#waiters.length === 0) return;
    const w = this.#waiters;
    this.#waiters = [];
    for (const t of w) s.wake(t);
  }
}

/** Wait queues of a set of locks, by index; one exists while somebody waits in it. */
export class WaitQueues {
  readonly #queues = new Map<number, WaitQueue>();

  add(i: number, t: Thread): void {
    let queue = this.#queues.get(i);
    if (queue === undefined) {
      queue = new WaitQueue();
      this.#queues.set(i, queue);
    }
    queue.add(t);
  }

  get isEmpty(): boolean {
    return this.#queues.size === 0;
  }

  wakeAll(i: number, s: Scheduler): void {
    const queue = this.#queues.get(i);
    if (queue === undefined) return;
    this.#queues.delete(i);
    queue.wakeAll(s);
  }
}
