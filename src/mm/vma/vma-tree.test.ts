import { describe, expect, it } from 'vitest';
import { VmaTree, VmaTreeError, type VmaTreeItem } from './vma-tree.ts';

const PAGE = 4096;
const MIB = 1 << 20;

class Item implements VmaTreeItem {
  start: number;
  end: number;
  startGap: number;
  treePrev: VmaTreeItem | null = null;
  treeNext: VmaTreeItem | null = null;
  constructor(start: number, end: number, startGap = 0) {
    this.start = start;
    this.end = end;
    this.startGap = startGap;
  }
}

/** The naive twin: a sorted array and linear scans; the gap searches are the kernel's loops over a list of holes. */
class NaiveTree {
  items: Item[] = [];

  find(addr: number): Item | null {
    return this.items.find((v) => v.end > addr) ?? null;
  }
  findPrev(addr: number): Item | null {
    return this.items.findLast((v) => v.start < addr) ?? null;
  }
  intersects(start: number, end: number): Item | null {
    return this.items.find((v) => v.start < end && v.end > start) ?? null;
  }
  isFree(start: number, end: number): boolean {
    return start < end && this.intersects(start, end) === null;
  }
  insert(item: Item): void {
    this.items.push(item);
    this.items.sort((a, b) => a.start - b.start);
  }
  remove(item: Item): Item | null {
    const i = this.items.indexOf(item);
    this.items.splice(i, 1);
    return this.items[i] ?? null;
  }

  /** All holes cut to [low, high) that have `size` bytes, with the item that ends each. */
  holes(low: number, high: number, size: number): { start: number; end: number; above: Item | null }[] {
    const holes = [];
    let from = 0;
    for (const above of [...this.items, null]) {
      const start = Math.max(from, low);
      const end = Math.min(above?.start ?? Infinity, high);
      if (end > start && end - start >= size) holes.push({ start, end, above });
      from = above?.end ?? from;
    }
    return holes;
  }

  gapTopDown(low: number, high: number, length: number, mask: number, offset: number): number {
    for (;;) {
      const hole = this.holes(low, high, length + mask).at(-1);
      if (hole === undefined) return -1;
      let addr = hole.end - length;
      while ((addr - offset) % (mask + 1) !== 0) addr -= PAGE;
      if (hole.above === null || hole.above.startGap === 0) return addr;
      const guardStart = Math.max(0, hole.above.start - hole.above.startGap);
      if (guardStart > hole.end - 1) return addr;
      high = guardStart;
    }
  }

  gapBottomUp(low: number, high: number, length: number, mask: number, offset: number): number {
    for (;;) {
      const hole = this.holes(low, high, length + mask)[0];
      if (hole === undefined) return -1;
      let addr = hole.start;
      while ((addr - offset) % (mask + 1) !== 0) addr += PAGE;
      if (hole.above === null || hole.above.startGap === 0) return addr;
      const guardStart = Math.max(0, hole.above.start - hole.above.startGap);
      if (!(guardStart < addr + length + mask - 1)) return addr;
      low = hole.above.end;
    }
  }
}

/** mulberry32: a number in [0, n). */
function makeRandom(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

function treeOf(...items: Item[]): VmaTree<Item> {
  const tree = new VmaTree<Item>();
  for (const item of items) tree.insert(item);
  tree.checkInvariants();
  return tree;
}

function ascending(tree: VmaTree<Item>): Item[] {
  const items = [];
  for (let v = tree.first(); v !== null; v = tree.next(v)) items.push(v);
  return items;
}

function descending(tree: VmaTree<Item>): Item[] {
  const items = [];
  for (let v = tree.last(); v !== null; v = tree.prev(v)) items.push(v);
  return items;
}

/** A tree, its twin and random operations on both in a space of so many pages. */
class Pair {
  readonly tree = new VmaTree<Item>();
  readonly naive = new NaiveTree();
  readonly pages: number;
  readonly countMax: number;
  readonly random: (n: number) => number;
  /** Guard gaps that items get, in pages; 0 for none. */
  readonly guardPages: number;
  /** Longest item, in pages. */
  readonly itemPages: number;

  constructor(random: (n: number) => number, pages: number, countMax: number, itemPages: number, guardPages: number) {
    this.random = random;
    this.pages = pages;
    this.countMax = countMax;
    this.itemPages = itemPages;
    this.guardPages = guardPages;
  }

  /** An address that often lies at or beside the bounds of an item. */
  addr(): number {
    const { items } = this.naive;
    if (items.length === 0 || this.random(3) === 0) return this.random(this.pages + 2) * PAGE;
    const item = items[this.random(items.length)];
    const base = this.random(2) === 0 ? item.start : item.end;
    return Math.max(0, base + [-PAGE, -1, 0, 0, 1, PAGE][this.random(6)]);
  }

  pick(): Item | null {
    const { items } = this.naive;
    return items.length === 0 ? null : items[this.random(items.length)];
  }

  guard(): number {
    return this.guardPages > 0 && this.random(4) === 0 ? this.guardPages * PAGE : 0;
  }

  insertSomewhere(): void {
    const start = this.random(2) === 0 ? Math.floor(this.addr() / PAGE) * PAGE : this.random(this.pages) * PAGE;
    const end = start + (1 + this.random(this.itemPages)) * PAGE;
    const item = new Item(start, end, this.guard());
    if (this.naive.isFree(start, end)) {
      this.tree.insert(item);
      this.naive.insert(item);
    } else {
      expect(() => this.tree.insert(item)).toThrow(VmaTreeError);
    }
  }

  insertInGap(): void {
    const addr = this.gapSearch();
    if (addr < 0) return;
    const item = new Item(addr, addr + PAGE * (1 + this.random(2)), this.guard());
    if (!this.naive.isFree(item.start, item.end)) return;
    this.tree.insert(item);
    this.naive.insert(item);
  }

  /** A search in both directions; the tree must answer as the twin does. Returns one of the answers. */
  gapSearch(): number {
    const { random, tree, naive } = this;
    const length = (1 + random(this.itemPages * (random(4) === 0 ? 8 : 1))) * PAGE;
    const mask = random(2) === 0 ? 0 : PAGE * 2 ** random(6) - 1;
    const offset = random(64) * PAGE;
    const whole = random(2) === 0;
    const low = whole ? PAGE : Math.ceil(this.addr() / PAGE) * PAGE;
    const high = whole ? this.pages * PAGE : Math.ceil(this.addr() / PAGE) * PAGE;
    const down = naive.gapTopDown(low, high, length, mask, offset);
    const up = naive.gapBottomUp(low, high, length, mask, offset);
    const what = `[${low}, ${high}) length ${length} mask ${mask} offset ${offset}`;
    if (tree.gapTopDown(low, high, length, mask, offset) !== down) expect.fail(`top-down ${what}: not ${down}`);
    if (tree.gapBottomUp(low, high, length, mask, offset) !== up) expect.fail(`bottom-up ${what}: not ${up}`);
    return random(2) === 0 ? down : up;
  }

  lookups(): void {
    const { tree, naive } = this;
    const addr = this.addr();
    const end = addr + 1 + this.random(8 * PAGE);
    const item = naive.find(addr);
    const isInside = item !== null && item.start <= addr;
    if (tree.find(addr) !== item) expect.fail(`find ${addr}`);
    if (tree.find(addr) !== item) expect.fail(`find ${addr} again`);
    if (tree.findExact(addr) !== (isInside ? item : null)) expect.fail(`findExact ${addr}`);
    if (tree.contains(addr) !== isInside) expect.fail(`contains ${addr}`);
    if (tree.findPrev(addr) !== naive.findPrev(addr)) expect.fail(`findPrev ${addr}`);
    if (tree.intersects(addr, end) !== naive.intersects(addr, end)) expect.fail(`intersects ${addr} ${end}`);
    const before = naive.items.findLast((v) => v.end <= addr) ?? null;
    if (tree.findVmaPrev(addr) !== item || tree.prevFound !== before) expect.fail(`findVmaPrev ${addr}`);
  }

  remove(): void {
    const item = this.pick();
    if (item === null) return;
    if (this.tree.remove(item) !== this.naive.remove(item)) expect.fail('successor of a removed item');
    expect(() => this.tree.remove(item)).toThrow(VmaTreeError);
  }

  /** Moves either end of an item, or both, as far as the neighbours allow or beyond. */
  resize(): void {
    const item = this.pick();
    if (item === null) return;
    const { items } = this.naive;
    const i = items.indexOf(item);
    const floor = items[i - 1]?.end ?? 0;
    const ceiling = items[i + 1]?.start ?? item.end + 8 * PAGE;
    let { start, end } = item;
    if (this.random(3) > 0) start = [floor, floor - PAGE, start - PAGE, start + PAGE, end][this.random(5)];
    if (this.random(3) > 0) end = [ceiling, ceiling + PAGE, end + PAGE, end - PAGE][this.random(4)];
    const isAllowed = start < end && start >= floor && (end <= ceiling || i === items.length - 1);
    if (!isAllowed) {
      expect(() => this.tree.resize(item, start, end)).toThrow(VmaTreeError);
    } else if (this.random(3) > 0) {
      this.tree.resize(item, start, end);
      if (item.start !== start || item.end !== end) expect.fail('bounds after resize');
    } else {
      const other = new Item(start, end, this.guard());
      this.tree.replace(item, other);
      if (other.start !== start || other.end !== end) expect.fail('bounds after replace');
      items[i] = other;
    }
  }

  removeRange(): void {
    const { items } = this.naive;
    const a = this.pick();
    if (a === null) return;
    const reach = this.random(40) === 0 ? items.length : this.random(5) === 0 ? 120 : 10;
    const i = items.indexOf(a);
    const b = items[Math.min(items.length - 1, i + this.random(reach))];
    const start = a.start + [0, 0, 0, -PAGE, PAGE][this.random(5)];
    const end = b.end + [0, 0, 0, PAGE, -PAGE][this.random(5)];
    const hit = items.filter((v) => v.start < end && v.end > start);
    const out: Item[] = [];
    if (start >= end) return;
    if (hit.some((v) => v.start < start || v.end > end)) {
      expect(() => this.tree.removeRange(start, end, out)).toThrow(VmaTreeError);
      if (out.length > 0) expect.fail('items taken out by a refused removeRange');
      return;
    }
    const removed = this.tree.removeRange(start, end, out);
    if (removed !== hit.length || out.length !== hit.length) expect.fail(`removed ${removed} of ${hit.length}`);
    for (let k = 0; k < hit.length; k++) {
      if (out[k] !== hit[k] || out[k].treeNext !== null || out[k].treePrev !== null) expect.fail('removed items');
    }
    this.naive.items = items.filter((v) => !hit.includes(v));
  }

  /** Adds items until most of countMax are there. */
  fill(): void {
    while (this.naive.items.length < this.countMax * 0.8) this.insertSomewhere();
  }

  step(isFilling: boolean): void {
    const dice = this.random(100);
    const isFull = this.naive.items.length >= this.countMax;
    if (dice < 25) this.lookups();
    else if (dice < 35) this.gapSearch();
    else if (dice < 50) this.resize();
    else if (dice < (isFilling ? 51 : 55)) this.removeRange();
    else if (dice < (isFilling ? 60 : 80)) this.remove();
    else if (isFull) this.remove();
    else if (dice < 90) this.insertSomewhere();
    else this.insertInGap();
  }

  check(): void {
    this.tree.checkInvariants();
    if (this.tree.count !== this.naive.items.length) expect.fail(`count ${this.tree.count}`);
    let v = this.tree.first();
    for (const item of this.naive.items) {
      if (v !== item) expect.fail('items differ from the twin’s');
      v = this.tree.next(item);
    }
    if (v !== null) expect.fail('more items than the twin');
  }
}

const SEED = Number(process.env['SEED'] ?? 20240601);

describe('VmaTree against its naive twin, checked after every operation', () => {
  const worlds: [name: string, pages: number, countMax: number, itemPages: number, guardPages: number, ops: number][] =
    [
      ['dense and small', 250, 60, 4, 3, 36_000],
      ['dense, guards longer than items', 4000, 400, 6, 12, 32_000],
      ['sparse, 47 bits, 1 MiB guards', 2 ** 35, 400, 2 ** 20, 256, 25_000],
      ['dense, no guards', 8000, 1500, 3, 0, 20_000],
    ];
  for (const [k, [name, pages, countMax, itemPages, guardPages, ops]] of worlds.entries()) {
    it(`${name}: ${ops} operations agree`, () => {
      const seed = SEED + k;
      console.log(`VmaTree ${name}: SEED=${SEED} (this world ${seed})`);
      const pair = new Pair(makeRandom(seed), pages, countMax, itemPages, guardPages);
      let countSeen = 0;
      for (let i = 0; i < ops; i++) {
        try {
          if (i % 5000 === 0) pair.fill();
          pair.step(i % 5000 < 3500);
          pair.check();
        } catch (error) {
          throw new Error(`operation ${i}, SEED=${SEED}, world ${seed}`, { cause: error });
        }
        countSeen = Math.max(countSeen, pair.tree.count);
      }
      // The bulk of the work must have happened in trees of more than one level.
      expect(countSeen).toBeGreaterThan(Math.max(countMax * 0.7, 32));
    });
  }
});

describe('VmaTree orders of insertion and removal', () => {
  const countItems = 3000;
  const orders: [string, (i: number) => number][] = [
    ['ascending', (i) => i],
    ['descending', (i) => countItems - 1 - i],
    ['scattered', (i) => (i * 1597) % countItems],
    ['inwards from both ends', (i) => (i % 2 === 0 ? i / 2 : countItems - (i + 1) / 2)],
  ];
  for (const [inName, inOrder] of orders) {
    for (const [outName, outOrder] of orders) {
      it(`inserted ${inName}, removed ${outName}: every item is found, and the nodes are given back`, () => {
        const tree = new VmaTree<Item>();
        const items = Array.from({ length: countItems }, (_, i) => new Item(i * 2 * PAGE, (i * 2 + 1) * PAGE));
        for (let i = 0; i < countItems; i++) {
          tree.insert(items[inOrder(i)]);
          if (i % 100 === 0) tree.checkInvariants();
        }
        tree.checkInvariants();
        expect(ascending(tree)).toEqual(items);
        for (const item of items) if (tree.findExact(item.start) !== item) expect.fail(`find ${item.start}`);
        for (let i = 0; i < countItems; i++) {
          tree.remove(items[outOrder(i)]);
          if (i % 100 === 0) tree.checkInvariants();
        }
        tree.checkInvariants();
        expect([tree.count, tree.first(), tree.last(), tree.find(0)]).toEqual([0, null, null, null]);
      });
    }
  }

  it('60,000 items cut in the middle, at both ends and to nothing stay a valid tree', () => {
    const countMany = 60_000;
    for (const [from, to] of [
      [100, countMany - 100],
      [0, countMany - 1],
      [1, countMany],
      [20_000, 20_031],
      [0, countMany],
    ]) {
      const items = Array.from({ length: countMany }, (_, i) => new Item(i * 2 * PAGE, (i * 2 + 1) * PAGE));
      const tree = treeOf(...items);
      const out: Item[] = [];
      expect(tree.removeRange(from * 2 * PAGE, to * 2 * PAGE, out)).toBe(to - from);
      tree.checkInvariants();
      expect(out.length === to - from && out[0] === items[from] && out.at(-1) === items[to - 1]).toBe(true);
      expect(tree.count).toBe(countMany - (to - from));
      expect(tree.find(from * 2 * PAGE)).toBe(items[to] ?? null);
      for (const item of out.reverse()) tree.insert(item);
      tree.checkInvariants();
      expect(tree.count).toBe(countMany);
    }
  });
});

describe('VmaTree by example', () => {
  const at = (mib: number, sizeMib: number, guardMib = 0): Item =>
    new Item(mib * MIB, (mib + sizeMib) * MIB, guardMib * MIB);

  it('an empty tree: no item anywhere, and all of the range is free', () => {
    const tree = treeOf();
    expect([tree.find(0), tree.findPrev(2 ** 47), tree.intersects(0, 2 ** 47), tree.first()]).toEqual([
      null,
      null,
      null,
      null,
    ]);
    expect(tree.gapTopDown(PAGE, 2 ** 47, PAGE, 0, 0)).toBe(2 ** 47 - PAGE);
    expect(tree.gapBottomUp(PAGE, 2 ** 47, PAGE, 0, 0)).toBe(PAGE);
    expect(tree.gapTopDown(PAGE, 2 * PAGE, 2 * PAGE, 0, 0)).toBe(-1);
  });

  it('find_vma and find_vma_prev: inside, between, above', () => {
    const a = at(1, 1);
    const b = at(4, 1);
    const tree = treeOf(a, b);
    const ask = (mib: number): (Item | null)[] => [
      tree.findVmaPrev(mib * MIB),
      tree.prevFound,
      tree.findPrev(mib * MIB),
    ];
    expect([0, 1, 1.5, 2, 4, 4.5, 5].map(ask)).toEqual([
      [a, null, null],
      [a, null, null],
      [a, null, a],
      [b, a, a],
      [b, a, a],
      [b, a, b],
      [null, b, b],
    ]);
  });

  it('a gap that fits only by luck of alignment is not taken', () => {
    // 2 MiB free at 4 MiB, which is aligned; the worst case would need 4 MiB less a byte.
    const tree = treeOf(at(0, 4), at(6, 10));
    expect(tree.gapTopDown(0, 16 * MIB, 2 * MIB, 2 * MIB - 1, 0)).toBe(-1);
    expect(tree.gapTopDown(0, 32 * MIB, 2 * MIB, 2 * MIB - 1, MIB)).toBe(29 * MIB);
    expect(tree.gapBottomUp(0, 32 * MIB, 2 * MIB, 2 * MIB - 1, MIB)).toBe(17 * MIB);
  });

  it('a search from above stays a guard gap away from a stack', () => {
    const tree = treeOf(at(0, 1), at(10, 2, 3));
    expect(tree.gapTopDown(0, 12 * MIB, MIB, 0, 0)).toBe(6 * MIB);
    expect(tree.gapTopDown(0, 12 * MIB, 6 * MIB, 0, 0)).toBe(MIB);
    expect(tree.gapTopDown(0, 12 * MIB, 6 * MIB + PAGE, 0, 0)).toBe(-1);
  });

  it('a guard gap that reaches across a small item also takes room below that item, once a search has met it', () => {
    // Free: [1, 9) and [10, 11) MiB. The stack at 11 MiB guards from 7 MiB on.
    const tree = treeOf(at(0, 1), at(9, 1), at(11, 1, 4));
    // Half a MiB fits between the two, but for the guard; the limit falls to 7 MiB.
    expect(tree.gapTopDown(0, 12 * MIB, MIB / 2, 0, 0)).toBe(6.5 * MIB);
    // Two MiB do not fit there, so that the search never sees the stack.
    expect(tree.gapTopDown(0, 12 * MIB, 2 * MIB, 0, 0)).toBe(7 * MIB);
  });

  it('a search from below skips a hole whose end is guarded; above a guard the padding counts twice', () => {
    const tree = treeOf(at(0, 1), at(6, 1, 2), at(20, 1));
    expect(tree.gapBottomUp(0, 32 * MIB, 3 * MIB, 0, 0)).toBe(MIB);
    expect(tree.gapBottomUp(0, 32 * MIB, 4 * MIB, 0, 0)).toBe(7 * MIB);
    // 1 MiB rounded to 2 MiB fits at 2 MiB, but 2 MiB + length + mask reaches 4 MiB + 1 MiB - 1, into the guard.
    expect(tree.gapBottomUp(0, 32 * MIB, MIB, 2 * MIB - 1, 0)).toBe(8 * MIB);
  });

  it('startGap may change while the item is in the tree', () => {
    const stack = at(10, 2);
    const tree = treeOf(stack);
    expect(tree.gapTopDown(0, 12 * MIB, MIB, 0, 0)).toBe(9 * MIB);
    stack.startGap = MIB;
    expect(tree.gapTopDown(0, 12 * MIB, MIB, 0, 0)).toBe(8 * MIB);
  });

  it('a walk may remove every item that it stands on', () => {
    const items = Array.from({ length: 500 }, (_, i) => at(2 * i, 1));
    const tree = treeOf(...items);
    for (let v = tree.find(0); v !== null; ) v = v.start % (4 * MIB) === 0 ? tree.remove(v) : tree.next(v);
    tree.checkInvariants();
    const odd = items.filter((_, i) => i % 2 === 1);
    expect(ascending(tree)).toEqual(odd);
    expect(descending(tree)).toEqual(odd.reverse());
  });

  it('clear detaches all items, which may be inserted again', () => {
    const items = Array.from({ length: 500 }, (_, i) => at(2 * i, 1));
    const tree = treeOf(...items);
    expect(tree.find(MIB / 2)).toBe(items[0]);
    tree.clear();
    tree.checkInvariants();
    expect([tree.count, tree.find(0), items[7].treeNext, items[7].treePrev]).toEqual([0, null, null, null]);
    for (const item of items) tree.insert(item);
    tree.checkInvariants();
    expect(ascending(tree)).toEqual(items);
  });

  it('misuse throws, names the item, and leaves the tree as it was', () => {
    const a = at(1, 1);
    const b = at(3, 1);
    const tree = treeOf(a, b);
    const message = (f: () => void): string => {
      try {
        f();
      } catch (error) {
        tree.checkInvariants();
        if (error instanceof VmaTreeError) return error.message;
      }
      return 'no VmaTreeError';
    };
    expect(message(() => tree.insert(at(1, 1)))).toBe('VmaTree.insert: item 100000-200000 would overlap 100000-200000');
    expect(message(() => tree.insert(a))).toBe('VmaTree.insert: item 100000-200000 would overlap 100000-200000');
    expect(message(() => tree.insert(at(5, 0)))).toContain('cannot have the bounds');
    expect(message(() => tree.remove(at(1, 1)))).toBe('VmaTree.remove: item 100000-200000 is not in the tree');
    expect(message(() => tree.resize(a, MIB, 4 * MIB))).toContain('would overlap 300000-400000');
    expect(message(() => tree.replace(a, at(2, 2)))).toContain('would overlap 300000-400000');
    expect(message(() => tree.removeRange(0, 3.5 * MIB, []))).toContain('reaches across the end');
    expect(ascending(tree)).toEqual([a, b]);
  });
});
