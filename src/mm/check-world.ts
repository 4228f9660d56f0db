// Recounts everything that mm counts, from the page tables, caches and lists alone, and compares. O(everything): for tests,
// after each operation, while no kernel path is under way. Throws with the number of the invariant that fails.
//
//   I24  refcount = entries + page cache + swap cache + table links + pins; no frame is lost: each is free or accounted for
//   I25  mapcount          I26  rmap finds every mapping          I27  exclusivity          I29  RSS        (rmap/check.ts)
//   I28  swap_map = entries that name the slot + cache flag; slot and page name each other
//   I30  VMAs in order; total_vm
//   I31  leaves inside VMAs, tables linked once and counted
//
// Free lists, LRU lists and the swap area check their own links.

import { FRAME_KERNEL, FRAME_TABLE } from '../abi/events.ts';
import { PTE_P, PTE_PS } from '../abi/pte.ts';
import { assert, fail } from '../base/assert.ts';
import { vpnAddress } from '../hw/page-table.ts';
import { entryWord } from '../hw/pte.ts';
import { Recount } from './check-scratch.ts';
import { checkHuge } from './huge/check.ts';
import { depositsOf } from './huge/deposit.ts';
import { pmdFrame, pmdIsSwap, pmdTransHuge } from './huge/pmd.ts';
import { isHugeZero } from './huge/zero-page.ts';
import { checkHugetlb, mayShareTable } from './hugetlb/check.ts';
import type { Kernel } from './kernel.ts';
import { checkKsm } from './ksm/check.ts';
import { compoundHead } from './page/compound.ts';
import {
  GUP_PIN_COUNTING_BIAS,
  PG_ANON,
  PG_HUGETLB,
  PG_HWPOISON,
  PG_LRU,
  PG_RESERVED,
  PG_SWAPCACHE,
  PG_TABLE,
} from './page/pages.ts';
import { isDeviceExclusive, isDevicePrivate, swapPfn } from './page/pfn-swap.ts';
import { isRealSwap, pteFrame, pteIsSwap, ptePresent, pteSpecial, swapOffset } from './page/swapops.ts';
import { checkIntervals, checkRmap, forEachLeaf, nextEntry } from './rmap/check.ts';
import type { MmStruct } from './types.ts';

const recount = new Recount();
const NO_PINS: ReadonlyMap<number, number> = new Map();

const hex = (address: number): string => `0x${address.toString(16)}`;

/** `held`: references that the caller holds itself (get_user_pages), by frame. Pins are recognised by their size. */
export function checkWorld(k: Kernel, held: ReadonlyMap<number, number> = NO_PINS): void {
  recount.begin(k);
  const { refs, swapUsers } = recount;
  for (const mm of k.mms.values()) {
    // One whose last user is gone has no VMAs, and its total_vm stays as it was.
    if (mm.users > 0) checkVmas(mm);
    countTables(k, mm, refs);
    countLeaves(k, mm, refs, swapUsers);
  }
  countCaches(k, refs, swapUsers);
  checkSwap(k, swapUsers, refs);
  checkHugetlb(k, recount);
  checkHuge(k, recount);
  for (const [pfn, n] of held) refs[pfn] = refs[pfn]! + n;
  for (const pfn of k.reclaim.addBatch) refs[pfn] = refs[pfn]! + 1;
  checkFrames(k);
  checkDeviceFrames(k, refs);
  k.reclaim.checkInvariants();
  checkRmap(k, recount);
  checkKsm(k, recount);
  checkIntervals(k);
}

function checkVmas(mm: MmStruct): void {
  mm.vmas.checkInvariants();
  let count = 0;
  let pages = 0;
  let before = 0;
  for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
    if (v.start < before || v.start >= v.end || v.start % 4096 !== 0 || v.end % 4096 !== 0 || v.mm !== mm) {
      const place = `VMA ${hex(v.start)}-${hex(v.end)}`;
      throw new Error(`I30: ${place} comes after ${hex(before)}, is not empty, page aligned and of mm ${mm.id}`);
    }
    before = v.end;
    count++;
    pages += (v.end - v.start) / 4096;
  }
  if (count !== mm.vmas.count) throw new Error(`I30: mm ${mm.id} has ${count} VMAs, map_count says ${mm.vmas.count}`);
  if (pages !== mm.totalVm) throw new Error(`I30: mm ${mm.id} has ${pages} pages of VMAs, total_vm says ${mm.totalVm}`);
}

/** One reference for the PGD and one for each table that an entry links. */
function countTables(k: Kernel, mm: MmStruct, refs: Int32Array): void {
  const w = k.memory.words;
  let tables = 0;
  const link = (pfn: number, level: number, address: number, isShared: boolean): void => {
    const { flags, purpose } = k.pages;
    refs[pfn] = refs[pfn]! + 1;
    const isTable = purpose[pfn] === FRAME_TABLE && (pfn === mm.pgd || (flags[pfn]! & PG_TABLE) !== 0);
    if (isTable && (refs[pfn] === 1 || isShared)) return;
    const place = `mm ${mm.id} level ${level} entry at ${hex(address)}`;
    assert(isTable, `I31: ${place} points to frame ${pfn}, a table with PG_TABLE`);
    throw new Error(`I31: table ${pfn} (${place}) is linked once`);
  };
  const descend = (table: number, level: number, hi: number, lo: number): void => {
    let huge = 0;
    const end = entryWord(table, 512);
    for (let at = nextEntry(k, end - 1024, end); at < end; at = nextEntry(k, at + 2, end)) {
      const i = (at >> 1) & 511;
      const entry = w[at]!;
      if (level === 1 && isAnonHuge(k, mm, at, vpnAddress(hi, i << 9))) huge++;
      if ((entry & (PTE_P | PTE_PS)) !== PTE_P) continue;
      const nextHi = level === 3 ? i << 9 : level === 2 ? hi | i : hi;
      const nextLo = level === 1 ? i << 9 : lo;
      const address = vpnAddress(nextHi, nextLo);
      const isShared = mayShareTable(mm.vmas.find(address), level);
      link(entry >>> 12, level, address, isShared);
      tables++;
      if (level > 1) descend(entry >>> 12, level - 1, nextHi, nextLo);
    }
    if (level === 1) tables += countDeposits(k, table, huge, refs);
  };
  link(mm.pgd, 4, 0, false);
  descend(mm.pgd, 3, 0, 0);
  if (tables !== mm.tablePages)
    throw new Error(`I31: mm ${mm.id} has ${tables} tables, tablePages says ${mm.tablePages}`);
}

/** A huge entry, present or of a migration, in a VMA of anonymous memory. */
function isAnonHuge(k: Kernel, mm: MmStruct, word: number, address: number): boolean {
  const w = k.memory.words;
  const lo = w[word]!;
  if (!pmdTransHuge(lo) && !pmdIsSwap(lo, w[word + 1]!)) return false;
  const vma = mm.vmas.find(address);
  return vma !== null && vma.file === null;
}

/** The tables deposited with a PMD table, one for each huge entry of anonymous memory in it. Their number. */
function countDeposits(k: Kernel, pmdTable: number, huge: number, refs: Int32Array): number {
  const tables = depositsOf(k, pmdTable);
  if (tables.length !== huge)
    fail(`I31: PMD table ${pmdTable} has ${tables.length} tables deposited, ${huge} huge entries`);
  for (const table of tables) {
    if ((k.pages.flags[table]! & PG_TABLE) === 0) fail(`I31: deposited table ${table} has PG_TABLE`);
    refs[table] = refs[table]! + 1;
    if (refs[table] !== 1) fail(`I31: deposited table ${table} is linked once`);
  }
  return tables.length;
}

function countLeaves(k: Kernel, mm: MmStruct, refs: Int32Array, swapUsers: Uint32Array): void {
  let [start, end] = [0, 0];
  forEachLeaf(k, mm, (_mm, address, lo, hi, isHuge) => {
    if (address < start || address >= end) {
      const vma = mm.vmas.findExact(address);
      if (vma === null) throw new Error(`I31: mm ${mm.id} entry at ${hex(address)} lies in a VMA`);
      start = vma.start;
      end = vma.end;
    }
    if (isHuge) {
      if (pmdTransHuge(lo) && !isHugeZero(k, pmdFrame(lo))) refs[pmdFrame(lo)]!++;
      return;
    }
    if (pteIsSwap(lo, hi)) {
      if (!isRealSwap(hi)) {
        const pfn = swapPfn(lo);
        if (isDevicePrivate(hi) || isDeviceExclusive(hi)) refs[compoundHead(k.pages, pfn)]!++;
        return;
      }
      const slot = swapOffset(lo, hi);
      if (slot < 1 || slot > k.swap.pages)
        throw new Error(`I28: mm ${mm.id} entry at ${hex(address)} names slot ${slot} of the swap area`);
      swapUsers[slot] = swapUsers[slot]! + 1;
    } else if (ptePresent(lo) && !pteSpecial(lo)) {
      const pfn = pteFrame(lo);
      if (pfn >= k.pages.count)
        throw new Error(`I31: mm ${mm.id} entry at ${hex(address)} points to frame ${pfn}, which exists`);
      refs[compoundHead(k.pages, pfn)]!++;
    }
  });
}

/** Page cache and shmem's swapped pages. */
function countCaches(k: Kernel, refs: Int32Array, swapUsers: Uint32Array): void {
  for (const inode of k.inodes.values()) {
    for (const [index, pfn] of inode.mapping.pages) {
      const head = compoundHead(k.pages, pfn);
      refs[head] = refs[head]! + 1;
      const knows = k.pages.mapping[head] === inode.mapping && k.pages.index[head] === index - (pfn - head);
      if (!knows) fail(`I24: page ${pfn} knows its place ${index} in inode ${inode.id}`);
    }
    for (const slot of inode.mapping.swapped.values()) swapUsers[slot] = swapUsers[slot]! + 1;
  }
}

function checkSwap(k: Kernel, swapUsers: Uint32Array, refs: Int32Array): void {
  k.swap.checkInvariants();
  for (let slot = 1; slot <= k.swap.pages; slot++) {
    const users = k.swap.users(slot);
    if (users !== swapUsers[slot])
      throw new Error(`I28: slot ${slot} has ${swapUsers[slot]} entries, swap_map says ${users}`);
    const pfn = k.swap.cached(slot);
    if (pfn === 0) {
      if (k.swap.hasCache(slot)) throw new Error(`I28: slot ${slot} has the cache flag and no page`);
      continue;
    }
    const head = compoundHead(k.pages, pfn);
    const knows = (k.pages.flags[head]! & PG_SWAPCACHE) !== 0 && k.pages.private[pfn] === slot;
    if (!knows) fail(`I28: page ${pfn} knows its slot ${slot}`);
    refs[head] = refs[head]! + 1;
  }
  for (let i = 0; i < recount.live; i++) {
    const pfn = recount.frames[i]!;
    if ((k.pages.flags[pfn]! & PG_SWAPCACHE) === 0) continue;
    const slot = k.pages.private[pfn]!;
    if (k.swap.cached(slot) !== pfn) fail(`I28: slot ${slot} knows its page ${pfn}`);
  }
}

/** A tail of a compound page: its head has the counts. */
function checkTail(k: Kernel, pfn: number, count: number, found: number): void {
  const head = k.pages.head[pfn]!;
  const nr = 1 << k.pages.order[head]!;
  if (k.pages.head[head] !== 0 || pfn <= head || pfn >= head + nr) fail(`I24: frame ${pfn} is a tail of ${head}`);
  if (count !== 0 || found !== 0) fail(`I24: tail ${pfn} has refcount ${count}, recount ${found}`);
  if ((k.pages.flags[pfn]! & PG_LRU) !== 0) fail(`LRU: tail ${pfn} is on no list`);
}

function checkFrames(k: Kernel): void {
  const { refs, free, frames, live } = recount;
  const { flags, refcount } = k.pages;
  for (let pfn = 1; pfn < k.pages.count; pfn++)
    if (free[pfn] === 1 && refs[pfn] !== 0) fail(`I24: free frame ${pfn} has recount ${refs[pfn]}`);
  for (let i = 0; i < live; i++) {
    const pfn = frames[i]!;
    const f = flags[pfn]!;
    if ((f & PG_RESERVED) !== 0) continue;
    const count = refcount[pfn]!;
    if (k.pages.head[pfn] !== 0) {
      checkTail(k, pfn, count, refs[pfn]!);
      continue;
    }
    if ((f & PG_HUGETLB) !== 0) {
      const want = refs[pfn]! + k.pages.pincount[pfn]!;
      if (count !== want) fail(`I24: huge page ${pfn} has refcount ${count}, recount ${want}`);
      continue;
    }
    // Memory of the kernel itself and of drivers: one reference.
    if (k.pages.purpose[pfn] === FRAME_KERNEL) refs[pfn] = refs[pfn]! + 1;
    // memory_failure keeps a broken frame for good, with its own reference if nobody else's.
    if ((f & PG_HWPOISON) !== 0) continue;
    const isSmall = k.pages.order[pfn] === 0;
    const pins = isSmall ? count - (count % GUP_PIN_COUNTING_BIAS) : k.pages.pincount[pfn]!;
    if (count <= 0) fail(`I24: frame ${pfn} is not free and has refcount ${count}: lost`);
    if (count !== refs[pfn]! + pins) fail(`I24: frame ${pfn} has refcount ${count}, recount ${refs[pfn]}`);
    const isData = (f & PG_ANON) !== 0 || k.pages.mapping[pfn] !== null || (f & PG_SWAPCACHE) !== 0;
    if (isData === ((f & PG_LRU) !== 0) || k.reclaim.addBatch.includes(pfn)) continue;
    fail(`LRU: page ${pfn} is ${isData ? '' : 'not '}anonymous or cached and on ${isData ? 'no' : 'a'} list`);
  }
}

/** Memory of a device: no list, no cache; a page is free (count 0) or referenced by the entries that name it. */
function checkDeviceFrames(k: Kernel, refs: Int32Array): void {
  for (let pfn = k.pages.count; pfn < k.pages.end; pfn++) {
    const count = k.pages.refcount[pfn]!;
    if (count !== refs[pfn]) fail(`I24: device frame ${pfn} has refcount ${count}, recount ${refs[pfn]}`);
    if ((k.pages.flags[pfn]! & PG_LRU) !== 0) fail(`LRU: device frame ${pfn} is on no list`);
  }
}
