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
//
// Linux37 is the same design after the calls had been moved out of the page-table lock and the list under SRCU:
//
//   2.6.27                                    3.7
//     ptl                                       start                        (copied page, KSM; new)
//       entry cleared, CPUs flushed             ptl
//       invalidate_page, may not sleep            entry cleared, CPUs flushed
//     unlock                                    unlock
//                                               invalidate_page (reclaim, write-back), or end: may sleep

import {
  CB_CHANGE_PTE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_INVALIDATE_PAGE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  CB_TEST_YOUNG,
} from '../abi/events.ts';
import { SITE_COW, SITE_KSM, SITE_MADV_COLD, SITE_MIGRATE, SITE_MKCLEAN, SITE_TRY_TO_UNMAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { QuietDesign } from './quiet-design.ts';
import { type ListOps, type ReleaseOrder, type Subscription, SubscriptionList } from './subscriptions.ts';

/** mmu_notifier_ops of 2.6.27 (changePte: 2.6.32; testYoung: 2.6.38). All under RCU: none may sleep. */
export interface Linux2627Ops extends ListOps {
  /** At the start of exit_mmap or from unregister, once. On return nothing of the mm is used. */
  release?(mn: Subscription, mm: NotifierMm): AtomicPath<void>;
  /** Under ptl. Was the page used since the last call? On return the use is forgotten. */
  clearFlushYoung?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** Under ptl. Nothing is cleared. Called by linux-3.7 and free-pages-2011. */
  testYoung?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** Under ptl, before the new entry is stored. */
  changePte?(mn: Subscription, mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void>;
  /** Under ptl (until 3.6), the entry of one page was cleared and the CPUs flushed. On return no older translation of it is held. */
  invalidatePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<void>;
  /** Entries are still in place. mmapLock or rmap locks. On return nothing of the range is mapped, nor will be until
   *  invalidateRangeEnd. */
  invalidateRangeStart?(mn: Subscription, range: NotifierRange): AtomicPath<void>;
  /** Entries have changed; pages of full batches are free, those of the last batch not yet. Same locks. */
  invalidateRangeEnd?(mn: Subscription, range: NotifierRange): AtomicPath<void>;
}

/** Reverse-map walks told by invalidate_page. */
function isRmapDriven(site: number): boolean {
  return site === SITE_TRY_TO_UNMAP || site === SITE_MKCLEAN || site === SITE_MIGRATE;
}

/** Sites told by invalidate_page, or not at all: no section. */
function opensNoSection(site: number): boolean {
  return isRmapDriven(site) || site === SITE_COW || site === SITE_KSM || site === SITE_MADV_COLD;
}

export class Linux2627 extends QuietDesign {
  readonly name: string = 'linux-2.6.27';
  readonly host: NotifierHost;
  readonly list: SubscriptionList<Linux2627Ops>;
  /** May start and end sleep (SRCU)? invalidate_page, outside ptl too. */
  readonly maySleep: boolean = false;
  /** 3ad3d901bbcf (3.7) turned it round: between the two a page was freed that the subscriber still had mapped. */
  get releaseOrder(): ReleaseOrder {
    return 'unhash-then-release';
  }

  constructor(host: NotifierHost) {
    super();
    this.host = host;
    this.list = new SubscriptionList<Linux2627Ops>(host, this.releaseOrder);
  }

  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    if (opensNoSection(range.site) || this.list.first(range.mm) === null) return 0;
    yield* this.tellStart(range);
    return 0;
  }

  override *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    if (opensNoSection(range.site) || this.list.first(range.mm) === null) return;
    yield* this.tellEnd(range);
  }

  *tellStart(range: NotifierRange): KernelPath<void> {
    yield* this.list.tell(
      range.mm,
      CB_INVALIDATE_RANGE_START,
      range.start,
      range.end,
      this.maySleep && range.blockable,
      (n) => n.ops.invalidateRangeStart?.(n, range),
    );
  }

  *tellEnd(range: NotifierRange): KernelPath<void> {
    yield* this.list.tell(
      range.mm,
      CB_INVALIDATE_RANGE_END,
      range.start,
      range.end,
      this.maySleep && range.blockable,
      (n) => n.ops.invalidateRangeEnd?.(n, range),
    );
  }

  /** mmu_notifier_invalidate_page, of each page of [start, end). */
  invalidatePage(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.list.tellPages(mm, CB_INVALIDATE_PAGE, start, end, (n, a) => n.ops.invalidatePage?.(n, mm, a));
  }

  override *pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    _isFile: boolean,
  ): AtomicPath<void> {
    if (opensNoSection(site)) yield* this.invalidatePage(mm, start, end);
  }

  override *changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void> {
    const list = this.list;
    const section = list.srcu.readLock();
    for (let n = list.first(mm); n !== null; n = list.after(n, mm)) {
      const callback = n.ops.changePte !== undefined ? CB_CHANGE_PTE : CB_INVALIDATE_PAGE;
      const path = n.ops.changePte?.(n, mm, address, lo, hi) ?? n.ops.invalidatePage?.(n, mm, address);
      if (path !== undefined) yield* list.callAtomic(n, callback, mm, address, address + 4096, path);
    }
    list.srcu.readUnlock(section);
  }

  /** Only clear_flush_young, page by page. */
  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    if (kind !== CB_CLEAR_FLUSH_YOUNG) return false;
    return yield* this.list.askPages(mm, kind, start, end, (n, a) => n.ops.clearFlushYoung?.(n, mm, a));
  }

  override release(mm: NotifierMm): KernelPath<void> {
    return this.list.release(mm);
  }

  override destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }
}

/** test_young, from 2.6.38: everyone is asked until one says yes. */
export function testYoung(list: SubscriptionList<Linux2627Ops>, mm: NotifierMm, address: number): AtomicPath<boolean> {
  return list.askUntilYes(mm, CB_TEST_YOUNG, address, address + 4096, (n) => n.ops.testYoung?.(n, mm, address));
}

/** As it stood in 3.7. */
export class Linux37 extends Linux2627 {
  override readonly maySleep = true;
  override get releaseOrder(): ReleaseOrder {
    return 'release-then-unhash';
  }
  /** Entries cleared by reverse-map walks under way, by thread: their call comes when ptl is dropped. */
  readonly #cleared = new Map<number, number[]>();

  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const { site, mm } = range;
    if (isRmapDriven(site) || site === SITE_MADV_COLD || this.list.first(mm) === null) return 0;
    yield* this.tellStart(range);
    return 0;
  }

  override *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    if (isRmapDriven(range.site)) yield* this.#tellCleared(range.mm);
    else if (range.site !== SITE_MADV_COLD && this.list.first(range.mm) !== null) yield* this.tellEnd(range);
  }

  override *pteClearedAndFlushed(
    _mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    _isFile: boolean,
  ): AtomicPath<void> {
    if (!isRmapDriven(site)) return;
    const thread = this.host.sched.current.id;
    const pages = this.#cleared.get(thread) ?? [];
    for (let address = start; address < end; address += 4096) pages.push(address);
    this.#cleared.set(thread, pages);
  }

  /** mmu_notifier_invalidate_page after pte_unmap_unlock. */
  *#tellCleared(mm: NotifierMm): KernelPath<void> {
    const thread = this.host.sched.current.id;
    const pages = this.#cleared.get(thread);
    if (pages === undefined) return;
    this.#cleared.delete(thread);
    for (const address of pages)
      yield* this.list.tell(mm, CB_INVALIDATE_PAGE, address, address + 4096, true, (n) =>
        n.ops.invalidatePage?.(n, mm, address),
      );
  }

  /** The copied page is inside a section now: nobody is told twice. */
  override *changePte(mm: NotifierMm, address: number, lo: number, hi: number): AtomicPath<void> {
    yield* this.list.tellAtomic(mm, CB_CHANGE_PTE, address, address + 4096, (n) =>
      n.ops.changePte?.(n, mm, address, lo, hi),
    );
  }

  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    if (kind === CB_TEST_YOUNG) return yield* testYoung(this.list, mm, start);
    return yield* super.young(mm, start, end, kind);
  }
}
