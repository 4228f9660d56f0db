// An augmented balanced tree of intervals (lib/interval_tree.c, include/linux/interval_tree_generic.h; an AVL tree here, a red-black
// tree there). Order: ascending start, ties in insertion order, which rotations keep. Each node knows the greatest `last` on either
// side below it, so that a search for what meets a range leaves out subtrees that end before it:
//
//   insert, remove     O(log n)
//   all that meet      O(log n + number found)
//
// Nodes are places in two arrays, four words each: a step of a search reads one line of each, and nothing of the intervals' owners.
//
//   keys    0 start   1 last   2 greatest last on the left   3 on the right (-Infinity: nothing there)
//   links   0 left    1 right  2 parent   3 height           place 0 is nobody
//
// No lock: the owner changes the tree only while nobody walks it.

import { float64s, int32s } from '../base/arena.ts';
import { assert } from '../base/assert.ts';

/** An interval [start, last], both inclusive, and its place in a tree (0: in none). Whoever is to be found extends it. */
export class IntervalNode {
  start = 0;
  last = 0;
  place = 0;
}

const NOBODY = Number.NEGATIVE_INFINITY;
const LEFT = 0;
const RIGHT = 1;
const PARENT = 2;
const HEIGHT = 3;

export class IntervalIndex<N extends IntervalNode> {
  #keys = float64s(4 * 16);
  #links = int32s(4 * 16);
  readonly #nodes: (N | null)[] = [null];
  readonly #free: number[] = [];
  #root = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds the node, whose start and last are set. */
  insert(node: N): void {
    assert(node.place === 0, 'IntervalIndex.insert: in no tree');
    const place = this.#take(node);
    this.#size++;
    let at = this.#root;
    if (at === 0) {
      this.#root = place;
      return;
    }
    const keys = this.#keys;
    const links = this.#links;
    let side: number;
    for (;;) {
      side = node.start < keys[4 * at]! ? LEFT : RIGHT;
      const next = links[4 * at + side]!;
      if (next === 0) break;
      at = next;
    }
    links[4 * place + PARENT] = at;
    links[4 * at + side] = place;
    this.#rebalance(at);
  }

  /** Takes the node, which is in this tree, out. */
  remove(node: N): void {
    const { place } = node;
    assert(place > 0 && this.#nodes[place] === node, 'IntervalIndex.remove: in this tree');
    const links = this.#links;
    const left = links[4 * place + LEFT]!;
    const right = links[4 * place + RIGHT]!;
    let from = links[4 * place + PARENT]!;
    if (left === 0 || right === 0) this.#replace(place, left === 0 ? right : left);
    else {
      // The next node in order takes the place.
      let next = right;
      while (links[4 * next + LEFT] !== 0) next = links[4 * next + LEFT]!;
      const above = links[4 * next + PARENT]!;
      from = above === place ? next : above;
      if (above !== place) {
        this.#replace(next, links[4 * next + RIGHT]!);
        links[4 * next + RIGHT] = right;
        links[4 * right + PARENT] = next;
      }
      this.#replace(place, next);
      links[4 * next + LEFT] = left;
      links[4 * left + PARENT] = next;
    }
    node.place = 0;
    this.#nodes[place] = null;
    this.#free.push(place);
    this.#size--;
    if (from !== 0) this.#rebalance(from);
  }

  /** First node in order that meets [start, end), or null. `start` is finite. */
  first(start: number, end: number): N | null {
    const root = this.#root;
    return root === 0 ? null : this.#nodes[this.#search(root, start, end)]!;
  }

  /** The one after `node`, which meets [start, end) as well. */
  next(node: N, start: number, end: number): N | null {
    const keys = this.#keys;
    const links = this.#links;
    let at = node.place;
    for (;;) {
      if (keys[4 * at + 3]! >= start) return this.#nodes[this.#search(links[4 * at + RIGHT]!, start, end)]!;
      let from = at;
      at = links[4 * at + PARENT]!;
      while (at !== 0 && links[4 * at + RIGHT] === from) {
        from = at;
        at = links[4 * at + PARENT]!;
      }
      if (at === 0 || keys[4 * at]! >= end) return null;
      if (keys[4 * at + 1]! >= start) return this.#nodes[at]!;
    }
  }

  /** Place of the first node in order below `at` that meets [start, end), or 0. */
  #search(place: number, start: number, end: number): number {
    const keys = this.#keys;
    const links = this.#links;
    let at = place;
    for (;;) {
      // If one on the left meets the range it is the first; if none does, all that end late enough begin too late, and so does the rest.
      if (keys[4 * at + 2]! >= start) at = links[4 * at + LEFT]!;
      else if (keys[4 * at]! >= end) return 0;
      else if (keys[4 * at + 1]! >= start) return at;
      else if (keys[4 * at + 3]! >= start) at = links[4 * at + RIGHT]!;
      else return 0;
    }
  }

  /** All nodes, in order. */
  toArray(): N[] {
    const all: N[] = [];
    const visit = (at: number): void => {
      if (at === 0) return;
      visit(this.#links[4 * at + LEFT]!);
      all.push(this.#nodes[at]!);
      visit(this.#links[4 * at + RIGHT]!);
    };
    visit(this.#root);
    return all;
  }

  /** Levels of the tree. */
  get height(): number {
    return this.#links[4 * this.#root + HEIGHT]!;
  }

  /** A place for the node, as a tree of its own. */
  #take(node: N): number {
    const place = this.#free.pop() ?? this.#nodes.length;
    this.#nodes[place] = node;
    node.place = place;
    if (4 * place + 4 > this.#keys.length) {
      const keys = float64s(2 * this.#keys.length);
      keys.set(this.#keys);
      this.#keys = keys;
      const links = int32s(2 * this.#links.length);
      links.set(this.#links);
      this.#links = links;
    }
    this.#keys[4 * place] = node.start;
    this.#keys[4 * place + 1] = node.last;
    this.#links.fill(0, 4 * place, 4 * place + 4);
    this.#update(place);
    return place;
  }

  /** Puts `child` where `at` hangs. */
  #replace(at: number, child: number): void {
    const links = this.#links;
    const parent = links[4 * at + PARENT]!;
    if (parent === 0) this.#root = child;
    else links[4 * parent + (links[4 * parent + LEFT] === at ? LEFT : RIGHT)] = child;
    if (child !== 0) links[4 * child + PARENT] = parent;
  }

  #lastBelow(at: number): number {
    if (at === 0) return NOBODY;
    const keys = this.#keys;
    return Math.max(keys[4 * at + 1]!, keys[4 * at + 2]!, keys[4 * at + 3]!);
  }

  /** Height and greatest lasts from the children. */
  #update(at: number): void {
    const links = this.#links;
    const left = links[4 * at + LEFT]!;
    const right = links[4 * at + RIGHT]!;
    const high = left === 0 ? 0 : links[4 * left + HEIGHT]!;
    const other = right === 0 ? 0 : links[4 * right + HEIGHT]!;
    links[4 * at + HEIGHT] = 1 + (high > other ? high : other);
    this.#keys[4 * at + 2] = this.#lastBelow(left);
    this.#keys[4 * at + 3] = this.#lastBelow(right);
  }

  /** Levels by which the left side is deeper. */
  #lean(at: number): number {
    const links = this.#links;
    const left = links[4 * at + LEFT]!;
    const right = links[4 * at + RIGHT]!;
    return (left === 0 ? 0 : links[4 * left + HEIGHT]!) - (right === 0 ? 0 : links[4 * right + HEIGHT]!);
  }

  /** From `place` up: heights, greatest lasts, and rotations where one side is more than one deeper. */
  #rebalance(place: number): void {
    const links = this.#links;
    for (let at = place; at !== 0; at = links[4 * at + PARENT]!) {
      const lean = this.#lean(at);
      if (lean > 1) {
        const left = links[4 * at + LEFT]!;
        if (this.#lean(left) < 0) this.#rotate(left, RIGHT);
        at = this.#rotate(at, LEFT);
      } else if (lean < -1) {
        const right = links[4 * at + RIGHT]!;
        if (this.#lean(right) > 0) this.#rotate(right, LEFT);
        at = this.#rotate(at, RIGHT);
      } else this.#update(at);
    }
  }

  /** The child on that side takes the place of `at`, which becomes its child on the other; the place of the child. */
  #rotate(at: number, side: number): number {
    const links = this.#links;
    const child = links[4 * at + side]!;
    const inner = links[4 * child + 1 - side]!;
    this.#replace(at, child);
    links[4 * at + side] = inner;
    if (inner !== 0) links[4 * inner + PARENT] = at;
    links[4 * child + 1 - side] = at;
    links[4 * at + PARENT] = child;
    this.#update(at);
    this.#update(child);
    return child;
  }

  /** Everything that this structure promises; throws AssertionError. For tests. */
  checkInvariants(): void {
    let count = 0;
    let before = NOBODY;
    const check = (at: number, parent: number): void => {
      if (at === 0) return;
      const words = (): number[] => [...this.#keys.subarray(4 * at, 4 * at + 4), this.#links[4 * at + HEIGHT]!];
      const node = this.#nodes[at]!;
      assert(this.#links[4 * at + PARENT] === parent, 'IntervalIndex: parent');
      assert(node !== null && node.place === at, 'IntervalIndex: place');
      check(this.#links[4 * at + LEFT]!, at);
      assert(node.start >= before, 'IntervalIndex: ascending start');
      before = node.start;
      count++;
      check(this.#links[4 * at + RIGHT]!, at);
      assert(Math.abs(this.#lean(at)) <= 1, 'IntervalIndex: balanced');
      const had = words();
      this.#keys[4 * at] = node.start;
      this.#keys[4 * at + 1] = node.last;
      this.#update(at);
      assert(words().join() === had.join(), 'IntervalIndex: keys, greatest lasts and height');
    };
    check(this.#root, 0);
    assert(count === this.#size, 'IntervalIndex: size');
    assert(count + this.#free.length + 1 === this.#nodes.length, 'IntervalIndex: every place is used or free');
  }
}
