// DAMON over virtual addresses (mm/damon/core.c, vaddr.c): how often is each part of an address space used? Of each region one
// random address is sampled: made old when the sample starts, asked for its use when it ends. Regions with like counts are
// merged, others cut at random places, so that their number stays bounded while they follow the program.
//
//   start of a sample   A taken from the entry; clear_young(x, x + PAGE); the page becomes idle
//   end of a sample     used = A set, or page not idle, or test_young(x)
//
// x is the sampled address as it is, not its page. Locks: mmapLock for read; ptl. Time is the caller's (damonAdvance).
// Kernel names: kdamond_fn, damon_va_prepare_access_checks, damon_va_check_accesses, damon_ptep_mkold, damon_pmdp_mkold,
// kdamond_merge_regions, kdamond_split_regions.

import { CB_CLEAR_YOUNG, CB_TEST_YOUNG } from '../../abi/events.ts';
import { LEVEL_PMD, LEVEL_PTE, PTE_A } from '../../abi/pte.ts';
import type { Rng } from '../../base/rng.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_IDLE, PG_LRU, PG_YOUNG } from '../page/pages.ts';
import { pteFrame, ptePresent } from '../page/swapops.ts';
import { notePage } from '../rmap/rmap.ts';
import type { MmStruct } from '../types.ts';

/** DAMON_MIN_REGION, bytes. */
const MIN_REGION = 4096;

/** damon_region: [start, end). */
export class DamonRegion {
  start: number;
  end: number;
  samplingAddress = 0;
  /** Samples of this aggregation interval that found a use. */
  accesses = 0;
  age = 0;
  lastAccesses = 0;

  constructor(start: number, end: number) {
    this.start = start;
    this.end = end;
  }

  get size(): number {
    return this.end - this.start;
  }
}

/** damon_ctx with one target. Intervals in microseconds. */
export class DamonContext {
  readonly mm: MmStruct;
  readonly regions: DamonRegion[];
  readonly rng: Rng;
  sampleUs = 5000;
  aggregateUs = 100000;
  minRegions = 10;
  maxRegions = 1000;
  /** Since the sample, and since the aggregation interval, began. */
  sampledUs = 0;
  aggregatedUs = 0;
  isStarted = false;
  #lastRegions = 0;

  constructor(mm: MmStruct, regions: DamonRegion[], rng: Rng) {
    this.mm = mm;
    this.regions = regions;
    this.rng = rng;
  }

  /** damon_rand over bytes. */
  randomAddress(region: DamonRegion): number {
    return region.start + this.rng.below(region.size);
  }

  /** kdamond_merge_regions: neighbours whose counts differ by a tenth of the highest at most, up to a size. */
  merge(highest: number): void {
    const total = this.regions.reduce((sum, r) => sum + r.size, 0);
    const limit = Math.max(Math.floor(total / this.minRegions), MIN_REGION);
    const threshold = Math.floor(highest / 10);
    for (let i = 0; i < this.regions.length; i++) {
      const r = this.regions[i]!;
      r.age = Math.abs(r.accesses - r.lastAccesses) > threshold ? 0 : r.age + 1;
      const before = this.regions[i - 1];
      if (before === undefined || before.end !== r.start || before.size + r.size > limit) continue;
      if (Math.abs(before.accesses - r.accesses) > threshold) continue;
      const size = before.size + r.size;
      before.accesses = Math.floor((before.accesses * before.size + r.accesses * r.size) / size);
      before.age = Math.floor((before.age * before.size + r.age * r.size) / size);
      before.end = r.end;
      this.regions.splice(i--, 1);
    }
  }

  /** kdamond_reset_aggregated. */
  reset(): void {
    for (const r of this.regions) {
      r.lastAccesses = r.accesses;
      r.accesses = 0;
    }
  }

  /** kdamond_split_regions. */
  split(): void {
    const count = this.regions.length;
    if (count > this.maxRegions / 2) return;
    const pieces = this.#lastRegions === count && count < this.maxRegions / 3 ? 3 : 2;
    for (let i = 0; i < this.regions.length; i++) i += this.#cut(i, pieces);
    this.#lastRegions = count;
  }

  /** damon_split_regions_of for one region; how many it became more. */
  #cut(index: number, pieces: number): number {
    const r = this.regions[index]!;
    let more = 0;
    for (let i = 1; i < pieces && r.size > 2 * MIN_REGION; i++) {
      const share = Math.floor((this.rng.between(1, 9) * r.size) / 10);
      const left = share - (share % MIN_REGION);
      if (left === 0 || left >= r.size) continue;
      const rest = new DamonRegion(r.start + left, r.end);
      rest.age = r.age;
      rest.lastAccesses = r.lastAccesses;
      r.end = rest.start;
      this.regions.splice(index + 1, 0, rest);
      more++;
    }
    return more;
  }
}

/** kdamond for `us` microseconds. */
export function* damonAdvance(k: Kernel, ctx: DamonContext, us: number): KernelPath<void> {
  if (!ctx.isStarted) {
    ctx.isStarted = true;
    yield* prepareAccessChecks(k, ctx);
  }
  for (let left = us; left >= ctx.sampleUs - ctx.sampledUs; ) {
    const step = ctx.sampleUs - ctx.sampledUs;
    left -= step;
    ctx.sampledUs = 0;
    ctx.aggregatedUs += step;
    const highest = yield* checkAccesses(k, ctx);
    if (ctx.aggregatedUs >= ctx.aggregateUs) {
      ctx.aggregatedUs = 0;
      ctx.merge(highest);
      ctx.reset();
      ctx.split();
    }
    yield* prepareAccessChecks(k, ctx);
  }
}

/** kdamond is told to stop: it ends the sample that is under way. */
export function* damonStop(k: Kernel, ctx: DamonContext): KernelPath<void> {
  if (ctx.isStarted) yield* checkAccesses(k, ctx);
}

/** damon_va_prepare_access_checks. */
function* prepareAccessChecks(k: Kernel, ctx: DamonContext): KernelPath<void> {
  for (const r of ctx.regions) {
    r.samplingAddress = ctx.randomAddress(r);
    yield* damonVaMkold(k, ctx.mm, r.samplingAddress);
  }
}

/** damon_va_check_accesses: the highest count. A region sampled in the same page as the one before it shares its answer. */
function* checkAccesses(k: Kernel, ctx: DamonContext): KernelPath<number> {
  let highest = 0;
  let lastPage = -1;
  let wasUsed = false;
  for (const r of ctx.regions) {
    const page = Math.floor(r.samplingAddress / 4096);
    if (page !== lastPage) wasUsed = yield* damonVaYoung(k, ctx.mm, r.samplingAddress);
    lastPage = page;
    if (wasUsed) r.accesses++;
    highest = Math.max(highest, r.accesses);
  }
  return highest;
}

/** The entry that maps an address to a page of an LRU list: its word and level, with the ptl taken; null: none. */
function* lockLeaf(k: Kernel, mm: MmStruct, address: number): AtomicPath<{ word: number; head: number } | null> {
  const table = pteTable(k, mm, address);
  const word = table === 0 ? pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address)) : pteOffset(table, address);
  if (word < 0) return null;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const isMapped = table === 0 ? pmdTransHuge(lo) : ptePresent(lo);
  const head = isMapped ? compoundHead(k.pages, table === 0 ? pmdFrame(lo) : pteFrame(lo)) : 0;
  if (head !== 0 && (k.pages.flags[head]! & PG_LRU) !== 0) return { word, head };
  k.ptl.unlock(ptl);
  return null;
}

/** damon_va_mkold. */
function* damonVaMkold(k: Kernel, mm: MmStruct, address: number): KernelPath<void> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const leaf = yield* lockLeaf(k, mm, address);
  if (leaf !== null) {
    const m = k.memory;
    const { word, head } = leaf;
    const level = pteTable(k, mm, address) === 0 ? LEVEL_PMD : LEVEL_PTE;
    const size = level === LEVEL_PMD ? 0x200000 : 4096;
    const lo = entryLo(m, word);
    let young = (lo & PTE_A) !== 0;
    if (young) writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), mm.id, address - (address % size), level);
    if (mm.notifiers !== null)
      young = (yield* k.fn.mmuNotifierYoung(k, mm, address, address + size, CB_CLEAR_YOUNG)) || young;
    notePage(k, head);
    k.pages.flags[head] = k.pages.flags[head]! | PG_IDLE | (young ? PG_YOUNG : 0);
    k.ptl.unlock(word >>> 10);
  }
  lock.readUnlock();
}

/** damon_va_young. */
function* damonVaYoung(k: Kernel, mm: MmStruct, address: number): KernelPath<boolean> {
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const leaf = yield* lockLeaf(k, mm, address);
  let young = false;
  if (leaf !== null) {
    notePage(k, leaf.head);
    young = (entryLo(k.memory, leaf.word) & PTE_A) !== 0 || (k.pages.flags[leaf.head]! & PG_IDLE) === 0;
    if (!young && mm.notifiers !== null)
      young = yield* k.fn.mmuNotifierYoung(k, mm, address, address + 1, CB_TEST_YOUNG);
    k.ptl.unlock(leaf.word >>> 10);
  }
  lock.readUnlock();
  return young;
}
