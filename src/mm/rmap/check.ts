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
  const tableAt = (word: number): number => ((w[word]! & (PTE_P | PTE_PS)) === PTE_P ? w[word]! >>> 12 : 0);
  for (let g = 0; g < 512; g++) {
    const pud = tableAt(entryWord(mm.pgd, g));
    for (let u = 0; pud !== 0 && u < 512; u++) {
      const pmd = tableAt(entryWord(pud, u));
      for (let p = 0; pmd !== 0 && p < 512; p++) {
        const word = entryWord(pmd, p);
        const table = tableAt(word);
        if (table === 0 && (w[word]! | w[word + 1]!) !== 0) {
          const address = vpnAddress((g << 9) | u, p << 9);
          if (!isHugetlb(mm, address)) visit(mm, address, w[word]!, w[word + 1]!, true);
        }
        for (let i = 0; table !== 0 && i < 512; i++) {
          const at = entryWord(table, i);
          if ((w[at]! | w[at + 1]!) !== 0) visit(mm, vpnAddress((g << 9) | u, (p << 9) | i), w[at]!, w[at + 1]!, false);
        }
      }
    }
  }
}

/** I25-I27, I29 of every address space. Throws naming the page and the invariant. */
export function checkRmap(k: Kernel): void {
  const places = new Map<number, string[]>();
  const owners = new Map<number, Set<number>>();
  const hugePlaces = new Map<number, string[]>();
  const isMappedAt = (pfn: number, mm: MmStruct, address: number): void => {
    if (!places.has(pfn)) places.set(pfn, []);
    places.get(pfn)!.push(`${mm.id}:${address.toString(16)}`);
    if (!owners.has(pfn)) owners.set(pfn, new Set());
    owners.get(pfn)!.add(mm.id);
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
      assert(!writableAnon || (flags & PG_ANON_EXCLUSIVE) !== 0, `I27: writable anonymous page ${pfn} is exclusive`);
    });
    for (let i = 0; i < 4; i++) assert(mm.rss[i] === rss[i], `I29: mm ${mm.id} rss[${i}] ${mm.rss[i]} = ${rss[i]}`);
  }
  for (let pfn = 1; pfn < k.pages.end; pfn++) {
    const flags = k.pages.flags[pfn]!;
    const found = places.get(pfn) ?? [];
    if ((flags & PG_RESERVED) !== 0) continue;
    assert(k.pages.mapcount[pfn] === found.length, `I25: mapcount of ${pfn} is ${k.pages.mapcount[pfn]} = ${found}`);
    if (found.length === 0) continue;
    const exclusive = (flags & (PG_ANON | PG_ANON_EXCLUSIVE)) === (PG_ANON | PG_ANON_EXCLUSIVE);
    assert(!exclusive || owners.get(pfn)!.size === 1, `I27: exclusive page ${pfn} has one owner`);
    const walked: string[] = [];
    if ((flags & PG_KSM) !== 0) {
      checkKsmRmap(k, pfn, found);
      continue;
    }
    const head = compoundHead(k.pages, pfn);
    for (let at = rmapNext(k, head, 0); at >= 0; at = rmapNext(k, head, at + 1)) {
      const vma = rmapVma(k, head, at);
      const address = vmaAddress(vma, k.pages.index[head]! + pfn - head);
      if (address >= vma.start && address < vma.end && mappingWord(k, vma.mm, address, pfn) >= 0)
        walked.push(`${vma.mm.id}:${address.toString(16)}`);
    }
    assert(walked.sort().join() === found.sort().join(), `I26: rmap of ${pfn} finds ${walked}, mapped at ${found}`);
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
  places: Map<number, string[]>,
): void {
  const head = pmdTransHuge(lo) ? pmdFrame(lo) : swapPfn(lo);
  if (isHugeZero(k, head)) return;
  rss[mmCounter(k.pages, head)]! += HPAGE_PMD_NR;
  if (!pmdTransHuge(lo)) return;
  const found = places.get(head) ?? [];
  found.push(`${mm.id}:${address.toString(16)}`);
  places.set(head, found);
  const isWritableAnon = (k.pages.flags[head]! & PG_ANON) !== 0 && (lo & PTE_P) !== 0 && (lo & PTE_RW) !== 0;
  const isExclusive = (k.pages.flags[head]! & PG_ANON_EXCLUSIVE) !== 0;
  assert(!isWritableAnon || isExclusive, `I27: writable anonymous huge page ${head} is exclusive`);
}

/** Counts and rmap of pages that huge entries map. */
function checkHugeRmap(k: Kernel, places: ReadonlyMap<number, string[]>): void {
  for (let head = 1; head < k.pages.count; head++) {
    if ((k.pages.flags[head]! & PG_HUGETLB) !== 0) continue;
    const found = places.get(head) ?? [];
    const count = k.pages.compoundMapcount[head]!;
    assert(count === found.length, `I25: compound mapcount of ${head} is ${count}, mapped at ${found}`);
    if (found.length === 0) continue;
    const walked: string[] = [];
    for (let at = rmapNext(k, head, 0); at >= 0; at = rmapNext(k, head, at + 1)) {
      const vma = rmapVma(k, head, at);
      const address = vmaAddress(vma, k.pages.index[head]!);
      const word = pmdWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
      const lo = word < 0 ? 0 : k.memory.words[word]!;
      if (pmdTransHuge(lo) && pmdFrame(lo) === head) walked.push(`${vma.mm.id}:${address.toString(16)}`);
    }
    assert(walked.sort().join() === found.sort().join(), `I26: rmap of ${head} finds ${walked}, mapped at ${found}`);
  }
}

/** A KSM page: every place where it was merged is found while it maps it. Those of forked children are found only as long as their
 *  parent's item is there (Linux knows no more until the scan comes to the child: the page then just stays mapped). */
function checkKsmRmap(k: Kernel, pfn: number, found: readonly string[]): void {
  const walked = new Set(ksmPlaces(k, pfn).map(({ vma, address }) => `${vma.mm.id}:${address.toString(16)}`));
  for (const item of pageStableNode(k, pfn)?.items ?? []) {
    const place = `${item.mm.id}:${item.address.toString(16)}`;
    assert(!found.includes(place) || walked.has(place), `I26: rmap of KSM page ${pfn} finds ${place}`);
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
