// Recounts of hugetlb for checkWorld, by naive walks: references and mapcounts of huge pages, pool, reservations, shared tables.
// For tests, while no kernel path is under way. Throws naming the invariant.
//
//   I24, I25  as for small pages; the entries of a shared PMD table count once
//   H1  each page of the pool is free in it or in use; free ones have no reference
//   H2  reserved = indices reserved by files and not in their cache + indices that private VMAs have not used
//   H3  a page of a file is where its index says, and reserved
//   H4  entries of hugetlb VMAs are huge leaves that rmap finds; anonymous writable pages are exclusive

import { PMD_SIZE, VM_HUGETLB, VM_MAYSHARE } from '../../abi/mman.ts';
import { LEVEL_PUD, PTE_P, PTE_PS, PTE_RW } from '../../abi/pte.ts';
import { assert, fail } from '../../base/assert.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { Recount } from '../check-scratch.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_HUGETLB, PG_HUGETLB_RESTORE } from '../page/pages.ts';
import { pteFrame, pteNone, ptePresent } from '../page/swapops.ts';
import { vmaAddress } from '../rmap/rmap.ts';
import { rmapNext, rmapVma } from '../rmap/walk.ts';
import type { Inode, VmArea } from '../types.ts';
import { hugePteOffset } from './pmd.ts';
import { unusedReservations } from './reserve.ts';

/** Adds the references of every hugetlb entry to `refs` of the recount and checks the invariants. Call before frames are compared with them. */
export function checkHugetlb(k: Kernel, recount: Recount): void {
  const { refs } = recount;
  const maps = new Map<number, number>();
  const places = new Map<number, Set<string>>();
  const counted = new Set<number>();
  let promised = 0;
  for (const mm of k.mms.values()) {
    if (mm.users === 0) continue;
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
      if ((v.flags & VM_HUGETLB) === 0) continue;
      promised += unusedReservations(v);
      countVma(k, v, refs, maps, places, counted);
    }
  }
  for (const inode of k.inodes.values()) if (inode.kind === 'hugetlbfs') promised += checkFile(k, inode);
  checkPool(k, recount, promised, maps);
  for (const [head, found] of places) checkPlaces(k, head, found);
}

function countVma(
  k: Kernel,
  vma: VmArea,
  refs: Int32Array,
  maps: Map<number, number>,
  places: Map<number, Set<string>>,
  counted: Set<number>,
): void {
  for (let at = vma.start; at < vma.end; at += PMD_SIZE) {
    const word = hugePteOffset(k, vma.mm, at);
    if (word < 0) continue;
    const [lo, hi] = [entryLo(k.memory, word), entryHi(k.memory, word)];
    if (pteNone(lo, hi) || !ptePresent(lo)) continue;
    const head = pteFrame(lo);
    const place = `${vma.mm.id}:${at.toString(16)}`;
    const isLeaf = (lo & PTE_PS) !== 0 && k.pages.order[head] === HPAGE_PMD_ORDER;
    assert(isLeaf && (k.pages.flags[head]! & PG_HUGETLB) !== 0, `H4: ${place} maps a huge page of the pool`);
    const flags = k.pages.flags[head]!;
    const isWritableAnon = (flags & PG_ANON) !== 0 && (lo & (PTE_P | PTE_RW)) === (PTE_P | PTE_RW);
    assert(!isWritableAnon || (flags & PG_ANON_EXCLUSIVE) !== 0, `I27: writable anonymous page ${head} is exclusive`);
    if (!places.has(head)) places.set(head, new Set());
    places.get(head)!.add(place);
    if (counted.has(word)) continue;
    counted.add(word);
    refs[head] = refs[head]! + 1;
    maps.set(head, (maps.get(head) ?? 0) + 1);
  }
}

/** Number of indices that the file has reserved and not filled. */
function checkFile(k: Kernel, inode: Inode): number {
  const { reserve } = inode.hugetlb!;
  for (const [index, head] of inode.mapping.pages) {
    const place = `inode ${inode.id} page ${index}`;
    assert(index % HPAGE_PMD_NR === 0 && k.pages.order[head] === HPAGE_PMD_ORDER, `H3: ${place} is huge`);
    const huge = index / HPAGE_PMD_NR;
    assert(reserve.count(huge, huge + 1) === 1, `H3: ${place} is in the file's map`);
    assert((k.pages.flags[head]! & PG_HUGETLB_RESTORE) === 0, `H3: ${place} has used its reservation`);
  }
  return reserve.count(0, Number.POSITIVE_INFINITY) - inode.mapping.pages.size;
}

function checkPool(k: Kernel, recount: Recount, promised: number, maps: ReadonlyMap<number, number>): void {
  const pool = k.hugetlb;
  const free = new Set(pool.free);
  let pages = 0;
  for (let i = 0; i < recount.live; i++) {
    const pfn = recount.frames[i]!;
    if ((k.pages.flags[pfn]! & PG_HUGETLB) === 0 || k.pages.head[pfn] !== 0) continue;
    pages++;
    const count = maps.get(pfn) ?? 0;
    if (k.pages.compoundMapcount[pfn] !== count) fail(`I25: huge page ${pfn} has ${count} entries`);
    if (free.has(pfn) !== (k.pages.refcount[pfn] === 0)) fail(`H1: huge page ${pfn} is free or in use`);
  }
  assert(
    free.size === pool.free.length && pages === pool.total,
    `H1: ${pages} huge pages, the pool says ${pool.total}`,
  );
  assert(pool.reserved === promised, `H2: ${promised} huge pages are promised, the pool says ${pool.reserved}`);
  assert(pool.available >= 0, 'H2: no more is promised than is free');
}

/** I26: the reverse map finds exactly the entries of a huge page. */
function checkPlaces(k: Kernel, head: number, found: ReadonlySet<string>): void {
  const walked: string[] = [];
  for (let i = rmapNext(k, head, 0); i >= 0; i = rmapNext(k, head, i + 1)) {
    const vma = rmapVma(k, head, i);
    const at = vmaAddress(vma, k.pages.index[head]!);
    const word = hugePteOffset(k, vma.mm, at);
    if (word >= 0 && pteFrame(entryLo(k.memory, word)) === head) walked.push(`${vma.mm.id}:${at.toString(16)}`);
  }
  const expected = [...found].sort().join();
  assert(walked.sort().join() === expected, `I26: rmap of huge page ${head} finds ${walked}, mapped at ${expected}`);
}

/** May the table that the VMA's entry of this level links be linked by other address spaces too? */
export function mayShareTable(vma: VmArea | null, level: number): boolean {
  return level === LEVEL_PUD && vma !== null && (vma.flags & (VM_HUGETLB | VM_MAYSHARE)) === (VM_HUGETLB | VM_MAYSHARE);
}
