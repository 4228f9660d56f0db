/** VmaTree against a sorted array with binary search and splice, both measured in the same run.
 *
 *  Every figure is the least of several rounds; the two contestants take turns within a round. Run with --expose-gc to
 *  get the heap figures (otherwise they are left out): bytes that 10^6 operations leave on the heap before a collection. */

import { VmaTree, type VmaTreeItem } from '../src/mm/vma/vma-tree.ts';

export interface BenchResult {
  name: string;
  value: number;
  unit: string;
}

const PAGE = 4096;
const TASK_SIZE = 2 ** 47 - PAGE;
const ROUNDS = 7;

class Item implements VmaTreeItem {
  start: number;
  end: number;
  startGap: number;
  treePrev: VmaTreeItem | null;
  treeNext: VmaTreeItem | null;
  constructor(start: number, end: number, startGap: number) {
    this.start = start;
    this.end = end;
    this.startGap = startGap;
    this.treePrev = null;
    this.treeNext = null;
  }
}

/** The reference: what one would write in ten minutes. */
class SortedArray {
  items: Item[];
  constructor() {
    this.items = [];
  }
  indexAbove(addr: number): number {
    const { items } = this;
    let low = 0;
    let high = items.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (items[mid].end > addr) high = mid;
      else low = mid + 1;
    }
    return low;
  }
  find(addr: number): Item | null {
    const i = this.indexAbove(addr);
    return i < this.items.length ? this.items[i] : null;
  }
  insert(item: Item): void {
    this.items.splice(this.indexAbove(item.start), 0, item);
  }
  remove(item: Item): void {
    this.items.splice(this.indexAbove(item.start), 1);
  }
  gapTopDown(low: number, high: number, length: number): number {
    const { items } = this;
    let i = this.indexAbove(high - 1);
    let gapEnd = i < items.length ? Math.min(high, items[i].start) : high;
    for (; i > 0; i--) {
      if (gapEnd - items[i - 1].end >= length) break;
      gapEnd = items[i - 1].start;
    }
    return gapEnd - low >= length ? gapEnd - length : -1;
  }
}

let sink = 0;
let state = 12345;
function random(n: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
}

/** Items of one to eight pages below `top`, with holes of one to fifteen pages; every hundredth hole is larger. */
function makeItems(count: number, top: number): Item[] {
  const items = [];
  let end = top;
  for (let i = 0; i < count; i++) {
    const start = end - (1 + random(8)) * PAGE;
    items.push(new Item(start, end, 0));
    end = start - (1 + random(15) + (i % 100 === 99 ? 100 : 0)) * PAGE;
  }
  return items.reverse();
}

function shuffled(items: Item[]): Item[] {
  const copy = items.slice();
  for (let i = copy.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}

function addresses(items: Item[], count: number): Float64Array {
  const addrs = new Float64Array(count);
  const low = items[0].start;
  const span = items[items.length - 1].end - low;
  for (let i = 0; i < count; i++) addrs[i] = low + (random(2 ** 20) / 2 ** 20) * span;
  return addrs.map(Math.floor);
}

function loopFindTree(set: VmaTree<Item>, addrs: Float64Array, count: number): void {
  for (let i = 0, k = 0; i < count; i++) {
    const item = set.find(addrs[k]);
    if (item !== null) sink++;
    k = k + 1 === addrs.length ? 0 : k + 1;
  }
}
function loopFindArray(set: SortedArray, addrs: Float64Array, count: number): void {
  for (let i = 0, k = 0; i < count; i++) {
    const item = set.find(addrs[k]);
    if (item !== null) sink++;
    k = k + 1 === addrs.length ? 0 : k + 1;
  }
}
function loopWalk(set: VmaTree<Item>, count: number): void {
  for (let i = 0; i < count; ) {
    for (let v = set.first(); v !== null && i < count; v = set.next(v), i++) sink += v.startGap;
  }
}
function loopWalkBack(set: VmaTree<Item>, count: number): void {
  for (let i = 0; i < count; ) {
    for (let v = set.last(); v !== null && i < count; v = set.prev(v), i++) sink += v.startGap;
  }
}
/** mmap and munmap: finds a gap from above, puts a block there; takes out the block of a full turn of `ring` before.
 *  The ring's length is a power of two. */
function loopMapTree(set: VmaTree<Item>, top: number, ring: Item[], lengths: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const item = ring[i & (ring.length - 1)];
    if (item.treePrev !== null || item.treeNext !== null) set.remove(item);
    const length = lengths[i & 1023];
    const addr = set.gapTopDown(PAGE, top, length, 0, 0);
    item.start = addr;
    item.end = addr + length;
    set.insert(item);
  }
  for (const item of ring) set.remove(item);
}
function loopMapArray(set: SortedArray, top: number, ring: Item[], lengths: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const item = ring[i & (ring.length - 1)];
    if (item.startGap === 1) set.remove(item);
    const length = lengths[i & 1023];
    const addr = set.gapTopDown(PAGE, top, length);
    item.start = addr;
    item.end = addr + length;
    item.startGap = 1;
    set.insert(item);
  }
  for (const item of ring) {
    set.remove(item);
    item.startGap = 0;
  }
}
/** Takes out a random item and puts it back. */
function loopReinsertTree(set: VmaTree<Item>, items: Item[], count: number): void {
  for (let i = 0, k = 0; i < count; i++) {
    set.remove(items[k]);
    set.insert(items[k]);
    k = k + 1 === items.length ? 0 : k + 1;
  }
}
function loopReinsertArray(set: SortedArray, items: Item[], count: number): void {
  for (let i = 0, k = 0; i < count; i++) {
    set.remove(items[k]);
    set.insert(items[k]);
    k = k + 1 === items.length ? 0 : k + 1;
  }
}
function loopGap(set: VmaTree<Item>, tops: Float64Array, lengths: Int32Array, count: number): void {
  for (let i = 0, k = 0; i < count; i++) {
    sink += set.gapTopDown(PAGE, tops[k], lengths[i & 1023], 0, 0) > 0 ? 1 : 0;
    k = k + 1 === tops.length ? 0 : k + 1;
  }
}

/** Least nanoseconds per operation of each contestant, which take turns. */
function race(count: number, contestants: ((count: number) => void)[]): number[] {
  const least = contestants.map(() => Infinity);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [k, contestant] of contestants.entries()) {
      const began = performance.now();
      contestant(count);
      least[k] = Math.min(least[k], ((performance.now() - began) * 1e6) / count);
    }
  }
  return least;
}

/** Heap bytes per operation that a warm loop leaves behind, or null without --expose-gc. */
function heapGrowth(count: number, loop: (count: number) => void): number | null {
  const collect = (globalThis as { gc?: () => void }).gc;
  if (collect === undefined) return null;
  loop(count);
  collect();
  const before = process.memoryUsage().heapUsed;
  loop(count);
  return (process.memoryUsage().heapUsed - before) / count;
}

export function run(): BenchResult[] {
  const results: BenchResult[] = [];
  const report = (name: string, value: number, unit: string): void => {
    results.push({ name, value: Math.round(value * 100) / 100, unit });
  };
  const lengths = new Int32Array(1024).map(() => (1 + random(12)) * PAGE);
  for (const countItems of [50, 200, 60_000]) {
    const items = makeItems(countItems, TASK_SIZE - PAGE);
    const tree = new VmaTree<Item>();
    for (const item of shuffled(items)) tree.insert(item);
    const array = new SortedArray();
    array.items = items.slice();
    const addrs = addresses(items, 1 << 16);
    const local = addrs.map((_, i) => addrs[i >> 4]);
    const label = `vma-tree ${countItems}`;
    const isLarge = countItems > 1000;

    const [find, findArray] = race(1e6, [(n) => loopFindTree(tree, addrs, n), (n) => loopFindArray(array, addrs, n)]);
    report(`${label}: find, random`, find, 'ns');
    report(`${label}: find, random, sorted array / tree`, findArray / find, 'ratio');
    report(`${label}: find, 16 times the same`, race(1e6, [(n) => loopFindTree(tree, local, n)])[0], 'ns');
    report(`${label}: next`, race(1e6, [(n) => loopWalk(tree, n)])[0], 'ns');
    report(`${label}: prev`, race(1e6, [(n) => loopWalkBack(tree, n)])[0], 'ns');
    report(
      `${label}: top-down gap search, random limit`,
      race(3e5, [(n) => loopGap(tree, addrs, lengths, n)])[0],
      'ns',
    );

    const rare = new Int32Array(1024).fill(105 * PAGE);
    const tops = new Float64Array([items[items.length - 1].end]);
    const search = race(3e5, [(n) => loopGap(tree, addrs, rare, n), (n) => loopGap(tree, tops, rare, n)]);
    report(`${label}: top-down gap search, random limit, one hole in a hundred fits`, search[0], 'ns');
    report(`${label}: top-down gap search, from the top, one hole in a hundred fits`, search[1], 'ns');

    const order = shuffled(items);
    const [reinsert, reinsertArray] = race(isLarge ? 20_000 : 200_000, [
      (n) => loopReinsertTree(tree, order, n),
      (n) => loopReinsertArray(array, order, n),
    ]);
    report(`${label}: remove and insert, random`, reinsert, 'ns');
    report(`${label}: remove and insert, random, sorted array / tree`, reinsertArray / reinsert, 'ratio');

    const ring = Array.from({ length: isLarge ? 64 : 4 }, () => new Item(0, PAGE, 0));
    const [map, mapArray] = race(isLarge ? 20_000 : 200_000, [
      (n) => loopMapTree(tree, TASK_SIZE, ring, lengths, n),
      (n) => loopMapArray(array, TASK_SIZE, ring, lengths, n),
    ]);
    report(`${label}: gap search, insert, remove`, map, 'ns');
    report(`${label}: gap search, insert, remove, sorted array / tree`, mapArray / map, 'ratio');

    const findBytes = heapGrowth(1e6, (n) => loopFindTree(tree, addrs, n));
    if (findBytes !== null) report(`${label}: heap growth of find`, findBytes, 'bytes/op');
    const walkBytes = heapGrowth(1e6, (n) => loopWalk(tree, n));
    if (walkBytes !== null) report(`${label}: heap growth of next`, walkBytes, 'bytes/op');
    tree.checkInvariants();
  }
  if (sink < 0) throw new Error('unreachable: keeps the results alive');
  return results;
}
