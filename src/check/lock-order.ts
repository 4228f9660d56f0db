// The lock-order monitor, after Linux's lockdep (kernel/locking/lockdep.c; might_sleep, fs_reclaim_acquire, and the map
// __mmu_notifier_invalidate_range_start_map of mm/mmu_notifier.c). It judges wishes, not accidents: from any single run it reports
// what some other schedule would make a deadlock.
//
//   I60   a cycle in the order of locks, allocations, callbacks and sections (lock-graph.ts)
//   I45   a callback takes a lock that the kernel may hold when it calls it: mmap_lock, rmap locks, the page lock
//   I44   something that may sleep, where nobody may: under a spinlock, or in a callback that must not
//
// What counts as a wish: a lock that would wait (E_LOCK without LOCKF_TRYLOCK, E_LOCK_CONTENDED), an allocation that might reclaim,
// a section opened, a wait for callbacks or sections. Two instances of one kernel class are in order by annotation, as with
// lockdep's nesting: parent and child mm in fork, the two page-table locks of mremap, all rmap locks under mmap_lock. Two
// instances of a driver's class must keep one order.
//
// Optional: attach it where it is wanted. It may stay through many runs; what was learned stays, what was held does not.

import {
  BIND_SLEEPS_ALWAYS,
  CB_AGE_PAGE,
  CB_ARCH_INVALIDATE_SECONDARY_TLBS,
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_CLEAR_YOUNG,
  CB_INTERVAL_INVALIDATE,
  CB_INVALIDATE_PAGE,
  CB_INVALIDATE_RANGE,
  CB_INVALIDATE_RANGE_BEGIN,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_FINISH,
  CB_INVALIDATE_RANGE_FREE_PAGES,
  CB_INVALIDATE_RANGE_START,
  CB_NAMES,
  CB_PTE_CLEAR,
  CB_RMAP_INVALIDATE_PAGE,
  CB_TEST_YOUNG,
  CB_VMA_CLOSE,
  E_BIND,
  E_CALLBACK,
  E_CALLBACK_END,
  E_FRAME_ALLOC,
  E_LOCK,
  E_LOCK_CONTENDED,
  E_MIGHT_SLEEP,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
  E_SYSCALL_END,
  E_UNLOCK,
  EV_A,
  EV_ACTOR,
  EV_B,
  EV_C,
  EV_D,
  EV_MM,
  EV_STEP,
  EV_TYPE,
} from '../abi/events.ts';
import {
  LOCK_DYNAMIC,
  LOCK_NAMES,
  LOCK_PTL,
  LOCKF_SPIN,
  LOCKF_TRYLOCK,
  SLEEP_CALLBACKS,
  SLEEP_RECLAIM,
  SLEEP_SECTIONS,
} from '../abi/locks.ts';
import { syscallName } from '../abi/syscalls.ts';
import type { RecordLog, RecordSink } from '../base/record-log.ts';
import {
  CONTRACT_LOCKS,
  type Edge,
  LockGraph,
  NODE_CALLBACK,
  NODE_RECLAIM,
  NODE_SECTION,
  type Place,
} from './lock-graph.ts';
import { GAP_SLEEPS_ALWAYS, I44, I45, I60, type Property } from './properties.ts';

/** What the monitor reports: once for each pair of locks and callback. */
export interface LockFinding {
  /** I44, I45 or I60. */
  readonly property: string;
  readonly tag: string;
  readonly kind: 'safety';
  readonly sentence: string;
  /** Number of the documented gap that explains it (10), or null. */
  readonly gap: number | null;
  /** Scheduler step at which it became known. */
  readonly step: number;
}

export interface LockOrderOptions {
  readonly actorName: (actor: number) => string;
  /** Name of a lock class (sched/lock-classes). */
  readonly lockName: (lockClass: number) => string;
}

/** Callbacks that the kernel makes while it holds locks. The others (release, alloc, free) come with none, or cannot be waited for. */
const INVALIDATING: ReadonlySet<number> = new Set([
  CB_INVALIDATE_RANGE_START,
  CB_INVALIDATE_RANGE_END,
  CB_INTERVAL_INVALIDATE,
  CB_INVALIDATE_RANGE,
  CB_INVALIDATE_PAGE,
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_CLEAR_YOUNG,
  CB_TEST_YOUNG,
  CB_INVALIDATE_RANGE_FREE_PAGES,
  CB_ARCH_INVALIDATE_SECONDARY_TLBS,
  CB_PTE_CLEAR,
  CB_VMA_CLOSE,
  CB_AGE_PAGE,
  CB_INVALIDATE_RANGE_BEGIN,
  CB_INVALIDATE_RANGE_FINISH,
  CB_RMAP_INVALIDATE_PAGE,
]);
/** Those of them that never run under a page-table lock. */
const OUTSIDE_PTL: ReadonlySet<number> = new Set([
  CB_INVALIDATE_RANGE_START,
  CB_INVALIDATE_RANGE_END,
  CB_INTERVAL_INVALIDATE,
  CB_VMA_CLOSE,
  CB_INVALIDATE_RANGE_BEGIN,
  CB_INVALIDATE_RANGE_FINISH,
  CB_RMAP_INVALIDATE_PAGE,
]);

interface Held {
  readonly node: number;
  readonly instance: number;
  readonly isSpin: boolean;
  readonly step: number;
}

interface Callback {
  readonly callback: number;
  readonly subscriber: number;
  readonly mm: number;
  readonly isAtomic: boolean;
}

class ThreadLocks {
  readonly held: Held[] = [];
  readonly callbacks: Callback[] = [];
  readonly syscalls: number[] = [];
  spins = 0;
}

export class LockOrder implements RecordSink {
  readonly findings: LockFinding[] = [];
  readonly #graph = new LockGraph();
  /** Orders among the instances of one driver class: from class and instance to instances taken below it. */
  readonly #instances = new Map<string, Set<number>>();
  readonly #threads = new Map<number, ThreadLocks>();
  readonly #reported = new Set<string>();
  /** Address spaces whose device has a driver that is known to sleep in every callback (gap 10). */
  readonly #sleepers = new Set<number>();
  #options: LockOrderOptions;
  #log: RecordLog | null = null;
  #step = 0;
  #actor = 0;

  constructor(options: Partial<LockOrderOptions> = {}) {
    this.#options = {
      actorName: (actor) => `thread ${actor}`,
      lockName: (c) => LOCK_NAMES[c] ?? `lock class ${c}`,
      ...options,
    };
  }

  /** Listens to the log of a new run, of a machine that holds no lock yet. */
  attach(log: RecordLog, options: Partial<LockOrderOptions> = {}): void {
    this.detach();
    this.#threads.clear();
    this.#sleepers.clear();
    this.#options = { ...this.#options, ...options };
    this.#log = log;
    log.attach(this);
  }

  detach(): void {
    this.#log?.detach(this);
    this.#log = null;
  }

  onRecord(r: Float64Array, at: number): void {
    switch (r[at + EV_TYPE]) {
      case E_LOCK:
        if ((r[at + EV_C]! & LOCKF_TRYLOCK) === 0) this.#wantsLock(r, at);
        this.#take(r, at);
        break;
      case E_LOCK_CONTENDED:
        this.#wantsLock(r, at);
        break;
      case E_UNLOCK:
        this.#drop(this.#begin(r, at), r[at + EV_A]!, r[at + EV_B]!);
        break;
      case E_FRAME_ALLOC:
        if (r[at + EV_C] === 1) this.#sleeps(this.#begin(r, at), SLEEP_RECLAIM, 0);
        break;
      case E_MIGHT_SLEEP:
        this.#sleeps(this.#begin(r, at), r[at + EV_A]!, r[at + EV_B]!);
        break;
      case E_SECTION_START:
        this.#opensSection(this.#begin(r, at), r[at + EV_D]!, r[at + EV_C] === 1);
        break;
      case E_SECTION_END:
        this.#drop(this.#begin(r, at), NODE_SECTION, r[at + EV_D]!);
        break;
      case E_CALLBACK:
        this.#enters(this.#begin(r, at), r, at);
        break;
      case E_CALLBACK_END:
        this.#leaves(this.#begin(r, at), r[at + EV_A]!);
        break;
      case E_BIND:
        if (r[at + EV_C] === BIND_SLEEPS_ALWAYS) this.#sleepers.add(r[at + EV_MM]!);
        break;
      case E_SYSCALL:
        this.#begin(r, at).syscalls.push(r[at + EV_A]!);
        break;
      case E_SYSCALL_END:
        this.#begin(r, at).syscalls.pop();
        break;
    }
  }

  #begin(r: Float64Array, at: number): ThreadLocks {
    this.#step = r[at + EV_STEP]!;
    this.#actor = r[at + EV_ACTOR]!;
    let t = this.#threads.get(this.#actor);
    if (t === undefined) {
      t = new ThreadLocks();
      this.#threads.set(this.#actor, t);
    }
    return t;
  }

  // --- what is held

  #take(r: Float64Array, at: number): void {
    const isSpin = (r[at + EV_C]! & LOCKF_SPIN) !== 0;
    this.#hold(this.#begin(r, at), r[at + EV_A]!, r[at + EV_B]!, isSpin);
  }

  #hold(t: ThreadLocks, node: number, instance: number, isSpin: boolean): void {
    t.held.push({ node, instance, isSpin, step: this.#step });
    if (isSpin) t.spins++;
  }

  #drop(t: ThreadLocks, node: number, instance: number): void {
    if (dropFrom(t, node, instance)) return;
    // Another thread may end what this one began (a page under I/O).
    for (const other of this.#threads.values()) if (dropFrom(other, node, instance)) return;
  }

  #enters(t: ThreadLocks, r: Float64Array, at: number): void {
    const callback = r[at + EV_A]!;
    t.callbacks.push({ callback, subscriber: r[at + EV_D]!, mm: r[at + EV_MM]!, isAtomic: r[at + EV_C] === 1 });
    if (INVALIDATING.has(callback)) this.#hold(t, NODE_CALLBACK, 0, false);
  }

  #leaves(t: ThreadLocks, callback: number): void {
    t.callbacks.pop();
    if (INVALIDATING.has(callback)) dropFrom(t, NODE_CALLBACK, 0);
  }

  // --- what is wanted

  #wantsLock(r: Float64Array, at: number): void {
    const t = this.#begin(r, at);
    const lock = r[at + EV_A]!;
    if ((r[at + EV_C]! & LOCKF_SPIN) === 0) this.#checkMaySleep(t, `takes ${this.#lock(lock)}`, lock);
    const inside = t.callbacks[t.callbacks.length - 1];
    if (inside !== undefined && isForbidden(inside.callback, lock)) {
      this.#takesForbidden(inside, lock);
      return;
    }
    const instance = r[at + EV_B]!;
    // The innermost first: one circle is one finding.
    for (let i = t.held.length - 1; i >= 0; i--) {
      const h = t.held[i]!;
      if (h.node !== lock) {
        if (this.#closesCircle(t, h, lock)) return;
      } else if (h.instance === instance) this.#again(t, h);
      else if (lock >= LOCK_DYNAMIC) this.#orderInstances(t, lock, h.instance, instance);
    }
  }

  #sleeps(t: ThreadLocks, kind: number, what: number): void {
    if (kind === SLEEP_RECLAIM) {
      this.#checkMaySleep(t, 'allocates memory that may have to be reclaimed', NODE_RECLAIM);
      this.#wants(t, NODE_RECLAIM);
    } else if (kind === SLEEP_CALLBACKS) {
      this.#checkMaySleep(t, 'waits until callbacks have returned', NODE_CALLBACK);
      this.#wants(t, NODE_CALLBACK);
    } else if (kind === SLEEP_SECTIONS) {
      this.#checkMaySleep(t, 'waits for the end of a section', NODE_SECTION);
      this.#wants(t, NODE_SECTION);
    } else {
      this.#checkMaySleep(t, `sleeps until "${this.#options.lockName(what)}"`, what);
    }
  }

  #opensSection(t: ThreadLocks, id: number, isBlockable: boolean): void {
    if (isBlockable) this.#checkMaySleep(t, 'opens a section', NODE_CALLBACK);
    this.#wants(t, NODE_CALLBACK);
    this.#hold(t, NODE_SECTION, id, false);
  }

  #wants(t: ThreadLocks, node: number): void {
    for (let i = t.held.length - 1; i >= 0; i--) {
      const h = t.held[i]!;
      if (h.node !== node) {
        if (this.#closesCircle(t, h, node)) return;
      } else if (node === NODE_CALLBACK) this.#callbackInCallback(t);
    }
  }

  #closesCircle(t: ThreadLocks, h: Held, node: number): boolean {
    if (this.#graph.has(h.node, node)) return false;
    const cycle = this.#graph.add({ from: h.node, to: node, place: this.#place(t) });
    if (cycle !== null) this.#report(I60, `order ${h.node} ${node}`, this.#cycleText(cycle));
    return cycle !== null;
  }

  #orderInstances(t: ThreadLocks, lock: number, first: number, second: number): void {
    const key = `${lock} ${first}`;
    const below = this.#instances.get(key) ?? new Set<number>();
    this.#instances.set(key, below);
    below.add(second);
    if (this.#instances.get(`${lock} ${second}`)?.has(first) !== true) return;
    const where = this.#where(this.#place(t));
    this.#report(
      I60,
      `instances ${lock}`,
      `Two locks of class ${this.#lock(lock)} are taken in either order: number ${second} under number ${first} (${where}), ` +
        `elsewhere number ${first} under number ${second}.`,
    );
  }

  // --- findings

  #checkMaySleep(t: ThreadLocks, does: string, node: number): void {
    if (t.spins > 0) {
      const spin = t.held.find((h) => h.isSpin)!;
      const place = this.#place(t);
      this.#report(
        I44,
        `spin ${spin.node} ${node} ${place.callback}`,
        `${this.#who(place)} ${does} while it holds the spinlock ${this.#lock(spin.node)} (since step ${spin.step}; ` +
          `${this.#where(place)}): it may sleep where nobody may.`,
      );
      return;
    }
    const inside = t.callbacks.find((c) => c.isAtomic);
    if (inside === undefined) return;
    this.#report(
      I44,
      `atomic ${inside.callback} ${node}`,
      `${CB_NAMES[inside.callback]} of subscriber ${inside.subscriber} ${does} (${this.#where(this.#place(t))}): it may sleep, ` +
        `and that callback must not.`,
      this.#isSleeper(inside, node) ? GAP_SLEEPS_ALWAYS : null,
    );
  }

  /** Gap 10: an interval's callback for the OOM reaper takes a mutex of the driver, which is known for it. */
  #isSleeper(inside: Callback, lock: number): boolean {
    return inside.callback === CB_INTERVAL_INVALIDATE && lock >= LOCK_DYNAMIC && this.#sleepers.has(inside.mm);
  }

  #takesForbidden(inside: Callback, lock: number): void {
    const t = this.#threads.get(this.#actor)!;
    this.#report(
      I45,
      `forbidden ${inside.callback} ${lock}`,
      `${CB_NAMES[inside.callback]} of subscriber ${inside.subscriber} takes ${this.#lock(lock)} (${this.#where(this.#place(t))}): ` +
        `the kernel may hold it when it calls ${CB_NAMES[inside.callback]}, and then the thread waits for itself.`,
    );
  }

  #again(t: ThreadLocks, h: Held): void {
    const place = this.#place(t);
    this.#report(
      I60,
      `again ${h.node}`,
      `${this.#who(place)} takes ${this.#lock(h.node)} (${this.#where(place)}), which it holds since step ${h.step}: the thread ` +
        'waits for itself.',
    );
  }

  #callbackInCallback(t: ThreadLocks): void {
    const place = this.#place(t);
    this.#report(
      I60,
      `callback ${place.callback}`,
      `${this.#who(place)} opens a section, or waits until callbacks have returned (${this.#where(place)}): it waits for itself.`,
    );
  }

  #cycleText(cycle: readonly Edge[]): string {
    return `Locks are taken in a circle: ${cycle.map((e) => this.#edgeText(e)).join('; ')}.`;
  }

  #edgeText(edge: Edge): string {
    const { from, to, place } = edge;
    if (place === null) return this.#contractText(from, to);
    const where = ` (${this.#where(place)})`;
    const who = this.#who(place);
    const under = from === NODE_CALLBACK || from === NODE_SECTION ? '' : ` while it holds ${this.#lock(from)}`;
    if (to === NODE_RECLAIM) return `${who} allocates memory that may have to be reclaimed${under}${where}`;
    if (to === NODE_CALLBACK) return `${who} opens a section or waits for callbacks${under}${where}`;
    if (to === NODE_SECTION) return `${who} waits for the end of a section${under}${where}`;
    return `${who} takes ${this.#lock(to)}${under}${where}`;
  }

  #contractText(from: number, to: number): string {
    if (from === NODE_RECLAIM)
      return to === NODE_CALLBACK ? 'reclaim makes invalidation callbacks' : `reclaim takes ${this.#lock(to)}`;
    if (from === NODE_SECTION) return 'a section ends when its callbacks have returned';
    return `the kernel makes invalidation callbacks while it holds ${this.#lock(from)}`;
  }

  #who(place: Place): string {
    if (place.callback === 0) return this.#options.actorName(place.actor);
    return `${CB_NAMES[place.callback]} of subscriber ${place.subscriber}`;
  }

  #where(place: Place): string {
    const call = place.syscall < 0 ? '' : `, in ${syscallName(place.syscall)}`;
    return `${this.#options.actorName(place.actor)}, step ${place.step}${call}`;
  }

  #lock(node: number): string {
    if (node === NODE_RECLAIM) return 'free memory';
    if (node === NODE_CALLBACK) return 'invalidation callbacks';
    if (node === NODE_SECTION) return 'an open section';
    return node < LOCK_DYNAMIC ? `the ${this.#options.lockName(node)}` : `"${this.#options.lockName(node)}"`;
  }

  #place(t: ThreadLocks): Place {
    const inside = t.callbacks[t.callbacks.length - 1];
    return {
      actor: this.#actor,
      step: this.#step,
      callback: inside?.callback ?? 0,
      subscriber: inside?.subscriber ?? 0,
      syscall: t.syscalls[t.syscalls.length - 1] ?? -1,
    };
  }

  #report(property: Property, key: string, sentence: string, gap: number | null = null): void {
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    this.findings.push({
      property: property.id,
      tag: property.tag,
      kind: 'safety',
      sentence,
      gap,
      step: this.#step,
    });
  }
}

/** Takes the innermost matching entry out; false when there is none. */
function dropFrom(t: ThreadLocks, node: number, instance: number): boolean {
  for (let i = t.held.length - 1; i >= 0; i--) {
    const h = t.held[i]!;
    if (h.node !== node || h.instance !== instance) continue;
    t.held.splice(i, 1);
    if (h.isSpin) t.spins--;
    return true;
  }
  return false;
}

/** May the kernel hold the lock when it makes this callback? */
function isForbidden(callback: number, lock: number): boolean {
  if (!INVALIDATING.has(callback)) return false;
  return CONTRACT_LOCKS.includes(lock) || (lock === LOCK_PTL && !OUTSIDE_PTL.has(callback));
}
