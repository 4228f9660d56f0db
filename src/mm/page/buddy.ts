// The buddy allocator (mm/page_alloc.c): free blocks of 2^order frames on one list for each order, and in front of it a
// LIFO list of single frames for each CPU. Plain data structure: no gfp rules, no events, no reclaim (those are in
// allocator.ts). Never held across a point, so zone->lock and pcp->lock need no object.
//
// A free block is known by its first frame: PG_BUDDY set, order in pages.private, linked through pages.next/prev. Frame 0
// is never free, so 0 ends a list. Frames on a per-CPU list carry no flag at all.
//
// Kernel names: __rmqueue_smallest, expand, __free_one_page, rmqueue_bulk, free_pcppages_bulk, drain_all_pages, zone_batchsize.

import { assert } from '../../base/assert.ts';
import { type Pages, PG_BUDDY } from './pages.ts';

/** Orders 0 .. MAX_ORDER - 1. */
export const MAX_ORDER = 11;

/** Single free frames of one CPU: a ring used as a stack; what is spilled to the buddy lists is the oldest end. */
class PerCpuList {
  readonly ring: Int32Array;
  readonly mask: number;
  /** Free-running positions: entries are ring[bottom & mask] (oldest) .. ring[(top - 1) & mask]. */
  top = 0;
  bottom = 0;

  constructor(capacity: number) {
    this.ring = new Int32Array(capacity);
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
  /** Frames moved between a per-CPU list and the buddy lists at once, and above how many a per-CPU list spills. */
  readonly batch: number;
  readonly high: number;
  /** First frame of the first free block of each order; 0 = none. */
  readonly heads = new Int32Array(MAX_ORDER);
  /** Free blocks of each order. */
  readonly counts = new Int32Array(MAX_ORDER);
  readonly #pcp: PerCpuList[] = [];

  /** Takes over every frame from pages.firstUsable on. */
  constructor(pages: Pages, cpus: number) {
    this.pages = pages;
    this.first = pages.firstUsable;
    const managed = pages.count - this.first;
    // zone_batchsize: a thousandth of memory, at most 1 MiB, a quarter of that, one less than a power of two.
    const quarter = Math.max(1, Math.floor(Math.min(managed / 1024, 256) / 4));
    this.batch = Math.max(1, powerOfTwoAtLeast(quarter + (quarter >> 1) + 1) / 2 - 1);
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
    this.pages.free = managed;
  }

  #link(pfn: number, order: number): void {
    const p = this.pages;
    const head = this.heads[order]!;
    p.flags[pfn] = PG_BUDDY;
    p.private[pfn] = order;
    p.next[pfn] = head;
    p.prev[pfn] = 0;
    if (head !== 0) p.prev[head] = pfn;
    this.heads[order] = pfn;
    this.counts[order] = this.counts[order]! + 1;
  }

  #unlink(pfn: number, order: number): void {
    const p = this.pages;
    const next = p.next[pfn]!;
    const prev = p.prev[pfn]!;
    if (prev === 0) this.heads[order] = next;
    else p.next[prev] = next;
    if (next !== 0) p.prev[next] = prev;
    p.flags[pfn] = 0;
    p.private[pfn] = 0;
    this.counts[order] = this.counts[order]! - 1;
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
    const p = this.pages;
    const flags = p.flags;
    while (order < MAX_ORDER - 1) {
      const buddy = pfn ^ (1 << order);
      if (buddy >= p.count || (flags[buddy]! & PG_BUDDY) === 0 || p.private[buddy] !== order) break;
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

  #refill(l: PerCpuList): boolean {
    if (this.#bulk(l)) return true;
    this.drain();
    return this.#bulk(l);
  }

  /** rmqueue_bulk; the frame taken off the buddy lists first is handed out first. */
  #bulk(l: PerCpuList): boolean {
    let n = 0;
    while (n < this.batch) {
      const pfn = this.#removeSmallest(0);
      if (pfn === 0) break;
      l.bottom--;
      l.ring[l.bottom & l.mask] = pfn;
      n++;
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

  #spill(l: PerCpuList, count: number): void {
    for (let i = 0; i < count; i++) {
      this.#freeOne(l.ring[l.bottom & l.mask]!, 0);
      l.bottom++;
    }
  }

  /** 2^order contiguous frames, aligned; first frame or 0. */
  takeBlock(order: number): number {
    let pfn = this.#removeSmallest(order);
    if (pfn === 0) {
      this.drain();
      pfn = this.#removeSmallest(order);
    }
    if (pfn !== 0) this.pages.free -= 1 << order;
    return pfn;
  }

  giveBlock(pfn: number, order: number): void {
    this.pages.free += 1 << order;
    this.#freeOne(pfn, order);
  }

  /** drain_all_pages: every per-CPU list goes back to the buddy lists. */
  drain(): void {
    for (const l of this.#pcp) this.#spill(l, l.top - l.bottom);
  }

  /** Free blocks of each order 0..10, as in /proc/buddyinfo (frames on per-CPU lists are not in it). */
  buddyInfo(): number[] {
    return Array.from(this.counts);
  }

  /** 1 for each free frame. For checkers. */
  freeFrames(): Uint8Array {
    const out = new Uint8Array(this.pages.count);
    for (let order = 0; order < MAX_ORDER; order++) {
      for (let pfn = this.heads[order]!; pfn !== 0; pfn = this.pages.next[pfn]!) out.fill(1, pfn, pfn + (1 << order));
    }
    for (const l of this.#pcp) for (let i = l.bottom; i !== l.top; i++) out[l.ring[i & l.mask]!] = 1;
    return out;
  }

  /** Lists well formed, blocks aligned and disjoint, no two free buddies apart, counts right. Throws. */
  checkInvariants(): void {
    const p = this.pages;
    const seen = new Uint8Array(p.count);
    let free = 0;
    const take = (pfn: number, place: string): void => {
      assert(pfn >= this.first && pfn < p.count, `Buddy: frame ${pfn} on ${place} is managed`);
      assert(seen[pfn] === 0, `Buddy: frame ${pfn} on ${place} is free once`);
      assert(p.refcount[pfn] === 0, `Buddy: free frame ${pfn} has refcount ${p.refcount[pfn]}, 0 expected`);
      seen[pfn] = 1;
      free++;
    };
    for (let order = 0; order < MAX_ORDER; order++) {
      let n = 0;
      let prev = 0;
      for (let pfn = this.heads[order]!; pfn !== 0; prev = pfn, pfn = p.next[pfn]!, n++) {
        assert(p.flags[pfn] === PG_BUDDY && p.private[pfn] === order, `Buddy: head ${pfn} marked with order ${order}`);
        assert(p.prev[pfn] === prev, `Buddy: back link of ${pfn}`);
        assert(pfn % (1 << order) === 0, `Buddy: block ${pfn} aligned to order ${order}`);
        for (let i = 0; i < 1 << order; i++) take(pfn + i, `order ${order}`);
        const buddy = pfn ^ (1 << order);
        const isWhole = buddy < p.count && (p.flags[buddy]! & PG_BUDDY) !== 0 && p.private[buddy] === order;
        assert(order === MAX_ORDER - 1 || !isWhole, `Buddy: ${pfn} and ${buddy} of order ${order} are joined`);
      }
      assert(n === this.counts[order], `Buddy: ${n} blocks of order ${order}, count says ${this.counts[order]}`);
    }
    for (const l of this.#pcp) {
      for (let i = l.bottom; i !== l.top; i++) take(l.ring[i & l.mask]!, 'a per-CPU list');
    }
    assert(free === p.free, `Buddy: ${free} frames on the lists, pages.free says ${p.free}`);
  }
}
