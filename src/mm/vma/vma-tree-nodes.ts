/** The nodes of a VmaTree, all in one pool of flat arrays; a node is a small integer. How they hang together as a tree is
 *  the business of vma-tree-index.ts.
 *
 *  Models nothing of its own: it stands where maple_node and its slab cache stand in the kernel (lib/maple_tree.c).
 *  Locks: none here; the owner of the tree holds mmapLock (see vma-tree.ts).
 *
 *  Entry i of node n lives at index n * FANOUT + i of three arrays:
 *
 *      ends    end of the item, or of the last item of the child; ascending; Infinity in unused entries
 *      gaps    free bytes just below the item, or the greatest such number in the child; 0 in unused entries
 *      slots   the item (in leaves) or the child's node number (above); null in unused entries
 *
 *  The two summaries are exact, never bounds. The free bytes below an item belong to that item even where the item
 *  before it lives in another leaf, so one array answers both "who" and "where is room". */

import { float64s, int32s } from '../../base/arena.ts';

/** log2 of FANOUT. Random find among 60,000 items takes 111, 101, 89 ns with 16, 32, 64 entries; gap search, insert and
 *  remove among 60,000 take 266, 305, 350 ns (bench/vma-tree.bench.ts, one run each, Node 20). */
export const FANOUT_SHIFT = 5;
/** Entries of a node. */
export const FANOUT = 1 << FANOUT_SHIFT;
/** Every node but the root has at least this many entries. */
export const FILL_MIN = FANOUT >> 2;
/** Two siblings are merged when they have no more entries than this together; room is left for the next insertion. */
export const FILL_MERGE_MAX = FANOUT - (FANOUT >> 3);

export class VmaNodes<T> {
  ends: Float64Array;
  gaps: Float64Array;
  slots: (T | number | null)[];
  /** Entries in use, by node. */
  fill: Int32Array;
  /** Nodes handed out and not released. */
  inUse: number;
  /** Node numbers that were released, the last first. */
  private readonly spare: number[];
  /** Node numbers from here on were never handed out. */
  private fresh: number;
  private capacity: number;

  constructor() {
    this.capacity = 2;
    this.ends = float64s(this.capacity * FANOUT).fill(Infinity);
    this.gaps = float64s(this.capacity * FANOUT);
    this.slots = [];
    this.fill = int32s(this.capacity);
    this.inUse = 0;
    this.spare = [];
    this.fresh = 0;
    this.growSlots();
  }

  /** Hands out an empty node. */
  alloc(): number {
    this.inUse++;
    const spare = this.spare.pop();
    if (spare !== undefined) return spare;
    if (this.fresh === this.capacity) this.grow();
    return this.fresh++;
  }

  /** Takes back a node; its entries are forgotten. */
  release(node: number): void {
    this.truncate(node, 0);
    this.inUse--;
    this.spare.push(node);
  }

  /** Empties the pool; the arrays keep their size. */
  reset(): void {
    this.ends.fill(Infinity, 0, this.fresh * FANOUT);
    this.gaps.fill(0, 0, this.fresh * FANOUT);
    this.slots.fill(null, 0, this.fresh * FANOUT);
    this.fill.fill(0, 0, this.fresh);
    this.spare.length = 0;
    this.inUse = 0;
    this.fresh = 0;
  }

  /** Inserts an entry into a node that has room. */
  insert(node: number, slot: number, end: number, gap: number, value: T | number): void {
    const { ends, gaps, slots } = this;
    const base = node << FANOUT_SHIFT;
    const at = base + slot;
    for (let i = base + this.fill[node]++; i > at; i--) {
      ends[i] = ends[i - 1];
      gaps[i] = gaps[i - 1];
      slots[i] = slots[i - 1];
    }
    ends[at] = end;
    gaps[at] = gap;
    slots[at] = value;
  }

  /** Removes entries [from, to) of a node. */
  remove(node: number, from: number, to: number): void {
    const { ends, gaps, slots } = this;
    const base = node << FANOUT_SHIFT;
    const limit = base + this.fill[node];
    let i = base + from;
    for (let j = base + to; j < limit; i++, j++) {
      ends[i] = ends[j];
      gaps[i] = gaps[j];
      slots[i] = slots[j];
    }
    this.truncate(node, i - base);
  }

  /** Moves all entries from `from` on out of `src` to the end of `dst`, or, with `atFront`, to its beginning. */
  moveTail(src: number, from: number, dst: number, atFront: boolean): void {
    const { ends, gaps, slots } = this;
    const moved = this.fill[src] - from;
    const a = (src << FANOUT_SHIFT) + from;
    let b = dst << FANOUT_SHIFT;
    if (!atFront) b += this.fill[dst];
    else {
      for (let i = b + this.fill[dst] - 1; i >= b; i--) {
        ends[i + moved] = ends[i];
        gaps[i + moved] = gaps[i];
        slots[i + moved] = slots[i];
      }
    }
    for (let i = 0; i < moved; i++) {
      ends[b + i] = ends[a + i];
      gaps[b + i] = gaps[a + i];
      slots[b + i] = slots[a + i];
    }
    this.fill[dst] += moved;
    this.truncate(src, from);
  }

  /** Moves the first `count` entries of `src` to the end of `dst`. */
  moveHead(src: number, count: number, dst: number): void {
    const { ends, gaps, slots } = this;
    const a = src << FANOUT_SHIFT;
    const b = (dst << FANOUT_SHIFT) + this.fill[dst];
    for (let i = 0; i < count; i++) {
      ends[b + i] = ends[a + i];
      gaps[b + i] = gaps[a + i];
      slots[b + i] = slots[a + i];
    }
    this.fill[dst] += count;
    this.remove(src, 0, count);
  }

  /** The end of the last item below this node, which must have entries. */
  lastEnd(node: number): number {
    return this.ends[(node << FANOUT_SHIFT) + this.fill[node] - 1];
  }

  /** The greatest gap of the node's entries. */
  maxGap(node: number): number {
    const gaps = this.gaps;
    const base = node << FANOUT_SHIFT;
    const limit = base + this.fill[node];
    let max = 0;
    for (let i = base; i < limit; i++) {
      const gap = gaps[i];
      if (gap > max) max = gap;
    }
    return max;
  }

  protected truncate(node: number, fill: number): void {
    const base = node << FANOUT_SHIFT;
    for (let i = base + fill, limit = base + this.fill[node]; i < limit; i++) {
      this.ends[i] = Infinity;
      this.gaps[i] = 0;
      this.slots[i] = null;
    }
    this.fill[node] = fill;
  }

  private grow(): void {
    const old = this.capacity * FANOUT;
    this.capacity *= 2;
    const ends = float64s(this.capacity * FANOUT);
    ends.set(this.ends);
    ends.fill(Infinity, old);
    const gaps = float64s(this.capacity * FANOUT);
    gaps.set(this.gaps);
    const fill = int32s(this.capacity);
    fill.set(this.fill);
    this.ends = ends;
    this.gaps = gaps;
    this.fill = fill;
    this.growSlots();
  }

  private growSlots(): void {
    // Pushed one by one: a packed array of pointers from its first element on, in every tree.
    for (let i = this.slots.length; i < this.capacity * FANOUT; i++) this.slots.push(null);
  }
}
