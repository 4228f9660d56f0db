// The mmu notifiers that Andrea Arcangeli posted between December 2007 and January 2008 (#1 to #4, here as in #4): the first that
// follow a whole address space. Made for KVM, whose table holds a reference to each page; without such references a secondary
// MMU uses freed memory, for the call of a range comes last of all:
//
//   munmap                                  secondary MMU, no references
//     clears V, flushes CPUs
//     tlb_finish_mmu: frees F1                writes F1
//     invalidate_range(V): drops V
//
// Sites and how they are told:
//
//   invalidate_page      inside ptep_clear_flush: entry cleared, CPUs flushed, ptl held. Reclaim, migration, write-back's write
//                        protection, the copied page of a write fault, KSM, and each page that mremap moves (move_ptes cleared
//                        entry by entry then)
//   invalidate_range     munmap and zap (DONTNEED, truncate, OOM reaper): after tlb_finish_mmu. Huge pages of hugetlb: entries cleared,
//                        pages not free
//   age_page             in ptep_clear_flush_young, under ptl (from #4 with an answer)
//   release              end of exit_mmap: pages and page tables are free
//   nothing              fork and mprotect take write access away unheard; MADV_FREE, soft-dirty, device migration and the splits of
//                        huge pages, all younger, use no ptep_clear_flush
//
// Registering takes the list's lock and no other, at any time. #3 walked under an rwlock, #4 under RCU: no callback may sleep.

import {
  CB_AGE_PAGE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_INVALIDATE_PAGE,
  CB_INVALIDATE_RANGE,
  CB_RELEASE,
} from '../abi/events.ts';
import { SITE_HUGETLB, SITE_MREMAP, SITE_SPLIT_PMD } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { QuietDesign } from './quiet-design.ts';
import { type ListOps, type MmuNotifier, type Subscription, SubscriptionList } from './subscriptions.ts';

/** mmu_notifier_ops of #4. None may sleep. */
export interface AndreaOps extends ListOps {
  /** End of exit_mmap: everything is free. The subscriber is off the list. */
  release?(mn: Subscription, mm: NotifierMm): AtomicPath<void>;
  /** Under ptl. Was the page used since the last call? */
  agePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** Under ptl: the entry of one page was cleared and the CPUs flushed; the page is not free. */
  invalidatePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<void>;
  /** The range was unmapped and its pages are free. */
  invalidateRange?(mn: Subscription, mm: NotifierMm, start: number, end: number): AtomicPath<void>;
}

export class MmuNotifiersAndrea extends QuietDesign {
  readonly name = 'mmu-notifiers-andrea';
  readonly host: NotifierHost;
  readonly list: SubscriptionList<AndreaOps>;
  /** Ranges that mremap is moving, by thread: a flush of everything stands for the pages of it. */
  readonly #moving = new Map<number, NotifierRange>();

  constructor(host: NotifierHost) {
    super();
    this.host = host;
    this.list = new SubscriptionList<AndreaOps>(host, 'unhash-then-release');
  }

  /** mmu_notifier_register: heard at once, whatever is under way. */
  register(mn: MmuNotifier<AndreaOps>, mm: NotifierMm): void {
    this.list.addHead(mn, mm);
  }

  /** mmu_notifier_unregister, and the grace period that its caller owes. release does not run. */
  *unregister(mn: MmuNotifier<AndreaOps>, mm: NotifierMm): KernelPath<void> {
    if (this.list.has(mn, mm)) this.list.unhash(mn, mm);
    yield* this.list.srcu.synchronize();
    this.list.forget(mn, mm);
  }

  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    if (range.site === SITE_MREMAP) this.#moving.set(this.host.sched.current.id, range);
    return 0;
  }

  override *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    const { mm, start, end, site } = range;
    if (site === SITE_MREMAP) this.#moving.delete(this.host.sched.current.id);
    else if (site === SITE_HUGETLB) yield* this.#invalidateRange(mm, start, end);
  }

  override *pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    _isFile: boolean,
  ): AtomicPath<void> {
    if (site !== SITE_SPLIT_PMD && site !== SITE_HUGETLB) yield* this.#invalidatePages(mm, start, end);
  }

  override *cpuTlbFlushed(mm: NotifierMm, start: number, end: number, site: number): AtomicPath<void> {
    const range = site === SITE_MREMAP ? this.#moving.get(this.host.sched.current.id) : undefined;
    if (range !== undefined) yield* this.#invalidatePages(mm, Math.max(start, range.start), Math.min(end, range.end));
  }

  override *pagesFreed(mm: NotifierMm, start: number, end: number, _site: number): KernelPath<void> {
    yield* this.#invalidateRange(mm, start, end);
  }

  #invalidatePages(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.list.tellPages(mm, CB_INVALIDATE_PAGE, start, end, (n, a) => n.ops.invalidatePage?.(n, mm, a));
  }

  #invalidateRange(mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    return this.list.tellAtomic(mm, CB_INVALIDATE_RANGE, start, end, (n) => n.ops.invalidateRange?.(n, mm, start, end));
  }

  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    if (kind !== CB_CLEAR_FLUSH_YOUNG) return false;
    return yield* this.list.askPages(mm, CB_AGE_PAGE, start, end, (n, a) => n.ops.agePage?.(n, mm, a));
  }

  override *exitFinished(mm: NotifierMm): KernelPath<void> {
    const { list } = this;
    for (let n = list.first(mm); n !== null; n = list.first(mm)) {
      list.unhash(n, mm);
      const path = n.ops.release?.(n, mm);
      if (path !== undefined) yield* list.callAtomic(n, CB_RELEASE, mm, 0, 0, path);
    }
  }

  override destroy(mm: NotifierMm): void {
    this.list.destroy(mm);
  }
}
