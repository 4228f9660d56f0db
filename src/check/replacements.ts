// Pages whose frame one operation replaces by a copy (I8: copy on write; also a store over a present entry). From then on the two
// frames are one page for the program, and no agent may use the old one after any agent has stored to the new one:
//
//   CPU 0: copies F1 to F2, maps V -> F2          device: has V -> F1
//   CPU 1: stores 1 to V (F2), raises a flag
//                                                 sees the flag, reads V: 0
//
// Nothing is freed and no right is broken, and the section is still open: only the order of the uses shows it. A page that was
// unmapped in between by another operation (swap, migration, MADV_DONTNEED) is no copy in this sense, or its content is the same.
// A replacement is watched until its section is complete; afterwards any use of the old frame is I4.

export interface Replacement {
  readonly mm: number;
  readonly page: number;
  readonly oldPfn: number;
  readonly newPfn: number;
  readonly serial: number;
  /** Who stored to the new frame, as a text; '' nobody yet. */
  writtenBy: string;
  writtenAt: number;
}

export class Replacements {
  readonly #all: Replacement[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(mm: number, page: number, oldPfn: number, newPfn: number, serial: number): void {
    this.removed(mm, page);
    this.#all.push({ mm, page, oldPfn, newPfn, serial, writtenBy: '', writtenAt: 0 });
  }

  /** The new frame was taken away again. */
  removed(mm: number, page: number): void {
    for (let i = this.#all.length - 1; i >= 0; i--) {
      if (this.#all[i]!.page === page && this.#all[i]!.mm === mm) this.#all.splice(i, 1);
    }
  }

  retired(serial: number): void {
    for (let i = this.#all.length - 1; i >= 0; i--) if (this.#all[i]!.serial === serial) this.#all.splice(i, 1);
  }

  at(mm: number, page: number): Replacement | null {
    for (let i = 0; i < this.#all.length; i++) {
      const r = this.#all[i]!;
      if (r.page === page && r.mm === mm) return r;
    }
    return null;
  }
}
