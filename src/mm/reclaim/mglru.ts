// Reclaim over generations (CONFIG_LRU_GEN, mm/vmscan.c), which takes the place of the active and inactive lists when it is on.
//
//   aging      incMaxSeq: a new youngest generation, after the page tables of the group were walked (lru-gen-walk.ts). No notifier.
//   eviction   up to 64 pages of the oldest generation at a time. Those that a walk promoted meanwhile, or that came back after they were
//              evicted (refs 4), move on instead. The rest goes to shrinkFolioList, and from there notifiers are asked.
//   look around  an entry found used by eviction makes it look at the 64 around it.
//
// Eviction needs three generations. With fewer, or when the youngest holds more than half of the pages, it ages first, but not in
// its first look. kswapd ages like everybody else here. Lists change between points only.
//
// Kernel names: lru_gen_shrink_lruvec, get_nr_to_scan, should_run_aging, evict_folios, isolate_folios, scan_folios, sort_folio,
// isolate_folio, get_tier_idx, get_type_to_scan, try_to_inc_min_seq, inc_min_seq, try_to_inc_max_seq, inc_max_seq, lru_gen_change_state.

import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import {
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_LOCKED,
  PG_MLOCKED,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
  PG_WRITEBACK,
} from '../page/pages.ts';
import { noteLruScan } from './lru.ts';
import {
  LRU_REFS_MAX,
  LruGen,
  LruGenState,
  MAX_NR_GENS,
  MAX_NR_TIERS,
  MIN_LRU_BATCH,
  MIN_NR_GENS,
  positiveControlError,
  tierFromRefs,
} from './lru-gen.ts';
import { walkPageTables } from './lru-gen-walk.ts';
import { LRU_UNEVICTABLE } from './lruvec.ts';
import type { MemCgroup } from './mem-cgroup.ts';
import type { ScanControl } from './shrink.ts';

const DEF_PRIORITY = 12;
const SWAPPINESS = 60;
const ANON = 0;
const FILE = 1;
const MAX_LRU_BATCH = MIN_LRU_BATCH * 64;

/** A write to /sys/kernel/mm/lru_gen/enabled: every page moves over to the other kind of lists. */
export function setLruGen(k: Kernel, on: boolean): void {
  const { reclaim, pages } = k;
  if (on === (reclaim.lruGen !== null)) return;
  noteLruScan(k);
  const state = on ? new LruGenState(pages.count) : null;
  for (const { lruvec } of reclaim.groups) {
    const taken: number[] = [];
    const { head, tail } = lruvec.gen ?? lruvec;
    for (let list = 0; list < head.length; list++) {
      if (lruvec.gen === null && list === LRU_UNEVICTABLE) continue;
      while (tail[list] !== 0) {
        taken.push(tail[list]!);
        lruvec.remove(pages, tail[list]!);
      }
    }
    lruvec.gen = state === null ? null : new LruGen(state);
    for (const pfn of taken) lruvec.add(pages, pfn);
  }
  reclaim.lruGen = state;
}

/** lru_gen_shrink_lruvec. */
export function* lruGenShrinkLruvec(k: Kernel, group: MemCgroup, sc: ScanControl): KernelPath<void> {
  const gen = group.lruvec.gen!;
  const startSeq = gen.maxSeq;
  for (let scanned = 0; ; ) {
    noteLruScan(k);
    const canSwap = k.swap.free >= MIN_LRU_BATCH;
    const want = pagesToScan(k, group, sc, canSwap);
    if (want === 0) return;
    const delta = yield* evict(k, group, sc, canSwap);
    scanned += delta;
    if (delta === 0 || scanned >= want || gen.maxSeq - startSeq > 1) return;
    // Without a group to shrink, what was asked for is enough.
    if (sc.target === null && sc.freed >= sc.want) return;
  }
}

/** get_nr_to_scan: pages to look at, after aging where that is due. */
function pagesToScan(k: Kernel, group: MemCgroup, sc: ScanControl, canSwap: boolean): number {
  const gen = group.lruvec.gen!;
  const oldest = (): number => gen.minSeq[canSwap ? ANON : FILE]!;
  let old = 0;
  let young = 0;
  let total = 0;
  for (let kind = canSwap ? ANON : FILE; kind <= FILE; kind++) {
    for (let seq = gen.minSeq[kind]!; seq <= gen.maxSeq; seq++) {
      const size = gen.size(k.pages, seq, kind);
      total += size;
      if (seq === gen.maxSeq) young += size;
      else if (seq + MIN_NR_GENS === gen.maxSeq) old += size;
    }
  }
  const want = total >> sc.priority;
  const spare = gen.maxSeq - oldest() - MIN_NR_GENS;
  const isUneven = young * MIN_NR_GENS > total || old * (MIN_NR_GENS + 2) < total;
  if (spare > 0 || (spare === 0 && !isUneven)) return want;
  if (sc.priority !== DEF_PRIORITY) {
    age(k, group, canSwap);
    return want;
  }
  return spare >= 0 ? want : 0;
}

/** try_to_inc_max_seq, inc_max_seq: a new youngest generation. */
function age(k: Kernel, group: MemCgroup, canSwap: boolean): void {
  const gen = group.lruvec.gen!;
  walkPageTables(k, group, canSwap);
  for (let kind = FILE; kind >= ANON; kind--) if (gen.gens(kind) === MAX_NR_GENS) incMinSeq(k, gen, kind);
  gen.maxSeq++;
}

/** inc_min_seq: the oldest generation of a kind joins the next one, to make room. Without swap nobody takes anonymous pages. */
function incMinSeq(k: Kernel, gen: LruGen, kind: number): void {
  const list = gen.listOf(gen.minSeq[kind]!, kind);
  for (let pfn = gen.tail[list]!; pfn !== 0; pfn = gen.tail[list]!)
    gen.move(k.pages, pfn, gen.incGen(k.pages, pfn, kind, false), true);
  gen.carryOver(kind);
  gen.minSeq[kind]!++;
}

/** try_to_inc_min_seq: 1 when the oldest generation of a kind was empty, and is gone. */
function dropEmpty(gen: LruGen, canSwap: boolean): number {
  const min = [...gen.minSeq];
  for (let kind = canSwap ? ANON : FILE; kind <= FILE; kind++) {
    while (min[kind]! + MIN_NR_GENS <= gen.maxSeq && gen.head[gen.listOf(min[kind]!, kind)] === 0) min[kind]!++;
  }
  if (canSwap) {
    min[ANON] = Math.min(min[ANON]!, min[FILE]!);
    min[FILE] = Math.max(min[ANON]!, gen.minSeq[FILE]!);
  }
  let dropped = 0;
  for (let kind = canSwap ? ANON : FILE; kind <= FILE; kind++) {
    if (min[kind] === gen.minSeq[kind]) continue;
    gen.carryOver(kind);
    gen.minSeq[kind] = min[kind]!;
    dropped = 1;
  }
  return dropped;
}

/** evict_folios: pages looked at; 0: there is no point in going on. */
function* evict(k: Kernel, group: MemCgroup, sc: ScanControl, canSwap: boolean): KernelPath<number> {
  const gen = group.lruvec.gen!;
  const pages: number[] = [];
  let scanned = isolate(k, gen, canSwap, pages);
  scanned += dropEmpty(gen, canSwap);
  if (gen.gens(canSwap ? ANON : FILE) === MIN_NR_GENS) scanned = 0;
  if (pages.length > 0) sc.freed += yield* k.fn.shrinkFolioList(k, pages, sc.isKswapd, false, sc.target, true);
  return scanned;
}

/** isolate_folios. */
function isolate(k: Kernel, gen: LruGen, canSwap: boolean, out: number[]): number {
  let kind = FILE;
  let tier = -1;
  if (canSwap) {
    if (gen.minSeq[ANON]! < gen.minSeq[FILE]!) kind = ANON;
    else [kind, tier] = kindToScan(gen);
  }
  for (let i = canSwap ? 0 : 1; i < 2; i++) {
    const scanned = scan(k, gen, kind, tier < 0 ? lastTier(gen, kind) : tier, out);
    if (scanned > 0) return scanned;
    kind = 1 - kind;
    tier = -1;
  }
  return 0;
}

/** get_type_to_scan: the kind whose pages come back less, by swappiness, and its last tier to go. */
function kindToScan(gen: LruGen): [number, number] {
  const gain = [SWAPPINESS, 200 - SWAPPINESS];
  const isFile = positiveControlError(gen.control(ANON, 0, gain[ANON]!), gen.control(FILE, 0, gain[FILE]!));
  const kind = isFile ? FILE : ANON;
  const other = gen.control(1 - kind, 0, gain[1 - kind]!);
  let tier = 1;
  while (tier < MAX_NR_TIERS && positiveControlError(other, gen.control(kind, tier, gain[kind]!))) tier++;
  return [kind, tier - 1];
}

/** get_tier_idx. */
function lastTier(gen: LruGen, kind: number): number {
  const first = gen.control(kind, 0, 1);
  let tier = 1;
  while (tier < MAX_NR_TIERS && positiveControlError(first, gen.control(kind, tier, 2))) tier++;
  return tier - 1;
}

/** scan_folios: takes pages of the oldest generation off its tail. 0 when it found none to take. */
function scan(k: Kernel, gen: LruGen, kind: number, lastTierToGo: number, out: number[]): number {
  if (gen.gens(kind) === MIN_NR_GENS) return 0;
  const { order, refcount, flags } = k.pages;
  const list = gen.listOf(gen.minSeq[kind]!, kind);
  let remaining = MAX_LRU_BATCH;
  let [scanned, isolated] = [0, 0];
  for (let pfn = gen.tail[list]!; pfn !== 0; pfn = gen.tail[list]!) {
    const size = 1 << order[pfn]!;
    scanned += size;
    if (!sort(k, gen, pfn, kind, lastTierToGo)) {
      // isolate_folio.
      if ((flags[pfn]! & PG_REFERENCED) === 0) gen.state.clearRefs(k.pages, pfn);
      flags[pfn] = flags[pfn]! & ~(PG_RECLAIM | PG_REFERENCED);
      k.fn.lruDel(k, pfn);
      flags[pfn] = flags[pfn]! & ~PG_ACTIVE;
      refcount[pfn] = refcount[pfn]! + 1;
      out.push(pfn);
      isolated += size;
    }
    if (--remaining === 0 || isolated >= MIN_LRU_BATCH) break;
  }
  return isolated > 0 || remaining === 0 ? scanned : 0;
}

/** sort_folio: true when the page goes elsewhere. */
function sort(k: Kernel, gen: LruGen, pfn: number, kind: number, lastTierToGo: number): boolean {
  const { flags } = k.pages;
  const f = flags[pfn]!;
  const { state } = gen;
  if ((f & (PG_UNEVICTABLE | PG_MLOCKED)) !== 0) {
    k.fn.lruDel(k, pfn);
    flags[pfn] = (flags[pfn]! & ~PG_ACTIVE) | PG_UNEVICTABLE;
    k.fn.lruAdd(k, pfn);
    return true;
  }
  if (kind === FILE && (f & PG_ANON) !== 0 && (f & PG_DIRTY) !== 0) {
    // A page that was to be dropped (MADV_FREE) and was written since.
    k.fn.lruDel(k, pfn);
    flags[pfn] = (flags[pfn]! & ~PG_ACTIVE) | PG_SWAPBACKED;
    k.reclaim.add(pfn, true);
    return true;
  }
  const pageGen = state.gen[pfn]! - 1;
  if (pageGen !== gen.minSeq[kind]! % MAX_NR_GENS) {
    gen.move(k.pages, pfn, pageGen * 2 + kind, false);
    return true;
  }
  const refs = state.refsOf(k.pages, pfn);
  const tier = tierFromRefs(refs);
  if (tier > lastTierToGo || refs > LRU_REFS_MAX) {
    gen.move(k.pages, pfn, gen.incGen(k.pages, pfn, kind, false), true);
    if (refs <= LRU_REFS_MAX) gen.spared[kind * MAX_NR_TIERS + tier]!++;
    return true;
  }
  if ((f & (PG_LOCKED | PG_WRITEBACK)) !== 0 || (kind === FILE && (f & PG_DIRTY) !== 0)) {
    gen.move(k.pages, pfn, gen.incGen(k.pages, pfn, kind, true), false);
    return true;
  }
  return false;
}
