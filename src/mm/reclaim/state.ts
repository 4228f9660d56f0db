// State of reclaim: LRU lists and kswapd's wait queue. A list is intrusive (pages.next/prev, 0 ends it); a page is on at
// most one, named by its flags: PG_LRU with PG_UNEVICTABLE, PG_SWAPBACKED (anonymous memory and shmem) and PG_ACTIVE.
// Lists change between points only, so lru_lock needs no object.
//
// Kernel names: struct lruvec, lruvec_add_folio, lruvec_del_folio, folio_lru_list, wakeup_kswapd.

import { int32s } from '../../base/arena.ts';
import { assert } from '../../base/assert.ts';
import { type Scheduler, type Thread, WaitQueue } from '../../sched/scheduler.ts';
import { type Pages, PG_ACTIVE, PG_LRU, PG_SWAPBACKED, PG_UNEVICTABLE } from '../page/pages.ts';

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

export class ReclaimState {
  /** Pages that a collapse puts back (lru-add-batch.ts). */
  readonly addBatch: number[] = [];
  /** Most recently added page, and the next one to be looked at. */
  readonly head = int32s(5);
  readonly tail = int32s(5);
  readonly count = int32s(5);
  /** kswapd sleeps here; a wake that comes while it runs is kept. */
  readonly kswapdWait = new WaitQueue();
  kswapdWanted = false;
  /** The last batch of file pages was dirty throughout (PGDAT_DIRTY): kswapd may write file pages itself. */
  manyDirty = false;
  readonly #pages: Pages;
  readonly #flags: Int32Array;
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  /** What swap_cluster_readahead remembers: hits of pages that were read ahead, the last slot and window. */
  swapinHits = 4;
  swapinPrevious = 0;
  swapinWindow = 0;
  /** Threads inside direct reclaim or kswapd (PF_MEMALLOC). */
  readonly #reclaiming = new Set<Thread>();

  constructor(pages: Pages) {
    this.#pages = pages;
    this.#flags = pages.flags;
    this.#next = pages.next;
    this.#prev = pages.prev;
  }

  /** Puts a page at the head of the list that its flags name, or at its tail, and sets PG_LRU. */
  add(pfn: number, atTail = false): void {
    const next = this.#next;
    const prev = this.#prev;
    const f = this.#flags[pfn]!;
    assert((f & PG_LRU) === 0, 'ReclaimState.add: the page is on no list');
    const l = lruList(f);
    this.#flags[pfn] = f | PG_LRU;
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

  /** lru_add_page_tail: a part of a huge page that was split joins its list, just ahead of the page `anchor`: looked at after it. */
  addBefore(pfn: number, anchor: number): void {
    const l = lruList(this.#flags[pfn]!);
    assert((this.#flags[anchor]! & PG_LRU) !== 0, 'ReclaimState.addBefore: the anchor is on a list');
    const before = this.#prev[anchor]!;
    this.#flags[pfn] = this.#flags[pfn]! | PG_LRU;
    this.#next[pfn] = anchor;
    this.#prev[pfn] = before;
    this.#prev[anchor] = pfn;
    if (before === 0) this.head[l] = pfn;
    else this.#next[before] = pfn;
    this.count[l] = this.count[l]! + 1;
  }

  /** Takes a page off its list; PG_ACTIVE and PG_UNEVICTABLE stay as they are. */
  remove(pfn: number): void {
    const next = this.#next;
    const prev = this.#prev;
    const f = this.#flags[pfn]!;
    assert((f & PG_LRU) !== 0, 'ReclaimState.remove: the page is on a list');
    const l = lruList(f);
    const n = next[pfn]!;
    const p = prev[pfn]!;
    if (p === 0) this.head[l] = n;
    else next[p] = n;
    if (n === 0) this.tail[l] = p;
    else prev[n] = p;
    this.#flags[pfn] = f & ~PG_LRU;
    this.count[l] = this.count[l]! - 1;
  }

  /** wakeup_kswapd. */
  wakeKswapd(sched: Scheduler): void {
    if (this.kswapdWanted) return;
    this.kswapdWanted = true;
    this.kswapdWait.wakeAll(sched);
  }

  isReclaiming(thread: Thread): boolean {
    return this.#reclaiming.size > 0 && this.#reclaiming.has(thread);
  }

  enterReclaim(thread: Thread): void {
    this.#reclaiming.add(thread);
  }

  leaveReclaim(thread: Thread): void {
    this.#reclaiming.delete(thread);
  }

  /** Links, counts and flags agree. Throws. */
  checkInvariants(): void {
    const { flags, next, prev } = this.#pages;
    const seen = new Set<number>();
    for (let l = 0; l < 5; l++) {
      let before = 0;
      let n = 0;
      for (let pfn = this.head[l]!; pfn !== 0; before = pfn, pfn = next[pfn]!, n++) {
        assert(!seen.has(pfn), `LRU: page ${pfn} is on one list once (${LRU_NAMES[l]})`);
        seen.add(pfn);
        assert((flags[pfn]! & PG_LRU) !== 0, `LRU: page ${pfn} on ${LRU_NAMES[l]} has PG_LRU`);
        assert(
          lruList(flags[pfn]!) === l,
          `LRU: page ${pfn} is on ${LRU_NAMES[l]}, its flags say ${lruList(flags[pfn]!)}`,
        );
        assert(prev[pfn] === before, `LRU: back link of page ${pfn} on ${LRU_NAMES[l]}`);
      }
      assert(this.tail[l] === before, `LRU: tail of ${LRU_NAMES[l]}`);
      assert(n === this.count[l], `LRU: ${n} pages on ${LRU_NAMES[l]}, count says ${this.count[l]}`);
    }
    for (let pfn = 1; pfn < flags.length; pfn++) {
      assert((flags[pfn]! & PG_LRU) === 0 || seen.has(pfn), `LRU: page ${pfn} has PG_LRU and is on no list`);
    }
  }
}
