// Frames (mm/page_alloc.c): who may take how much of the free memory, and what taking and giving back means.
//
//   free >  low    everybody is served
//   free <= low    served, and kswapd is woken (it stops at high)
//   free <= min    GFP_KERNEL reclaims (allocPagesSlow), GFP_NOWAIT fails, GFP_ATOMIC goes on to min / 2, GFP_MEMALLOC to 0
//
// Linux tries above `low` first and above `min` in the slow path; here one test serves both, with the same outcome.
// Frames are handed out with refcount 1 and whatever bytes they held last: callers zero. A frame given back starts a new
// generation, which is how a stale translation is told from a good one.
//
// Kernel names: get_page_from_freelist, __alloc_pages_slowpath, free_unref_page, free_unref_page_list, put_page (__put_single_page),
// init_per_zone_wmark_min, setup_per_zone_wmarks.

import { E_FRAME_ALLOC, E_FRAME_FREE } from '../../abi/events.ts';
import { SLEEP_RECLAIM } from '../../abi/locks.ts';
import { assert } from '../../base/assert.ts';
import { type Footprint, OBJ_LIST, OBJ_PAGE } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import { CHOOSE_ALLOC_FAILURE } from '../../sched/scheduler.ts';
import type { KernelConfig } from '../config.ts';
import type { PageFns } from '../fns.ts';
import { freeZoneDevicePage } from '../hmm/device-memory.ts';
import { freeHugePage } from '../hugetlb/pool.ts';
import type { Kernel } from '../kernel.ts';
import { memCgroupUncharge } from '../reclaim/mem-cgroup.ts';
import { REACH_ALL, REACH_BUDDY, REACH_OWN } from './buddy.ts';
import { clearCompound, compoundHead, prepCompoundPage, totalMapcount } from './compound.ts';
import { buddyOf, NUMA_NO_NODE } from './nodes.ts';
import {
  GFP_ATOMIC,
  GFP_KERNEL,
  GFP_MEMALLOC,
  GFP_NOWAIT,
  LIST_FREE,
  LIST_PCP,
  type Pages,
  PG_COMPOUND,
  PG_HUGETLB,
  PG_HWPOISON,
  PG_LRU,
} from './pages.ts';

/** Direct-reclaim rounds without progress before an allocation fails (Linux: 16; here each round already
 *  went through every priority). */
const RECLAIM_RETRIES_MAX = 2;
/** Pages that a direct reclaim tries to free (SWAP_CLUSTER_MAX). */
const SWAP_CLUSTER_MAX = 32;

/** Steps of the world between two looks at what an OOM victim gave back. */
const OOM_WAIT_STEPS = 100;

export interface Watermarks {
  readonly min: number;
  readonly low: number;
  readonly high: number;
}

/** Watermarks in frames: as configured, else min as min_free_kbytes (4 * sqrt(kB of memory), kept below 1/64 of a small
 *  memory), low and high each max(min / 4, 1/1000 of memory) further up. */
export function watermarks(config: KernelConfig): Watermarks {
  const kilobytes = config.frames * 4;
  const derived = Math.min(Math.floor(Math.sqrt(kilobytes * 16) / 4), config.frames >> 6);
  const min = config.watermarkMin || Math.max(1, derived);
  const step = Math.max(1, min >> 2, Math.floor(config.frames / 1000));
  const low = Math.max(config.watermarkLow || min + step, min);
  return { min, low, high: Math.max(config.watermarkHigh || low + step, low) };
}

/** Frames that must stay free for this kind of request. */
function reserve(k: Kernel, gfp: number): number {
  if (gfp === GFP_KERNEL || gfp === GFP_NOWAIT) return k.watermarks.min;
  return (gfp & GFP_MEMALLOC) !== 0 ? 0 : (gfp & GFP_ATOMIC) !== 0 ? k.watermarks.min >> 1 : k.watermarks.min;
}

/** CPU whose list serves the running thread. */
function currentCpu(k: Kernel): number {
  const cpus = k.config.cpus;
  return cpus === 1 ? 0 : k.sched.current.id % cpus;
}

/** No step takes or gives more frames than this between two looks at how many are free. */
const STEP_FRAMES_MAX = 16;

/** Tells the explorer's recorder which lists of free frames this step uses. How many frames are free matters to nobody while they
 *  are many. */
function noteFrames(k: Kernel, footprint: Footprint, cpu: number, reach: number): void {
  const isScarce = k.pages.free <= k.watermarks.high + STEP_FRAMES_MAX;
  footprint.note(OBJ_LIST, LIST_PCP + cpu, true);
  if (isScarce || reach !== REACH_OWN) footprint.note(OBJ_LIST, LIST_FREE, true);
  if (reach === REACH_ALL) for (let c = 0; c < k.config.cpus; c++) footprint.note(OBJ_LIST, LIST_PCP + c, true);
}

/** A frame of `node`, or unless `isOnly` of the next node that has one (the zonelist). NUMA_NO_NODE: the CPU's own, node 0. */
function takeFrame(k: Kernel, cpu: number, node: number, isOnly: boolean): number {
  const { nodes } = k;
  const first = node < 0 ? 0 : node;
  const pfn = nodes[first]!.takeFrame(cpu);
  if (pfn !== 0 || isOnly || nodes.length === 1) return pfn;
  for (let i = 0; i < nodes.length; i++) {
    const other = i === first ? 0 : nodes[i]!.takeFrame(cpu);
    if (other !== 0) return other;
  }
  return 0;
}

/** The same for a block. */
function takeBlock(k: Kernel, order: number, node: number, isOnly: boolean): number {
  const { nodes } = k;
  const first = node < 0 ? 0 : node;
  const head = nodes[first]!.takeBlock(order);
  if (head !== 0 || isOnly || nodes.length === 1) return head;
  for (let i = 0; i < nodes.length; i++) {
    const other = i === first ? 0 : nodes[i]!.takeBlock(order);
    if (other !== 0) return other;
  }
  return 0;
}

function noteTake(k: Kernel, footprint: Footprint, cpu: number): void {
  noteFrames(k, footprint, cpu, k.nodes.length > 1 ? REACH_ALL : k.buddy.takeReach(cpu));
}

/** Below the low watermark: wakes kswapd. True when this kind of request may not have the rest. */
function isShort(k: Kernel, gfp: number): boolean {
  k.reclaim.wakeKswapd(k.sched);
  return k.pages.free <= reserve(k, gfp);
}

function allocPage(k: Kernel, gfp: number, purpose: number, node = NUMA_NO_NODE, isOnly = false): number {
  const cpu = currentCpu(k);
  if (k.memory.footprint !== null) noteTake(k, k.memory.footprint, cpu);
  if (k.config.injectAllocFailures && k.sched.choose(2, CHOOSE_ALLOC_FAILURE) === 1) return 0;
  if (k.pages.free <= k.watermarks.low && isShort(k, gfp)) return 0;
  const pfn = k.nodes.length === 1 ? k.buddy.takeFrame(cpu) : takeFrame(k, cpu, node, isOnly);
  return pfn === 0 ? 0 : prepNewPage(k, pfn, purpose, gfp === GFP_KERNEL);
}

/** prep_new_page: a frame off the free lists becomes a page with one reference. */
function prepNewPage(k: Kernel, pfn: number, purpose: number, mayReclaim: boolean): number {
  const { pages, stats } = k;
  pages.refcount[pfn] = 1;
  pages.purpose[pfn] = purpose;
  const used = pages.count - pages.free;
  if (used > stats.framesPeak) stats.framesPeak = used;
  if (k.memory.log.on) announceAlloc(k, pfn, purpose, mayReclaim);
  return pfn;
}

function announceAlloc(k: Kernel, pfn: number, purpose: number, mayReclaim: boolean): void {
  const { log, generation } = k.memory;
  const reclaims = mayReclaim && !k.reclaim.isReclaiming(k.sched.current) ? 1 : 0;
  log.emit(E_FRAME_ALLOC, 0, 0, 0, pfn, generation[pfn]!, purpose, 0, reclaims, 0);
}

/** alloc_pages with __GFP_COMP: takes the block straight from the buddy lists; one attempt, without reclaim. */
function allocPages(
  k: Kernel,
  gfp: number,
  order: number,
  purpose: number,
  node = NUMA_NO_NODE,
  isOnly = false,
): number {
  if (order === 0) return k.fn.allocPage(k, gfp, purpose, node, isOnly);
  const pages = k.pages;
  const memory = k.memory;
  if (memory.footprint !== null) noteFrames(k, memory.footprint, currentCpu(k), REACH_ALL);
  if (k.config.injectAllocFailures && k.sched.choose(2, CHOOSE_ALLOC_FAILURE) === 1) return 0;
  if (pages.free - (1 << order) <= reserve(k, gfp)) return 0;
  const head = takeBlock(k, order, node, isOnly);
  if (head === 0) return 0;
  prepCompoundPage(pages, head, order);
  pages.refcount[head] = 1;
  pages.purpose.fill(purpose, head, head + (1 << order));
  const used = pages.count - pages.free;
  if (used > k.stats.framesPeak) k.stats.framesPeak = used;
  if (memory.log.on) memory.log.emit(E_FRAME_ALLOC, 0, 0, 0, head, memory.generation[head]!, purpose, order, 0, 0);
  return head;
}

/** free_compound_page. */
function freeCompound(k: Kernel, head: number): void {
  const pages = k.pages;
  const memory = k.memory;
  const order = pages.order[head]!;
  const count = 1 << order;
  if ((pages.refcount[head]! | totalMapcount(pages, head)) !== 0) bad(pages, head);
  if (memory.footprint !== null) noteFrames(k, memory.footprint, currentCpu(k), REACH_BUDDY);
  k.huge.splitQueue.delete(head);
  const generation = memory.generation[head]!;
  if (memory.log.on) memory.log.emit(E_FRAME_FREE, 0, 0, 0, head, generation, pages.purpose[head]!, order, 0, 0);
  if (pages.memcg[head] !== 0) memCgroupUncharge(k, head, count);
  clearCompound(pages, head);
  for (let pfn = head; pfn < head + count; pfn++) {
    memory.generation[pfn]!++;
    pages.flags[pfn] = 0;
    if (pages.mapping[pfn] !== null) pages.mapping[pfn] = null;
  }
  buddyOf(k, head).giveBlock(head, order);
}

/** Sleeps. Only for GFP_KERNEL; any other request just tries again. A failure with memory left is an injected one. */
function* allocPagesSlow(k: Kernel, gfp: number, purpose: number): KernelPath<number> {
  let fruitless = 0;
  if (gfp === GFP_KERNEL && !k.reclaim.isReclaiming(k.sched.current)) k.sched.mightSleep(SLEEP_RECLAIM, 'free memory');
  for (;;) {
    if (k.sched.points) yield P_RECLAIM;
    const pfn = k.fn.allocPage(k, gfp, purpose);
    if (pfn !== 0 || gfp !== GFP_KERNEL || k.pages.free > k.watermarks.min) return pfn;
    // A reclaimer that needs memory takes it from the reserve: reclaim never runs inside itself (PF_MEMALLOC).
    if (k.reclaim.isReclaiming(k.sched.current)) return k.fn.allocPage(k, GFP_MEMALLOC, purpose);
    const reclaimed = yield* k.fn.tryToFreePages(k, SWAP_CLUSTER_MAX);
    fruitless = reclaimed > 0 ? 0 : fruitless + 1;
    if (fruitless < RECLAIM_RETRIES_MAX) continue;
    if (!k.config.oomKiller || !(yield* k.fn.outOfMemory(k, 0))) return 0;
    // The victim exits, or the reaper takes its memory, meanwhile.
    yield* k.sched.sleepSteps(OOM_WAIT_STEPS, 'OOM victim');
    fruitless = 0;
  }
}

/** Flags of a page that needs more than going back to the lists. */
const FREE_SPECIAL = PG_COMPOUND | PG_HWPOISON;

function freePage(k: Kernel, pfn: number): void {
  const pages = k.pages;
  if (pfn >= pages.count || (pages.flags[pfn]! & FREE_SPECIAL) !== 0) {
    freeSpecial(k, pfn);
    return;
  }
  const cpu = currentCpu(k);
  if (k.memory.log.on || k.memory.footprint !== null) announceFree(k, pfn, cpu);
  freePagesPrepare(k, pfn);
  pages.flags[pfn] = 0;
  (k.nodes.length === 1 ? k.buddy : buddyOf(k, pfn)).giveFrame(cpu, pfn);
}

/** What ends with a small page's last reference: its generation, its charge, whose it was. */
function freePagesPrepare(k: Kernel, pfn: number): void {
  const { refcount, mapcount, mapping, memcg } = k.pages;
  const { generation } = k.memory;
  if ((refcount[pfn]! | mapcount[pfn]!) !== 0) bad(k.pages, pfn);
  generation[pfn] = generation[pfn]! + 1;
  if (k.reclaim.groups.length > 1 && memcg[pfn] !== 0) memCgroupUncharge(k, pfn, 1);
  if (mapping[pfn] !== null) mapping[pfn] = null;
}

/** A large page, memory of a device, or a broken frame: that one goes to nobody any more. */
function freeSpecial(k: Kernel, pfn: number): void {
  const { count, flags } = k.pages;
  if (pfn >= count) freeZoneDevicePage(k, pfn);
  else if ((flags[pfn]! & PG_HUGETLB) !== 0) freeHugePage(k, pfn);
  else if ((flags[pfn]! & PG_COMPOUND) !== 0) freeCompound(k, pfn);
  else {
    announceFree(k, pfn, currentCpu(k));
    freePagesPrepare(k, pfn);
    flags[pfn] = PG_HWPOISON;
  }
}

/** Frames of the queue that are not 0 (pfn << 1, as a gather keeps them) go back, the last one first (Profile.freesInOrder: the first one
 *  first). As freePage of each; where nobody watches a single one, without looking up everything for each anew. */
function freePageList(k: Kernel, queue: Int32Array, from: number, to: number): void {
  const [first, end, step] = k.profile.freesInOrder ? [from, to, 1] : [to - 1, from - 1, -1];
  const isWatched = k.memory.log.on || k.memory.footprint !== null || k.fn.freePage !== freePage;
  if (isWatched || k.nodes.length > 1 || k.reclaim.groups.length > 1) {
    for (let i = first; i !== end; i += step) if (queue[i] !== 0) k.fn.freePage(k, queue[i]! >>> 1);
    return;
  }
  const { pages, buddy } = k;
  const { refcount, mapcount, flags, mapping, count } = pages;
  const { generation } = k.memory;
  const cpu = currentCpu(k);
  for (let i = first; i !== end; i += step) {
    if (queue[i] === 0) continue;
    const pfn = queue[i]! >>> 1;
    if (pfn >= count || (flags[pfn]! & FREE_SPECIAL) !== 0) {
      freeSpecial(k, pfn);
      continue;
    }
    if ((refcount[pfn]! | mapcount[pfn]!) !== 0) bad(pages, pfn);
    generation[pfn] = generation[pfn]! + 1;
    flags[pfn] = 0;
    if (mapping[pfn] !== null) mapping[pfn] = null;
    buddy.giveFrame(cpu, pfn);
  }
}

/** For the recorders of events and of what a step touches. */
function announceFree(k: Kernel, pfn: number, cpu: number): void {
  const { log, footprint, generation } = k.memory;
  if (footprint !== null) noteFrames(k, footprint, cpu, buddyOf(k, pfn).giveReach(cpu));
  if (log.on) log.emit(E_FRAME_FREE, 0, 0, 0, pfn, generation[pfn]!, k.pages.purpose[pfn]!, 0, 0, 0);
}

function bad(pages: Pages, pfn: number): never {
  throw new Error(`freePage: frame ${pfn} has refcount ${pages.refcount[pfn]} and mapcount ${pages.mapcount[pfn]}`);
}

function putPage(k: Kernel, page: number): void {
  const pages = k.pages;
  const pfn = compoundHead(pages, page);
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_PAGE, pfn, true);
  const refs = pages.refcount[pfn]! - 1;
  assert(refs >= 0, 'putPage: the page has a reference to drop');
  pages.refcount[pfn] = refs;
  if (refs > 0) return;
  if ((pages.flags[pfn]! & PG_LRU) !== 0) k.fn.lruDel(k, pfn);
  k.fn.freePage(k, pfn);
}

/** release_pages, folios_put: one reference of each. Those that were the last free their page, the last one of the list first
 *  (Profile.freesInOrder: the first one first). */
export function putPages(k: Kernel, pages: readonly number[]): void {
  inFreeOrder(k, pages, k.fn.putPage);
}

/** The same for pages whose references are gone already. */
export function freePages(k: Kernel, pages: readonly number[]): void {
  inFreeOrder(k, pages, k.fn.freePage);
}

function inFreeOrder(k: Kernel, pages: readonly number[], give: (k: Kernel, pfn: number) => void): void {
  const count = pages.length;
  if (k.profile.freesInOrder) for (let i = 0; i < count; i++) give(k, pages[i]!);
  else for (let i = count - 1; i >= 0; i--) give(k, pages[i]!);
}

export const allocatorFns: PageFns = {
  prepNewPage,
  allocPage,
  allocPages,
  allocPagesSlow,
  freePage,
  freePageList,
  putPage,
};
