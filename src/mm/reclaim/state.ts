// State of reclaim: memory cgroups with their LRU lists (lruvec.ts, memcg.ts), and kswapd's wait queue.
//
// Kernel names: struct pglist_data, mem_cgroup_lruvec, wakeup_kswapd.

import { fail } from '../../base/assert.ts';
import { type Scheduler, type Thread, WaitQueue } from '../../sched/scheduler.ts';
import { type Pages, PG_LRU } from '../page/pages.ts';
import type { Profile } from '../profile.ts';
import { CgroupStats } from './cgroup-stats.ts';
import type { LruGenState } from './lru-gen.ts';
import { type Lruvec, lruList as listOf } from './lruvec.ts';
import { MemCgroup } from './mem-cgroup.ts';

export {
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  LRU_NAMES,
  LRU_UNEVICTABLE,
  lruList,
} from './lruvec.ts';

export class ReclaimState {
  /** Pages that a collapse puts back (lru-add-batch.ts). */
  readonly addBatch: number[] = [];
  /** Memory cgroups by number; 0 is the root. */
  readonly groups: MemCgroup[] = [new MemCgroup(0)];
  /** The multi-generational LRU; null when it is off (setLruGen). */
  lruGen: LruGenState | null = null;
  /** Group of the task that runs: page-cache pages that come now are charged to it. */
  activeGroup = 0;
  /** kswapd sleeps here; a wake that comes while it runs is kept. */
  readonly kswapdWait = new WaitQueue();
  kswapdWanted = false;
  /** The last batch of file pages was dirty throughout (PGDAT_DIRTY): kswapd may write file pages itself. */
  manyDirty = false;
  /** Pages that reclaim has written out. */
  pageouts = 0;
  /** What swap_cluster_readahead remembers: hits of pages that were read ahead, the last slot and window. */
  swapinHits = 4;
  swapinPrevious = 0;
  swapinWindow = 0;
  /** How many changes the statistics of the groups have seen; counted while there are groups. */
  readonly stats: CgroupStats;
  /** Pages that joined their list lately: on a CPU's way there (lru_add), so not counted as on it. Kept while there are groups. */
  readonly #joining: number[] = [];
  readonly #pages: Pages;
  /** Threads inside direct reclaim or kswapd (PF_MEMALLOC). */
  readonly #reclaiming = new Set<Thread>();

  /** Profile.folioBatch. */
  readonly #batch: number;
  /** Profile.reclaimFlushesStats. */
  readonly #flushes: boolean;

  constructor(pages: Pages, cpus: number, profile: Pick<Profile, 'folioBatch' | 'reclaimFlushesStats'>) {
    this.#pages = pages;
    this.#batch = profile.folioBatch;
    this.#flushes = profile.reclaimFlushesStats;
    this.stats = new CgroupStats(cpus);
  }

  /** Whether there are memory cgroups besides the root. */
  get hasGroups(): boolean {
    return this.groups.length > 1;
  }

  /** Lists of the root group. */
  readonly root: Lruvec = this.groups[0]!.lruvec;

  /** mem_cgroup_lruvec: the lists of the group that the page is charged to. */
  lruvecOf(pfn: number): Lruvec {
    return this.groups.length === 1 ? this.root : this.groups[this.#pages.memcg[pfn]!]!.lruvec;
  }

  /** Puts a page at the head of the list that its flags name, or at its tail, and sets PG_LRU. */
  add(pfn: number, atTail = false): void {
    if (!this.hasGroups) {
      this.root.add(this.#pages, pfn, atTail);
      return;
    }
    this.stats.updated(1);
    this.lruvecOf(pfn).add(this.#pages, pfn, atTail);
  }

  /** folio_add_lru: the same, of a page that comes from elsewhere. Its list is longer by it when the CPU's batch is full or drained. */
  join(pfn: number): void {
    if (!this.hasGroups) {
      this.root.add(this.#pages, pfn);
      return;
    }
    this.lruvecOf(pfn).add(this.#pages, pfn);
    if (this.#joining.push(pfn) === this.#batch) this.drainJoining();
  }

  /** lru_add_drain, of what join collects. */
  drainJoining(): void {
    for (let i = 0; i < this.#joining.length; i++) this.stats.updated(1);
    this.#joining.length = 0;
  }

  /** Pages of the group that are on their way to a list. */
  joining(group: MemCgroup, list: number): number {
    const { flags, memcg } = this.#pages;
    let n = 0;
    for (const pfn of this.#joining) if (memcg[pfn] === group.id && listOf(flags[pfn]!) === list) n++;
    return n;
  }

  /** mem_cgroup_flush_stats: what lruvec_page_state says is the truth again, if enough has changed since it was. */
  flushStats(): void {
    if (!this.hasGroups || (this.#flushes && this.stats.isFlushDue)) this.flushStatsNow();
  }

  /** The same in any case, as a worker does every two seconds. */
  flushStatsNow(): void {
    this.stats.flushed();
    for (const group of this.groups) {
      const { lruvec } = group;
      for (let list = 0; list < lruvec.stats.length; list++)
        lruvec.stats[list] = Math.max(0, lruvec.count[list]! - (this.hasGroups ? this.joining(group, list) : 0));
      lruvec.activatedStats[0] = lruvec.activated[0]!;
      lruvec.activatedStats[1] = lruvec.activated[1]!;
    }
  }

  /** The same of one page of a batch whose removal is counted as a whole (isolate_lru_folios). */
  isolate(pfn: number): void {
    this.lruvecOf(pfn).remove(this.#pages, pfn);
  }

  /** lru_add_page_tail: a part of a huge page that was split joins its list, just ahead of the page `anchor`: looked at after it. */
  addBefore(pfn: number, anchor: number): void {
    this.#pages.memcg[pfn] = this.#pages.memcg[anchor]!;
    if (this.hasGroups) this.stats.updated(1);
    this.lruvecOf(anchor).addBefore(this.#pages, pfn, anchor);
  }

  /** Takes a page off its list; PG_ACTIVE and PG_UNEVICTABLE stay as they are. */
  remove(pfn: number): void {
    if (!this.hasGroups) {
      this.root.remove(this.#pages, pfn);
      return;
    }
    if (this.#joining.includes(pfn)) this.drainJoining();
    this.stats.updated(1);
    this.lruvecOf(pfn).remove(this.#pages, pfn);
  }

  /** wakeup_kswapd. */
  wakeKswapd(sched: Scheduler): void {
    if (this.kswapdWanted) return;
    this.kswapdWanted = true;
    this.kswapdWait.wakeAll(sched);
  }

  isReclaiming(thread: Thread): boolean {
    return this.#reclaiming.size > 0 && this.#reclaiming.has(thread);
  }

  enterReclaim(thread: Thread): void {
    this.#reclaiming.add(thread);
  }

  leaveReclaim(thread: Thread): void {
    this.#reclaiming.delete(thread);
  }

  /** Of checkInvariants: the pages on lists. */
  #seen = new Uint8Array(0);

  /** Links, counts and flags of all lists agree. Throws. */
  checkInvariants(): void {
    const { flags } = this.#pages;
    if (this.#seen.length < flags.length) this.#seen = new Uint8Array(flags.length);
    const seen = this.#seen.fill(0);
    for (const group of this.groups) group.lruvec.checkInvariants(this.#pages, seen);
    for (let pfn = 1; pfn < flags.length; pfn++)
      if ((flags[pfn]! & PG_LRU) !== 0 && seen[pfn] === 0) fail(`LRU: page ${pfn} has PG_LRU and is on no list`);
  }
}
