// How often the danger existed. A window is the free of a frame that a device had translated: through the mapping that was
// removed last before the free, or through one it still holds. Between that removal and the free a withdrawal had to come.
// The window is open when the device's translation was still held at the moment of the free. For a page-table page the
// translation is a walk-cache entry that pointed to it.
//
// A TLB that replaces an entry leaves no record, so "still held" means that no invalidation covered it.

import { SITE_NAMES } from '../abi/notifier.ts';
import { float64s } from '../base/arena.ts';

/** Cause numbers: SITE_* * 2 + (1 when freed inside the section: a forced flush); then the two below. */
export const CAUSE_NO_SECTION = 62;
export const CAUSE_TABLE = 63;
const CAUSES = 64;

export interface WindowCause {
  readonly cause: string;
  readonly windows: number;
  readonly open: number;
}

export class Windows {
  windows = 0;
  open = 0;
  readonly #byCause = float64s(CAUSES);
  readonly #openByCause = float64s(CAUSES);

  count(cause: number, isOpen: boolean): void {
    this.windows++;
    this.#byCause[cause]!++;
    if (!isOpen) return;
    this.open++;
    this.#openByCause[cause]!++;
  }

  /** Causes that occurred, most frequent first. */
  causes(): WindowCause[] {
    const out: WindowCause[] = [];
    for (let i = 0; i < CAUSES; i++) {
      if (this.#byCause[i] === 0) continue;
      out.push({ cause: causeName(i), windows: this.#byCause[i]!, open: this.#openByCause[i]! });
    }
    return out.sort((x, y) => y.windows - x.windows || (x.cause < y.cause ? -1 : 1));
  }
}

/** Cause number for a removal at `site`. */
export function causeOf(site: number, isInside: boolean): number {
  if (!(site >= 0 && site < CAUSE_NO_SECTION / 2)) return CAUSE_NO_SECTION;
  return (site | 0) * 2 + (isInside ? 1 : 0);
}

function causeName(cause: number): string {
  if (cause === CAUSE_NO_SECTION) return 'outside any section';
  if (cause === CAUSE_TABLE) return 'page-table page';
  const site = SITE_NAMES[cause >>> 1] ?? `site ${cause >>> 1}`;
  return (cause & 1) === 0 ? site : `${site}, forced flush`;
}
