// Recounts what KSM counts, from its trees, items and the pages alone. For tests, while no scan is under way.

import { assert, fail } from '../../base/assert.ts';
import type { Recount } from '../check-scratch.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_KSM } from '../page/pages.ts';
import { memcmpPages } from './content.ts';
import { ITEM_IDLE, ITEM_STABLE, ITEM_UNSTABLE, type KsmState, type RmapItem, StableNode } from './state.ts';

const isAlive = (k: Kernel, node: StableNode): boolean => k.pages.mapping[node.pfn] === node;

/** Throws naming the place. */
export function checkKsm(k: Kernel, recount: Recount): void {
  const { ksm } = k;
  ksm.stable.checkInvariants();
  ksm.unstable.checkInvariants();
  const nodes = stableNodes(ksm);
  checkItems(ksm, nodes);
  checkOrder(k);
  for (let i = 0; i < recount.live; i++) {
    const pfn = recount.frames[i]!;
    if ((k.pages.flags[pfn]! & PG_KSM) === 0) continue;
    if ((k.pages.flags[pfn]! & (PG_ANON | PG_ANON_EXCLUSIVE)) !== PG_ANON) fail(`KSM page ${pfn} is shared anonymous`);
    const node = k.pages.mapping[pfn] ?? null;
    if (node === null) continue;
    if (!(node instanceof StableNode)) fail(`KSM page ${pfn} has a stable node`);
    if (!nodes.has(node) || node.pfn !== pfn) fail(`the stable node of page ${pfn} is in the tree`);
  }
}

/** The nodes of all pages, chains resolved. */
function stableNodes(ksm: KsmState): Set<StableNode> {
  const nodes = new Set<StableNode>();
  let chains = 0;
  let dups = 0;
  for (let n = ksm.stable.first() as StableNode | null; n !== null; n = ksm.stable.next(n) as StableNode | null) {
    if (n.dups === null) {
      assert(n.chain === null, 'a stable node in the tree is in no chain');
      nodes.add(n);
      continue;
    }
    chains++;
    dups += n.dups.length;
    assert(n.items.length === 0, 'the head of a chain has no items');
    for (const dup of n.dups) {
      assert(dup.chain === n && dup.dups === null, 'a duplicate knows its chain');
      nodes.add(dup);
    }
  }
  assert(chains === ksm.stableNodeChains && dups === ksm.stableNodeDups, `${chains} chains, ${dups} duplicates`);
  return nodes;
}

function checkItems(ksm: KsmState, nodes: Set<StableNode>): void {
  let shared = 0;
  let sharing = 0;
  for (const node of nodes) {
    if (node.items.length > 0) shared++;
    if (node.items.length > 1) sharing += node.items.length - 1;
    for (const item of node.items) assert(item.state === ITEM_STABLE && item.head === node, 'an item knows its node');
  }
  assert(shared === ksm.pagesShared, `pages_shared ${ksm.pagesShared}, counted ${shared}`);
  assert(sharing === ksm.pagesSharing, `pages_sharing ${ksm.pagesSharing}, counted ${sharing}`);
  let unshared = 0;
  for (const slot of ksm.slots.slice(1)) {
    let before = -1;
    for (const item of slot.items) {
      assert(item.mm === slot.mm && item.address > before, 'items of a slot ascend');
      before = item.address;
      if (item.state === ITEM_UNSTABLE) unshared++;
      assert(item.state !== ITEM_STABLE || nodes.has(item.head!), 'a stable item is in the tree');
      assert(item.state !== ITEM_IDLE || item.head === null, 'an idle item is in no tree');
    }
  }
  assert(unshared === ksm.pagesUnshared, `pages_unshared ${ksm.pagesUnshared}, counted ${unshared}`);
  const hung = new Set<RmapItem>();
  for (let n = ksm.unstable.first(); n !== null; n = ksm.unstable.next(n)) hung.add(n as RmapItem);
  // The tree of the scan before is forgotten when the next one begins.
  for (const item of hung) {
    const isStale = item.seqnr !== ksm.seqnr;
    assert(isStale || item.state === ITEM_UNSTABLE, 'an item in the unstable tree says so');
  }
}

/** Pages of the stable tree cannot be written: their order is that of their bytes. */
function checkOrder(k: Kernel): void {
  let before = 0;
  for (let n = k.ksm.stable.first() as StableNode | null; n !== null; n = k.ksm.stable.next(n) as StableNode | null) {
    const node = n.dups === null ? n : n.dups.find((dup) => isAlive(k, dup));
    if (node === undefined || !isAlive(k, node)) continue;
    assert(before === 0 || memcmpPages(k, before, node.pfn) < 0, 'the stable tree is in the order of its contents');
    before = node.pfn;
    for (const dup of n.dups ?? [])
      assert(!isAlive(k, dup) || memcmpPages(k, dup.pfn, node.pfn) === 0, 'duplicates have one content');
  }
}
