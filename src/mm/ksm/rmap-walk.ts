// From a KSM page to the places that map it (mm/ksm.c rmap_walk_ksm). The page belongs to no anon_vma; its stable node's items
// say where it was merged, and each names an anon_vma, through which copies of that mapping in forked children are found:
// first the mms of the items themselves, then, in a second round, the others at the same address.
//
// The page's lock guards the items; each anon_vma is locked in turn.

import { ENOMEM } from '../../abi/errno.ts';
import { FRAME_ANON } from '../../abi/events.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { announceDirty } from '../page/announce.ts';
import { GFP_KERNEL, PG_ANON, PG_DIRTY, PG_KSM, PG_UPTODATE } from '../page/pages.ts';
import { linearPageIndex, notePage } from '../rmap/rmap.ts';
import type { AnonVma, VmArea } from '../types.ts';
import { pageStableNode, setPageStableNode } from './stable-tree.ts';
import type { RmapItem } from './state.ts';

/** VMAs of the item's anon_vma that hold its address: those of its own mm, or (forks) of the others. */
function isCandidate(item: RmapItem, vma: VmArea, inForks: boolean): boolean {
  return item.address >= vma.start && item.address < vma.end && (vma.mm !== item.mm) === inForks;
}

/** Calls `visit` for every place that may map the page, until it answers false. Page lock held. */
export function* rmapWalkKsm(
  k: Kernel,
  pfn: number,
  visit: (vma: VmArea, address: number) => KernelPath<boolean>,
): KernelPath<void> {
  const node = pageStableNode(k, pfn);
  if (node === null) return;
  notePage(k, pfn);
  for (const inForks of [false, true]) {
    for (const item of [...node.items]) {
      const anonVma = item.anonVma;
      if (anonVma === null) continue;
      const { lock } = anonVma.root;
      if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
      let isOver = false;
      for (let i = 0; i < anonVma.chains.length && !isOver; i++) {
        const { vma } = anonVma.chains[i]!;
        if (isCandidate(item, vma, inForks)) isOver = !(yield* visit(vma, item.address));
      }
      lock.readUnlock();
      if (isOver) return;
    }
  }
}

/** The places that rmapWalkKsm visits, for checks. */
export function ksmPlaces(k: Kernel, pfn: number): { vma: VmArea; address: number }[] {
  const places: { vma: VmArea; address: number }[] = [];
  const seen = new Set<string>();
  for (const inForks of [false, true]) {
    for (const item of pageStableNode(k, pfn)?.items ?? []) {
      for (const { vma } of item.anonVma?.chains ?? []) {
        const place = `${vma.mm.id}:${item.address}`;
        if (!isCandidate(item, vma, inForks) || seen.has(place)) continue;
        seen.add(place);
        places.push({ vma, address: item.address });
      }
    }
  }
  return places;
}

/** ksm_migrate_page: the new page takes the old one's place in the tree. Both locked, the old one not mapped any more. */
export function ksmMigratePage(k: Kernel, to: number, from: number): void {
  const node = pageStableNode(k, from);
  setPageStableNode(k, to, node);
  k.pages.mapping[from] = null;
  k.pages.flags[from] = k.pages.flags[from]! & ~PG_KSM;
  if (node !== null) node.pfn = to;
}

/** ksm_might_need_to_copy: a page of the swap cache that a fault is about to map at `address`. When rmap could not find that place by
 *  the page's own mapping (it was a KSM page once, swapped in by another user), the fault gets a copy, referenced;
 *  else the page itself. -ENOMEM. */
export function* ksmMightNeedToCopy(k: Kernel, pfn: number, vma: VmArea, address: number): KernelPath<number> {
  const { flags, mapping, index } = k.pages;
  if ((flags[pfn]! & PG_KSM) !== 0) {
    if (pageStableNode(k, pfn) !== null) return pfn;
  } else {
    const anonVma = (flags[pfn]! & PG_ANON) !== 0 ? (mapping[pfn] as AnonVma | null) : null;
    if (anonVma === null) return pfn;
    if (index[pfn] === linearPageIndex(vma, address) && anonVma.root === vma.anonVma?.root) return pfn;
  }
  if ((flags[pfn]! & PG_UPTODATE) === 0) return pfn;
  let copy = k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON);
  if (copy === 0) copy = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON);
  if (copy === 0) return -ENOMEM;
  k.memory.copy(copy, pfn);
  flags[copy] = flags[copy]! | PG_UPTODATE | PG_DIRTY;
  announceDirty(k, copy);
  return copy;
}
