// An augmented balanced tree of intervals (lib/interval_tree.c, include/linux/interval_tree_generic.h; an AVL tree here, a red-black
// tree there). Order: ascending start, ties in insertion order, which rotations keep. Each node knows the greatest `last` below it, so
// that a search for what meets a range leaves out subtrees that end before it:
//
//   insert, remove     O(log n)
//   all that meet      O(log n + number found)
//
// No lock: the owner changes the tree only while nobody walks it.

import { assert } from '../base/assert.ts';

/** An interval [start, last], both inclusive, and its place in a tree. Whoever is to be found extends it. */
export class IntervalNode {
  start = 0;
  last = 0;
  /** Greatest `last` in the subtree of this node. */
  subtreeLast = 0;
  height = 0;
  left: IntervalNode | null = null;
  right: IntervalNode | null = null;
  parent: IntervalNode | null = null;
}

function heightOf(n: IntervalNode | null): number {
  return n === null ? 0 : n.height;
}

/** Height and subtreeLast from the children. */
function update(n: IntervalNode): void {
  const { left, right } = n;
  n.height = 1 + Math.max(heightOf(left), heightOf(right));
  let last = n.last;
  if (left !== null && left.subtreeLast > last) last = left.subtreeLast;
  if (right !== null && right.subtreeLast > last) last = right.subtreeLast;
  n.subtreeLast = last;
}

export class IntervalIndex<N extends IntervalNode> {
  #root: IntervalNode | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds the node, whose start and last are set. */
  insert(node: N): void {
    node.left = null;
    node.right = null;
    node.parent = null;
    update(node);
    this.#size++;
    let at = this.#root;
    if (at === null) {
      this.#root = node;
      return;
    }
    for (;;) {
      const next: IntervalNode | null = node.start < at.start ? at.left : at.right;
      if (next === null) break;
      at = next;
    }
    node.parent = at;
    if (node.start < at.start) at.left = node;
    else at.right = node;
    this.#rebalance(at);
  }

  /** Takes the node, which is in this tree, out. */
  remove(node: N): void {
    this.#size--;
    const { left, right, parent } = node;
    let from: IntervalNode | null;
    if (left === null || right === null) {
      this.#replace(node, left ?? right);
      from = parent;
    } else {
      // The next node in order takes the place.
      let next = right;
      while (next.left !== null) next = next.left;
      from = next.parent === node ? next : next.parent;
      if (next.parent !== node) {
        this.#replace(next, next.right);
        next.right = right;
        right.parent = next;
      }
      this.#replace(node, next);
      next.left = left;
      left.parent = next;
    }
    node.left = null;
    node.right = null;
    node.parent = null;
    if (from !== null) this.#rebalance(from);
  }

  /** First node in order that meets [start, end), or null. */
  first(start: number, end: number): N | null {
    const root = this.#root;
    if (root === null || root.subtreeLast < start) return null;
    return search(root, start, end) as N | null;
  }

  /** The one after `node`, which meets [start, end) as well. */
  next(node: N, start: number, end: number): N | null {
    let at: IntervalNode = node;
    for (;;) {
      const { right } = at;
      if (right !== null && right.subtreeLast >= start) return search(right, start, end) as N | null;
      let from: IntervalNode = at;
      let up = at.parent;
      while (up !== null && up.right === from) {
        from = up;
        up = up.parent;
      }
      if (up === null || up.start >= end) return null;
      if (up.last >= start) return up as N;
      at = up;
    }
  }

  /** All nodes, in order. */
  toArray(): N[] {
    const all: N[] = [];
    const visit = (n: IntervalNode | null): void => {
      if (n === null) return;
      visit(n.left);
      all.push(n as N);
      visit(n.right);
    };
    visit(this.#root);
    return all;
  }

  /** Puts `child` where `node` hangs. */
  #replace(node: IntervalNode, child: IntervalNode | null): void {
    const { parent } = node;
    if (parent === null) this.#root = child;
    else if (parent.left === node) parent.left = child;
    else parent.right = child;
    if (child !== null) child.parent = parent;
  }

  /** From `node` up: heights, subtreeLast, and rotations where one side is more than one deeper. */
  #rebalance(node: IntervalNode): void {
    for (let n: IntervalNode | null = node; n !== null; n = n.parent) {
      const lean = heightOf(n.left) - heightOf(n.right);
      if (lean > 1) {
        const left = n.left!;
        if (heightOf(left.left) < heightOf(left.right)) this.#rotate(left, false);
        n = this.#rotate(n, true);
      } else if (lean < -1) {
        const right = n.right!;
        if (heightOf(right.right) < heightOf(right.left)) this.#rotate(right, true);
        n = this.#rotate(n, false);
      } else update(n);
    }
  }

  /** The left child (`isRight`: a rotation to the right) or the right one takes the place of `n`; it. */
  #rotate(n: IntervalNode, isRight: boolean): IntervalNode {
    const child = (isRight ? n.left : n.right)!;
    const inner = isRight ? child.right : child.left;
    this.#replace(n, child);
    if (isRight) {
      n.left = inner;
      child.right = n;
    } else {
      n.right = inner;
      child.left = n;
    }
    if (inner !== null) inner.parent = n;
    n.parent = child;
    update(n);
    update(child);
    return child;
  }

  /** Everything that this structure promises; throws AssertionError. For tests. */
  checkInvariants(): void {
    let count = 0;
    let before = Number.NEGATIVE_INFINITY;
    const check = (n: IntervalNode | null, parent: IntervalNode | null): void => {
      if (n === null) return;
      assert(n.parent === parent, 'IntervalIndex: parent');
      check(n.left, n);
      assert(n.start >= before, 'IntervalIndex: ascending start');
      before = n.start;
      count++;
      check(n.right, n);
      assert(Math.abs(heightOf(n.left) - heightOf(n.right)) <= 1, 'IntervalIndex: balanced');
      const { height, subtreeLast } = n;
      update(n);
      assert(n.height === height && n.subtreeLast === subtreeLast, 'IntervalIndex: height and subtreeLast');
    };
    check(this.#root, null);
    assert(count === this.#size, 'IntervalIndex: size');
  }
}

/** First node in order below `n` that meets [start, end); n.subtreeLast >= start. */
function search(n: IntervalNode, start: number, end: number): IntervalNode | null {
  let at = n;
  for (;;) {
    const { left } = at;
    if (left !== null && left.subtreeLast >= start) {
      // If one there meets the range it is the first; if none does, all that end late enough begin too late, and so does the rest.
      at = left;
      continue;
    }
    if (at.start >= end) return null;
    if (at.last >= start) return at;
    const { right } = at;
    if (right === null || right.subtreeLast < start) return null;
    at = right;
  }
}
