// The stable tree: one node for each content that is shared, found by comparing bytes on the way down. Its pages are
// write-protected, so the order is right as long as they exist; a node whose page is gone (nobody mapped it any more) is taken out
// by whoever meets it. ksm_thread_mutex held; the items of a node also change under its page's lock.
//
// Kernel names: get_ksm_page, remove_node_from_stable_tree, stable_node_dup, chain_prune, stable_tree_search, stable_tree_insert,
// stable_tree_append, remove_rmap_item_from_tree.

import { EBUSY } from '../../abi/errno.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_KSM } from '../page/pages.ts';
import { getPage } from '../rmap/rmap.ts';
import { memcmpPages } from './content.ts';
import { ITEM_IDLE, ITEM_STABLE, ITEM_UNSTABLE, type KsmState, type RmapItem, StableNode } from './state.ts';

/** page_stable_node: null for a page that is no KSM page, or not in the tree yet. */
export function pageStableNode(k: Kernel, pfn: number): StableNode | null {
  return (k.pages.flags[pfn]! & PG_KSM) === 0 ? null : (k.pages.mapping[pfn] as StableNode | null);
}

/** set_page_stable_node: the page becomes a KSM page; it belongs to no anon_vma any more. */
export function setPageStableNode(k: Kernel, pfn: number, node: StableNode | null): void {
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_KSM;
  k.pages.mapping[pfn] = node;
}

/** get_ksm_page: the node's page, referenced; 0 when it is gone, and then so is the node. */
export function getKsmPage(k: Kernel, node: StableNode): number {
  const pfn = node.pfn;
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_PAGE, pfn, false);
  if (pageStableNode(k, pfn) === node && k.pages.refcount[pfn]! > 0) {
    getPage(k, pfn);
    return pfn;
  }
  removeNodeFromStableTree(k.ksm, node);
  return 0;
}

/** The same with the page's lock (GET_KSM_PAGE_LOCK). */
export function* getKsmPageLocked(k: Kernel, node: StableNode): KernelPath<number> {
  const pfn = getKsmPage(k, node);
  if (pfn === 0) return 0;
  if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
  if (pageStableNode(k, pfn) === node) return pfn;
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
  removeNodeFromStableTree(k.ksm, node);
  return 0;
}

/** An item leaves its stable node: it counts no more. */
function forgetItem(ksm: KsmState, item: RmapItem, wasLast: boolean): void {
  if (wasLast) ksm.pagesShared--;
  else ksm.pagesSharing--;
  item.state = ITEM_IDLE;
  item.head = null;
  item.anonVma = null;
}

export function removeNodeFromStableTree(ksm: KsmState, node: StableNode): void {
  for (let i = 0; i < node.items.length; i++) forgetItem(ksm, node.items[i]!, i === node.items.length - 1);
  node.items.length = 0;
  removeDup(ksm, node);
}

/** stable_node_dup_del, or rb_erase of a node that stands in the tree itself. */
function removeDup(ksm: KsmState, node: StableNode): void {
  const { chain } = node;
  if (chain === null) {
    ksm.stable.erase(node);
    return;
  }
  chain.dups!.splice(chain.dups!.indexOf(node), 1);
  node.chain = null;
  ksm.stableNodeDups--;
}

/** remove_rmap_item_from_tree: out of whichever tree it is in. */
export function* removeRmapItemFromTree(k: Kernel, item: RmapItem): KernelPath<void> {
  const { ksm } = k;
  if (item.state === ITEM_STABLE) {
    const node = item.head!;
    const pfn = yield* getKsmPageLocked(k, node);
    if (pfn === 0) return;
    node.items.splice(node.items.indexOf(item), 1);
    forgetItem(ksm, item, node.items.length === 0);
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  } else if (item.state === ITEM_UNSTABLE) {
    // Of an earlier scan: that tree is forgotten already.
    if (item.seqnr === ksm.seqnr) ksm.unstable.erase(item);
    ksm.pagesUnshared--;
    item.state = ITEM_IDLE;
  }
}

/** chain_prune (stable_node_dup): the duplicate that has most mappings and room for more; null when all are full, or the chain is
 *  empty now. Nodes whose page is gone leave. */
function pruneChain(k: Kernel, chain: StableNode): StableNode | null {
  const { ksm } = k;
  let found: StableNode | null = null;
  for (const dup of [...chain.dups!]) {
    const pfn = getKsmPage(k, dup);
    if (pfn === 0) continue;
    k.fn.putPage(k, pfn);
    if (dup.items.length < ksm.maxPageSharing && (found === null || dup.items.length > found.items.length)) found = dup;
  }
  if (chain.dups!.length === 0) {
    ksm.stable.erase(chain);
    ksm.stableNodeChains--;
    return null;
  }
  if (chain.dups!.length === 1 && found !== null) {
    // The only one left takes the place of the chain.
    removeDup(ksm, found);
    ksm.stable.replace(chain, found);
    ksm.stableNodeChains--;
  }
  return found;
}

/** A step of the way down: the node with room for more (`dup`), and the page, referenced, that stands for the content. */
interface Visit {
  dup: StableNode | null;
  pfn: number;
}

/** Null: the tree changed below our feet (a node's page is gone), start again from the root. */
function visit(k: Kernel, node: StableNode): Visit | null {
  if (node.dups === null) {
    const pfn = getKsmPage(k, node);
    return pfn === 0 ? null : { dup: node.items.length < k.ksm.maxPageSharing ? node : null, pfn };
  }
  const dup = pruneChain(k, node);
  // Whatever the tree holds in its place: its first page shows the content.
  const any = dup ?? node.dups[0] ?? null;
  if (any === null) return null;
  const pfn = getKsmPage(k, any);
  return pfn === 0 ? null : { dup, pfn };
}

/** stable_tree_search: a KSM page with the same bytes, referenced; 0: none that has room for one more mapping; -EBUSY: its lock is
 *  taken. A page that is a KSM page already is its own answer. */
export function stableTreeSearch(k: Kernel, pfn: number): number {
  if (pageStableNode(k, pfn) !== null) {
    getPage(k, pfn);
    return pfn;
  }
  const { stable } = k.ksm;
  for (let node = stable.root as StableNode | null; node !== null; ) {
    const at = visit(k, node);
    if (at === null) {
      node = stable.root as StableNode | null;
      continue;
    }
    const order = memcmpPages(k, pfn, at.pfn);
    k.fn.putPage(k, at.pfn);
    if (order === 0) return at.dup === null ? 0 : takeUnlocked(k, at.dup);
    // A chain of one was replaced by its node: go on from what stands in the tree.
    const here = node.dups !== null && at.dup !== null && at.dup.chain === null ? at.dup : node;
    node = (order < 0 ? here.left : here.right) as StableNode | null;
  }
  return 0;
}

/** get_ksm_page with GET_KSM_PAGE_TRYLOCK, unlocked again: it may be migrating. */
function takeUnlocked(k: Kernel, node: StableNode): number {
  const pfn = getKsmPage(k, node);
  if (pfn === 0) return 0;
  if (tryLockPage(k, pfn)) {
    unlockPage(k, pfn);
    return pfn;
  }
  k.fn.putPage(k, pfn);
  return -EBUSY;
}

/** stable_tree_insert: a new node for this KSM page, as a duplicate if there is one with its content (full, or it would have been
 *  merged). The page's lock is held. */
export function stableTreeInsert(k: Kernel, pfn: number): StableNode {
  const { ksm } = k;
  const node = new StableNode(pfn);
  let parent: StableNode | null = null;
  let isLeft = false;
  for (let at = ksm.stable.root as StableNode | null; at !== null; ) {
    const found = visit(k, at);
    if (found === null) {
      at = ksm.stable.root as StableNode | null;
      parent = null;
      continue;
    }
    const order = memcmpPages(k, pfn, found.pfn);
    k.fn.putPage(k, found.pfn);
    const here: StableNode = at.dups !== null && found.dup !== null && found.dup.chain === null ? found.dup : at;
    if (order === 0) {
      addDup(ksm, here, node);
      setPageStableNode(k, pfn, node);
      return node;
    }
    parent = here;
    isLeft = order < 0;
    at = (isLeft ? here.left : here.right) as StableNode | null;
  }
  ksm.stable.insert(node, parent, isLeft);
  setPageStableNode(k, pfn, node);
  return node;
}

/** stable_node_chain_add_dup; a node that stood alone becomes the first duplicate of a new chain (alloc_stable_node_chain). */
function addDup(ksm: KsmState, here: StableNode, node: StableNode): void {
  let chain = here;
  if (here.dups === null) {
    chain = new StableNode(0);
    chain.dups = [here];
    ksm.stable.replace(here, chain);
    here.chain = chain;
    ksm.stableNodeChains++;
    ksm.stableNodeDups++;
  }
  chain.dups!.unshift(node);
  node.chain = chain;
  ksm.stableNodeDups++;
}

/** stable_tree_append: one more mapping of the node's page, whose lock is held. */
export function stableTreeAppend(ksm: KsmState, item: RmapItem, node: StableNode): void {
  assert(item.state === ITEM_IDLE, 'stableTreeAppend: the item is in no tree');
  item.state = ITEM_STABLE;
  item.head = node;
  node.items.unshift(item);
  if (node.items.length === 1) ksm.pagesShared++;
  else ksm.pagesSharing++;
}
