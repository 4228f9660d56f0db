/** The ordered set of the VMAs of one address space, with search for free room: our counterpart of mm->mm_mt.
 *
 *  Models: the maple tree as mm uses it. Names to look up in Linux 6.1: find_vma, find_vma_prev, vma_lookup,
 *  find_vma_intersection, vma_mas_store, vma_mas_remove (mm/mmap.c); mas_empty_area, mas_empty_area_rev
 *  (lib/maple_tree.c); unmapped_area, unmapped_area_topdown (mm/mmap.c).
 *  Locks: mmapLock. Lookups need it for read, everything that changes the tree for write. `find` updates a cache of one
 *  item, which is no part of the state that readers can observe.
 *
 *  The items stand in a B+-tree (vma-tree-index.ts) whose entries carry the greatest gap below them, as maple_arange_64
 *  does, and are linked to their neighbours, as VMAs were by vm_next and vm_prev before 6.1: a step is a field load.
 *
 *  Gaps are kept without guard gaps, as in the kernel: an item's `startGap` is read when a search has found the gap below
 *  it. A search that meets a guard gap lowers its limit to the guard's start and goes on, also past small VMAs which the
 *  guard reaches across; a tree of gaps already shortened by their guards would choose other addresses there than Linux.
 *
 *  Walking and removing. Take the successor first: `remove(v)` returns it, so
 *
 *      for (let v = t.find(a); v !== null && v.start < b; ) v = wanted(v) ? t.remove(v) : t.next(v);
 *
 *  is safe, and so are insert, resize and remove of any other item during a walk. A removed item has no neighbours:
 *  `next` of it is null. */

import { VmaIndex, type VmaTreeItem } from './vma-tree-index.ts';

export type { VmaTreeItem } from './vma-tree-index.ts';

/** Misuse of a VmaTree: the caller broke a precondition. The tree is unchanged. */
export class VmaTreeError extends Error {
  override readonly name = 'VmaTreeError';
}

/** `removeRange` removes fewer items than this one by one. */
const BULK_MIN = 6;

export class VmaTree<T extends VmaTreeItem> {
  /** Items in the tree. */
  count: number;
  /** After findVmaPrev: the item before the one that was returned (kernel: *pprev). */
  prevFound: T | null;

  private readonly index: VmaIndex<T>;
  private head: T | null;
  private tail: T | null;
  /** The item that `find` gave last, and the range of addresses for which it still is the answer. */
  private hit: T | null;
  private readonly known: Float64Array;

  constructor() {
    this.count = 0;
    this.prevFound = null;
    this.index = new VmaIndex<T>();
    this.head = null;
    this.tail = null;
    this.hit = null;
    this.known = this.index.known;
  }

  first(): T | null {
    return this.head;
  }

  last(): T | null {
    return this.tail;
  }

  next(item: T): T | null {
    return item.treeNext as T | null;
  }

  prev(item: T): T | null {
    return item.treePrev as T | null;
  }

  /** The first item with end > addr, or null. Kernel: find_vma. */
  find(addr: number): T | null {
    const known = this.known;
    if (addr >= known[0] && addr < known[1]) return this.hit;
    return this.findSlow(addr);
  }

  /** The item that contains addr, or null. Kernel: vma_lookup. */
  findExact(addr: number): T | null {
    const item = this.find(addr);
    return item !== null && item.start <= addr ? item : null;
  }

  /** Whether an item contains addr. */
  contains(addr: number): boolean {
    return this.findExact(addr) !== null;
  }

  /** The last item with start < addr, or null: the item that contains addr - 1, else the nearest below. */
  findPrev(addr: number): T | null {
    const item = this.find(addr);
    if (item === null) return this.tail;
    return item.start < addr ? item : (item.treePrev as T | null);
  }

  /** The first item with end > addr, or null; `prevFound` becomes the item before it (before nothing: the last item).
   *  Kernel: find_vma_prev. */
  findVmaPrev(addr: number): T | null {
    const item = this.find(addr);
    this.prevFound = item === null ? this.tail : (item.treePrev as T | null);
    return item;
  }

  /** The first item that has a byte in [start, end), or null. Kernel: find_vma_intersection. */
  intersects(start: number, end: number): T | null {
    const item = this.find(start);
    return item !== null && item.start < end ? item : null;
  }

  /** Adds an item. Throws VmaTreeError if it is empty, overlaps another, or is in the tree. */
  insert(item: T): void {
    const { start, end } = item;
    const tail = this.tail;
    if (tail === null || start >= tail.end) {
      this.checkBounds('insert', start, end, item, tail, null);
      this.link(item, tail, null);
      this.index.append(end, start - endOf(tail), item);
    } else {
      const next = this.index.slots[this.index.descend(start)] as T;
      const prev = next.treePrev as T | null;
      this.checkBounds('insert', start, end, item, prev, next);
      this.link(item, prev, next);
      this.index.insertBefore(end, start - endOf(prev), item, next.start - end);
    }
    this.forgetHit();
    this.count++;
  }

  /** Removes an item and returns the one after it, or null. Throws VmaTreeError if it is not in the tree. */
  remove(item: T): T | null {
    this.locate(item, 'remove');
    const next = item.treeNext as T | null;
    const gapAbove = next === null ? 0 : next.start - endOf(item.treePrev);
    this.unlink(item, item);
    this.detach(item);
    this.forgetHit();
    this.count--;
    if (!this.index.removeEntry(gapAbove) && next !== null) this.setGapBelow(next, gapAbove);
    return next;
  }

  /** Gives an item new bounds, between those of its neighbours: the step of which split, merge and expand are made.
   *  Throws VmaTreeError if the item would be empty or overlap a neighbour, or is not in the tree. */
  resize(item: T, start: number, end: number): void {
    const index = this.index;
    const at = this.locate(item, 'resize');
    const prev = item.treePrev as T | null;
    const next = item.treeNext as T | null;
    this.checkBounds('resize', start, end, item, prev, next);
    this.forgetHit();
    item.start = start;
    index.setGap(at, start - endOf(prev));
    if (item.end === end) return;
    item.end = end;
    index.ends[at] = end;
    index.refresh(1);
    if (next !== null) this.setGapBelow(next, next.start - end);
  }

  /** Puts `item` in the place of `old`; its bounds may differ from old's as far as the neighbours allow.
   *  Throws VmaTreeError as `resize` does. `item` must not be in the tree. */
  replace(old: T, item: T): void {
    const at = this.locate(old, 'replace');
    if (item === old) return;
    const { start, end } = item;
    const prev = old.treePrev as T | null;
    const next = old.treeNext as T | null;
    this.checkBounds('replace', start, end, item, prev, next);
    this.detach(old);
    this.forgetHit();
    this.link(item, prev, next);
    this.index.slots[at] = item;
    // The index still has old's bounds, by which resize finds the entry.
    item.start = old.start;
    item.end = old.end;
    this.resize(item, start, end);
  }

  /** Removes all items in [start, end), appends them to `out` in ascending order, and returns their number.
   *  Throws VmaTreeError, with nothing changed, if an item reaches across start or end: split it first. */
  removeRange(start: number, end: number, out: T[]): number {
    const first = this.intersects(start, end);
    if (first === null) return 0;
    if (first.start < start) refuse('removeRange', first, 'reaches across the start of the range');
    let last = first;
    let removed = 1;
    for (let v = this.next(first); v !== null && v.start < end; v = this.next(v)) {
      last = v;
      removed++;
    }
    if (last.end > end) refuse('removeRange', last, 'reaches across the end of the range');
    if (removed === this.count) {
      this.detachAll(out);
    } else if (removed < BULK_MIN) {
      for (let i = 0, v = first as T | null; i < removed; i++) {
        out.push(v as T);
        v = this.remove(v as T);
      }
    } else {
      const prev = this.prev(first);
      const next = this.next(last);
      this.unlink(first, last);
      for (let i = 0, v = first as T | null; i < removed; i++) {
        const item = v as T;
        out.push(item);
        v = this.next(item);
        this.detach(item);
      }
      this.count -= removed;
      // Not all items were removed, so one of the two is there.
      this.index.cut(start, end, ((prev ?? next) as T).start, ((next ?? prev) as T).start);
      this.forgetHit();
      if (next !== null) this.setGapBelow(next, next.start - endOf(prev));
    }
    return removed;
  }

  /** Removes all items. */
  clear(): void {
    this.detachAll(null);
  }

  /** The highest free address for `length` bytes in [low, high), or -1. Kernel: unmapped_area_topdown.
   *
   *  The kernel looks for a gap of length + alignMask bytes, the worst case, puts the block at its end and rounds down to
   *  ((address - alignOffset) & alignMask) == 0. A gap which would fit only by luck of alignment is not taken.
   *  alignMask is 2^n - 1, or that without its lowest bits (those of a page: they are clear anyway). */
  gapTopDown(low: number, high: number, length: number, alignMask: number, alignOffset: number): number {
    const need = length + alignMask;
    let limit = high;
    while (limit - low >= need) {
      const tail = this.tail;
      let gapEnd = limit;
      if (tail !== null && limit - Math.max(tail.end, low) < need) {
        const above = this.index.gapBelow(low, limit, need, tail.end);
        if (above === null) return -1;
        if (above.start < limit) gapEnd = above.start;
        const guard = above.startGap;
        if (guard > 0 && above.start - guard < gapEnd) {
          limit = above.start - guard;
          continue;
        }
      }
      const addr = gapEnd - length;
      if (alignMask === 0) return addr;
      return addr - floorMod(addr - alignOffset, unitOf(alignMask));
    }
    return -1;
  }

  /** The lowest free address for `length` bytes in [low, high), or -1. Kernel: unmapped_area.
   *
   *  As gapTopDown, from below. As in the kernel, above an item with a guard gap the padding for alignment counts twice:
   *  the rounded address plus length + alignMask must not reach into the guard. */
  gapBottomUp(low: number, high: number, length: number, alignMask: number, alignOffset: number): number {
    const need = length + alignMask;
    let limit = low;
    while (high - limit >= need) {
      const above = limit < endOf(this.tail) ? this.index.gapAbove(limit, high, need) : null;
      const prev = above === null ? this.tail : above.treePrev;
      const gapStart = prev === null || prev.end < limit ? limit : prev.end;
      if (above === null && high - gapStart < need) return -1;
      if (gapStart + need > high) return -1;
      const addr = alignMask === 0 ? gapStart : gapStart + floorMod(alignOffset - gapStart, unitOf(alignMask));
      if (above === null || above.startGap === 0) return addr;
      const guardStart = above.start > above.startGap ? above.start - above.startGap : 0;
      if (guardStart >= addr + need - 1) return addr;
      limit = above.end;
    }
    return -1;
  }

  /** Throws an Error that says what is wrong if the tree is not as its files describe it. For tests; linear. */
  checkInvariants(): void {
    const claim = (isTrue: boolean, what: string, item: T | null = null): void => {
      if (!isTrue) throw new Error(`VmaTree.checkInvariants: ${what}${item === null ? '' : ` at ${show(item)}`}`);
    };
    const known = this.known;
    let before: T | null = null;
    let seen = 0;
    this.index.checkNodes(claim, (item, end, gap) => {
      const beforeEnd = endOf(before);
      claim(item.start < item.end, 'empty item', item);
      claim(before === null ? this.head === item : before.treeNext === item, 'link to the item', item);
      claim(item.treePrev === before, 'link back from the item', item);
      claim(beforeEnd <= item.start, 'order or overlap', item);
      claim(end === item.end, 'key', item);
      claim(gap === item.start - beforeEnd, 'gap below the item', item);
      if (known[0] < end && known[1] > beforeEnd) {
        claim(item === this.hit && known[1] <= end, 'cached answer', item);
        claim(before === null || known[0] >= beforeEnd, 'begin of the cached answer', item);
      }
      before = item;
      seen++;
    });
    claim(this.tail === before, 'tail');
    claim(before === null ? this.head === null : (before as T).treeNext === null, 'end of the list');
    claim(seen === this.count, `count ${this.count}, but ${seen} items`);
    claim(known[1] <= endOf(this.tail), 'cached answer above the last item');
  }

  private detachAll(out: T[] | null): void {
    for (let v = this.head; v !== null; ) {
      const next = this.next(v);
      if (out !== null) out.push(v);
      this.detach(v);
      v = next;
    }
    this.head = null;
    this.tail = null;
    this.count = 0;
    this.forgetHit();
    this.index.clearEntries();
  }

  private findSlow(addr: number): T | null {
    const tail = this.tail;
    if (tail === null || addr >= tail.end) return null;
    return (this.hit = this.index.lookup(addr));
  }

  /** Sets the index's path to the item and returns its entry. */
  private locate(item: T, who: string): number {
    const tail = this.tail;
    if (tail === null || !(item.start < tail.end)) return refuse(who, item, 'is not in the tree');
    const at = this.index.descend(item.start);
    if (this.index.slots[at] !== item) return refuse(who, item, 'is not in the tree');
    return at;
  }

  /** Throws unless [start, end) lies between two neighbours. */
  private checkBounds(who: string, start: number, end: number, item: T, prev: T | null, next: T | null): void {
    if (!(start < end && start >= 0)) refuse(who, item, `cannot have the bounds ${start}..${end}`);
    if (prev !== null && start < prev.end) refuse(who, item, `would overlap ${show(prev)}`);
    if (next !== null && end > next.start) refuse(who, item, `would overlap ${show(next)}`);
  }

  /** Tells the index how many bytes are free below an item. */
  private setGapBelow(item: T, gap: number): void {
    this.index.setGap(this.index.descend(item.start), gap);
  }

  private forgetHit(): void {
    this.hit = null;
    this.known[1] = 0;
  }

  private link(item: T, prev: T | null, next: T | null): void {
    item.treePrev = prev;
    item.treeNext = next;
    if (prev !== null) prev.treeNext = item;
    else this.head = item;
    if (next !== null) next.treePrev = item;
    else this.tail = item;
  }

  /** Takes the items from `first` to `last` out of the list of neighbours. Their own links are left. */
  private unlink(first: T, last: T): void {
    const prev = first.treePrev;
    const next = last.treeNext;
    if (prev !== null) prev.treeNext = next;
    else this.head = next as T | null;
    if (next !== null) next.treePrev = prev;
    else this.tail = prev as T | null;
  }

  /** Forgets that a removed item was in the tree. */
  private detach(item: T): void {
    item.treePrev = null;
    item.treeNext = null;
    if (this.prevFound === item) this.prevFound = null;
  }
}

function endOf(item: VmaTreeItem | null): number {
  return item === null ? 0 : item.end;
}

/** The power of two of which an address must be a multiple: what follows the mask. */
function unitOf(alignMask: number): number {
  return alignMask + (alignMask & -alignMask);
}

/** a mod m, never negative, for a power of two m; exact for safe integers, where `%` is slow and keeps the sign. */
function floorMod(a: number, m: number): number {
  return a - Math.floor(a / m) * m;
}

function show(item: VmaTreeItem): string {
  return `${item.start.toString(16)}-${item.end.toString(16)}`;
}

function refuse(who: string, item: VmaTreeItem, why: string): never {
  throw new VmaTreeError(`VmaTree.${who}: item ${show(item)} ${why}`);
}
