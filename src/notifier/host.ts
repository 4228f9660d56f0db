// What the notifier room needs of its host, and the moments that mm announces to a design. mm implements the first and
// calls the second; neither knows the other's insides.
//
// mm announces every moment for an mm that ever had a subscriber (mm.notifiers !== null). A design turns moments into the
// callbacks that its drivers get, in its order and context. In each moment's comment: what the primary MMU has done by then.

import type { RecordLog } from '../base/record-log.ts';
import type { Rwsem } from '../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { Scheduler } from '../sched/scheduler.ts';

/** The address space as the notifier room sees it (MmStruct has all of this). */
export interface NotifierMm {
  readonly id: number;
  /** PGD frame: what a walker is pointed at. */
  pgd: number;
  readonly mmapLock: Rwsem;
  users: number;
  count: number;
  isExiting: boolean;
  notifiers: { readonly hasSubscribers: boolean } | null;
}

export interface NotifierHost {
  readonly sched: Scheduler;
  readonly log: RecordLog;
  /** mm_take_all_locks: waits for and takes every i_mmap and anon_vma lock of the mm (mmapLock W held). */
  takeAllLocks(mm: NotifierMm): KernelPath<void>;
  dropAllLocks(mm: NotifierMm): void;
  /** mmdrop. */
  mmDrop(mm: NotifierMm): void;
  /** PageLocked. */
  isPageLocked(pfn: number): boolean;
  /** Frames of the page that begins there. */
  pagesOf(pfn: number): number;
  /** The VMAs of the mm, ascending. */
  vmasOf(mm: NotifierMm): NotifierVma[];
}

/** mmu_notifier_range. `end` may be ULONG_MAX (Infinity). */
export interface NotifierRange {
  mm: NotifierMm;
  start: number;
  end: number;
  /** MMU_NOTIFY_* */
  event: number;
  /** SITE_*: the code path. */
  site: number;
  blockable: boolean;
  owner: unknown;
  /** Number of the section in the events. */
  id: number;
  /** What the section was for has failed half-way, as fork without memory; known at its end. */
  hasFailed: boolean;
}

/** A VMA as the notifier room sees it (VmArea has all of this). */
export interface NotifierVma {
  readonly mm: NotifierMm;
  readonly start: number;
  readonly end: number;
  /** Made by mmap itself; not by a split, fork, brk, mremap or the loader of programs. */
  readonly isByMmap: boolean;
}

/** A notifier design: what the moments of mm become. Every function is called only when mm.notifiers !== null, except
 *  pageUnmapped and allowsFastMode. QuietDesign makes nothing of any of them. */
export interface NotifierDesign {
  readonly name: string;
  /** Somebody waits for pageUnmapped (an external rmap is registered). */
  readonly hasRmapNotifiers: boolean;

  /** mmu_notifier_invalidate_range_start: entries of the range are still in place. Locks: mmapLock or rmap locks, never
   *  ptl. Returns 0, or -EAGAIN only when not blockable. */
  invalidateRangeStart(range: NotifierRange): KernelPath<number>;
  /** mmu_notifier_invalidate_range_end / _only_end: entries are gone or changed; pages may not be freed yet. */
  invalidateRangeEnd(range: NotifierRange, onlyEnd: boolean): KernelPath<void>;
  /** try_to_unmap_one, and what became of it for migration: the entry of one page is about to be cleared and still present. Under
   *  ptl and the rmap locks. */
  pteAboutToBeCleared(mm: NotifierMm, vma: NotifierVma, address: number, site: number): AtomicPath<void>;
  /** Under ptl, after an entry was cleared AND the CPU TLB flushed, before another entry is set or the page can be freed:
   *  the moments of ptep_clear_flush_notify and of try_to_unmap's explicit call. `isFile`: a page-cache page (6.1 makes no
   *  call then; invalidate_page of 2.6.27 did). `site` is SITE_COW, SITE_TRY_TO_UNMAP, SITE_MKCLEAN ... */
  pteClearedAndFlushed(mm: NotifierMm, start: number, end: number, site: number, isFile: boolean): AtomicPath<void>;
  /** set_pte_at_notify: just before the new entry is stored, under ptl. */
  changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void>;
  /** tlb_flush_mmu_tlbonly flushed the CPU TLBs for this gather range (under ptl or not): whatever was queued so far is
   *  freed next. `freedTables`: page-table pages are among it. */
  gatherFlushed(mm: NotifierMm, start: number, end: number, freedTables: boolean, site: number): AtomicPath<void>;
  /** Any other CPU TLB flush of a user mm (mprotect's goes through a gather; here: mremap, fork, migration, soft-dirty). */
  cpuTlbFlushed(mm: NotifierMm, start: number, end: number, site: number): AtomicPath<void>;
  /** zap: pages of an open section are about to be freed (batch full or forced), entries already cleared, section not
   *  ended; the moment of the 2011 proposal. */
  pagesAboutToBeFreed(mm: NotifierMm, start: number, end: number, site: number): AtomicPath<void>;
  /** After tlb_finish_mmu of an unmapping (munmap, zap, truncate, OOM reaper): its pages are free. Locks as for its section. */
  pagesFreed(mm: NotifierMm, start: number, end: number, site: number): KernelPath<void>;
  /** The reverse-map walk of try_to_unmap or page_mkclean over the page is done. Page lock held, no rmap lock. Called only while
   *  hasRmapNotifiers. */
  pageUnmapped(pfn: number, site: number): KernelPath<void>;
  /** folio_referenced and friends: did a secondary MMU use the range? `kind`: CB_CLEAR_FLUSH_YOUNG, CB_CLEAR_YOUNG, CB_TEST_YOUNG. */
  young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean>;
  /** Start of exit_mmap. */
  release(mm: NotifierMm): KernelPath<void>;
  /** End of exit_mmap: pages and page tables are free. */
  exitFinished(mm: NotifierMm): KernelPath<void>;
  /** do_wp_page made the entry of a page writable in place, without a copy or a section; ptl was dropped. */
  pageReused(mm: NotifierMm, address: number): KernelPath<void>;
  /** The mm_struct itself goes (__mmdrop): subscriptions are dead. */
  destroy(mm: NotifierMm): void;

  // Life of VMAs; mmapLock W held.
  /** mmap made the VMA. */
  vmaMapped(vma: NotifierVma): void;
  /** `copy` was made from `vma` by a split or by mremap, and is not in the tree yet. */
  vmaCopied(vma: NotifierVma, copy: NotifierVma): void;
  /** `into` takes pages of `from` over; isGone: all of them, and `from` vanishes without being closed. */
  vmaMerged(into: NotifierVma, from: NotifierVma, isGone: boolean): void;
  /** remove_vma: the VMA was unmapped and its pages are free. mmapLock W or R. */
  vmaClosed(vma: NotifierVma): KernelPath<void>;

  /** tlb_fast_mode (one CPU, before 3.10): may a gather of this mm free pages while it clears? `isOwnGather`: the architecture has an
   *  mmu_gather of its own. */
  allowsFastMode(mm: NotifierMm, isOwnGather: boolean): boolean;
}
