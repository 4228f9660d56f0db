// Pages that come back after they were evicted (mm/workingset.c). Eviction leaves a shadow in the page's place: the time, in
// evictions and activations of its lists, and whether it had been active. When the page is read again and fewer pages went since
// than are active, it would have stayed if the lists had been balanced otherwise: it is activated at once.
//
//   shadow = ((age * 256 + group) * 2 + wasWorkingset) + 1;   0 = none
//
// Kernel names: workingset_eviction, workingset_refault, workingset_age_nonresident, workingset_activation.

import type { Kernel } from '../kernel.ts';
import { PG_ACTIVE, PG_SWAPBACKED, PG_WORKINGSET } from '../page/pages.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, type Lruvec } from './lruvec.ts';
import type { MemCgroup } from './mem-cgroup.ts';

/** workingset_age_nonresident: the clock of the group and of the root above it. */
export function ageNonresident(k: Kernel, lruvec: Lruvec): void {
  lruvec.nonresidentAge++;
  const { root } = k.reclaim;
  if (lruvec !== root) root.nonresidentAge++;
}

/** The shadow of a page that reclaim on behalf of `target` (null: of everybody) evicts. */
export function workingsetEviction(k: Kernel, pfn: number, target: MemCgroup | null): number {
  const { gen } = k.reclaim.lruvecOf(pfn);
  if (gen !== null) {
    const { token, wasWorkingset } = gen.eviction(k.pages, pfn);
    return (token * 256 + k.pages.memcg[pfn]!) * 2 + (wasWorkingset ? 1 : 0) + 1;
  }
  const group = target ?? k.reclaim.groups[0]!;
  const age = group.lruvec.nonresidentAge;
  ageNonresident(k, group.lruvec);
  const wasWorkingset = (k.pages.flags[pfn]! & PG_WORKINGSET) !== 0 ? 1 : 0;
  return (age * 256 + group.id) * 2 + wasWorkingset + 1;
}

/** lruvec_page_state: pages on one list, of the whole tree for the root. */
function pagesOn(k: Kernel, group: MemCgroup, list: number): number {
  if (!k.reclaim.hasGroups) return group.lruvec.count[list]!;
  if (group.id !== 0) return group.lruvec.stats[list]!;
  let n = 0;
  for (const g of k.reclaim.groups) n += g.lruvec.stats[list]!;
  return n;
}

/** The page, new and on no list yet, was evicted before and left `shadow`. */
export function workingsetRefault(k: Kernel, pfn: number, shadow: number): void {
  if (shadow === 0) return;
  const wasWorkingset = (shadow - 1) % 2 === 1;
  const rest = Math.floor((shadow - 1) / 2);
  const group = k.reclaim.groups[rest % 256]!;
  const { gen } = group.lruvec;
  if (gen !== null) {
    const inFault = k.reclaim.lruGen!.inFault.has(k.sched.current);
    if (k.pages.memcg[pfn] === group.id) gen.refault(k.pages, pfn, Math.floor(rest / 256), wasWorkingset, inFault);
    return;
  }
  const isFile = (k.pages.flags[pfn]! & PG_SWAPBACKED) === 0;
  const distance = group.lruvec.nonresidentAge - Math.floor(rest / 256);
  let size = pagesOn(k, group, LRU_ACTIVE_FILE);
  if (!isFile) size += pagesOn(k, group, LRU_INACTIVE_FILE);
  if (k.swap.free > 0) {
    size += pagesOn(k, group, LRU_ACTIVE_ANON);
    if (isFile) size += pagesOn(k, group, LRU_INACTIVE_ANON);
  }
  if (k.reclaim.hasGroups) k.reclaim.stats.updated(1);
  if (distance > size) return;
  const { flags } = k.pages;
  const lruvec = k.reclaim.lruvecOf(pfn);
  flags[pfn] = flags[pfn]! | PG_ACTIVE;
  ageNonresident(k, lruvec);
  lruvec.activated[isFile ? 1 : 0]!++;
  if (k.reclaim.hasGroups) k.reclaim.stats.updated(1);
  if (!wasWorkingset) return;
  flags[pfn] = flags[pfn]! | PG_WORKINGSET;
  lruvec.noteCost(isFile, 1);
  if (k.reclaim.hasGroups) k.reclaim.stats.updated(1);
}
