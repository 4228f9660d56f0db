// The LRU lists of one memory cgroup, and what reclaim remembers of them (struct lruvec, mm_inline.h). A list is intrusive
// (pages.next/prev, 0 ends it); a page is on at most one, named by its flags: PG_LRU with PG_UNEVICTABLE, PG_SWAPBACKED
// (anonymous memory and shmem) and PG_ACTIVE. Lists change between points only, so lru_lock needs no object.
//
// Kernel names: lruvec_add_folio, lruvec_del_folio, folio_lru_list, lru_note_cost.

import { int32s } from '../../base/arena.ts';
import { assert, fail } from '../../base/assert.ts';
import { type Pages, PG_ACTIVE, PG_LRU, PG_SWAPBACKED, PG_UNEVICTABLE } from '../page/pages.ts';
import type { LruGen } from './lru-gen.ts';

// enum lru_list.
export const LRU_INACTIVE_ANON = 0;
export const LRU_ACTIVE_ANON = 1;
export const LRU_INACTIVE_FILE = 2;
export const LRU_ACTIVE_FILE = 3;
export const LRU_UNEVICTABLE = 4;
export const LRU_NAMES: readonly string[] = [
  'inactive_anon',
  'active_anon',
  'inactive_file',
  'active_file',
  'unevictable',
];

/** List that a page with these flags belongs to (folio_lru_list). */
export function lruList(flags: number): number {
  if ((flags & PG_UNEVICTABLE) !== 0) return LRU_UNEVICTABLE;
  const base = (flags & PG_SWAPBACKED) !== 0 ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
  return (flags & PG_ACTIVE) !== 0 ? base + 1 : base;
}

/** What the lists of a group remember when their pages are gone. */
export interface LruvecMemory {
  readonly cost: readonly number[];
  readonly activated: readonly number[];
  readonly activatedStats: readonly number[];
  readonly refaults: readonly number[];
}

export class Lruvec {
  /** Generations, which hold all evictable pages when they are on (mglru.ts). */
  gen: LruGen | null = null;
  /** Most recently added page, and the next one to be looked at. */
  readonly head = int32s(5);
  readonly tail = int32s(5);
  /** Pages on each list; a compound page counts once. */
  readonly count = int32s(5);
  /** What lruvec_page_state says: the counts as of the last mem_cgroup_flush_stats (cgroup-stats.ts). */
  readonly stats = int32s(5);
  /** Pages written out lately, anonymous and of files: who costs more I/O is scanned less. */
  readonly cost = [0, 0];
  /** Evictions and activations so far (nonresident_age): the clock of refault distances. */
  nonresidentAge = 0;
  /** Refaults that were activated at once (WORKINGSET_ACTIVATE), anonymous and of files; and what they were at the last reclaim. */
  readonly activated = [0, 0];
  readonly activatedStats = [0, 0];
  readonly refaults = [0, 0];

  /** Puts a page at the head of the list that its flags name, or at its tail, and sets PG_LRU. */
  add(pages: Pages, pfn: number, atTail = false): void {
    const { next, prev, flags } = pages;
    const f = flags[pfn]!;
    assert((f & PG_LRU) === 0, 'Lruvec.add: the page is on no list');
    if (this.gen !== null && (f & PG_UNEVICTABLE) === 0) {
      this.gen.add(pages, pfn, atTail);
      return;
    }
    const l = lruList(f);
    flags[pfn] = f | PG_LRU;
    const head = this.head[l]!;
    const tail = this.tail[l]!;
    if (head === 0) {
      this.head[l] = this.tail[l] = pfn;
      next[pfn] = prev[pfn] = 0;
    } else if (atTail) {
      next[tail] = pfn;
      prev[pfn] = tail;
      next[pfn] = 0;
      this.tail[l] = pfn;
    } else {
      prev[head] = pfn;
      next[pfn] = head;
      prev[pfn] = 0;
      this.head[l] = pfn;
    }
    this.count[l] = this.count[l]! + 1;
  }

  /** Puts a page just ahead of `anchor`, which is on the list that its flags name: it is looked at after that. */
  addBefore(pages: Pages, pfn: number, anchor: number): void {
    const { next, prev, flags } = pages;
    if (this.gen !== null && (flags[pfn]! & PG_UNEVICTABLE) === 0) {
      this.gen.addBefore(pages, pfn, anchor);
      return;
    }
    const l = lruList(flags[pfn]!);
    assert((flags[anchor]! & PG_LRU) !== 0, 'Lruvec.addBefore: the anchor is on a list');
    const before = prev[anchor]!;
    flags[pfn] = flags[pfn]! | PG_LRU;
    next[pfn] = anchor;
    prev[pfn] = before;
    prev[anchor] = pfn;
    if (before === 0) this.head[l] = pfn;
    else next[before] = pfn;
    this.count[l] = this.count[l]! + 1;
  }

  /** Takes a page off its list; PG_ACTIVE and PG_UNEVICTABLE stay as they are. */
  remove(pages: Pages, pfn: number): void {
    const { next, prev, flags } = pages;
    const f = flags[pfn]!;
    assert((f & PG_LRU) !== 0, 'Lruvec.remove: the page is on a list');
    if (this.gen !== null && (f & PG_UNEVICTABLE) === 0) {
      this.gen.remove(pages, pfn);
      return;
    }
    const l = lruList(f);
    const n = next[pfn]!;
    const p = prev[pfn]!;
    if (p === 0) this.head[l] = n;
    else next[p] = n;
    if (n === 0) this.tail[l] = p;
    else prev[n] = p;
    flags[pfn] = f & ~PG_LRU;
    this.count[l] = this.count[l]! - 1;
  }

  get memory(): LruvecMemory {
    const { cost, activated, activatedStats, refaults } = this;
    return {
      cost: [...cost],
      activated: [...activated],
      activatedStats: [...activatedStats],
      refaults: [...refaults],
    };
  }

  set memory(past: LruvecMemory) {
    for (let kind = 0; kind < 2; kind++) {
      this.cost[kind] = past.cost[kind]!;
      this.activated[kind] = past.activated[kind]!;
      this.activatedStats[kind] = past.activatedStats[kind]!;
      this.refaults[kind] = past.refaults[kind]!;
    }
  }

  /** lru_note_cost: `written` pages of one kind went out. A floating average: both halve when they outgrow a quarter of the lists. */
  noteCost(isFile: boolean, written: number): void {
    const { cost, stats } = this;
    cost[isFile ? 1 : 0]! += written;
    const size = stats[0]! + stats[1]! + stats[2]! + stats[3]!;
    if (cost[0]! + cost[1]! <= Math.floor(size / 4)) return;
    cost[0] = cost[0]! >> 1;
    cost[1] = cost[1]! >> 1;
  }

  /** Links, counts and flags agree; every page of the lists becomes 1 in `seen`. Throws. */
  checkInvariants(pages: Pages, seen: Uint8Array): void {
    const { flags, next, prev } = pages;
    this.gen?.checkInvariants(pages, seen);
    for (let l = 0; l < 5; l++) {
      let before = 0;
      let n = 0;
      for (let pfn = this.head[l]!; pfn !== 0; before = pfn, pfn = next[pfn]!, n++) {
        if (seen[pfn] !== 0) fail(`LRU: page ${pfn} is on one list once (${LRU_NAMES[l]})`);
        seen[pfn] = 1;
        if ((flags[pfn]! & PG_LRU) === 0) fail(`LRU: page ${pfn} on ${LRU_NAMES[l]} has PG_LRU`);
        const said = lruList(flags[pfn]!);
        if (said !== l) fail(`LRU: page ${pfn} is on ${LRU_NAMES[l]}, its flags say ${said}`);
        if (prev[pfn] !== before) fail(`LRU: back link of page ${pfn} on ${LRU_NAMES[l]}`);
      }
      assert(this.tail[l] === before, `LRU: tail of ${LRU_NAMES[l]}`);
      assert(n === this.count[l], `LRU: ${n} pages on ${LRU_NAMES[l]}, count says ${this.count[l]}`);
    }
  }
}
