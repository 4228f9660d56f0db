// Collects what the monitors find: all of it counted, the first of each (property, address space, page) kept with its text. A device
// that goes on using a freed page tells nothing new. One that a documented gap explains never hides one that none does.

import type { FindingKind, Property } from './properties.ts';

/** One violation of one property. */
export interface Violation {
  /** Id of the property, e.g. "I1". */
  readonly property: string;
  readonly tag: string;
  readonly kind: FindingKind;
  /** Scheduler step of the event that violated it. */
  readonly step: number;
  readonly mm: number;
  /** First byte address of the page; 0 when it has none. */
  readonly page: number;
  /** Frame that it is about, 0 when there is none. */
  readonly pfn: number;
  /** One sentence: who, which page, which frame, freed when. */
  readonly text: string;
  /** Number of the documented gap that explains it, or null. */
  readonly gap: number | null;
}

export class Findings {
  readonly kept: Violation[] = [];
  /** Violations by property id, documented gaps included. */
  readonly counts = new Map<string, number>();
  /** Violations that a documented gap explains, by gap number. */
  readonly gaps = new Map<number, number>();
  safety = 0;
  /** Safety violations that no documented gap explains. */
  unexplained = 0;
  liveness = 0;
  readonly #keep: number;
  /** What each violation kept is about, by property: 4 numbers each. */
  readonly #about = new Map<string, number[]>();
  readonly #documented: ReadonlySet<number>;

  /** Keeps the first `keep` violations of each property that are about different pages; `documented` names the gaps that count as explanations. */
  constructor(keep: number, documented: readonly number[]) {
    this.#keep = keep;
    this.#documented = new Set(documented);
  }

  isExplained(gap: number | null): boolean {
    return gap !== null && this.#documented.has(gap);
  }

  /** Counts a violation. True when it is to be kept: the first of its property about this page (a violation without a page
   *  is about its frame). */
  count(property: Property, gap: number | null, mm: number, page: number, pfn: number): boolean {
    const explained = gap !== null && this.#documented.has(gap);
    if (property.kind === 'liveness') this.liveness++;
    else {
      this.safety++;
      if (!explained) this.unexplained++;
    }
    if (explained) this.gaps.set(gap, (this.gaps.get(gap) ?? 0) + 1);
    const n = this.counts.get(property.id) ?? 0;
    this.counts.set(property.id, n + 1);
    if (n === 0) this.#about.set(property.id, []);
    const about = this.#about.get(property.id)!;
    if (about.length >= 4 * this.#keep) return false;
    const frame = page === 0 ? pfn : 0;
    const unexplained = explained ? 0 : 1;
    for (let i = 0; i < about.length; i += 4) {
      if (about[i] !== page || about[i + 1] !== mm || about[i + 2] !== frame) continue;
      if (about[i + 3] === unexplained) return false;
    }
    about.push(page, mm, frame, unexplained);
    return true;
  }
}
