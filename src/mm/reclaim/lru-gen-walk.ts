// How the multi-generational LRU finds used pages in page tables: the aging walks those of the group's address spaces, and eviction looks
// around an entry that it found used. Both clear A of the CPU's entries and mark the pages as the youngest generation; no notifier is
// asked or told (the walk of 6.1), and no TLB flushed.
//
//   which address spaces   those that ran since the last walk and have 64 pages or more, by the counters of mm_struct: a task adds what
//                          its faults mapped only every 64 faults (SPLIT_RSS_COUNTING), so a small program may be passed over
//   which tables           those where the last walk found one entry of eight used, or where eviction did (the Bloom filters, here exact
//                          sets; the first walk takes all). A of PMD entries is not used as a hint.
//
// Locks: ptl, tried. Kernel names: walk_mm, should_skip_mm, should_skip_vma, walk_pte_range, suitable_to_scan, lru_gen_look_around,
// lru_gen_enter_fault, lru_gen_use_mm, check_sync_rss_stat.

import {
  MM_ANONPAGES,
  MM_FILEPAGES,
  MM_SHMEMPAGES,
  VM_HUGETLB,
  VM_LOCKED,
  VM_RAND_READ,
  VM_SEQ_READ,
  VM_SPECIAL,
} from '../../abi/mman.ts';
import { LEVEL_PTE, PTE_A, PTE_D } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { pteOffset } from '../fault/page-tables.ts';
import { setPageDirty } from '../file/page-cache.ts';
import { pmdIsTable } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_ANON, PG_DIRTY, PG_RESERVED, PG_SWAPBACKED, PG_SWAPCACHE } from '../page/pages.ts';
import { pteFrame, ptePresent, pteSpecial } from '../page/swapops.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { nextPopulatedPmd, pmdEnd } from '../zap/walk-range.ts';
import { type LruGen, MIN_LRU_BATCH } from './lru-gen.ts';
import type { MemCgroup } from './mem-cgroup.ts';

const PAGE = 4096;
/** TASK_RSS_EVENTS_THRESH. */
const RSS_EVENTS = 64;
/** Entries of a table in one cache line: one used entry for each makes a table worth the walk. */
const ENTRIES_PER_LINE = 8;

/** What the aging knows of an address space. */
export class MmUse {
  /** It ran since the last walk. */
  hasRan = true;
  /** Faults since its task last added its own counters, and what those hold: file pages, anonymous pages, shmem. */
  events = 0;
  readonly unsynced = [0, 0, 0];
}

const COUNTERS = [MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES] as const;

export function mmUse(k: Kernel, mm: MmStruct): MmUse {
  const { used } = k.reclaim.lruGen!;
  let use = used.get(mm);
  if (use === undefined) used.set(mm, (use = new MmUse()));
  return use;
}

/** handle_mm_fault around the fault itself: pages that come now are in use, unless they are read in order or at random. */
export function* faultOfGenerations(k: Kernel, vma: VmArea, fault: KernelPath<number>): KernelPath<number> {
  const { mm } = vma;
  const use = mmUse(k, mm);
  use.hasRan = true;
  if (use.events++ > RSS_EVENTS) {
    use.events = 0;
    use.unsynced.fill(0);
  }
  const before = COUNTERS.map((c) => mm.rss[c]!);
  const thread = k.sched.current;
  const inFault = k.reclaim.lruGen!.inFault;
  if ((vma.flags & (VM_SEQ_READ | VM_RAND_READ)) === 0) inFault.add(thread);
  const result = yield* fault;
  inFault.delete(thread);
  for (let i = 0; i < COUNTERS.length; i++) use.unsynced[i]! += mm.rss[COUNTERS[i]!]! - before[i]!;
  return result;
}

/** Walks the page tables of the group, for the youngest generation that there is. */
export function walkPageTables(k: Kernel, group: MemCgroup, canSwap: boolean): void {
  const gen = group.lruvec.gen!;
  let isFirst = true;
  for (const mm of k.mms.values()) {
    if (mm.memcg !== group.id || mm.isExiting || shouldSkipMm(k, mm, canSwap)) continue;
    // The tables worth a walk next time are noted anew.
    if (isFirst) gen.filters[(gen.maxSeq + 1) & 1] = new Set();
    isFirst = false;
    for (let vma = mm.vmas.first(); vma !== null; vma = mm.vmas.next(vma)) walkVma(k, gen, group, vma, canSwap);
  }
}

function shouldSkipMm(k: Kernel, mm: MmStruct, canSwap: boolean): boolean {
  const use = mmUse(k, mm);
  if (!use.hasRan) return true;
  use.hasRan = false;
  let size = 0;
  for (let i = 0; i < COUNTERS.length; i++) if (canSwap || COUNTERS[i] === MM_FILEPAGES) size += counter(mm, use, i);
  return size < MIN_LRU_BATCH;
}

/** get_mm_counter. */
function counter(mm: MmStruct, use: MmUse, i: number): number {
  return Math.max(0, mm.rss[COUNTERS[i]!]! - use.unsynced[i]!);
}

function walkVma(k: Kernel, gen: LruGen, group: MemCgroup, vma: VmArea, canSwap: boolean): void {
  // should_skip_vma.
  if ((vma.flags & (VM_LOCKED | VM_SPECIAL | VM_HUGETLB | VM_SEQ_READ | VM_RAND_READ)) !== 0) return;
  if (vma.file === null && !canSwap) return;
  const m = k.memory;
  const root = vma.mm.pgd;
  const [now, next] = [gen.filters[gen.maxSeq & 1]!, gen.filters[(gen.maxSeq + 1) & 1]!];
  for (let at = nextPopulatedPmd(m, root, vma.start, vma.end); at < vma.end; ) {
    const end = pmdEnd(at, vma.end);
    const word = pmdWord(m, root, vpnHi(at), vpnLo(at));
    const pmd = entryLo(m, word);
    const table = pmd >>> 12;
    if (!pmdIsTable(pmd)) walkHuge(k, gen, group, vma, word, at, canSwap);
    else if ((now === null || now.has(table)) && k.ptl.tryLock(table)) {
      const young = takeYoung(k, gen, group, vma, table, at, end, canSwap);
      k.ptl.unlock(table);
      if (isWorthWalking((end - at) / PAGE, young)) next?.add(table);
    }
    at = nextPopulatedPmd(m, root, end, vma.end);
  }
}

/** walk_pmd_range_locked, of one huge entry. */
function walkHuge(
  k: Kernel,
  gen: LruGen,
  group: MemCgroup,
  vma: VmArea,
  word: number,
  at: number,
  canSwap: boolean,
): void {
  const m = k.memory;
  const lo = entryLo(m, word);
  if (!ptePresent(lo) || (lo & PTE_A) === 0 || !isWanted(k, group, pteFrame(lo), canSwap)) return;
  if (!k.ptl.tryLock(word >>> 10)) return;
  writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), vma.mm.id, at, LEVEL_PTE + 1);
  gen.state.updateGen(k.pages, compoundHead(k.pages, pteFrame(lo)), gen.maxSeq);
  k.ptl.unlock(word >>> 10);
}

/** suitable_to_scan. */
function isWorthWalking(total: number, young: number): boolean {
  return young * ENTRIES_PER_LINE >= total;
}

/** get_pfn_folio: a page that the group's generations hold. */
function isWanted(k: Kernel, group: MemCgroup, pfn: number, canSwap: boolean): boolean {
  const f = k.pages.flags[pfn]!;
  if ((f & PG_RESERVED) !== 0) return false;
  const head = compoundHead(k.pages, pfn);
  return k.pages.memcg[head] === group.id && (canSwap || (k.pages.flags[head]! & PG_SWAPBACKED) === 0);
}

/** Clears A of the entries of [start, end) in one table and marks their pages; how many were set. ptl held. */
function takeYoung(
  k: Kernel,
  gen: LruGen,
  group: MemCgroup,
  vma: VmArea,
  table: number,
  start: number,
  end: number,
  canSwap: boolean,
): number {
  const m = k.memory;
  let young = 0;
  for (let at = start; at < end; at += PAGE) {
    const word = pteOffset(table, at);
    const lo = entryLo(m, word);
    if (!ptePresent(lo) || (lo & PTE_A) === 0 || pteSpecial(lo)) continue;
    const pfn = pteFrame(lo);
    if (!isWanted(k, group, pfn, canSwap)) continue;
    writeEntry(m, word, lo & ~PTE_A, entryHi(m, word), vma.mm.id, at, LEVEL_PTE);
    young++;
    const head = compoundHead(k.pages, pfn);
    const f = k.pages.flags[head]!;
    const isPlainAnon = (f & (PG_ANON | PG_SWAPBACKED | PG_SWAPCACHE)) === (PG_ANON | PG_SWAPBACKED);
    if ((lo & PTE_D) !== 0 && (f & PG_DIRTY) === 0 && !isPlainAnon) setPageDirty(k, head);
    gen.state.updateGen(k.pages, head, gen.maxSeq);
  }
  return young;
}

/** lru_gen_look_around: the entry at `address`, in `table`, was used; so may its neighbours be. ptl held. */
export function lookAround(k: Kernel, vma: VmArea, table: number, address: number, pfn: number): void {
  const group = k.reclaim.groups[k.pages.memcg[compoundHead(k.pages, pfn)]!]!;
  const gen = group.lruvec.gen!;
  const half = (MIN_LRU_BATCH / 2) * PAGE;
  const tableStart = address - (address % (512 * PAGE));
  let start = Math.max(tableStart, vma.start);
  let end = Math.min(tableStart + 512 * PAGE, vma.end);
  if (end - start > 2 * half) {
    if (address - start < half) end = start + 2 * half;
    else if (end - address < half) start = end - 2 * half;
    else [start, end] = [address - half, address + half];
  }
  const young = takeYoung(k, gen, group, vma, table, start, end, true);
  if (isWorthWalking((end - start) / PAGE, young)) gen.filters[gen.maxSeq & 1]?.add(table);
}
