// The first MMU notifiers in Linux (2.6.27, July 2008), as they stood until 3.18. Start/end for subscribers that keep a table
// of their own; no call between the clearing of entries and the freeing of pages.
// Linux 2.6.27: mm/mmu_notifier.c, include/linux/mmu_notifier.h.
//
// Sites and how they are told:
//
//   start/end           munmap, zap (unmap_vmas), mprotect, mremap and exec's stack move (move_page_tables), fork
//                       (copy_page_range of COW areas), hugetlb. MADV_FREE, soft-dirty, huge-page split and collapse are
//                       younger; they opened sections from their first day, so they do here
//   invalidate_page     entries cleared singly through ptep_clear_flush_notify, under ptl: reclaim and migration
//                       (try_to_unmap_one, file pages too), write-back's write protection (page_mkclean_one), the copied page
//                       of a write fault (do_wp_page), KSM. Those sites open no section
//   change_pte          from 2.6.32; a subscriber without it gets invalidate_page instead
//   nothing             gather flush, page-table pages, MADV_COLD, upgrades
//
// The list was walked under RCU, not SRCU: no callback may sleep. Release order: a subscriber is unlinked first and released
// then, once, by whichever of exit and unregister comes first.

import {
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_INVALIDATE_PAGE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
} from '../abi/events.ts';
import { SITE_COW, SITE_KSM, SITE_MADV_COLD, SITE_MIGRATE, SITE_MKCLEAN, SITE_TRY_TO_UNMAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_CALLBACK } from '../sched/points.ts';
import type { NotifierDesign, NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { type ListOps, type Subscription, SubscriptionList } from './subscriptions.ts';

/** mmu_notifier_ops of 2.6.27 (changePte: 2.6.32). All under RCU: none may sleep. */
export interface Linux2627Ops extends ListOps {
  /** At the start of exit_mmap or from unregister, once. On return nothing of the mm is used. */
  release?(mn: Subscription, mm: NotifierMm): AtomicPath<void>;
  /** Under ptl. Was the page used since the last call? On return the use is forgotten. */
  clearFlushYoung?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** Under ptl, before the new entry is stored. */
  changePte?(mn: Subscription, mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void>;
  /** Under ptl, the entry of one page was cleared and the CPUs flushed. On return no older translation of it is held. */
  invalidatePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<void>;
  /** Entries are still in place. mmapLock or rmap locks. On return nothing of the range is mapped, nor will be until
   *  invalidateRangeEnd. */
  invalidateRangeStart?(mn: Subscription, range: NotifierRange): AtomicPath<void>;
  /** Entries have changed; pages of full batches are free, those of the last batch not yet. Same locks. */
  invalidateRangeEnd?(mn: Subscription, range: NotifierRange): AtomicPath<void>;
}

/** Sites told by invalidate_page, or not at all: no section. */
function opensNoSection(site: number): boolean {
  return (
    site === SITE_TRY_TO_UNMAP ||
    site === SITE_MKCLEAN ||
    site === SITE_COW ||
    site === SITE_MIGRATE ||
    site === SITE_KSM ||
    site === SITE_MADV_COLD
  );
}

export class Linux2627 implements NotifierDesign {
  readonly name: string = 'linux-2.6.27';
  readonly host: NotifierHost;
  readonly list: SubscriptionList<Linux2627Ops>;

  constructor(host: NotifierHost) {
    this.host = host;
    this.list = new SubscriptionList<Linux2627Ops>(host, 'unhash-then-release');
  }

  *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const list = this.list;
    if (opensNoSection(range.site) || list.first(range.mm) === null) return 0;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = n.next) {
      if (n.ops.invalidateRangeStart === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enterAtomic(n, CB_INVALIDATE_RANGE_START, range.mm, range.start, range.end);
      yield* n.ops.invalidateRangeStart(n, range);
      list.leaveAtomic(n, CB_INVALIDATE_RANGE_START, range.mm, range.start, range.end, 0);
    }
    list.srcu.readUnlock(section);
    return 0;
  }

  *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    const list = this.list;
    if (opensNoSection(range.site) || list.first(range.mm) === null) return;
    const section = list.srcu.readLock();
    for (let n = list.first(range.mm); n !== null; n = n.next) {
      if (n.ops.invalidateRangeEnd === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enterAtomic(n, CB_INVALIDATE_RANGE_END, range.mm, range.start, range.end);
      yield* n.ops.invalidateRangeEnd(n, range);
      list.leaveAtomic(n, CB_INVALIDATE_RANGE_END, range.mm, range.start, range.end, 0);
    }
    list.srcu.readUnlock(section);
  }

  /** mmu_notifier_invalidate_page, of each page of [start, end). */
  *invalidatePage(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    const list = this.list;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = n.next) {
      if (n.ops.invalidatePage === undefined) continue;
      for (let address = start; address < end; address += 4096) {
        if (this.host.sched.points) yield P_CALLBACK;
        list.enterAtomic(n, CB_INVALIDATE_PAGE, mm, address, address + 4096);
        yield* n.ops.invalidatePage(n, mm, address);
        list.leaveAtomic(n, CB_INVALIDATE_PAGE, mm, address, address + 4096, 0);
      }
    }
    list.srcu.readUnlock(section);
  }

  *pteClearedAndFlushed(mm: NotifierMm, start: number, end: number, site: number, _isFile: boolean): AtomicPath<void> {
    if (opensNoSection(site)) yield* this.invalidatePage(mm, start, end);
  }

  *changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void> {
    const list = this.list;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = n.next) {
      const callback = n.ops.changePte !== undefined ? CB_CHANGE_PTE : CB_INVALIDATE_PAGE;
      const path = n.ops.changePte?.(n, mm, address, lo, hi) ?? n.ops.invalidatePage?.(n, mm, address);
      if (path === undefined) continue;
      if (this.host.sched.points) yield P_CALLBACK;
      list.enterAtomic(n, callback, mm, address, address + 4096);
      yield* path;
      list.leaveAtomic(n, callback, mm, address, address + 4096, 0);
    }
    list.srcu.readUnlock(section);
  }

  /** Only clear_flush_young, page by page. */
  *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    if (kind !== CB_CLEAR_FLUSH_YOUNG) return false;
    const list = this.list;
    const section = list.srcu.readLock();
    let isYoung = false;
    for (let n = list.first(mm); n !== null; n = n.next) {
      if (n.ops.clearFlushYoung === undefined) continue;
      for (let address = start; address < end; address += 4096) {
        if (this.host.sched.points) yield P_CALLBACK;
        list.enterAtomic(n, CB_CLEAR_FLUSH_YOUNG, mm, address, address + 4096);
        const used = yield* n.ops.clearFlushYoung(n, mm, address);
        list.leaveAtomic(n, CB_CLEAR_FLUSH_YOUNG, mm, address, address + 4096, used ? 1 : 0);
        isYoung = isYoung || used;
      }
    }
    list.srcu.readUnlock(section);
    return isYoung;
  }

  release(mm: NotifierMm): KernelPath<void> {
    return this.list.release(mm);
  }

  destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }

  *gatherFlushed(): AtomicPath<void> {}

  *cpuTlbFlushed(): AtomicPath<void> {}

  *pagesAboutToBeFreed(): AtomicPath<void> {}
}
