// Does the device get on? Counts, for each page that a device asks for, the page requests and refaults since the last
// change that could have helped: a change of the entry, or a section over the page opening or closing. The table is small:
// a page leaves it as soon as the device reaches it or something changes.

/** A page that a device waits for. */
export interface Wait {
  readonly device: number;
  readonly mm: number;
  readonly page: number;
  requests: number;
  refaults: number;
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

  /** The device asked for the page (`refault`: an attempt that did not get on). */
  note(device: number, mm: number, page: number, refault: boolean): Wait {
    let wait = this.find(device, mm, page);
    if (wait === null) {
      wait = { device, mm, page, requests: 0, refaults: 0, isReported: false };
      if (this.#waits.length === WAITS_MAX) this.#waits.shift();
      this.#waits.push(wait);
    }
    this.#last.set(device, wait);
    if (refault) wait.refaults++;
    else wait.requests++;
    return wait;
  }

  find(device: number, mm: number, page: number): Wait | null {
    for (let i = 0; i < this.#waits.length; i++) {
      const w = this.#waits[i]!;
      if (w.page === page && w.mm === mm && w.device === device) return w;
    }
    return null;
  }

  /** Last page that the device waited for, or null. */
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
