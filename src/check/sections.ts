// Sections (invalidate_range_start .. end) as each thread opened and closed them, what changed inside, and which are not
// complete yet.
//
// A section is complete when it has been left AND the CPU flush for its changes has been made: mprotect, fork and the zap
// paths flush the CPUs after the end, and a design that informs devices at that flush does no worse than the CPUs. A left
// section whose changes are not flushed "settles" until the thread's flush is over, or its system call ends.

import type { Objects } from './objects.ts';

/** Id of what a thread changed outside any section: judged as if it were one, when its CPU flush is over. */
export const NO_SECTION = 0;

/** A section that some thread opened. */
export interface Section {
  id: number;
  /** Its number among all of this judge's. */
  serial: number;
  mm: number;
  start: number;
  end: number;
  event: number;
  site: number;
  actor: number;
  step: number;
  /** Event number of the last downgrade or removal inside. */
  changedAt: number;
  /** Byte addresses of pages whose entries were removed or downgraded inside. */
  pages: number[];
  /** A reverse-map walk's while rmap notifiers are registered: they are told after it, under the page lock. */
  isUntilUnlock: boolean;
}

export class ThreadState {
  readonly actor: number;
  /** Open sections, outermost first. */
  readonly open: Section[] = [];
  readonly settling: Section[] = [];
  /** Depth of `open` at the entry of each system call under way; its number. */
  readonly syscallDepth: number[] = [];
  readonly syscall: number[] = [];
  /** First four arguments of each. */
  readonly arguments: number[] = [];
  /** Last page whose frame the thread took out of a present entry, the frame, and the section. */
  removedMm = -1;
  removedPage = -1;
  removedPfn = -1;
  removedSerial = -1;
  /** Event at which it last dropped a page-table lock. */
  unlockedAt = -1;
  /** The last CPU flush that the thread made: address space and event number. */
  flushMm = -1;
  flushAt = -1;
  /** The last invalidate_range callback that ran in this thread. */
  rangeAt = -1;
  rangeStart = 0;
  rangeEnd = 0;

  constructor(actor: number) {
    this.actor = actor;
  }
}

export class Sections {
  readonly #threads = new Map<number, ThreadState>();
  #lastThread: ThreadState | null = null;
  /** All sections that are open or settling, over all threads. */
  readonly active: Section[] = [];
  objects: Objects | null = null;
  readonly #spare: Section[] = [];
  #serial = 0;

  thread(actor: number): ThreadState {
    const last = this.#lastThread;
    if (last !== null && last.actor === actor) return last;
    let t = this.#threads.get(actor);
    if (t === undefined) {
      t = new ThreadState(actor);
      this.#threads.set(actor, t);
    }
    this.#lastThread = t;
    return t;
  }

  threads(): IterableIterator<ThreadState> {
    return this.#threads.values();
  }

  open(t: ThreadState, id: number, mm: number, start: number, end: number, event: number, site: number, step: number) {
    const s = this.#take(t, id, mm, start, end, event, site, step);
    t.open.push(s);
  }

  /** Where a change outside any section is noted: one entry for each thread and address space, settling from the start. */
  uncovered(t: ThreadState, mm: number, start: number, end: number, step: number): Section {
    for (let i = 0; i < t.settling.length; i++) {
      const s = t.settling[i]!;
      if (s.id !== NO_SECTION || s.mm !== mm) continue;
      if (this.objects !== null) this.objects.cover(mm, start, end, true);
      s.start = Math.min(s.start, start);
      s.end = Math.max(s.end, end);
      return s;
    }
    const s = this.#take(t, NO_SECTION, mm, start, end, -1, -1, step);
    t.settling.push(s);
    return s;
  }

  #take(
    t: ThreadState,
    id: number,
    mm: number,
    start: number,
    end: number,
    event: number,
    site: number,
    step: number,
  ): Section {
    const s: Section = this.#spare.pop() ?? {
      id: 0,
      serial: 0,
      mm: 0,
      start: 0,
      end: 0,
      event: 0,
      site: 0,
      actor: 0,
      step: 0,
      changedAt: -1,
      pages: [],
      isUntilUnlock: false,
    };
    if (this.objects !== null) this.objects.cover(mm, start, end, true);
    s.id = id;
    s.serial = ++this.#serial;
    s.mm = mm;
    s.start = start;
    s.end = end;
    s.event = event;
    s.site = site;
    s.actor = t.actor;
    s.step = step;
    s.changedAt = -1;
    s.isUntilUnlock = false;
    this.active.push(s);
    return s;
  }

  /** Innermost open section of the thread that covers the page, or null. */
  innermost(t: ThreadState, mm: number, va: number): Section | null {
    for (let i = t.open.length - 1; i >= 0; i--) {
      const s = t.open[i]!;
      if (s.mm === mm && s.start <= va && va < s.end) return s;
    }
    return null;
  }

  /** Is the page covered by any section that is open or settling? `except` is left out. */
  covers(mm: number, va: number, except: Section | null = null): boolean {
    if (this.objects !== null) this.objects.cover(mm, va, va + 1, false);
    for (let i = 0; i < this.active.length; i++) {
      const s = this.active[i]!;
      if (s !== except && s.mm === mm && s.start <= va && va < s.end) return true;
    }
    return false;
  }

  /** An open or settling section over the page from this site, other than the thread's own; null when none. */
  foreign(mm: number, va: number, site: number, actor: number): Section | null {
    if (this.objects !== null) this.objects.cover(mm, va, va + 1, false);
    for (let i = 0; i < this.active.length; i++) {
      const s = this.active[i]!;
      if (s.site === site && s.actor !== actor && s.mm === mm && s.start <= va && va < s.end) return s;
    }
    return null;
  }

  /** Did another thread change an entry over the page and keep the page-table lock since? */
  isLocked(mm: number, va: number, actor: number): boolean {
    for (let i = 0; i < this.active.length; i++) {
      const s = this.active[i]!;
      if (s.mm !== mm || s.actor === actor || s.start > va || va >= s.end || s.changedAt < 0) continue;
      if (s.changedAt > this.thread(s.actor).unlockedAt) return true;
    }
    return false;
  }

  isActive(serial: number): boolean {
    for (let i = 0; i < this.active.length; i++) if (this.active[i]!.serial === serial) return true;
    return false;
  }

  /** The section excuses nothing any more. */
  uncover(s: Section): void {
    if (this.objects !== null) this.objects.cover(s.mm, s.start, s.end, true);
    const at = this.active.indexOf(s);
    if (at >= 0) this.active.splice(at, 1);
  }

  /** The section is complete and judged: nothing refers to it any more. */
  retire(s: Section): void {
    this.uncover(s);
    if (s.pages.length > 4096) s.pages = [];
    else s.pages.length = 0;
    this.#spare.push(s);
  }
}
