// The buddy allocator (mm/page_alloc.c): free blocks of 2^order frames on one list for each order, and in front of it a
// LIFO list of single frames for each CPU. Plain data structure: no gfp rules, no events, no reclaim (those are in
// allocator.ts). Never held across a point, so zone->lock and pcp->lock need no object.
//
// A free block is known by its first frame: PG_BUDDY set, order in pages.private, linked through pages.next/prev. Frame 0
// is never free, so 0 ends a list. Frames on a per-CPU list carry no flag at all.
//
// Kernel names: __rmqueue_smallest, expand, __free_one_page, rmqueue_bulk, free_pcppages_bulk, drain_all_pages, zone_batchsize.

import { int32s } from '../../base/arena.ts';
import { fail } from '../../base/assert.ts';
import { type Pages, PG_BUDDY } from './pages.ts';

/** Orders 0 .. MAX_ORDER - 1. */
export const MAX_ORDER = 11;

/** What a request touches: the CPU's list alone, the buddy lists too, every CPU's. */
export const REACH_OWN = 0;
export const REACH_BUDDY = 1;
export const REACH_ALL = 2;

/** Frames that move between a per-CPU list and the buddy lists as one block when they can. */
const GROUP_ORDER = 3;
const GROUP = 1 << GROUP_ORDER;

/** Does the ring hold pfn, pfn + step ... over a whole group from position `at` on? */
function isRun(ring: Int32Array, mask: number, at: number, top: number, pfn: number, step: number): boolean {
  if (top - at < GROUP) return false;
  for (let i = 1; i < GROUP; i++) if (ring[(at + i) & mask] !== pfn + i * step) return false;
  return true;
}

/** Single free frames of one CPU: a ring used as a stack; what is spilled to the buddy lists is the oldest end. */
class PerCpuList {
  readonly ring: Int32Array;
  readonly mask: number;
  /** Free-running positions: entries are ring[bottom & mask] (oldest) .. ring[(top - 1) & mask]. */
  top = 0;
  bottom = 0;

  constructor(capacity: number) {
    this.ring = int32s(capacity);
    this.mask = capacity - 1;
  }
}

function powerOfTwoAtLeast(n: number): number {
  let p = 1;
  while (p < n) p <<= 1;
  return p;
}

export class Buddy {
  readonly pages: Pages;
  readonly first: number;
  /** Frame behind the last one. */
  readonly end: number;
  /** Frames moved between a per-CPU list and the buddy lists at once, and above how many a per-CPU list spills. */
  readonly batch: number;
  readonly high: number;
  /** First frame of the first free block of each order; 0 = none. */
  readonly heads = int32s(MAX_ORDER);
  readonly #pcp: PerCpuList[] = [];
  // The arrays of struct page, close at hand: every munmap of a large range runs through here frame by frame.
  readonly #flags: Int32Array;
  readonly #order: Int32Array;
  readonly #next: Int32Array;
  readonly #prev: Int32Array;

  /** Takes over the frames [first, end): those of one node. */
  constructor(pages: Pages, cpus: number, first = pages.firstUsable, end = pages.count) {
    this.pages = pages;
    this.#flags = pages.flags;
    this.#order = pages.private;
    this.#next = pages.next;
    this.#prev = pages.prev;
    this.first = first;
    this.end = end;
    const managed = end - first;
    // zone_batchsize: a thousandth of memory, at most 1 MiB, a quarter of that; a power of two (Linux takes one less).
    const quarter = Math.max(1, Math.floor(Math.min(managed / 1024, 256) / 4));
    this.batch = powerOfTwoAtLeast(quarter + (quarter >> 1) + 1) / 2;
    this.high = this.batch * 6;
    for (let i = 0; i < cpus; i++) this.#pcp.push(new PerCpuList(powerOfTwoAtLeast(this.high + this.batch + 1)));
    this.#addAll(managed);
  }

  /** Largest aligned blocks, highest first, so that the lists hand out low frames first. */
  #addAll(managed: number): void {
    let end = this.first + managed;
    while (end > this.first) {
      let order = MAX_ORDER - 1;
      while (end % (1 << order) !== 0 || end - (1 << order) < this.first) order--;
      end -= 1 << order;
      this.#link(end, order);
    }
    this.pages.free += managed;
  }

  #link(pfn: number, order: number): void {
    const head = this.heads[order]!;
    this.#flags[pfn] = PG_BUDDY;
    this.#order[pfn] = order;
    this.#next[pfn] = head;
    this.#prev[pfn] = 0;
    if (head !== 0) this.#prev[head] = pfn;
    this.heads[order] = pfn;
  }

  #unlink(pfn: number, order: number): void {
    const next = this.#next[pfn]!;
    const prev = this.#prev[pfn]!;
    if (prev === 0) this.heads[order] = next;
    else this.#next[prev] = next;
    if (next !== 0) this.#prev[next] = prev;
    this.#flags[pfn] = 0;
  }

  /** First frame of a free block of 2^order frames, off the lists; 0 = none. Does not touch pages.free. */
  #removeSmallest(order: number): number {
    let from = order;
    while (from < MAX_ORDER && this.heads[from] === 0) from++;
    if (from === MAX_ORDER) return 0;
    const pfn = this.heads[from]!;
    this.#unlink(pfn, from);
    while (from > order) {
      from--;
      this.#link(pfn + (1 << from), from);
    }
    return pfn;
  }

  /** Puts a block back, joining it with its buddies as long as they are free and whole. */
  #freeOne(pfn: number, order: number): void {
    const flags = this.#flags;
    const orders = this.#order;
    while (order < MAX_ORDER - 1) {
      const buddy = pfn ^ (1 << order);
      if (buddy >= this.end || buddy < this.first || flags[buddy] !== PG_BUDDY || orders[buddy] !== order) break;
      this.#unlink(buddy, order);
      pfn &= buddy;
      order++;
    }
    this.#link(pfn, order);
  }

  /** One frame for the CPU, or 0 when no frame is free anywhere. */
  takeFrame(cpu: number): number {
    const l = this.#pcp[cpu]!;
    if (l.top === l.bottom && !this.#refill(l)) return 0;
    l.top--;
    this.pages.free--;
    return l.ring[l.top & l.mask]!;
  }

  /** What takeFrame touches beside the CPU's own list: nothing, the buddy lists, or every list. */
  takeReach(cpu: number): number {
    const l = this.#pcp[cpu]!;
    if (l.top !== l.bottom) return REACH_OWN;
    return this.heads.some((head) => head !== 0) ? REACH_BUDDY : REACH_ALL;
  }

  /** The same for giveFrame. */
  giveReach(cpu: number): number {
    const l = this.#pcp[cpu]!;
    return l.top - l.bottom >= this.high ? REACH_BUDDY : REACH_OWN;
  }

  #refill(l: PerCpuList): boolean {
    if (this.#bulk(l)) return true;
    this.drain();
    return this.#bulk(l);
  }

  /** rmqueue_bulk; the frame taken off the buddy lists first is handed out first. Blocks up to `GROUP` frames are taken
   *  whole, which leaves the lists as frame by frame would. */
  #bulk(l: PerCpuList): boolean {
    let n = 0;
    while (n < this.batch) {
      let order = 0;
      while (order < GROUP_ORDER && this.heads[order] === 0) order++;
      while (1 << order > this.batch - n) order--;
      const pfn = this.#removeSmallest(order);
      if (pfn === 0) break;
      for (let i = 0; i < 1 << order; i++) {
        l.bottom--;
        l.ring[l.bottom & l.mask] = pfn + i;
      }
      n += 1 << order;
    }
    return n > 0;
  }

  giveFrame(cpu: number, pfn: number): void {
    const l = this.#pcp[cpu]!;
    l.ring[l.top & l.mask] = pfn;
    l.top++;
    this.pages.free++;
    if (l.top - l.bottom > this.high) this.#spill(l, this.batch);
  }

  /** free_pcppages_bulk: at least `count` of the oldest. Frames that stand in the list as a whole aligned block, rising or
   *  falling (a munmap's do), go back as one; the outcome is the same. */
  #spill(l: PerCpuList, count: number): void {
    const { ring, mask } = l;
    for (let target = l.bottom + count; l.bottom - target < 0; ) {
      const pfn = ring[l.bottom & mask]!;
      const inGroup = pfn & (GROUP - 1);
      const step = inGroup === 0 ? 1 : inGroup === GROUP - 1 ? -1 : 0;
      if (step !== 0 && isRun(ring, mask, l.bottom, l.top, pfn, step)) {
        this.#freeOne(pfn - inGroup, GROUP_ORDER);
        l.bottom += GROUP;
      } else {
        this.#freeOne(pfn, 0);
        l.bottom++;
      }
    }
  }

  /** 2^order contiguous frames, aligned; first frame or 0. */
  takeBlock(order: number): number {
    let pfn = this.#removeSmallest(order);
    if (pfn === 0) {
      this.drain();
      pfn = this.#removeSmallest(order);
    }
    if (pfn !== 0) {
      this.pages.free -= 1 << order;
    }
    return pfn;
  }

  giveBlock(pfn: number, order: number): void {
    this.pages.free += 1 << order;
    this.#freeOne(pfn, order);
  }

  /** __isolate_free_page: every free block that begins in [first, end) is taken off the lists; its frames go to `out`. */
  takeRange(first: number, end: number, out: number[]): void {
    for (let pfn = first < this.first ? this.first : first; pfn < end; pfn++) {
      if (this.#flags[pfn] !== PG_BUDDY) continue;
      const count = 1 << this.#order[pfn]!;
      this.#unlink(pfn, this.#order[pfn]!);
      this.pages.free -= count;
      for (let i = 0; i < count; i++) out.push(pfn + i);
      pfn += count - 1;
    }
  }

  /** drain_all_pages: every per-CPU list goes back to the buddy lists. */
  drain(): void {
    for (const l of this.#pcp) this.#spill(l, l.top - l.bottom);
  }

  /** Free blocks of each order 0..10, as in /proc/buddyinfo (frames on per-CPU lists are not in it). */
  buddyInfo(): number[] {
    const counts: number[] = [];
    for (let order = 0; order < MAX_ORDER; order++) {
      let n = 0;
      for (let pfn = this.heads[order]!; pfn !== 0; pfn = this.#next[pfn]!) n++;
      counts.push(n);
    }
    return counts;
  }

  /** 1 for each free frame, in `out` (made when not given). For checkers. */
  freeFrames(out = new Uint8Array(this.pages.count)): Uint8Array {
    for (let order = 0; order < MAX_ORDER; order++) {
      for (let pfn = this.heads[order]!; pfn !== 0; pfn = this.pages.next[pfn]!) out.fill(1, pfn, pfn + (1 << order));
    }
    for (const l of this.#pcp) for (let i = l.bottom; i !== l.top; i++) out[l.ring[i & l.mask]!] = 1;
    return out;
  }

  /** Lists well formed, blocks aligned and disjoint, no two free buddies apart; each free frame becomes 1 in `seen`. Throws. Answers
   *  how many frames are free. */
  checkInvariants(seen = new Uint8Array(this.end)): number {
    const p = this.pages;
    let free = 0;
    const take = (pfn: number, place: string): void => {
      if (pfn < this.first || pfn >= this.end) fail(`Buddy: frame ${pfn} on ${place} is managed`);
      if (seen[pfn] !== 0) fail(`Buddy: frame ${pfn} on ${place} is free once`);
      const count = p.refcount[pfn];
      if (count !== 0) fail(`Buddy: free frame ${pfn} has refcount ${count}, 0 expected`);
      seen[pfn] = 1;
      free++;
    };
    for (let order = 0; order < MAX_ORDER; order++) {
      let prev = 0;
      for (let pfn = this.heads[order]!; pfn !== 0; prev = pfn, pfn = p.next[pfn]!) {
        if (p.flags[pfn] !== PG_BUDDY || p.private[pfn] !== order)
          fail(`Buddy: head ${pfn} marked with order ${order}`);
        if (p.prev[pfn] !== prev) fail(`Buddy: back link of ${pfn}`);
        if (pfn % (1 << order) !== 0) fail(`Buddy: block ${pfn} aligned to order ${order}`);
        for (let i = 0; i < 1 << order; i++) take(pfn + i, 'a free list');
        const buddy = pfn ^ (1 << order);
        const isWhole =
          buddy >= this.first && buddy < this.end && (p.flags[buddy]! & PG_BUDDY) !== 0 && p.private[buddy] === order;
        if (order < MAX_ORDER - 1 && isWhole) fail(`Buddy: ${pfn} and ${buddy} of order ${order} are joined`);
      }
    }
    for (const l of this.#pcp) {
      for (let i = l.bottom; i !== l.top; i++) take(l.ring[i & l.mask]!, 'a per-CPU list');
    }
    return free;
  }
}
