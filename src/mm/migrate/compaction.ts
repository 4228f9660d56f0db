// Compaction (mm/compaction.c): one scanner goes up from the first frame of a node and takes pages that can move, the other down from
// the last and takes free frames; pages move to those frames until the scanners meet. What is left is one free block at the bottom.
//
//   migrate scanner ->  | p p . p . . p |   ...   | . p . . . p | <- free scanner
//
// In whole blocks of 512 frames; at most 32 pages are moved at a time, the one taken last first (list_add). Compound pages and pinned
// ones stay where they are. Reached by /proc/sys/vm/compact_memory (synchronous, every block, unevictable pages too).
//
// Kernel names: compact_nodes, compact_zone, isolate_migratepages_block, isolate_freepages_block, compaction_alloc,
// compaction_free, release_freepages.

import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { isCompound } from '../page/compound.ts';
import { PG_ANON, PG_LRU, PG_SWAPCACHE } from '../page/pages.ts';
import { isolateForMigration } from './isolate.ts';
import { putbackMovablePages } from './migrate-pages.ts';
import { MIGRATE_SYNC, MR_COMPACTION } from './mode.ts';

/** pageblock_nr_pages; less on a machine that has only a few of them. */
const BLOCK_MAX = 512;
const CLUSTER_MAX = 32;

/** compact_control. */
class CompactControl {
  readonly node: number;
  migratePfn: number;
  freePfn: number;
  /** Frames taken by the free scanner; the next one to be used is the last. */
  readonly free: number[] = [];
  readonly pages: number[] = [];
  readonly block: number;

  constructor(node: number, first: number, end: number) {
    this.node = node;
    this.migratePfn = first;
    this.freePfn = end;
    let block = BLOCK_MAX;
    while (block > 1 && block > (end - first) >> 2) block >>= 1;
    this.block = block;
  }
}

/** isolate_migratepages_block: up to a cluster of pages that can move, from the scanner to the end of its block. */
function isolateMigratePages(k: Kernel, c: CompactControl): void {
  const { flags, refcount, mapcount } = k.pages;
  const end = Math.min((Math.floor(c.migratePfn / c.block) + 1) * c.block, c.freePfn);
  for (; c.migratePfn < end && c.pages.length < CLUSTER_MAX; c.migratePfn++) {
    const pfn = c.migratePfn;
    if ((flags[pfn]! & PG_LRU) === 0 || isCompound(k.pages, pfn)) continue;
    const isPinnedAnon = (flags[pfn]! & (PG_ANON | PG_SWAPCACHE)) === PG_ANON && refcount[pfn]! > mapcount[pfn]!;
    if (!isPinnedAnon && isolateForMigration(k, pfn)) c.pages.unshift(pfn);
  }
}

/** isolate_freepages: free frames of the highest block that the scanners have not met in. */
function isolateFreePages(k: Kernel, c: CompactControl): void {
  while (c.free.length < c.pages.length) {
    const block = Math.floor((c.freePfn - 1) / c.block) * c.block;
    if (block <= c.migratePfn) return;
    k.nodes[c.node]!.takeRange(block, c.freePfn, c.free);
    c.freePfn = block;
  }
}

/** compaction_alloc. */
function compactionAlloc(k: Kernel, c: CompactControl, src: number): number {
  if (c.free.length === 0) isolateFreePages(k, c);
  const pfn = c.free.pop();
  return pfn === undefined ? 0 : k.fn.prepNewPage(k, pfn, k.pages.purpose[src]!, false);
}

/** compact_zone. */
export function* compactNode(k: Kernel, node: number): KernelPath<void> {
  const buddy = k.nodes[node]!;
  buddy.drain();
  const c = new CompactControl(node, buddy.first, buddy.end);
  while (c.migratePfn < c.freePfn) {
    if (k.sched.points) yield P_RECLAIM;
    isolateMigratePages(k, c);
    if (c.pages.length === 0) continue;
    const newPage = function* (kernel: Kernel, src: number): KernelPath<number> {
      return compactionAlloc(kernel, c, src);
    };
    const failed = yield* k.fn.migratePages(k, c.pages, newPage, null, MIGRATE_SYNC, MR_COMPACTION);
    putbackMovablePages(k, c.pages);
    c.pages.length = 0;
    if (failed < 0 && c.freePfn <= c.migratePfn + c.block) break;
  }
  for (const pfn of c.free) buddy.giveBlock(pfn, 0);
}

/** compact_nodes: what a write to /proc/sys/vm/compact_memory does. */
export function* compactMemory(k: Kernel): KernelPath<number> {
  for (let node = 0; node < k.nodes.length; node++) yield* k.fn.compactNode(k, node);
  return 0;
}
