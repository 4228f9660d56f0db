// Memory cgroups (mm/memcontrol.c): a group of address spaces with LRU lists and a limit of its own. User pages are charged to the
// group of the address space that faults them in, page-cache pages to that of the task that reads them, page tables to that of
// their address space; what a page is charged to stays until it is freed. A charge beyond memory.max reclaims from the group first; one
// beyond memory.high reclaims afterwards.
//
// Group 0 is the root: everything that belongs to no other group. It has no limit.
//
// Kernel names: struct mem_cgroup, try_charge_memcg, mem_cgroup_uncharge, memory_max_write, memory_high_write, memory_reclaim.

import { EAGAIN } from '../../abi/errno.ts';
import { assert } from '../../base/assert.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { LruGen } from './lru-gen.ts';
import { commitCharge, MemCgroup } from './mem-cgroup.ts';
import { doTryToFreePages, ScanControl } from './shrink.ts';

/** Fruitless rounds before a charge fails (MAX_RECLAIM_RETRIES). */
const RETRIES_MAX = 16;
/** Steps of the world between two looks at what a victim of the group's OOM killer gave back. */
const OOM_WAIT_STEPS = 100;

/** mkdir of a new group below the root. */
export function newMemCgroup(k: Kernel): MemCgroup {
  const { groups } = k.reclaim;
  assert(groups.length < 256, 'newMemCgroup: a group number fits a byte');
  const group = new MemCgroup(groups.length);
  if (k.reclaim.lruGen !== null) group.lruvec.gen = new LruGen(k.reclaim.lruGen);
  // From now on the counts are exact only after a flush.
  k.reclaim.flushStatsNow();
  groups.push(group);
  // swapcache_free_entries takes each slot off MEMCG_SWAP.
  k.swap.onReturned = (slots) => {
    for (let i = 0; i < slots; i++) k.reclaim.stats.updated(1);
  };
  return group;
}

/** mem_cgroup_charge of a page, or of a compound page's head, to a group that is not the root. Reclaims when the group is full. The page
 *  again; or 0 when the group stays full, and the page was put. */
export function* memCgroupCharge(k: Kernel, id: number, pfn: number): KernelPath<number> {
  const group = k.reclaim.groups[id]!;
  const count = 1 << k.pages.order[pfn]!;
  // PGFAULT.
  k.reclaim.stats.updated(1);
  for (let fruitless = 0; group.usage + count > group.max; ) {
    // A reclaimer may go beyond the limit: it gives back more than it takes (PF_MEMALLOC).
    if (k.reclaim.isReclaiming(k.sched.current)) break;
    const freed = yield* tryToFreeMemCgroupPages(k, group, count);
    if (freed > 0 || ++fruitless <= RETRIES_MAX) continue;
    if (k.config.oomKiller && (yield* k.fn.outOfMemory(k, id))) {
      yield* k.sched.sleepSteps(OOM_WAIT_STEPS, 'OOM victim');
      continue;
    }
    k.fn.putPage(k, pfn);
    return 0;
  }
  commitCharge(k, group, pfn);
  // NR_ANON_MAPPED, which every caller is about to do.
  k.reclaim.stats.updated(count);
  if (group.usage > group.high && !k.reclaim.isReclaiming(k.sched.current))
    yield* tryToFreeMemCgroupPages(k, group, group.usage - group.high);
  return pfn;
}

/** try_to_free_mem_cgroup_pages: pages freed. */
export function* tryToFreeMemCgroupPages(k: Kernel, group: MemCgroup, count: number): KernelPath<number> {
  const thread = k.sched.current;
  if (k.reclaim.isReclaiming(thread)) return 0;
  k.reclaim.enterReclaim(thread);
  const freed = yield* doTryToFreePages(k, new ScanControl(count, group));
  k.reclaim.leaveReclaim(thread);
  return freed;
}

/** A write of `pages` to memory.reclaim. 0 or -EAGAIN. */
export function* memoryReclaim(k: Kernel, group: MemCgroup, pages: number): KernelPath<number> {
  let reclaimed = 0;
  for (let retries = RETRIES_MAX; reclaimed < pages; ) {
    const freed = yield* tryToFreeMemCgroupPages(k, group, pages - reclaimed);
    if (freed === 0 && retries-- === 0) return -EAGAIN;
    reclaimed += freed;
  }
  return 0;
}

/** A write of `pages` to memory.max: what is charged beyond it is reclaimed, as far as that goes. */
export function* setMemoryMax(k: Kernel, group: MemCgroup, pages: number): KernelPath<void> {
  group.max = pages;
  for (let retries = RETRIES_MAX; group.usage > pages && retries > 0; ) {
    if ((yield* tryToFreeMemCgroupPages(k, group, group.usage - pages)) === 0) retries--;
  }
}

/** A write of `pages` to memory.high. */
export function* setMemoryHigh(k: Kernel, group: MemCgroup, pages: number): KernelPath<void> {
  group.high = pages;
  for (let retries = RETRIES_MAX; group.usage > pages && retries > 0; ) {
    if ((yield* tryToFreeMemCgroupPages(k, group, group.usage - pages)) === 0) retries--;
  }
}
