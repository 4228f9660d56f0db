// Does the device get on? Follows, for each page at which an access of a device makes no progress, the refaults since the
// last change that could have helped: a change of the entry, or a section over the page opening or closing. The table is
// small: a page leaves it as soon as the device reaches it or something changes.

/** A page at which a device does not get on. */
export interface Wait {
  readonly device: number;
  readonly mm: number;
  readonly page: number;
  /** Refaults that the access had had before the first one seen here. */
  readonly base: number;
  isReported: boolean;
}

/** More than any device has outstanding; the oldest is forgotten then. */
const WAITS_MAX = 256;

export class Progress {
  readonly #waits: Wait[] = [];
  readonly #last = new Map<number, Wait>();

  /** Pages waited for now. */
  get size(): number {
    return this.#waits.length;
  }

  /** Refault number `attempts` of an access of the device to the page. */
  note(device: number, mm: number, page: number, attempts: number): Wait {
    let wait = this.find(device, mm, page);
    if (wait === null) {
      wait = { device, mm, page, base: attempts - 1, isReported: false };
      if (this.#waits.length === WAITS_MAX) this.#waits.shift();
      this.#waits.push(wait);
      this.#last.set(device, wait);
    }
    return wait;
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
  }

  /** Something changed over [start, end) of the address space: what was waited for may succeed now. */
  changed(mm: number, start: number, end: number): void {
    for (let i = this.#waits.length - 1; i >= 0; i--) {
      const w = this.#waits[i]!;
      if (w.mm === mm && w.page >= start && w.page < end) this.#waits.splice(i, 1);
    }
  }
}
