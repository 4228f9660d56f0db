// struct mem_cgroup: the lists of a group and what it is charged for. Charging that may reclaim, and what an administrator writes to
// a group, are in memcg.ts.

import type { Kernel } from '../kernel.ts';
import { compoundNr } from '../page/compound.ts';
import type { MmStruct } from '../types.ts';
import { Lruvec } from './lruvec.ts';

/** Pages of an address space that no page table accounts for: the PGD is a pair (page-table isolation), and mm_struct with its
 *  VMAs fills about a page of slab. */
const MM_KERNEL_PAGES = 3;
const MM_SLAB_BYTES = 4096;

export class MemCgroup {
  readonly id: number;
  readonly lruvec = new Lruvec();
  /** Pages charged, and the limits on them. */
  usage = 0;
  max = Number.POSITIVE_INFINITY;
  high = Number.POSITIVE_INFINITY;

  constructor(id: number) {
    this.id = id;
  }
}

/** The charge of a page-table page, whatever the limit. */
export function commitTableCharge(k: Kernel, group: MemCgroup, table: number): void {
  commitCharge(k, group, table);
  // MEMCG_KMEM is changed instead of PGPGIN, and NR_PAGETABLE.
  k.reclaim.stats.updated(1);
}

/** commit_charge of a page, or of a compound page's head, whatever the limit: page cache. */
export function commitCharge(k: Kernel, group: MemCgroup, pfn: number): void {
  const count = 1 << k.pages.order[pfn]!;
  k.pages.memcg.fill(group.id, pfn, pfn + count);
  group.usage += count;
  // PGPGIN.
  k.reclaim.stats.updated(1);
}

/** mem_cgroup_uncharge: the page, of `count` frames, is about to be freed. */
export function memCgroupUncharge(k: Kernel, pfn: number, count: number): void {
  // PGPGOUT, and what it was counted as until its last entry went (or NR_PAGETABLE).
  for (let counter = 0; counter < 2; counter++) k.reclaim.stats.updated(1);
  uncharge(k, pfn, count);
}

function uncharge(k: Kernel, pfn: number, count: number): void {
  const { memcg } = k.pages;
  k.reclaim.groups[memcg[pfn]!]!.usage -= count;
  memcg.fill(0, pfn, pfn + count);
}

/** mem_cgroup_uncharge_list: the same of small pages that reclaim took; their events are counted as a whole. */
export function memCgroupUnchargeList(k: Kernel, pages: readonly number[]): void {
  let charged = 0;
  for (const pfn of pages) {
    if (k.pages.memcg[pfn] === 0) continue;
    const count = compoundNr(k.pages, pfn);
    uncharge(k, pfn, count);
    charged += count;
  }
  k.reclaim.stats.updated(charged);
}

/** An address space made by a member of the group (fork, exec): it is charged for its own memory from now on. */
export function memCgroupAttach(k: Kernel, mm: MmStruct, group: MemCgroup): void {
  mm.memcg = group.id;
  if (group.id === 0) return;
  group.usage += MM_KERNEL_PAGES;
  // mm_struct, VMAs: slab objects are counted in bytes.
  k.reclaim.stats.updated(MM_SLAB_BYTES);
  // The PGD is one frame here, freed like the other tables.
  k.pages.memcg[mm.pgd] = group.id;
}

/** The address space is gone; its PGD, freed as a frame, uncharges itself. */
export function memCgroupDetach(k: Kernel, mm: MmStruct): void {
  if (mm.memcg !== 0) k.reclaim.groups[mm.memcg]!.usage -= MM_KERNEL_PAGES - 1;
  mm.memcg = 0;
}
