// The MMU notifiers that Christoph Lameter posted in January and February 2008 (V4, the seed of what was merged; V5 by option):
// the first with a pair of calls around a change. Between begin and end the driver holds no reference to the range and makes none,
// so the kernel may free pages at any moment inside:
//
//   munmap                                  driver
//     begin(V): drops V, refuses V
//     clears V, flushes CPUs                  fault on V: refused
//     tlb_finish_mmu: frees F1
//     end
//
// Sites and how they are told:
//
//   begin/end            munmap, zap (DONTNEED, truncate, OOM reaper): end after tlb_finish_mmu. fork of copy-on-write areas, the copied
//                        page of a write fault, hugetlb; what is younger (MADV_FREE, soft-dirty, huge-page splits ...) as
//                        it began. V5: also mremap
//   invalidate_page      right after ptep_clear_flush, under ptl and the rmap spinlock: reclaim, write-back, migration, KSM
//   rmap notifiers       after the rmap walk of try_to_unmap and page_mkclean (rmap-notifiers.ts)
//   invalidate_all       V4: very first thing in exit_mmap. release: V4 at its very end; V5 at its start, in place of the other
//   nothing              mprotect; under V4 mremap
//
// Two of the sites, as they were posted, lose the pairing (`hasPairingBugs`; reviewers told of both):
//
//   copy_page_range      returns -ENOMEM in the middle: begin, and no end. The driver refuses for ever
//   do_wp_page           a page that is reused in place goes by the label of the copy: an end without its begin. Whoever counts
//                        opens the section of somebody else, who is in the middle of it
//
// atomic = 1: the caller holds a spinlock of that time (i_mmap_lock: truncate, hugetlb) or cannot wait. But the list is walked
// under RCU for every call, so none may sleep, whatever `atomic` says; `maySleep` drops RCU for begin and end, which took until 3.7.
// V4's end has no range: a driver can only count open sections of the whole address space.
//
// Registering: mmapLock W. Others see the subscriber after an RCU quiescent period only, so a driver has to synchronize before it
// relies on being told, and again after unregister. No other lock is taken: under truncate (i_mmap_lock alone) a section may be
// open, whose end then is heard without its begin.

import { EINVAL } from '../abi/errno.ts';
import {
  CB_AGE_PAGE,
  CB_CLEAR_FLUSH_YOUNG,
  CB_INVALIDATE_ALL,
  CB_INVALIDATE_PAGE,
  CB_INVALIDATE_RANGE_BEGIN,
  CB_INVALIDATE_RANGE_FINISH,
  CB_RELEASE,
} from '../abi/events.ts';
import {
  SITE_COW,
  SITE_EXIT,
  SITE_FORK,
  SITE_HUGETLB,
  SITE_KSM,
  SITE_MADV_COLD,
  SITE_MIGRATE,
  SITE_MKCLEAN,
  SITE_MPROTECT,
  SITE_MREMAP,
  SITE_MUNMAP,
  SITE_OOM_REAP,
  SITE_TRUNCATE,
  SITE_TRY_TO_UNMAP,
  SITE_ZAP,
} from '../abi/notifier.ts';
import { assert } from '../base/assert.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import type { NotifierHost, NotifierMm, NotifierRange } from './host.ts';
import { QuietDesign } from './quiet-design.ts';
import { type MmuRmapNotifier, RmapNotifiers } from './rmap-notifiers.ts';
import { type ListOps, type MmuNotifier, type Subscription, SubscriptionList, Subscriptions } from './subscriptions.ts';

/** What V5's end says; V4's says nothing. */
export interface EndRange {
  readonly start: number;
  readonly end: number;
}

/** mmu_notifier_ops. None may sleep, unless the design's `maySleep` was asked for and isAtomic is false. */
export interface MmuNotifiersV4Ops extends ListOps {
  /** V4: end of exit_mmap, everything is free; V5: its start. Off the list already; may free itself. */
  release?(mn: Subscription, mm: NotifierMm): AtomicPath<void>;
  /** V4: start of exit_mmap. Drop every reference; nobody else runs in the address space. */
  invalidateAll?(mn: Subscription, mm: NotifierMm): AtomicPath<void>;
  /** Under ptl. Was the page used since the last call? Hardware that cannot tell drops it and says whether it was there. */
  agePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean>;
  /** Under ptl: the entry of one page was cleared and the CPUs flushed. */
  invalidatePage?(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<void>;
  /** On return the driver holds nothing of the range, nor makes a reference to it until the end. */
  invalidateRangeBegin?(
    mn: Subscription,
    mm: NotifierMm,
    start: number,
    end: number,
    isAtomic: boolean,
  ): AtomicPath<void>;
  /** Pages are free. `range` is null under V4. */
  invalidateRangeEnd?(mn: Subscription, mm: NotifierMm, range: EndRange | null, isAtomic: boolean): AtomicPath<void>;
}

export interface MmuNotifiersOptions {
  readonly version?: 4 | 5;
  /** begin and end are not called under RCU: where isAtomic is false they may sleep. */
  readonly maySleep?: boolean;
  /** fork and do_wp_page as they were posted. */
  readonly hasPairingBugs?: boolean;
}

/** Told by invalidate_page. */
function isSinglePage(site: number): boolean {
  return site === SITE_TRY_TO_UNMAP || site === SITE_MKCLEAN || site === SITE_MIGRATE || site === SITE_KSM;
}

/** Unmappings: end comes when the pages are free. */
function endsWhenFreed(site: number): boolean {
  return site === SITE_MUNMAP || site === SITE_ZAP || site === SITE_TRUNCATE || site === SITE_OOM_REAP;
}

/** A spinlock of the time was held (i_mmap_lock), or the caller cannot wait. */
function isAtomicSite(site: number): boolean {
  return site === SITE_TRUNCATE || site === SITE_HUGETLB || site === SITE_OOM_REAP;
}

export class MmuNotifiersV4 extends QuietDesign {
  readonly name = 'mmu-notifiers-v4';
  readonly host: NotifierHost;
  readonly version: 4 | 5;
  readonly maySleep: boolean;
  readonly hasPairingBugs: boolean;
  readonly list: SubscriptionList<MmuNotifiersV4Ops>;
  readonly rmap: RmapNotifiers;
  /** Registered and not visible yet. */
  readonly #pending = new Set<MmuNotifier<MmuNotifiersV4Ops>>();
  readonly #published = new WaitQueue();

  constructor(host: NotifierHost, options: MmuNotifiersOptions = {}) {
    super();
    this.host = host;
    this.version = options.version ?? 4;
    this.maySleep = options.maySleep ?? false;
    this.hasPairingBugs = options.hasPairingBugs ?? false;
    this.list = new SubscriptionList<MmuNotifiersV4Ops>(host, 'unhash-then-release');
    this.rmap = new RmapNotifiers(host, this.list);
  }

  // --- subscriptions

  /** mmu_notifier_register: takes mmapLock W. Told of changes from the next quiescent period on. 0, or -EINVAL: the address space is
   *  gone (the patch left that to its caller). */
  *register(mn: MmuNotifier<MmuNotifiersV4Ops>, mm: NotifierMm): KernelPath<number> {
    yield* mm.mmapLock.writeLock();
    const result = this.registerLocked(mn, mm);
    mm.mmapLock.writeUnlock();
    return result;
  }

  /** __mmu_notifier_register. */
  registerLocked(mn: MmuNotifier<MmuNotifiersV4Ops>, mm: NotifierMm): number {
    assert(mm.mmapLock.isWriteLocked, 'mmu_notifier_register: mmapLock is held for write');
    if (mm.users <= 0) return -EINVAL;
    mm.notifiers ??= new Subscriptions<MmuNotifiersV4Ops>();
    mn.mm = mm;
    this.#pending.add(mn);
    this.host.sched.spawn('RCU: a notifier becomes visible', 'kernel', this.#publish(mn, mm));
    return 0;
  }

  *#publish(mn: MmuNotifier<MmuNotifiersV4Ops>, mm: NotifierMm): KernelPath<void> {
    yield* this.list.srcu.synchronize();
    if (!this.#pending.delete(mn)) return;
    if (mm.notifiers !== null) this.list.addHead(mn, mm);
    this.#published.wakeAll(this.host.sched);
  }

  /** mmu_notifier_unregister: takes mmapLock W. Callbacks may still be running: synchronize before the notifier is freed. release does
   *  not run. */
  *unregister(mn: MmuNotifier<MmuNotifiersV4Ops>, mm: NotifierMm): KernelPath<void> {
    yield* mm.mmapLock.writeLock();
    if (this.#pending.delete(mn)) this.#published.wakeAll(this.host.sched);
    else if (this.list.has(mn, mm)) this.list.unhash(mn, mm);
    mm.mmapLock.writeUnlock();
  }

  /** synchronize_rcu: who registered before is told from now on; callbacks of who unregistered have returned. */
  *synchronizeRcu(): KernelPath<void> {
    yield* this.list.srcu.synchronize();
    yield* this.host.sched.waitUntil(() => this.#pending.size === 0, this.#published, 'RCU grace period');
  }

  /** mmu_rmap_notifier_register: for the whole kernel. */
  registerRmap(mrn: MmuRmapNotifier): void {
    this.rmap.register(mrn);
    this.hasRmapNotifiers = true;
  }

  /** mmu_rmap_notifier_unregister; then synchronize. */
  unregisterRmap(mrn: MmuRmapNotifier): void {
    this.rmap.unregister(mrn);
    this.hasRmapNotifiers = !this.rmap.isEmpty;
  }

  // --- sections

  #hasPair(site: number): boolean {
    if (isSinglePage(site) || site === SITE_EXIT || site === SITE_MPROTECT || site === SITE_MADV_COLD) return false;
    return site !== SITE_MREMAP || this.version === 5;
  }

  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const { mm, start, end, site } = range;
    if (!this.#hasPair(site) || this.list.first(mm) === null) return 0;
    const isAtomic = isAtomicSite(site) || !range.blockable;
    yield* this.list.tell(mm, CB_INVALIDATE_RANGE_BEGIN, start, end, this.maySleep && !isAtomic, (n) =>
      n.ops.invalidateRangeBegin?.(n, mm, start, end, isAtomic),
    );
    return 0;
  }

  override *invalidateRangeEnd(range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {
    const { mm, start, end, site } = range;
    if (this.hasPairingBugs && site === SITE_FORK && range.hasFailed) return;
    if (this.#hasPair(site) && !endsWhenFreed(site)) yield* this.#finish(mm, start, end, site);
  }

  override *pageReused(mm: NotifierMm, address: number): KernelPath<void> {
    if (this.hasPairingBugs) yield* this.#finish(mm, address, address + 4096, SITE_COW);
  }

  override *pagesFreed(mm: NotifierMm, start: number, end: number, site: number): KernelPath<void> {
    if (endsWhenFreed(site)) yield* this.#finish(mm, start, end, site);
  }

  *#finish(mm: NotifierMm, start: number, end: number, site: number): KernelPath<void> {
    if (this.list.first(mm) === null) return;
    const isAtomic = isAtomicSite(site);
    const range = this.version === 4 ? null : { start, end };
    yield* this.list.tell(mm, CB_INVALIDATE_RANGE_FINISH, start, end, this.maySleep && !isAtomic, (n) =>
      n.ops.invalidateRangeEnd?.(n, mm, range, isAtomic),
    );
  }

  // --- single pages

  override *pteClearedAndFlushed(
    mm: NotifierMm,
    start: number,
    end: number,
    site: number,
    _isFile: boolean,
  ): AtomicPath<void> {
    if (!isSinglePage(site)) return;
    yield* this.list.tellPages(mm, CB_INVALIDATE_PAGE, start, end, (n, a) => n.ops.invalidatePage?.(n, mm, a));
  }

  override pageUnmapped(pfn: number, _site: number): KernelPath<void> {
    return this.rmap.pageUnmapped(pfn, this.host.pagesOf(pfn));
  }

  override *young(mm: NotifierMm, start: number, end: number, kind: number): AtomicPath<boolean> {
    if (kind !== CB_CLEAR_FLUSH_YOUNG) return false;
    return yield* this.list.askPages(mm, CB_AGE_PAGE, start, end, (n, a) => n.ops.agePage?.(n, mm, a));
  }

  // --- exit

  override *release(mm: NotifierMm): KernelPath<void> {
    if (this.version === 5) yield* this.#releaseAll(mm);
    else if (this.list.first(mm) !== null)
      yield* this.list.tell(mm, CB_INVALIDATE_ALL, 0, 0, false, (n) => n.ops.invalidateAll?.(n, mm));
  }

  override *exitFinished(mm: NotifierMm): KernelPath<void> {
    if (this.version === 4) yield* this.#releaseAll(mm);
  }

  *#releaseAll(mm: NotifierMm): KernelPath<void> {
    const { list } = this;
    for (let n = list.first(mm); n !== null; n = list.first(mm)) {
      list.unhash(n, mm);
      const path = n.ops.release?.(n, mm);
      if (path !== undefined) yield* list.callAtomic(n, CB_RELEASE, mm, 0, 0, path);
    }
  }

  override destroy(mm: NotifierMm): void {
    for (const mn of this.#pending) if (mn.mm === mm) this.#pending.delete(mn);
    this.list.destroy(mm);
  }
}
