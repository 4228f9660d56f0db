// A red-black tree whose order is the bytes of pages: the caller finds the place (comparing contents on the way down) and links
// the node there; nothing here compares. The order of the unstable tree may be wrong, since its pages are written
// while they hang in it, so a search must take the way that Linux's takes: the shape is that of lib/rbtree.c.
//
// Kernel names: rb_link_node, rb_insert_color, rb_erase, rb_replace_node. Guarded by ksm_thread_mutex.

import { assert } from '../../base/assert.ts';

export class ContentNode {
  left: ContentNode | null = null;
  right: ContentNode | null = null;
  parent: ContentNode | null = null;
  isRed = false;
}

export class ContentTree {
  root: ContentNode | null = null;

  /** Hangs `node` below `parent` (null: the tree is empty) and restores the balance. */
  insert(node: ContentNode, parent: ContentNode | null, isLeft: boolean): void {
    node.left = null;
    node.right = null;
    node.parent = parent;
    node.isRed = true;
    if (parent === null) {
      assert(this.root === null, 'ContentTree.insert: only the first node has no parent');
      this.root = node;
    } else if (isLeft) parent.left = node;
    else parent.right = node;
    this.#fixInsert(node);
  }

  /** rb_replace_node: `node` takes the place of `victim`. */
  replace(victim: ContentNode, node: ContentNode): void {
    node.left = victim.left;
    node.right = victim.right;
    node.isRed = victim.isRed;
    if (victim.left !== null) victim.left.parent = node;
    if (victim.right !== null) victim.right.parent = node;
    this.#hang(victim, node);
  }

  erase(node: ContentNode): void {
    let child: ContentNode | null;
    let parent: ContentNode | null;
    let lostBlack: boolean;
    if (node.left === null || node.right === null) {
      child = node.left ?? node.right;
      parent = node.parent;
      lostBlack = !node.isRed;
      this.#hang(node, child);
    } else {
      let next = node.right;
      while (next.left !== null) next = next.left;
      child = next.right;
      lostBlack = !next.isRed;
      parent = next.parent === node ? next : next.parent;
      if (next.parent !== node) {
        this.#hang(next, child);
        next.right = node.right;
        next.right.parent = next;
      }
      next.left = node.left;
      next.left.parent = next;
      next.isRed = node.isRed;
      this.#hang(node, next);
    }
    if (lostBlack) this.#fixErase(child, parent);
    node.left = null;
    node.right = null;
    node.parent = null;
  }

  clear(): void {
    this.root = null;
  }

  first(): ContentNode | null {
    let node = this.root;
    while (node?.left != null) node = node.left;
    return node;
  }

  next(node: ContentNode): ContentNode | null {
    if (node.right !== null) {
      let at = node.right;
      while (at.left !== null) at = at.left;
      return at;
    }
    let at: ContentNode = node;
    while (at.parent !== null && at.parent.right === at) at = at.parent;
    return at.parent;
  }

  /** Links, colours and black heights. */
  checkInvariants(): void {
    const blackHeight = (node: ContentNode | null, parent: ContentNode | null): number => {
      if (node === null) return 1;
      assert(node.parent === parent, 'ContentTree: a node knows its parent');
      assert(!node.isRed || parent === null || !parent.isRed, 'ContentTree: a red node has a black parent');
      const height = blackHeight(node.left, node);
      assert(height === blackHeight(node.right, node), 'ContentTree: every path has as many black nodes');
      return height + (node.isRed ? 0 : 1);
    };
    assert(this.root === null || !this.root.isRed, 'ContentTree: the root is black');
    blackHeight(this.root, null);
  }

  /** Whatever pointed down to `from` points to `to`. */
  #hang(from: ContentNode, to: ContentNode | null): void {
    const { parent } = from;
    if (parent === null) this.root = to;
    else if (parent.left === from) parent.left = to;
    else parent.right = to;
    if (to !== null) to.parent = parent;
  }

  #rotateLeft(node: ContentNode): void {
    const up = node.right!;
    node.right = up.left;
    if (up.left !== null) up.left.parent = node;
    this.#hang(node, up);
    up.left = node;
    node.parent = up;
  }

  #rotateRight(node: ContentNode): void {
    const up = node.left!;
    node.left = up.right;
    if (up.right !== null) up.right.parent = node;
    this.#hang(node, up);
    up.right = node;
    node.parent = up;
  }

  #fixInsert(start: ContentNode): void {
    let node = start;
    while (node.parent?.isRed) {
      let parent: ContentNode = node.parent;
      const above = parent.parent!;
      const isLeft = parent === above.left;
      const uncle = isLeft ? above.right : above.left;
      if (uncle?.isRed) {
        parent.isRed = false;
        uncle.isRed = false;
        above.isRed = true;
        node = above;
        continue;
      }
      if (node === (isLeft ? parent.right : parent.left)) {
        if (isLeft) this.#rotateLeft(parent);
        else this.#rotateRight(parent);
        [node, parent] = [parent, node];
      }
      parent.isRed = false;
      above.isRed = true;
      if (isLeft) this.#rotateRight(above);
      else this.#rotateLeft(above);
    }
    this.root!.isRed = false;
  }

  /** The paths through `start`, a child of `above`, have one black node too few. */
  #fixErase(start: ContentNode | null, above: ContentNode | null): void {
    let node = start;
    let parent = above;
    while (node !== this.root && !node?.isRed) {
      const isLeft = node === parent!.left;
      let sibling = (isLeft ? parent!.right : parent!.left)!;
      if (sibling.isRed) {
        sibling.isRed = false;
        parent!.isRed = true;
        if (isLeft) this.#rotateLeft(parent!);
        else this.#rotateRight(parent!);
        sibling = (isLeft ? parent!.right : parent!.left)!;
      }
      const near = isLeft ? sibling.left : sibling.right;
      let far = isLeft ? sibling.right : sibling.left;
      if (!near?.isRed && !far?.isRed) {
        sibling.isRed = true;
        node = parent;
        parent = node!.parent;
        continue;
      }
      if (!far?.isRed) {
        near!.isRed = false;
        sibling.isRed = true;
        if (isLeft) this.#rotateRight(sibling);
        else this.#rotateLeft(sibling);
        sibling = (isLeft ? parent!.right : parent!.left)!;
        far = isLeft ? sibling.right : sibling.left;
      }
      sibling.isRed = parent!.isRed;
      parent!.isRed = false;
      far!.isRed = false;
      if (isLeft) this.#rotateLeft(parent!);
      else this.#rotateRight(parent!);
      node = this.root;
      break;
    }
    if (node !== null) node.isRed = false;
  }
}
