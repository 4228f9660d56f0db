// Moving what a policy, or migrate_pages(2), wants elsewhere (mm/mempolicy.c do_migrate_pages, migrate_to_node, new_page).
//
// Locks: mmapLock held throughout (read by migrate_pages, write by mbind); page locks and below in the migration itself.

import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { type NewPage, putbackMovablePages } from '../migrate/migrate-pages.ts';
import { MIGRATE_SYNC, MR_MEMPOLICY_MBIND, MR_SYSCALL } from '../migrate/mode.ts';
import { targetNear, targetOn } from '../migrate/targets.ts';
import { PG_HUGETLB } from '../page/pages.ts';
import { vmaAddress } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { LOCAL_NODE, vmaAllocPage, vmaAllocPageSlow, vmaAllocPages, vmaPolicy } from './alloc.ts';
import { MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, queuePagesRange } from './queue-pages.ts';

const TASK_SIZE = 2 ** 47 - 4096;

/** The first VMA from `start` on that maps the page, as its place in it says (page_address_in_vma). */
function vmaOfPage(k: Kernel, mm: MmStruct, start: number, pfn: number): VmArea | null {
  const mapping = k.pages.mapping[pfn]!;
  for (let vma = mm.vmas.find(start); vma !== null; vma = mm.vmas.find(vma.end)) {
    const isMine =
      vma.file?.inode.mapping === mapping || vma.chain.some((avc) => avc.anonVma === mapping && vma!.anonVma !== null);
    const address = vmaAddress(vma, k.pages.index[pfn]!);
    if (isMine && address >= vma.start && address < vma.end) return vma;
  }
  return null;
}

/** new_page: as the policy that mbind has just set says. */
function targetByPolicy(mm: MmStruct, start: number): NewPage {
  return function* (k, src) {
    const { flags, index, order, purpose } = k.pages;
    const vma = vmaOfPage(k, mm, start, src);
    if (vma === null) return yield* targetNear(LOCAL_NODE)(k, src);
    const address = vmaAddress(vma, index[src]!);
    if ((flags[src]! & PG_HUGETLB) !== 0)
      return yield* targetNear(vmaPolicy(k, vma, address)?.nodes[0] ?? LOCAL_NODE)(k, src);
    if (order[src] !== 0) return vmaAllocPages(k, vma, address, order[src]!, purpose[src]!);
    const pfn = vmaAllocPage(k, vma, address, purpose[src]!);
    return pfn !== 0 ? pfn : yield* vmaAllocPageSlow(k, vma, address, purpose[src]!);
  };
}

/** The second half of do_mbind: pages that queuePagesRange isolated go where their VMAs' policies want them. How many stayed (they are
 *  back on their lists), or -ENOMEM. mmapLock held for write. */
export function* migrateByPolicy(k: Kernel, mm: MmStruct, start: number, pages: number[]): KernelPath<number> {
  if (pages.length === 0) return 0;
  const failed = yield* k.fn.migratePages(k, pages, targetByPolicy(mm, start), null, MIGRATE_SYNC, MR_MEMPOLICY_MBIND);
  if (failed !== 0) putbackMovablePages(k, pages);
  return failed;
}

/** migrate_to_node: all pages of `source` go to `dest`. */
function* migrateToNode(k: Kernel, mm: MmStruct, source: number, dest: number, flags: number): KernelPath<number> {
  const pages: number[] = [];
  yield* queuePagesRange(k, mm, 0, TASK_SIZE, { flags, nodes: [source], inverted: false, allowsHoles: true, pages });
  if (pages.length === 0) return 0;
  const failed = yield* k.fn.migratePages(k, pages, targetOn(dest), null, MIGRATE_SYNC, MR_SYSCALL);
  if (failed !== 0) putbackMovablePages(k, pages);
  return failed;
}

/** node_remap: the node of `to` that stands where `node` stands in `from`. */
function remapNode(node: number, from: readonly number[], to: readonly number[]): number {
  return to[from.indexOf(node) % to.length]!;
}

/** do_migrate_pages: pages on the nodes `from` (ascending) go to those of `to` that correspond to them. A node whose destination is not
 *  still to be emptied goes first, so that nothing is moved twice. How many pages stayed, or -errno. */
export function* doMigratePages(
  k: Kernel,
  mm: MmStruct,
  from: readonly number[],
  to: readonly number[],
  all: boolean,
): KernelPath<number> {
  const left = new Set(from);
  const flags = all ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE;
  const lock = mm.mmapLock;
  let busy = 0;
  let error = 0;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  while (error === 0) {
    let source = -1;
    let dest = -1;
    for (const node of left) {
      if (from.length !== to.length && to.includes(node)) continue;
      const target = remapNode(node, from, to);
      if (target === node) continue;
      source = node;
      dest = target;
      if (!left.has(dest)) break;
    }
    if (source < 0) break;
    left.delete(source);
    const result = yield* migrateToNode(k, mm, source, dest, flags);
    if (result > 0) busy += result;
    else error = result;
  }
  lock.readUnlock();
  return error < 0 ? error : busy;
}
