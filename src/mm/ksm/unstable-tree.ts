// The unstable tree: pages that did not change since the last full scan, each hung by its bytes of the moment. Nothing protects
// them; a page written since makes the order wrong around it, a search then misses a match, and the next full scan builds the
// tree anew. ksm_thread_mutex held.
//
// Kernel names: unstable_tree_search_insert, get_mergeable_page, find_mergeable_vma, ksm_test_exit.

import { VM_MERGEABLE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON } from '../page/pages.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { memcmpPages } from './content.ts';
import { followMappedPage } from './follow.ts';
import { ITEM_UNSTABLE, type RmapItem } from './state.ts';

/** ksm_test_exit: the last user of the address space is gone. */
export function ksmTestExit(mm: MmStruct): boolean {
  return mm.users === 0;
}

/** find_mergeable_vma. mmapLock held. */
export function findMergeableVma(mm: MmStruct, address: number): VmArea | null {
  if (ksmTestExit(mm)) return null;
  const vma = mm.vmas.findExact(address);
  return vma !== null && (vma.flags & VM_MERGEABLE) !== 0 && vma.anonVma !== null ? vma : null;
}

/** get_mergeable_page: the anonymous page that the item's address maps now, referenced, or 0. */
function* getMergeablePage(k: Kernel, item: RmapItem): KernelPath<number> {
  const { mm, address } = item;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let pfn = 0;
  if (findMergeableVma(mm, address) !== null) {
    pfn = yield* followMappedPage(k, mm, address);
    if (pfn !== 0 && (k.pages.flags[pfn]! & PG_ANON) === 0) {
      k.fn.putPage(k, pfn);
      pfn = 0;
    }
  }
  lock.readUnlock();
  return pfn;
}

/** What the search found: an item whose page (referenced) has the same bytes. */
export interface UnstableMatch {
  item: RmapItem;
  pfn: number;
}

/** unstable_tree_search_insert: a match, or null: then the item hangs in the tree, unless a page on the way could not be had. */
export function* unstableTreeSearchInsert(k: Kernel, item: RmapItem, pfn: number): KernelPath<UnstableMatch | null> {
  const { ksm } = k;
  let parent: RmapItem | null = null;
  let isLeft = false;
  for (let at = ksm.unstable.root as RmapItem | null; at !== null; ) {
    const treePfn = yield* getMergeablePage(k, at);
    if (treePfn === 0) return null;
    // A page that fork shares: merging it with itself gains nothing.
    const order: number = treePfn === pfn ? 0 : memcmpPages(k, pfn, treePfn);
    if (order === 0 && treePfn !== pfn) return { item: at, pfn: treePfn };
    k.fn.putPage(k, treePfn);
    if (treePfn === pfn) return null;
    parent = at;
    isLeft = order < 0;
    at = (isLeft ? at.left : at.right) as RmapItem | null;
  }
  item.state = ITEM_UNSTABLE;
  item.seqnr = ksm.seqnr;
  ksm.unstable.insert(item, parent, isLeft);
  ksm.pagesUnshared++;
  return null;
}
