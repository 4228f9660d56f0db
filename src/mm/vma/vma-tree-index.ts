/** The B+-tree under a VmaTree: finds, inserts and removes entries (end, gap, value), and finds gaps.
 *
 *  Models: what mas_walk, mas_empty_area and mas_empty_area_rev do in lib/maple_tree.c.
 *  Locks: mmapLock through the owner (vma-tree.ts).
 *
 *  Keyed by `end`, because find_vma asks for the first end above an address. Keys are exact: whenever an address lies
 *  below the greatest end, every node on the way down has an end above it, and no search needs a bound.
 *
 *  Changes work on `path`, the way of the last `descend`; each method says what it does to the path. */

import { float64s, int32s } from '../../base/arena.ts';
import { FANOUT, FANOUT_SHIFT, FILL_MERGE_MAX, FILL_MIN, VmaNodes } from './vma-tree-nodes.ts';

/** Levels a tree can have; FILL_MIN ** 12 items are more than an address space has pages. */
const HEIGHT_MAX = 12;
const SLOT_MASK = FANOUT - 1;

/** The index of the first entry with end > addr in the node that begins at index `at`; there must be one. */
function firstAbove(ends: Float64Array, at: number, addr: number): number {
  while (ends[at + 7] <= addr) at += 8;
  while (ends[at] <= addr) at++;
  return at;
}

/** What an item brings with it. The `tree…` fields are the tree's own; let them begin as null. */
export interface VmaTreeItem {
  /** First byte, page aligned. Changed by `resize` only while the item is in the tree, as is `end`. */
  start: number;
  /** One past the last byte, page aligned; at most 2^47. */
  end: number;
  /** Bytes below `start` which a search for room leaves free: stack_guard_gap for VM_GROWSDOWN, else 0. It is read when
   *  a search meets it, so that it may change without telling the tree. */
  startGap: number;
  treePrev: VmaTreeItem | null;
  treeNext: VmaTreeItem | null;
}

export class VmaIndex<T extends VmaTreeItem> extends VmaNodes<T> {
  private root: number;
  /** Levels above the leaves: 0 when the root is a leaf. */
  private height: number;
  /** By level (0 = leaf), the index of the entry that was taken. */
  private readonly path: Int32Array;
  /** Start and end of the range that the last `lookup` is good for; the owner makes it empty when entries change. */
  readonly known: Float64Array;

  constructor() {
    super();
    this.root = this.alloc();
    this.height = 0;
    this.path = int32s(HEIGHT_MAX);
    this.known = float64s(2);
  }

  /** The value of the first entry with end > addr, which must exist. Keeps the path. `known` becomes the range of
   *  addresses for which the answer is the same, as far as the leaf shows it. */
  lookup(addr: number): T {
    const { ends, slots, known } = this;
    let at = firstAbove(ends, this.root << FANOUT_SHIFT, addr);
    for (let level = this.height; level > 0; level--) {
      at = firstAbove(ends, (slots[at] as number) << FANOUT_SHIFT, addr);
    }
    known[0] = (at & SLOT_MASK) > 0 ? ends[at - 1] : addr;
    known[1] = ends[at];
    return slots[at] as T;
  }

  /** Sets the path to the first entry with end > addr, which must exist, and returns its index. */
  descend(addr: number): number {
    const { ends, slots, path } = this;
    let at = firstAbove(ends, this.root << FANOUT_SHIFT, addr);
    for (let level = this.height; level > 0; level--) {
      path[level] = at;
      at = firstAbove(ends, (slots[at] as number) << FANOUT_SHIFT, addr);
    }
    path[0] = at;
    return at;
  }

  /** Sets the path to the last entry, if there is one. */
  descendLast(): void {
    const { slots, path, fill } = this;
    let node = this.root;
    for (let level = this.height; level > 0; level--) {
      const at = (node << FANOUT_SHIFT) + fill[node] - 1;
      path[level] = at;
      node = slots[at] as number;
    }
    path[0] = (node << FANOUT_SHIFT) + (fill[node] > 0 ? fill[node] - 1 : 0);
  }

  /** Inserts a leaf entry before the one on the path, whose gap becomes `gapAbove`. Invalidates the path. */
  insertBefore(end: number, gap: number, value: T, gapAbove: number): void {
    const at = this.path[0];
    const leaf = at >> FANOUT_SHIFT;
    const was = this.gaps[at];
    this.gaps[at] = gapAbove;
    if (this.fill[leaf] === FANOUT) {
      this.insertSplitting(0, end, gap, value);
      return;
    }
    this.insert(leaf, at & SLOT_MASK, end, gap, value);
    this.refreshGaps(was, Math.max(gap, gapAbove));
  }

  /** Inserts a leaf entry after the last one. Invalidates the path. */
  append(end: number, gap: number, value: T): void {
    this.descendLast();
    this.insertSplitting(this.fill[this.root] > 0 ? 1 : 0, end, gap, value);
  }

  /** Inserts a leaf entry before the one on the path, or after it (`after` 1). Invalidates the path. */
  private insertSplitting(after: number, end: number, gap: number, value: T): void {
    let entry: T | number = value;
    for (let level = 0; ; level++) {
      const at = this.path[level];
      const node = at >> FANOUT_SHIFT;
      const slot = (at & SLOT_MASK) + after;
      if (this.fill[node] < FANOUT) {
        this.insert(node, slot, end, gap, entry);
        this.refresh(level + 1);
        return;
      }
      // Runs that ascend or descend leave nodes three quarters full behind them, not half full.
      const cut = slot === FANOUT ? FANOUT - FILL_MIN : slot === 0 ? FILL_MIN : FANOUT >> 1;
      const right = this.alloc();
      this.moveTail(node, cut, right, false);
      if (slot <= cut) this.insert(node, slot, end, gap, entry);
      else this.insert(right, slot - cut, end, gap, entry);
      if (level === this.height) {
        const root = this.alloc();
        this.insert(root, 0, this.lastEnd(node), this.maxGap(node), node);
        this.insert(root, 1, this.lastEnd(right), this.maxGap(right), right);
        this.root = root;
        this.height++;
        return;
      }
      this.summarize(this.path[level + 1], node);
      end = this.lastEnd(right);
      gap = this.maxGap(right);
      entry = right;
      after = 1;
    }
  }

  /** Removes the leaf entry on the path; the gap of the one after it, if that is in the same leaf, becomes `gapAbove`.
   *  Returns whether it was. Invalidates the path. */
  removeEntry(gapAbove: number): boolean {
    const at = this.path[0];
    const leaf = at >> FANOUT_SHIFT;
    const slot = at & SLOT_MASK;
    const was = this.gaps[at];
    this.remove(leaf, slot, slot + 1);
    const isNextHere = slot < this.fill[leaf];
    if (isNextHere) {
      this.gaps[at] = gapAbove;
      // It is no less than what either had.
      this.refreshGaps(was, gapAbove);
    } else {
      this.refresh(1);
    }
    if (this.fill[leaf] < FILL_MIN && this.height > 0) {
      for (let level = 0; level < this.height; level++) {
        if (this.fill[this.path[level] >> FANOUT_SHIFT] >= FILL_MIN) break;
        this.fillUp(this.path[level + 1]);
      }
      this.lowerRoot();
    }
    return isNextHere;
  }

  /** Gives the leaf entry on the path another gap. Keeps the path. */
  setGap(at: number, gap: number): void {
    const was = this.gaps[at];
    this.gaps[at] = gap;
    this.refreshGaps(was, gap);
  }

  /** Brings the greatest gaps on the path in line after gaps in its leaf changed: one that was `was`, the greatest of
   *  those that shrank, and `is`, the greatest of the new ones. Ends must not have changed. */
  private refreshGaps(was: number, is: number): void {
    const { gaps, slots, path, height } = this;
    for (let level = 1; level <= height; level++) {
      const at = path[level];
      const greatest = gaps[at];
      if (is <= greatest) {
        if (was < greatest) return;
        is = this.maxGap(slots[at] as number);
        if (is === greatest) return;
      }
      was = greatest;
      gaps[at] = is;
    }
  }

  /** Brings the entries on the path from `level` up in line with the nodes below them. */
  refresh(level: number): void {
    const { ends, gaps, slots, path } = this;
    for (; level <= this.height; level++) {
      const at = path[level];
      const node = slots[at] as number;
      const end = this.lastEnd(node);
      const gap = this.maxGap(node);
      if (ends[at] === end && gaps[at] === gap) return;
      ends[at] = end;
      gaps[at] = gap;
    }
  }

  /** The item above the highest hole of `need` bytes in [low, limit), or null. The hole below an item that contains
   *  limit, or lies above it, counts as far as it is below limit. The room above the last item does not count.
   *  `end` is the greatest end in the tree, which must not be empty. Invalidates the path. */
  gapBelow(low: number, limit: number, need: number, end: number): T | null {
    const { gaps, slots, path } = this;
    let at = 0;
    if (end < limit) {
      this.descendLast();
      at = path[0] + 1;
    } else {
      at = this.descend(limit - 1);
      const start = (slots[at] as T).start;
      const gapStart = start - gaps[at];
      if (Math.min(start, limit) - Math.max(gapStart, low) >= need) return slots[at] as T;
    }
    let level = 0;
    for (;;) {
      const base = path[level] & ~SLOT_MASK;
      at--;
      while (at >= base && gaps[at] < need) at--;
      if (at >= base) break;
      if (level === this.height) return null;
      at = path[++level];
    }
    for (; level > 0; level--) {
      const child = slots[at] as number;
      at = (child << FANOUT_SHIFT) + this.fill[child] - 1;
      while (gaps[at] < need) at--;
    }
    // Every other hole lies lower, so if low cuts this one short there is none.
    const above = slots[at] as T;
    return above.start - low >= need ? above : null;
  }

  /** The item above the lowest hole of `need` bytes in [low, high), or null. The hole around low counts as far as it is
   *  above low; the room above the last item does not count. Low must lie below the greatest end. Invalidates the path. */
  gapAbove(low: number, high: number, need: number): T | null {
    const { gaps, slots, path, fill } = this;
    let at = this.descend(low);
    const start = (slots[at] as T).start;
    const gapStart = start - gaps[at];
    if (Math.min(start, high) - Math.max(gapStart, low) >= need) return slots[at] as T;
    let level = 0;
    for (;;) {
      const limit = (at & ~SLOT_MASK) + fill[at >> FANOUT_SHIFT];
      at++;
      while (at < limit && gaps[at] < need) at++;
      if (at < limit) break;
      if (level === this.height) return null;
      at = path[++level];
    }
    for (; level > 0; level--) {
      at = (slots[at] as number) << FANOUT_SHIFT;
      while (gaps[at] < need) at++;
    }
    const above = slots[at] as T;
    return above.start - gaps[at] + need <= high ? above : null;
  }

  /** Removes all entries whose end is in (start, end], at least one but not all. `left` and `right` are addresses in the
   *  items that remain on either side (in one and the same item where one side is empty). Invalidates the path.
   *  The gap above the seam is the caller's to mend. */
  cut(start: number, end: number, left: number, right: number): void {
    this.cutNode(this.root, this.height, start, end);
    this.lowerRoot();
    // Only nodes at the seam can have too few entries. One without siblings has to wait until its parent has got some,
    // so that this takes a pass for each level at most.
    while (!(this.fillUpPath(left) && this.fillUpPath(right)));
  }

  /** Forgets all entries. */
  clearEntries(): void {
    this.reset();
    this.root = this.alloc();
    this.height = 0;
  }

  /** Throws what `claim` throws unless nodes, keys and greatest gaps are as they should be; shows every leaf entry to
   *  `visit`, in order. For tests; linear. */
  checkNodes(claim: (isTrue: boolean, what: string) => void, visit: (item: T, end: number, gap: number) => void): void {
    let nodesSeen = 0;
    const checkNode = (node: number, level: number): void => {
      const { ends, gaps, slots, fill } = this;
      nodesSeen++;
      const fillMin = node !== this.root ? FILL_MIN : level > 0 ? 2 : 0;
      claim(fill[node] >= fillMin && fill[node] <= FANOUT, 'fill of a node');
      for (let i = 0; i < FANOUT; i++) {
        const at = (node << FANOUT_SHIFT) + i;
        if (i >= fill[node]) {
          claim(ends[at] === Infinity && gaps[at] === 0 && slots[at] === null, 'unused entry of a node');
        } else if (level === 0) {
          visit(slots[at] as T, ends[at], gaps[at]);
        } else {
          const child = slots[at] as number;
          checkNode(child, level - 1);
          claim(ends[at] === this.lastEnd(child), 'key of a node');
          claim(gaps[at] === this.maxGap(child), 'greatest gap of a node');
        }
      }
    };
    checkNode(this.root, this.height);
    claim(nodesSeen === this.inUse, `${this.inUse} nodes in use, ${nodesSeen} reachable`);
  }

  private summarize(at: number, node: number): void {
    this.ends[at] = this.lastEnd(node);
    this.gaps[at] = this.maxGap(node);
  }

  /** Gives the child at index `at` of an inner node enough entries: merges it with a sibling, or levels the two.
   *  The node must have two children at least. Keeps the path above it. */
  private fillUp(at: number): void {
    const node = at >> FANOUT_SHIFT;
    const leftAt = (at & SLOT_MASK) > 0 ? at - 1 : at;
    const left = this.slots[leftAt] as number;
    const right = this.slots[leftAt + 1] as number;
    const total = this.fill[left] + this.fill[right];
    if (total <= FILL_MERGE_MAX) {
      this.moveHead(right, this.fill[right], left);
      this.release(right);
      this.remove(node, (leftAt & SLOT_MASK) + 1, (leftAt & SLOT_MASK) + 2);
      this.summarize(leftAt, left);
      return;
    }
    const half = total >> 1;
    if (this.fill[left] < half) this.moveHead(right, half - this.fill[left], left);
    else this.moveTail(left, half, right, true);
    this.summarize(leftAt, left);
    this.summarize(leftAt + 1, right);
  }

  /** Fills up the nodes on the way to the first end above addr; true if there was nothing to do. */
  private fillUpPath(addr: number): boolean {
    this.descend(addr);
    let isDone = true;
    for (let level = 0; level < this.height; level++) {
      const parentAt = this.path[level + 1];
      if (this.fill[this.path[level] >> FANOUT_SHIFT] >= FILL_MIN) continue;
      isDone = false;
      if (this.fill[parentAt >> FANOUT_SHIFT] > 1) this.fillUp(parentAt);
    }
    this.lowerRoot();
    return isDone;
  }

  private lowerRoot(): void {
    while (this.height > 0 && this.fill[this.root] === 1) {
      const child = this.slots[this.root << FANOUT_SHIFT] as number;
      this.release(this.root);
      this.root = child;
      this.height--;
    }
  }

  private cutNode(node: number, level: number, start: number, end: number): void {
    const { ends, slots } = this;
    const base = node << FANOUT_SHIFT;
    const limit = base + this.fill[node];
    let from = base;
    while (from < limit && ends[from] <= start) from++;
    let to = from;
    while (to < limit && ends[to] <= end) to++;
    if (level > 0) {
      // Child `from` may begin, and child `to` may go on, outside the range; those between them are inside.
      for (const at of from < to && to < limit ? [from, to] : from < limit ? [from] : []) {
        const child = slots[at] as number;
        this.cutNode(child, level - 1, start, end);
        if (this.fill[child] > 0) this.summarize(at, child);
      }
      if (from < to && this.fill[slots[from] as number] > 0) from++;
      for (let at = from; at < to; at++) this.releaseAll(slots[at] as number, level - 1);
    }
    this.remove(node, from - base, to - base);
  }

  private releaseAll(node: number, level: number): void {
    if (level > 0) {
      const base = node << FANOUT_SHIFT;
      for (let at = base; at < base + this.fill[node]; at++) this.releaseAll(this.slots[at] as number, level - 1);
    }
    this.release(node);
  }
}
