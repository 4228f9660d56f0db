// Memory of checkWorld, kept between its looks so that a soak of a million looks allocates nothing: counts by frame and by slot,
// the frames that are not free, and where each page is mapped.

import { fail } from '../base/assert.ts';
import type { Kernel } from './kernel.ts';
import { PG_HUGETLB, PG_KSM, PG_LRU, PG_RESERVED, PG_SWAPCACHE } from './page/pages.ts';

/** What no free frame has: the checks that look for these look at the frames in use alone. */
const NEVER_FREE = PG_LRU | PG_SWAPCACHE | PG_KSM | PG_HUGETLB | PG_RESERVED;

export class Recount {
  /** References found, by frame, and entries found, by swap slot. */
  refs = new Int32Array(0);
  swapUsers = new Uint32Array(0);
  /** 1 for each frame of the free lists. */
  free = new Uint8Array(0);
  /** Frames of RAM that are not free, ascending: the first `live` of them. */
  frames = new Int32Array(0);
  live = 0;

  /** Begins a look: everything 0; walks the free lists. Throws as Buddy.checkInvariants does. */
  begin(k: Kernel): void {
    const { end } = k.pages;
    if (this.refs.length < end) {
      this.refs = new Int32Array(end);
      this.free = new Uint8Array(end);
      this.frames = new Int32Array(end);
    } else {
      this.refs.fill(0, 0, end);
      this.free.fill(0, 0, end);
    }
    if (this.swapUsers.length <= k.swap.pages) this.swapUsers = new Uint32Array(k.swap.pages + 1);
    else this.swapUsers.fill(0, 0, k.swap.pages + 1);
    let free = 0;
    for (const node of k.nodes) free += node.checkInvariants(this.free);
    if (free !== k.pages.free) fail(`Buddy: ${free} frames on the lists, the count says ${k.pages.free}`);
    this.#divide(k);
  }

  /** Instead of begin, where free lists are of no interest: every frame is looked at. */
  static ofAllFrames(k: Kernel): Recount {
    const all = new Recount();
    all.frames = Int32Array.from({ length: k.pages.count - 1 }, (_, i) => i + 1);
    all.live = all.frames.length;
    return all;
  }

  #divide(k: Kernel): void {
    const { flags, mapcount, compoundMapcount, count } = k.pages;
    const { free, frames } = this;
    let live = 0;
    for (let pfn = 1; pfn < count; pfn++) {
      if (free[pfn] === 0) {
        frames[live++] = pfn;
        continue;
      }
      if (mapcount[pfn] !== 0 || compoundMapcount[pfn] !== 0) fail(`I25: free frame ${pfn} is not mapped`);
      if ((flags[pfn]! & NEVER_FREE) !== 0) fail(`I24: free frame ${pfn} has flags 0x${flags[pfn]!.toString(16)}`);
    }
    this.live = live;
  }
}

/** Places (numbers) by page, as chains through flat arrays. */
export class Places {
  #first = new Int32Array(0);
  #count = new Int32Array(0);
  #next = new Int32Array(1024);
  #place = new Float64Array(1024);
  #used = 1;

  begin(pages: number): void {
    if (this.#first.length < pages) {
      this.#first = new Int32Array(pages);
      this.#count = new Int32Array(pages);
    } else {
      this.#first.fill(0, 0, pages);
      this.#count.fill(0, 0, pages);
    }
    this.#used = 1;
  }

  add(page: number, place: number): void {
    if (this.#used === this.#next.length) this.#grow();
    const at = this.#used++;
    this.#place[at] = place;
    this.#next[at] = this.#first[page]!;
    this.#first[page] = at;
    this.#count[page]!++;
  }

  #grow(): void {
    const [next, place] = [this.#next, this.#place];
    this.#next = new Int32Array(next.length * 2);
    this.#next.set(next);
    this.#place = new Float64Array(place.length * 2);
    this.#place.set(place);
  }

  count(page: number): number {
    return this.#count[page]!;
  }

  /** The places of a page, into `out`. */
  of(page: number, out: number[] = []): number[] {
    out.length = 0;
    for (let at = this.#first[page]!; at !== 0; at = this.#next[at]!) out.push(this.#place[at]!);
    return out;
  }
}
