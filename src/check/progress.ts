// Does the device get on? Follows, for each page at which an access of a device makes no progress, the refaults since the
// last change that could have helped: a change of the entry, or a section over the page opening or closing. The table is
// small: a page leaves it as soon as the device reaches it or something changes. How many rounds a change took from an access is
// remembered beyond that: a device may lose one round to each, and has no reason to complain. A round whose request was lost, as the
// queue was full, is none that the kernel answered: it does not count either, but for one access only so many do not.

/** A page at which a device does not get on. */
export interface Wait {
  readonly device: number;
  readonly mm: number;
  readonly page: number;
  /** Refaults that the access had had before the first one seen here. */
  readonly base: number;
  /** Refaults of the access by now. */
  attempts: number;
  /** Changes that helped it or might have: at most one between two refaults is counted. */
  readonly changes: number;
  /** Rounds since `base` whose request was lost. */
  lost: number;
  isReported: boolean;
}

/** A page of which a request was lost, until the refault that comes of it. */
interface Lost {
  readonly device: number;
  readonly mm: number;
  readonly page: number;
}

/** More than any device has outstanding; the oldest is forgotten then. */
const WAITS_MAX = 256;

export class Progress {
  readonly #waits: Wait[] = [];
  readonly #last = new Map<number, Wait>();
  /** Waits that a change ended, while the access goes on. */
  readonly #interrupted: Wait[] = [];
  readonly #lost: Lost[] = [];

  /** Pages waited for now. */
  get size(): number {
    return this.#waits.length + this.#lost.length;
  }

  /** Refault number `attempts` of an access of the device to the page. */
  note(device: number, mm: number, page: number, attempts: number): Wait {
    let wait = this.find(device, mm, page);
    if (wait === null) {
      const changes = attempts > 1 ? this.#changesBefore(device, mm, page, attempts) : 0;
      wait = { device, mm, page, base: attempts - 1, attempts, changes, lost: 0, isReported: false };
      if (this.#waits.length === WAITS_MAX) this.#waits.shift();
      this.#waits.push(wait);
      this.#last.set(device, wait);
    }
    wait.attempts = attempts;
    const at = this.#lostAt(device, mm, page);
    if (at >= 0) {
      this.#lost.splice(at, 1);
      wait.lost++;
    }
    return wait;
  }

  /** The request for the page was lost: the next refault of the device there says nothing about the kernel. */
  lost(device: number, mm: number, page: number): void {
    if (this.#lostAt(device, mm, page) >= 0) return;
    if (this.#lost.length === WAITS_MAX) this.#lost.shift();
    this.#lost.push({ device, mm, page });
  }

  #lostAt(device: number, mm: number, page: number): number {
    for (let i = 0; i < this.#lost.length; i++) {
      const l = this.#lost[i]!;
      if (l.page === page && l.mm === mm && l.device === device) return i;
    }
    return -1;
  }

  /** Changes that interrupted the access which has refault number `attempts` now. */
  #changesBefore(device: number, mm: number, page: number, attempts: number): number {
    const at = this.#interrupted.findIndex(
      (w) => w.page === page && w.mm === mm && w.device === device && w.attempts === attempts - 1,
    );
    return at < 0 ? 0 : this.#interrupted.splice(at, 1)[0]!.changes + 1;
  }

  find(device: number, mm: number, page: number): Wait | null {
    for (let i = 0; i < this.#waits.length; i++) {
      const w = this.#waits[i]!;
      if (w.page === page && w.mm === mm && w.device === device) return w;
    }
    return null;
  }

  /** Last page at which the device began to wait, or null. */
  lastOf(device: number): Wait | null {
    return this.#last.get(device) ?? null;
  }

  /** The device reached the page. */
  reached(device: number, mm: number, page: number): void {
    for (let i = this.#waits.length - 1; i >= 0; i--) {
      const w = this.#waits[i]!;
      if (w.page === page && w.mm === mm && w.device === device) this.#waits.splice(i, 1);
    }
    const at = this.#lostAt(device, mm, page);
    if (at >= 0) this.#lost.splice(at, 1);
  }

  /** Something changed over [start, end) of the address space: what was waited for may succeed now. */
  changed(mm: number, start: number, end: number): void {
    for (let i = this.#waits.length - 1; i >= 0; i--) {
      const w = this.#waits[i]!;
      if (w.mm !== mm || w.page < start || w.page >= end) continue;
      this.#waits.splice(i, 1);
      if (this.#interrupted.length === WAITS_MAX) this.#interrupted.shift();
      this.#interrupted.push(w);
    }
    for (let i = this.#lost.length - 1; i >= 0; i--) {
      const l = this.#lost[i]!;
      if (l.mm === mm && l.page >= start && l.page < end) this.#lost.splice(i, 1);
    }
  }
}
