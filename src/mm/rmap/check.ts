// Checks of room rmap by naive walks of every page table: mapcounts, RSS, exclusivity, and that the reverse map of each mapped page finds
// exactly the entries that map it. For tests; numbers are those of the invariants' list.

import { MM_SWAPENTS, VM_HUGETLB } from '../../abi/mman.ts';
import { PTE_P, PTE_PS, PTE_RW, PTE_SPECIAL } from '../../abi/pte.ts';
import { assert, fail } from '../../base/assert.ts';
import { pmdWord, vpnAddress, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryWord } from '../../hw/pte.ts';
import { Places, Recount } from '../check-scratch.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { ksmPlaces } from '../ksm/rmap-walk.ts';
import { pageStableNode } from '../ksm/stable-tree.ts';
import { compoundHead, HPAGE_PMD_NR } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_HUGETLB, PG_KSM, PG_RESERVED } from '../page/pages.ts';
import { isDeviceExclusive, isDevicePrivate, isMigration, swapPfn } from '../page/pfn-swap.ts';
import { isRealSwap, pteFrame, pteIsSwap, ptePresent } from '../page/swapops.ts';
import type { AddressSpace, AnonVma, MmStruct, VmArea } from '../types.ts';
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
export function nextEntry(k: Kernel, word: number, end: number): number {
  const { doubles } = k.memory;
  let at = word >> 1;
  const stop = end >> 1;
  while (at < stop && doubles[at] === 0) at++;
  return at << 1;
}

/** A place of a page as one number: pages are aligned, so the number of the address space fits below. */
function placeOf(mm: MmStruct, address: number): number {
  if (mm.id >= 4096) fail('placeOf: few address spaces');
  return address + mm.id;
}

function placeName(place: number): string {
  const mm = place % 4096;
  return `${mm}:${(place - mm).toString(16)}`;
}

/** Are these the same places, each once in `a`? Few: pages are mapped by a process or four. */
function isSamePlaces(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (const place of a) if (!b.includes(place)) return false;
  for (const place of b) if (!a.includes(place)) return false;
  return true;
}

function checkFound(pfn: number, walked: readonly number[], found: readonly number[]): void {
  if (isSamePlaces(walked, found)) return;
  throw new Error(`I26: rmap of ${pfn} finds ${walked.map(placeName)}, mapped at ${found.map(placeName)}`);
}

// Kept from one look to the next.
const places = new Places();
const hugePlaces = new Places();
const found: number[] = [];
const walked: number[] = [];

/** I25-I27, I29 of every address space, for the frames of `recount`. Throws naming the page and the invariant. */
export function checkRmap(k: Kernel, recount = Recount.ofAllFrames(k)): void {
  places.begin(k.pages.end);
  hugePlaces.begin(k.pages.end);
  for (const mm of k.mms.values()) {
    const rss = [0, 0, 0, 0];
    forEachLeaf(k, mm, (_mm, address, lo, hi, isHuge) => {
      if (isHuge) {
        noteHugeLeaf(k, mm, address, lo, rss);
        return;
      }
      if (pteIsSwap(lo, hi)) {
        const pfn = swapPfn(lo);
        if (isRealSwap(hi)) rss[MM_SWAPENTS]!++;
        else if (isMigration(hi) || isDeviceExclusive(hi)) rss[mmCounter(k.pages, compoundHead(k.pages, pfn))]!++;
        else if (isDevicePrivate(hi)) {
          rss[mmCounter(k.pages, pfn)]!++;
          places.add(pfn, placeOf(mm, address));
        }
        return;
      }
      if (!ptePresent(lo) || (lo & PTE_SPECIAL) !== 0) return;
      const pfn = pteFrame(lo);
      rss[mmCounter(k.pages, pfn)]!++;
      places.add(pfn, placeOf(mm, address));
      const flags =
        (k.pages.flags[compoundHead(k.pages, pfn)]! & ~PG_ANON_EXCLUSIVE) | (k.pages.flags[pfn]! & PG_ANON_EXCLUSIVE);
      const writableAnon = (flags & PG_ANON) !== 0 && (lo & PTE_P) !== 0 && (lo & PTE_RW) !== 0;
      if (writableAnon && (flags & PG_ANON_EXCLUSIVE) === 0)
        throw new Error(`I27: writable anonymous page ${pfn} is exclusive`);
    });
    for (let i = 0; i < 4; i++) if (mm.rss[i] !== rss[i]) fail(`I29: mm ${mm.id} rss[${i}] ${mm.rss[i]} = ${rss[i]}`);
  }
  for (let i = 0; i < recount.live; i++) checkPage(k, recount.frames[i]!);
  for (let pfn = k.pages.count; pfn < k.pages.end; pfn++) checkPage(k, pfn);
  checkHugeRmap(k, recount);
}

/** Mapcount, owner and reverse map of one page against the places where entries map it. */
function checkPage(k: Kernel, pfn: number): void {
  const flags = k.pages.flags[pfn]!;
  if ((flags & PG_RESERVED) !== 0) return;
  const count = places.count(pfn);
  if (k.pages.mapcount[pfn] !== count)
    throw new Error(`I25: mapcount of ${pfn} is ${k.pages.mapcount[pfn]}, mapped at ${places.of(pfn).map(placeName)}`);
  if (count === 0) return;
  places.of(pfn, found);
  const exclusive = (flags & (PG_ANON | PG_ANON_EXCLUSIVE)) === (PG_ANON | PG_ANON_EXCLUSIVE);
  if (exclusive && found.some((place) => place % 4096 !== found[0]! % 4096))
    throw new Error(`I27: exclusive page ${pfn} has one owner`);
  if ((flags & PG_KSM) !== 0) {
    checkKsmRmap(k, pfn);
    return;
  }
  walked.length = 0;
  const head = compoundHead(k.pages, pfn);
  for (let at = rmapNext(k, head, 0); at >= 0; at = rmapNext(k, head, at + 1)) {
    const vma = rmapVma(k, head, at);
    const address = vmaAddress(vma, k.pages.index[head]! + pfn - head);
    if (address >= vma.start && address < vma.end && mappingWord(k, vma.mm, address, pfn) >= 0)
      walked.push(placeOf(vma.mm, address));
  }
  checkFound(pfn, walked, found);
}

/** A huge entry: 512 pages of RSS, unless it maps the huge zero page. */
function noteHugeLeaf(k: Kernel, mm: MmStruct, address: number, lo: number, rss: number[]): void {
  const head = pmdTransHuge(lo) ? pmdFrame(lo) : swapPfn(lo);
  if (isHugeZero(k, head)) return;
  rss[mmCounter(k.pages, head)]! += HPAGE_PMD_NR;
  if (!pmdTransHuge(lo)) return;
  hugePlaces.add(head, placeOf(mm, address));
  const isWritableAnon = (k.pages.flags[head]! & PG_ANON) !== 0 && (lo & PTE_P) !== 0 && (lo & PTE_RW) !== 0;
  const isExclusive = (k.pages.flags[head]! & PG_ANON_EXCLUSIVE) !== 0;
  if (isWritableAnon && !isExclusive) fail(`I27: writable anonymous huge page ${head} is exclusive`);
}

/** Counts and rmap of pages that huge entries map. */
function checkHugeRmap(k: Kernel, recount: Recount): void {
  for (let i = 0; i < recount.live; i++) {
    const head = recount.frames[i]!;
    if ((k.pages.flags[head]! & PG_HUGETLB) !== 0) continue;
    const count = k.pages.compoundMapcount[head]!;
    if (count === 0 && hugePlaces.count(head) === 0) continue;
    hugePlaces.of(head, found);
    if (count !== found.length)
      throw new Error(`I25: compound mapcount of ${head} is ${count}, mapped at ${found.map(placeName)}`);
    walked.length = 0;
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
function checkKsmRmap(k: Kernel, pfn: number): void {
  const reached = new Set(ksmPlaces(k, pfn).map(({ vma, address }) => placeOf(vma.mm, address)));
  for (const item of pageStableNode(k, pfn)?.items ?? []) {
    const place = placeOf(item.mm, item.address);
    if (found.includes(place) && !reached.has(place))
      throw new Error(`I26: rmap of KSM page ${pfn} finds ${placeName(place)}`);
  }
}

// Chains and VMAs found, by the tree that holds them.
const linked = new Map<AnonVma, number>();
const ofFiles = new Map<AddressSpace, number>();

/** The interval arrays: each VMA stands where its chains say, in order of page offset, and nowhere else. */
export function checkIntervals(k: Kernel): void {
  linked.clear();
  ofFiles.clear();
  for (const mm of k.mms.values()) {
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) checkLinks(v);
  }
  for (const [anonVma, chains] of linked) {
    if (anonVma.chains.length !== chains) fail(`anon_vma ${anonVma.id} holds live VMAs only`);
    for (let i = 1; i < chains; i++) checkOrder(anonVma.chains[i - 1]!.vma, anonVma.chains[i]!.vma);
  }
  for (const [mapping, vmas] of ofFiles) {
    if (mapping.iMmap.length !== vmas) fail(`i_mmap of inode ${mapping.inode.id} holds live VMAs only`);
    for (let i = 1; i < vmas; i++) checkOrder(mapping.iMmap[i - 1]!, mapping.iMmap[i]!);
  }
}

/** Every chain of a VMA is its own, is there once, and stands in its anon_vma. */
function checkLinks(v: VmArea): void {
  if (v.file !== null) {
    const mapping = v.file.inode.mapping;
    if (!mapping.iMmap.includes(v)) fail(`VMA ${v.start.toString(16)} of mm ${v.mm.id} is in i_mmap`);
    ofFiles.set(mapping, (ofFiles.get(mapping) ?? 0) + 1);
  }
  let hasOwn = v.anonVma === null;
  for (let i = 0; i < v.chain.length; i++) {
    const chain = v.chain[i]!;
    assert(chain.vma === v && chain.anonVma.chains.includes(chain), 'a chain is in its anon_vma');
    assert(v.chain.indexOf(chain) === i, 'a chain links a VMA once');
    hasOwn ||= chain.anonVma === v.anonVma;
    linked.set(chain.anonVma, (linked.get(chain.anonVma) ?? 0) + 1);
  }
  assert(hasOwn, 'a VMA has a chain to its anon_vma');
}

function checkOrder(before: VmArea, after: VmArea): void {
  assert(before.pgoff <= after.pgoff, 'interval order by page offset');
}
