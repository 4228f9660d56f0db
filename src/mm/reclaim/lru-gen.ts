// The lists of the multi-generational LRU (include/linux/mm_inline.h, mm/vmscan.c): pages of one memory cgroup by generation and kind.
// Generations have growing numbers (seq); four at most exist at a time, at number modulo 4. The youngest is that of what was faulted in or
// found used; eviction takes the oldest. A page's generation (`gen`) may be ahead of the list that it is on (`on`): the walker of
// page tables only marks pages, and whoever meets one at the tail of its old list moves it.
//
// Kernel names: struct lru_gen_folio, lru_gen_add_folio, lru_gen_del_folio, folio_inc_gen, folio_update_gen, reset_ctrl_pos, read_ctrl_pos,
// positive_ctrl_err, folio_lru_refs, lru_gen_eviction, lru_gen_refault.

import { int32s, uint8s } from '../../base/arena.ts';
import { assert, fail } from '../../base/assert.ts';
import type { Thread } from '../../sched/scheduler.ts';
import {
  LRU_REFS_MASK,
  LRU_REFS_SHIFT,
  type Pages,
  PG_ACTIVE,
  PG_DIRTY,
  PG_LRU,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_WORKINGSET,
  PG_WRITEBACK,
} from '../page/pages.ts';

import type { MmStruct } from '../types.ts';
import type { MmUse } from './lru-gen-walk.ts';

export const MIN_NR_GENS = 2;
export const MAX_NR_GENS = 4;
export const MAX_NR_TIERS = 4;
/** Pages that one batch of eviction takes, and that one look around covers. */
export const MIN_LRU_BATCH = 64;
export const LRU_REFS_MAX = 3;

/** LRU_REFS_FLAGS. */
const REFS_FLAGS = PG_REFERENCED | PG_WORKINGSET;

/** What struct page says for the generations, of all pages; and the use of address spaces (lru_gen_mm_list). */
export class LruGenState {
  /** Generation modulo 4, plus 1; 0: on no list of these. List that the page is linked to, plus 1. */
  readonly gen: Uint8Array;
  readonly on: Uint8Array;
  /** Address spaces, as far as they faulted; threads that handle a fault (lru_gen_in_fault). */
  readonly used = new WeakMap<MmStruct, MmUse>();
  readonly inFault = new Set<Thread>();

  constructor(frames: number) {
    this.gen = uint8s(frames);
    this.on = uint8s(frames);
  }

  /** folio_lru_refs: uses beyond the first, at most LRU_REFS_MAX + 1. */
  refsOf(pages: Pages, pfn: number): number {
    const f = pages.flags[pfn]!;
    return ((f & LRU_REFS_MASK) >> LRU_REFS_SHIFT) + ((f & PG_WORKINGSET) !== 0 ? 1 : 0);
  }

  clearRefs(pages: Pages, pfn: number): void {
    pages.flags[pfn] = pages.flags[pfn]! & ~(REFS_FLAGS | LRU_REFS_MASK);
  }

  /** folio_update_gen: the page was found used. Isolated: told so to the one who isolated it. */
  updateGen(pages: Pages, pfn: number, seq: number): void {
    if (this.gen[pfn] === 0) {
      pages.flags[pfn] = pages.flags[pfn]! | PG_REFERENCED;
      return;
    }
    this.clearRefs(pages, pfn);
    this.gen[pfn] = (seq % MAX_NR_GENS) + 1;
  }
}

/** lru_tier_from_refs: order_base_2(refs + 1). */
export function tierFromRefs(refs: number): number {
  return 32 - Math.clz32(refs);
}

interface ControlPosition {
  readonly refaulted: number;
  readonly total: number;
  readonly gain: number;
}

/** positive_ctrl_err: pages of `pv` come back so seldom, next to those of `sp`, that they may go. */
export function positiveControlError(sp: ControlPosition, pv: ControlPosition): boolean {
  if (pv.refaulted < MIN_LRU_BATCH) return true;
  return pv.refaulted * (sp.total + MIN_LRU_BATCH) * sp.gain <= (sp.refaulted + 1) * pv.total * pv.gain;
}

export class LruGen {
  readonly state: LruGenState;
  maxSeq = MIN_NR_GENS + 1;
  /** Oldest generation of anonymous pages, of file pages. */
  readonly minSeq = [0, 0];
  /** List (seq % 4) * 2 + kind: most recently added page, and the next one to be looked at. */
  readonly head = int32s(MAX_NR_GENS * 2);
  readonly tail = int32s(MAX_NR_GENS * 2);
  /** Refaults, evictions and pages spared, by kind * 4 + tier; and their floating averages over the generations before. */
  readonly refaulted = new Array<number>(8).fill(0);
  readonly evicted = new Array<number>(8).fill(0);
  readonly spared = new Array<number>(8).fill(0);
  readonly averageRefaulted = new Array<number>(8).fill(0);
  readonly averageTotal = new Array<number>(8).fill(0);
  /** Last generation that the page tables were walked for, and the tables worth a walk, by parity of the generation (mm_state). */
  walkedSeq = 0;
  readonly filters: (Set<number> | null)[] = [null, null];

  constructor(state: LruGenState) {
    this.state = state;
  }

  listOf(seq: number, kind: number): number {
    return (seq % MAX_NR_GENS) * 2 + kind;
  }

  gens(kind: number): number {
    return this.maxSeq - this.minSeq[kind]! + 1;
  }

  /** nr_pages of one generation: what its pages say, whatever list they are on. */
  size(pages: Pages, seq: number, kind: number): number {
    const want = (seq % MAX_NR_GENS) + 1;
    let n = 0;
    for (let list = kind; list < MAX_NR_GENS * 2; list += 2)
      for (let pfn = this.head[list]!; pfn !== 0; pfn = pages.next[pfn]!)
        if (this.state.gen[pfn] === want) n += 1 << pages.order[pfn]!;
    return n;
  }

  /** lru_gen_add_folio. `reclaiming`: at the tail. */
  add(pages: Pages, pfn: number, reclaiming: boolean): void {
    const { flags } = pages;
    const f = flags[pfn]!;
    const kind = (f & PG_SWAPBACKED) !== 0 ? 0 : 1;
    const mustWait = (f & PG_RECLAIM) !== 0 && (f & (PG_DIRTY | PG_WRITEBACK)) !== 0;
    let seq = this.minSeq[kind]!;
    if ((f & PG_ACTIVE) !== 0) seq = this.maxSeq;
    else if ((kind === 0 && (f & PG_SWAPCACHE) === 0) || mustWait) seq++;
    flags[pfn] = f & ~PG_ACTIVE;
    this.state.gen[pfn] = (seq % MAX_NR_GENS) + 1;
    this.link(pages, pfn, this.listOf(seq, kind), reclaiming);
    flags[pfn] = flags[pfn]! | PG_LRU;
  }

  /** lru_gen_del_folio. A page of the two youngest generations is active. */
  remove(pages: Pages, pfn: number): void {
    const gen = this.state.gen[pfn]! - 1;
    this.unlink(pages, pfn);
    const isActive = gen === this.maxSeq % MAX_NR_GENS || gen === (this.maxSeq - 1) % MAX_NR_GENS;
    pages.flags[pfn] = (pages.flags[pfn]! & ~PG_LRU) | (isActive ? PG_ACTIVE : 0);
    this.state.gen[pfn] = 0;
  }

  /** folio_inc_gen: to the generation after the oldest, unless a walk has promoted it. Number of its list. */
  incGen(pages: Pages, pfn: number, kind: number, reclaiming: boolean): number {
    const { state } = this;
    const gen = state.gen[pfn]! - 1;
    if (gen !== this.minSeq[kind]! % MAX_NR_GENS) return gen * 2 + kind;
    const next = (gen + 1) % MAX_NR_GENS;
    state.clearRefs(pages, pfn);
    state.gen[pfn] = next + 1;
    if (reclaiming) pages.flags[pfn] = pages.flags[pfn]! | PG_RECLAIM;
    return next * 2 + kind;
  }

  move(pages: Pages, pfn: number, list: number, toTail: boolean): void {
    this.unlink(pages, pfn);
    this.link(pages, pfn, list, toTail);
  }

  /** read_ctrl_pos. */
  control(kind: number, tier: number, gain: number): ControlPosition {
    const at = kind * MAX_NR_TIERS + tier;
    const total = this.averageTotal[at]! + this.evicted[at]! + (tier > 0 ? this.spared[at]! : 0);
    return { refaulted: this.averageRefaulted[at]! + this.refaulted[at]!, total, gain };
  }

  /** reset_ctrl_pos: the oldest generation of a kind is done. */
  carryOver(kind: number): void {
    for (let at = kind * MAX_NR_TIERS; at < (kind + 1) * MAX_NR_TIERS; at++) {
      this.averageRefaulted[at] = (this.averageRefaulted[at]! + this.refaulted[at]!) >> 1;
      this.averageTotal[at] = (this.averageTotal[at]! + this.evicted[at]! + this.spared[at]!) >> 1;
      this.refaulted[at] = this.evicted[at] = this.spared[at] = 0;
    }
  }

  /** lru_gen_eviction: what the shadow is to remember besides the group: generation and uses; the sign says PG_WORKINGSET. */
  eviction(pages: Pages, pfn: number): { token: number; wasWorkingset: boolean } {
    const kind = (pages.flags[pfn]! & PG_SWAPBACKED) !== 0 ? 0 : 1;
    const refs = this.state.refsOf(pages, pfn);
    this.evicted[kind * MAX_NR_TIERS + tierFromRefs(refs)]!++;
    return { token: this.minSeq[kind]! * (LRU_REFS_MAX + 1) + Math.max(refs - 1, 0), wasWorkingset: refs > 0 };
  }

  /** lru_gen_refault: the page comes back while the generation that it left is still the oldest. */
  refault(pages: Pages, pfn: number, token: number, wasWorkingset: boolean, inFault: boolean): void {
    const kind = (pages.flags[pfn]! & PG_SWAPBACKED) !== 0 ? 0 : 1;
    if (Math.floor(token / (LRU_REFS_MAX + 1)) !== this.minSeq[kind]) return;
    const refs = (token % (LRU_REFS_MAX + 1)) + (wasWorkingset ? 1 : 0);
    this.refaulted[kind * MAX_NR_TIERS + tierFromRefs(refs)]!++;
    if (!inFault && refs < LRU_REFS_MAX) return;
    pages.flags[pfn] = pages.flags[pfn]! | LRU_REFS_MASK | PG_WORKINGSET;
  }

  /** Puts a page just ahead of `anchor`, in its generation: it is looked at after that. */
  addBefore(pages: Pages, pfn: number, anchor: number): void {
    const { next, prev, flags } = pages;
    const list = this.state.on[anchor]! - 1;
    this.state.gen[pfn] = this.state.gen[anchor]!;
    this.state.on[pfn] = list + 1;
    const before = prev[anchor]!;
    next[pfn] = anchor;
    prev[pfn] = before;
    prev[anchor] = pfn;
    if (before === 0) this.head[list] = pfn;
    else next[before] = pfn;
    flags[pfn] = (flags[pfn]! | PG_LRU) & ~PG_ACTIVE;
  }

  private link(pages: Pages, pfn: number, list: number, atTail: boolean): void {
    const { next, prev } = pages;
    const head = this.head[list]!;
    const tail = this.tail[list]!;
    this.state.on[pfn] = list + 1;
    next[pfn] = atTail ? 0 : head;
    prev[pfn] = atTail ? tail : 0;
    if (head === 0) this.head[list] = this.tail[list] = pfn;
    else if (atTail) {
      next[tail] = pfn;
      this.tail[list] = pfn;
    } else {
      prev[head] = pfn;
      this.head[list] = pfn;
    }
  }

  private unlink(pages: Pages, pfn: number): void {
    const { next, prev } = pages;
    const list = this.state.on[pfn]! - 1;
    const [n, p] = [next[pfn]!, prev[pfn]!];
    if (p === 0) this.head[list] = n;
    else next[p] = n;
    if (n === 0) this.tail[list] = p;
    else prev[n] = p;
    this.state.on[pfn] = 0;
  }

  /** Links, flags and generations agree; every page becomes 1 in `seen`. Throws. */
  checkInvariants(pages: Pages, seen: Uint8Array): void {
    const { gen, on } = this.state;
    assert(this.minSeq[0]! <= this.minSeq[1]! && this.gens(0) <= MAX_NR_GENS, 'LRU generations: between two and four');
    assert(this.gens(0) >= MIN_NR_GENS && this.gens(1) >= MIN_NR_GENS, 'LRU generations: at least two');
    for (let list = 0; list < MAX_NR_GENS * 2; list++) {
      let before = 0;
      for (let pfn = this.head[list]!; pfn !== 0; before = pfn, pfn = pages.next[pfn]!) {
        if (seen[pfn] !== 0) fail(`LRU generations: page ${pfn} is on one list once`);
        seen[pfn] = 1;
        if (on[pfn] !== list + 1 || gen[pfn] === 0) fail(`LRU generations: page ${pfn} is on list ${list}`);
        const flags = pages.flags[pfn]!;
        if ((flags & PG_LRU) === 0) fail(`LRU generations: page ${pfn} has PG_LRU`);
        if ((flags & PG_ACTIVE) !== 0) fail(`LRU generations: page ${pfn} has no PG_ACTIVE`);
        if (pages.prev[pfn] !== before) fail(`LRU generations: back link of page ${pfn}`);
      }
      assert(this.tail[list] === before, `LRU generations: tail of list ${list}`);
    }
  }
}
