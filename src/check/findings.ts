// Collects what the monitors find: all of it counted, the first few of each property kept with their text, one for each page
// and frame: a device that goes on using a freed page tells nothing new.

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
  /** Page and frame of each violation kept, by property. */
  readonly #about = new Map<string, number[]>();
  readonly #documented: ReadonlySet<number>;

  /** Keeps the first `keep` violations of each property that are about different pages or frames; `documented` names the gaps that count as explanations. */
  constructor(keep: number, documented: readonly number[]) {
    this.#keep = keep;
    this.#documented = new Set(documented);
  }

  /** Counts a violation. True when it is to be kept: the caller then words it and calls `keep`. `page` and `pfn` say what it
   *  is about: a second one of the same property about the same thing is only counted. */
  count(property: Property, gap: number | null, page: number, pfn: number): boolean {
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
    if (about.length >= 2 * this.#keep) return false;
    for (let i = 0; i < about.length; i += 2) if (about[i] === page && about[i + 1] === pfn) return false;
    about.push(page, pfn);
    return true;
  }

  keep(property: Property, step: number, mm: number, page: number, gap: number | null, text: string): Violation {
    const explained = gap !== null && this.#documented.has(gap) ? gap : null;
    const { id, tag, kind } = property;
    const violation: Violation = { property: id, tag, kind, step, mm, page, text, gap: explained };
    this.kept.push(violation);
    return violation;
  }
}
