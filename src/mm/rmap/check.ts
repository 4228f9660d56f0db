// Checks of room rmap by naive walks of every page table: mapcounts, RSS, exclusivity, and that the reverse map of each mapped page finds
// exactly the entries that map it. For tests; numbers are those of the invariants' list.

import { MM_SWAPENTS, VM_HUGETLB } from '../../abi/mman.ts';
import { PTE_P, PTE_PS, PTE_RW, PTE_SPECIAL } from '../../abi/pte.ts';
import { assert } from '../../base/assert.ts';
import { pmdWord, vpnAddress, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryWord } from '../../hw/pte.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { ksmPlaces } from '../ksm/rmap-walk.ts';
import { pageStableNode } from '../ksm/stable-tree.ts';
import { compoundHead, HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_HUGETLB, PG_KSM, PG_RESERVED } from '../page/pages.ts';
import { isDeviceExclusive, isDevicePrivate, isMigration, swapPfn } from '../page/pfn-swap.ts';
import { isRealSwap, pteFrame, pteIsSwap, ptePresent } from '../page/swapops.ts';
import type { AddressSpace, AnonVma, AnonVmaChain, MmStruct, VmArea } from '../types.ts';
import { mmCounter, vmaAddress } from './rmap.ts';
import { mappingWord, rmapNext, rmapVma } from './walk.ts';

export type LeafVisitor = (mm: MmStruct, address: number, lo: number, hi: number, isHuge: boolean) => void;

function isHugetlb(mm: MmStruct, address: number): boolean {
  const vma = mm.vmas.findExact(address);
  return vma !== null && (vma.flags & VM_HUGETLB) !== 0;
}

/** Calls `visit` for every leaf entry of the address space that is not none; hugetlb's are for hugetlb/check.ts. */
export function forEachLeaf(k: Kernel, mm: MmStruct, visit: LeafVisitor): void {
  const w = k.memory.words;
  forEachPmd(k, mm, (word, hi, lo) => {
    const entry = w[word]!;
    if ((entry & (PTE_P | PTE_PS)) === PTE_P) {
      const end = entryWord(entry >>> 12, 512);
      for (let at = nextEntry(k, end - 1024, end); at < end; at = nextEntry(k, at + 2, end))
        visit(mm, vpnAddress(hi, lo | ((at >> 1) & 511)), w[at]!, w[at + 1]!, false);
    } else {
      const address = vpnAddress(hi, lo);
      if (!isHugetlb(mm, address)) visit(mm, address, entry, w[word + 1]!, true);
    }
  });
}

/** Calls `visit` with the word of every PMD entry that is not none, and the halves of the page number of its address. */
function forEachPmd(k: Kernel, mm: MmStruct, visit: (word: number, hi: number, lo: number) => void): void {
  const w = k.memory.words;
  const pgdEnd = entryWord(mm.pgd, 512);
  for (let g = nextEntry(k, pgdEnd - 1024, pgdEnd); g < pgdEnd; g = nextEntry(k, g + 2, pgdEnd)) {
    const pudEnd = entryWord(w[g]! >>> 12, 512);
    for (let u = nextEntry(k, pudEnd - 1024, pudEnd); u < pudEnd; u = nextEntry(k, u + 2, pudEnd)) {
      if ((w[u]! & (PTE_P | PTE_PS)) !== PTE_P) continue;
      const hi = (((g >> 1) & 511) << 9) | ((u >> 1) & 511);
      const pmdEnd = entryWord(w[u]! >>> 12, 512);
      for (let p = nextEntry(k, pmdEnd - 1024, pmdEnd); p < pmdEnd; p = nextEntry(k, p + 2, pmdEnd))
        visit(p, hi, ((p >> 1) & 511) << 9);
    }
  }
}

/** First word of [word, end) whose entry is not none. Most tables are nearly empty: whole entries are looked at, as doubles. */
function nextEntry(k: Kernel, word: number, end: number): number {
  const { doubles } = k.memory;
  let at = word >> 1;
  const stop = end >> 1;
  while (at < stop && doubles[at] === 0) at++;
  return at << 1;
}

/** A place of a page as one number: pages are aligned, so the number of the address space fits below. */
function placeOf(mm: MmStruct, address: number): number {
  assert(mm.id < 4096, 'placeOf: few address spaces');
  return address + mm.id;
}

function placeName(place: number): string {
  const mm = place % 4096;
  return `${mm}:${(place - mm).toString(16)}`;
}

function isSamePlaces(a: number[], b: number[]): boolean {
  if (a.length !== b.length) return false;
  if (a.length === 1) return a[0] === b[0];
  a.sort((x, y) => x - y);
  b.sort((x, y) => x - y);
  return a.every((x, i) => x === b[i]);
}

function checkFound(pfn: number, walked: number[], found: number[]): void {
  if (isSamePlaces(walked, found)) return;
  throw new Error(`I26: rmap of ${pfn} finds ${walked.map(placeName)}, mapped at ${found.map(placeName)}`);
}

const NOWHERE: number[] = [];

/** I25-I27, I29 of every address space. Throws naming the page and the invariant. */
export function checkRmap(k: Kernel): void {
  const places = new Map<number, number[]>();
  const hugePlaces = new Map<number, number[]>();
  const isMappedAt = (pfn: number, mm: MmStruct, address: number): void => {
    const found = places.get(pfn);
    if (found === undefined) places.set(pfn, [placeOf(mm, address)]);
    else found.push(placeOf(mm, address));
  };
  for (const mm of k.mms.values()) {
    const rss = [0, 0, 0, 0];
    forEachLeaf(k, mm, (_mm, address, lo, hi, isHuge) => {
      if (isHuge) {
        noteHugeLeaf(k, mm, address, lo, rss, hugePlaces);
        return;
      }
      if (pteIsSwap(lo, hi)) {
        const pfn = swapPfn(lo);
        if (isRealSwap(hi)) rss[MM_SWAPENTS]!++;
        else if (isMigration(hi) || isDeviceExclusive(hi)) rss[mmCounter(k.pages, compoundHead(k.pages, pfn))]!++;
        else if (isDevicePrivate(hi)) {
          rss[mmCounter(k.pages, pfn)]!++;
          isMappedAt(pfn, mm, address);
        }
        return;
      }
      if (!ptePresent(lo) || (lo & PTE_SPECIAL) !== 0) return;
      const pfn = pteFrame(lo);
      rss[mmCounter(k.pages, pfn)]!++;
      isMappedAt(pfn, mm, address);
      const flags =
        (k.pages.flags[compoundHead(k.pages, pfn)]! & ~PG_ANON_EXCLUSIVE) | (k.pages.flags[pfn]! & PG_ANON_EXCLUSIVE);
      const writableAnon = (flags & PG_ANON) !== 0 && (lo & PTE_P) !== 0 && (lo & PTE_RW) !== 0;
      if (writableAnon && (flags & PG_ANON_EXCLUSIVE) === 0)
        throw new Error(`I27: writable anonymous page ${pfn} is exclusive`);
    });
    for (let i = 0; i < 4; i++) assert(mm.rss[i] === rss[i], `I29: mm ${mm.id} rss[${i}] ${mm.rss[i]} = ${rss[i]}`);
  }
  for (let pfn = 1; pfn < k.pages.end; pfn++) {
    const flags = k.pages.flags[pfn]!;
    const found = places.get(pfn) ?? NOWHERE;
    if ((flags & PG_RESERVED) !== 0) continue;
    if (k.pages.mapcount[pfn] !== found.length)
      throw new Error(`I25: mapcount of ${pfn} is ${k.pages.mapcount[pfn]}, mapped at ${found.map(placeName)}`);
    if (found.length === 0) continue;
    const exclusive = (flags & (PG_ANON | PG_ANON_EXCLUSIVE)) === (PG_ANON | PG_ANON_EXCLUSIVE);
    if (exclusive && found.some((place) => place % 4096 !== found[0]! % 4096))
      throw new Error(`I27: exclusive page ${pfn} has one owner`);
    const walked: number[] = [];
    if ((flags & PG_KSM) !== 0) {
      checkKsmRmap(k, pfn, found);
      continue;
    }
    const head = compoundHead(k.pages, pfn);
    for (let at = rmapNext(k, head, 0); at >= 0; at = rmapNext(k, head, at + 1)) {
      const vma = rmapVma(k, head, at);
      const address = vmaAddress(vma, k.pages.index[head]! + pfn - head);
      if (address >= vma.start && address < vma.end && mappingWord(k, vma.mm, address, pfn) >= 0)
        walked.push(placeOf(vma.mm, address));
    }
    checkFound(pfn, walked, found);
  }
  checkHugeRmap(k, hugePlaces);
}

/** A huge entry: 512 pages of RSS, unless it maps the huge zero page. */
function noteHugeLeaf(
  k: Kernel,
  mm: MmStruct,
  address: number,
  lo: number,
  rss: number[],
  places: Map<number, number[]>,
): void {
  const head = pmdTransHuge(lo) ? pmdFrame(lo) : swapPfn(lo);
  if (isHugeZero(k, head)) return;
  rss[mmCounter(k.pages, head)]! += HPAGE_PMD_NR;
  if (!pmdTransHuge(lo)) return;
  const found = places.get(head) ?? [];
  found.push(placeOf(mm, address));
  places.set(head, found);
  const isWritableAnon = (k.pages.flags[head]! & PG_ANON) !== 0 && (lo & PTE_P) !== 0 && (lo & PTE_RW) !== 0;
  const isExclusive = (k.pages.flags[head]! & PG_ANON_EXCLUSIVE) !== 0;
  assert(!isWritableAnon || isExclusive, `I27: writable anonymous huge page ${head} is exclusive`);
}

/** Counts and rmap of pages that huge entries map. */
function checkHugeRmap(k: Kernel, places: ReadonlyMap<number, number[]>): void {
  for (let head = 1; head < k.pages.count; head++) {
    if ((k.pages.flags[head]! & PG_HUGETLB) !== 0) continue;
    const found = places.get(head) ?? NOWHERE;
    const count = k.pages.compoundMapcount[head]!;
    if (count !== found.length)
      throw new Error(`I25: compound mapcount of ${head} is ${count}, mapped at ${found.map(placeName)}`);
    if (count === 0) continue;
    const walked: number[] = [];
    for (let at = rmapNext(k, head, 0); at >= 0; at = rmapNext(k, head, at + 1)) {
      const vma = rmapVma(k, head, at);
      const address = vmaAddress(vma, k.pages.index[head]!);
      if (address < vma.start || address >= vma.end) continue;
      const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
      const lo = word < 0 ? 0 : k.memory.words[word]!;
      if (pmdTransHuge(lo) && pmdFrame(lo) === head) walked.push(placeOf(vma.mm, address));
    }
    checkFound(head, walked, found);
  }
}

/** A KSM page: every place where it was merged is found while it maps it. Those of forked children are found only as long as their
 *  parent's item is there (Linux knows no more until the scan comes to the child: the page then just stays mapped). */
function checkKsmRmap(k: Kernel, pfn: number, found: readonly number[]): void {
  const walked = new Set(ksmPlaces(k, pfn).map(({ vma, address }) => placeOf(vma.mm, address)));
  for (const item of pageStableNode(k, pfn)?.items ?? []) {
    const place = placeOf(item.mm, item.address);
    if (found.includes(place) && !walked.has(place))
      throw new Error(`I26: rmap of KSM page ${pfn} finds ${placeName(place)}`);
  }
}

/** The interval arrays: each VMA stands where its chains say, in order of page offset, and nowhere else. */
export function checkIntervals(k: Kernel): void {
  const linked = new Map<AnonVma, Set<AnonVmaChain>>();
  const files = new Map<AddressSpace, Set<VmArea>>();
  for (const mm of k.mms.values()) {
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
      if (v.file !== null) {
        const mapping = v.file.inode.mapping;
        assert(mapping.iMmap.includes(v), `VMA ${v.start.toString(16)} of mm ${mm.id} is in i_mmap`);
        files.set(mapping, (files.get(mapping) ?? new Set()).add(v));
      }
      assert(v.anonVma === null || v.chain.some((c) => c.anonVma === v!.anonVma), 'a VMA has a chain to its anon_vma');
      for (const chain of v.chain) {
        assert(chain.vma === v && chain.anonVma.chains.includes(chain), 'a chain is in its anon_vma');
        linked.set(chain.anonVma, (linked.get(chain.anonVma) ?? new Set()).add(chain));
      }
    }
  }
  for (const [anonVma, chains] of linked) {
    assert(anonVma.chains.length === chains.size, `anon_vma ${anonVma.id} holds live VMAs only`);
    checkOrder(anonVma.chains.map((c) => c.vma));
  }
  for (const [mapping, vmas] of files) {
    assert(mapping.iMmap.length === vmas.size, `i_mmap of inode ${mapping.inode.id} holds live VMAs only`);
    checkOrder(mapping.iMmap);
  }
}

function checkOrder(vmas: readonly VmArea[]): void {
  for (let i = 1; i < vmas.length; i++) assert(vmas[i - 1]!.pgoff <= vmas[i]!.pgoff, 'interval order by page offset');
}
