import { describe, expect, test } from 'vitest';
import { Rng } from '../../base/rng.ts';
import { ContentNode, ContentTree } from './content-tree.ts';

class Key extends ContentNode {
  key: number;
  constructor(key: number) {
    super();
    this.key = key;
  }
}

function add(tree: ContentTree, node: Key): void {
  let parent: Key | null = null;
  for (let at = tree.root as Key | null; at !== null; ) {
    parent = at;
    at = (node.key < at.key ? at.left : at.right) as Key | null;
  }
  tree.insert(node, parent, parent !== null && node.key < parent.key);
}

function keys(tree: ContentTree): number[] {
  const out: number[] = [];
  for (let n = tree.first(); n !== null; n = tree.next(n)) out.push((n as Key).key);
  return out;
}

describe('ContentTree', () => {
  const seed = Number(process.env.SEED ?? 7);

  test(`holds what a sorted array holds, balanced, after every change (seed ${seed})`, () => {
    const rng = new Rng(seed);
    const tree = new ContentTree();
    const nodes: Key[] = [];
    for (let i = 0; i < 3000; i++) {
      const wantsMore = rng.below(200) >= nodes.length / 2;
      if (nodes.length === 0 || wantsMore) {
        const node = new Key(rng.below(1_000_000) + i / 4096);
        add(tree, node);
        nodes.push(node);
      } else if (rng.below(4) === 0) {
        const at = rng.below(nodes.length);
        const node = new Key(nodes[at]!.key);
        tree.replace(nodes[at]!, node);
        nodes[at] = node;
      } else {
        tree.erase(nodes.splice(rng.below(nodes.length), 1)[0]!);
      }
      tree.checkInvariants();
      if (i % 50 === 0) expect(keys(tree)).toEqual(nodes.map((n) => n.key).sort((a, b) => a - b));
    }
    expect(nodes.length).toBeGreaterThan(100);
  });
});
