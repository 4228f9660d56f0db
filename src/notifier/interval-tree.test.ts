// The tree of intervals against a naive twin: a sorted list that is searched from end to end. Random programs of inserts, removals
// and searches, with the tree's own check after each.

import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { IntervalIndex, IntervalNode } from './interval-tree.ts';
import { seedOf } from './test-host.ts';

class Named extends IntervalNode {
  readonly name: number;

  constructor(name: number, start: number, last: number) {
    super();
    this.name = name;
    this.start = start;
    this.last = last;
  }
}

class NaiveTwin {
  readonly all: Named[] = [];

  insert(n: Named): void {
    const i = this.all.findIndex((other) => other.start > n.start);
    this.all.splice(i < 0 ? this.all.length : i, 0, n);
  }

  remove(n: Named): void {
    this.all.splice(this.all.indexOf(n), 1);
  }

  meeting(start: number, end: number): number[] {
    return this.all.filter((n) => n.start < end && n.last >= start).map((n) => n.name);
  }
}

function meeting(tree: IntervalIndex<Named>, start: number, end: number): number[] {
  const names: number[] = [];
  for (let n = tree.first(start, end); n !== null; n = tree.next(n, start, end)) names.push(n.name);
  return names;
}

const SEED = seedOf(1);

test(`random programs: same order, same answers (SEED=${SEED})`, () => {
  let found = 0;
  for (let program = 0; program < 60; program++) {
    const rng = new Rng(SEED * 1000 + program);
    const tree = new IntervalIndex<Named>();
    const twin = new NaiveTwin();
    // Few addresses make many ties, many make deep trees.
    const span = [8, 40, 4096][program % 3]!;
    for (let step = 0; step < 150; step++) {
      if (twin.all.length > 0 && rng.chance(2, 5)) {
        const gone = twin.all[rng.below(twin.all.length)]!;
        tree.remove(gone);
        twin.remove(gone);
      } else {
        const start = rng.below(span);
        const n = new Named(step, start, rng.chance(1, 20) ? Number.POSITIVE_INFINITY : start + rng.below(span / 4));
        tree.insert(n);
        twin.insert(n);
      }
      tree.checkInvariants();
      expect(tree.size).toBe(twin.all.length);
      const start = rng.below(span);
      const end = rng.chance(1, 10) ? Number.POSITIVE_INFINITY : start + rng.below(span / 2);
      const expected = twin.meeting(start, end);
      expect(meeting(tree, start, end)).toEqual(expected);
      found += expected.length;
    }
    while (twin.all.length > 0) {
      const gone = twin.all[rng.below(twin.all.length)]!;
      tree.remove(gone);
      twin.remove(gone);
      tree.checkInvariants();
    }
    expect(tree.first(0, Number.POSITIVE_INFINITY)).toBeNull();
  }
  expect(found).toBeGreaterThan(1000);
});

test('ascending, descending and equal starts stay balanced', () => {
  for (const startOf of [(i: number) => i, (i: number) => -i, () => 7]) {
    const tree = new IntervalIndex<Named>();
    const nodes: Named[] = [];
    for (let i = 0; i < 2000; i++) {
      const n = new Named(i, startOf(i), startOf(i));
      nodes.push(n);
      tree.insert(n);
    }
    tree.checkInvariants();
    const order = meeting(tree, -2000, Number.POSITIVE_INFINITY);
    expect(order).toEqual([...nodes].sort((a, b) => a.start - b.start || a.name - b.name).map((n) => n.name));
    expect(tree.height).toBeLessThanOrEqual(16);
    for (const n of nodes) tree.remove(n);
    expect(tree.size).toBe(0);
  }
});

test('the check notices a wrong tree', () => {
  const tree = new IntervalIndex<Named>();
  const nodes = [3, 1, 2, 9].map((s, i) => new Named(i, s, s));
  for (const n of nodes) tree.insert(n);
  tree.checkInvariants();
  nodes[3]!.last = 100;
  expect(() => tree.checkInvariants()).toThrow(/keys, greatest lasts/);
  nodes[3]!.last = 9;
  nodes[0]!.start = 0;
  expect(() => tree.checkInvariants()).toThrow(/ascending/);
});
