// How a mirror (a device whose table its driver fills: KVM, GRU, XPMEM, RDMA, a GPU) hears of changes, whatever the notifier
// design. The device states its reactions once; this file registers them as the driver of that time did, under the names, in
// the contexts and with the gaps that the design has:
//
//   pte-notifiers         clearing of single entries by reclaim, before it is done; the end of a VMA. Registered with every VMA there is,
//                         and with those that mmap makes later
//   mmu-notifiers-andrea  single pages after the clear; ranges when their pages are free; release when everything is
//   mmu-notifiers-v4      begin and end; single pages; rmap notifiers for pages that were exported
//   linux-2.6.27          start and end; single pages through invalidate_page, which is told after the entry was cleared, no section
//   free-pages-2011       the same, and freePages before pages of an open section are freed
//   invalidate-range      as linux-2.6.27, and start and end may sleep
//   linux-6.1 ... 6.12    start and end for all of it
//
// What a design does not call, a device does not hear: nothing is made up for it here. What a design says with less (a range without
// bounds, an end without one), the device hears so.

import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { FreePages2011, type FreePages2011Ops } from '../notifier/free-pages-2011.ts';
import type { NotifierRange } from '../notifier/host.ts';
import { InvalidateRangeDesign, type InvalidateRangeOps } from '../notifier/invalidate-range.ts';
import { Linux2627, type Linux2627Ops } from '../notifier/linux-2.6.27.ts';
import { Linux61, type MmuNotifierOps } from '../notifier/linux-6.1.ts';
import { Linux66, type Linux66Ops } from '../notifier/linux-6.6.ts';
import { type AndreaOps, MmuNotifiersAndrea } from '../notifier/mmu-notifiers-andrea.ts';
import { MmuNotifiersV4, type MmuNotifiersV4Ops } from '../notifier/mmu-notifiers-v4.ts';
import { type PteNotifierOps, PteNotifiers } from '../notifier/pte-notifiers.ts';
import type { StartEndOps } from '../notifier/start-end.ts';
import { type ListOps, MmuNotifier, type SubscriptionList } from '../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { andrea, type EarlySubscription, everyVma, v4 } from './early-subscriptions.ts';

/** A section as the device sees it. */
export interface MirrorRange {
  readonly start: number;
  /** Exclusive; Infinity = the end of the address space. */
  readonly end: number;
  /** MMU_NOTIFY_*; designs before 5.0 did not say: the driver may not use it there. */
  readonly event: number;
  /** May the reaction sleep? False under RCU, under a spinlock of the caller (`atomic`), and for the OOM reaper. */
  readonly canSleep: boolean;
  /** The caller of migrate_vma that opened it, or null. */
  readonly owner: unknown;
}

/** What the device does. Every reaction takes effect before it returns. An AtomicPath may wait for hardware, not sleep. */
export interface MirrorReactions {
  /** Entries of the range will change. On return the device uses nothing of it, nor will until rangeEnd. 0; or -EAGAIN, only when it
   *  may not sleep and would have to (the driver has no rangeEnd then). */
  rangeStart?(range: MirrorRange): KernelPath<number>;
  /** mmu-notifiers-v4: `range` is the whole address space, for the call has none. A subscriber that was registered while the section
   *  was open may hear the end alone there. */
  rangeEnd?(range: MirrorRange): KernelPath<void>;
  /** The entry of one page was cleared and the CPUs flushed, under ptl, outside of any section. On return nothing of it is used,
   *  and a look-up that began before must be done again. */
  invalidatePage?(address: number): AtomicPath<void>;
  /** The address space goes. On return nothing of it is used, nor will be. May run twice at once from 3.10 on. Under
   *  mmu-notifiers-andrea its pages are free already. unregister runs it too. */
  release?(): KernelPath<void>;
  /** Used since the last call? `flush`: on return no use through a cached translation is missed either. */
  clearYoung?(start: number, end: number, flush: boolean): AtomicPath<boolean>;
  testYoung?(address: number): AtomicPath<boolean>;
  /** The entry of the page will be (lo, hi); before the store, under ptl. */
  changePte?(address: number, lo: number, hi: number): AtomicPath<void>;
  /** pte-notifiers: reclaim is about to clear the entry of the page, which is still present. Under ptl. Not given: invalidatePage. */
  beforeClear?(address: number): AtomicPath<void>;
  /** pte-notifiers: the VMA [start, end) is gone and its pages are free. Not given: rangeStart and rangeEnd of it. */
  vmaClosed?(start: number, end: number): KernelPath<void>;
  /** mmu-notifiers-andrea: the range was unmapped and its pages are free. May not sleep. Not given: rangeStart and rangeEnd of it. */
  rangeFreed?(start: number, end: number): AtomicPath<void>;
  /** invalidate-range, linux-6.1: entries of the range have changed, between start and end or without them. May not sleep. Mirrors have
   *  no need of it for what their table holds. */
  invalidateRange?(start: number, end: number): AtomicPath<void>;
  /** free-pages-2011: pages whose entries were cleared inside an open section are freed next. May not sleep. */
  freePages?(): AtomicPath<void>;
  /** mmu-notifiers-v4: the page, exported by exportPage, is unmapped or to be clean: on return the device has no entry of it. The page
   *  lock is held. With this reaction invalidatePage is not registered. */
  rmapInvalidatePage?(pfn: number): KernelPath<void>;
}

/** A subscription of one address space. */
export interface MirrorSubscription {
  /** 0 or -errno. May sleep. On return the reactions are in force. */
  register(): KernelPath<number>;
  /** On return no reaction runs or will run. */
  unregister(): KernelPath<void>;
  /** mmu-notifiers-v4 with rmapInvalidatePage: the device is about to enter the page in its own table. The page is locked. Null
   *  elsewhere. */
  readonly exportPage: ((pfn: number) => void) | null;
}

/** The reactions as a subscriber of the kernel's design; null when the design has no way to tell a mirror anything. */
export function subscribeMirror(k: Kernel, mm: MmStruct, reactions: MirrorReactions): MirrorSubscription | null {
  const { design } = k;
  if (design instanceof PteNotifiers) return perVma(k, design, mm, reactions);
  if (design instanceof MmuNotifiersAndrea) return perMmAndrea(k, design, mm, reactions);
  if (design instanceof MmuNotifiersV4) return perMmV4(k, design, mm, reactions);
  if (design instanceof FreePages2011) return subscription(design.list, mm, opsFreePages(reactions));
  if (design instanceof Linux2627) return subscription(design.list, mm, ops2627(reactions, design.maySleep));
  if (design instanceof InvalidateRangeDesign) return subscription(design.list, mm, opsInvalidateRange(reactions));
  if (design instanceof Linux61) return subscription(design.list, mm, ops61(reactions));
  if (design instanceof Linux66) return subscription(design.list, mm, opsStartEnd<Linux66Ops>(reactions, {}));
  return null;
}

function subscription<Ops extends ListOps>(list: SubscriptionList<Ops>, mm: MmStruct, ops: Ops): MirrorSubscription {
  const mn = new MmuNotifier<Ops>(ops);
  return { register: () => list.register(mn, mm), unregister: () => list.unregister(mn, mm), exportPage: null };
}

function mirrorRange(r: NotifierRange, canSleep: boolean): MirrorRange {
  return { start: r.start, end: r.end, event: r.event, canSleep, owner: r.owner };
}

/** A range of which the design says no more than its bounds. */
function bareRange(start: number, end: number, canSleep: boolean): MirrorRange {
  return { start, end, event: 0, canSleep, owner: null };
}

function* done(path: KernelPath<unknown>): KernelPath<void> {
  yield* path;
}

/** A reaction that the design runs in atomic context: the type cannot say so of one that may sleep elsewhere; the scheduler sees it. */
function atomic(path: KernelPath<unknown>): AtomicPath<void> {
  return done(path) as unknown as AtomicPath<void>;
}

/** The range goes, told by one call: what a pair of calls would have done. */
function* dropRange(r: MirrorReactions, range: MirrorRange): KernelPath<void> {
  if (r.rangeStart !== undefined) yield* r.rangeStart(range);
  if (r.rangeEnd !== undefined) yield* r.rangeEnd(range);
}

// --- 2007

function perVma(k: Kernel, design: PteNotifiers, mm: MmStruct, r: MirrorReactions): MirrorSubscription {
  const clear = r.beforeClear ?? r.invalidatePage;
  const ops: PteNotifierOps = {
    ...(clear !== undefined && { clear: (_pn, _vma, address) => clear.call(r, address) }),
    close: (_pn, v) => r.vmaClosed?.(v.start, v.end) ?? dropRange(r, bareRange(v.start, v.end, true)),
  };
  return releasedFirst(everyVma(k, design, mm, ops), r, null);
}

function perMmAndrea(k: Kernel, design: MmuNotifiersAndrea, mm: MmStruct, r: MirrorReactions): MirrorSubscription {
  const ops: AndreaOps = {
    invalidateRange: (_n, _m, s, e) => r.rangeFreed?.(s, e) ?? atomic(dropRange(r, bareRange(s, e, false))),
  };
  if (r.release !== undefined) ops.release = () => atomic(r.release!());
  if (r.clearYoung !== undefined) ops.agePage = (_n, _m, a) => r.clearYoung!(a, a + 4096, true);
  if (r.invalidatePage !== undefined) ops.invalidatePage = (_n, _m, a) => r.invalidatePage!(a);
  return releasedFirst(andrea(k, design, mm, ops), r, null);
}

function perMmV4(k: Kernel, design: MmuNotifiersV4, mm: MmStruct, r: MirrorReactions): MirrorSubscription {
  const rmap = r.rmapInvalidatePage;
  const rmapOps = rmap === undefined ? null : { invalidatePage: (_n: unknown, pfn: number) => rmap.call(r, pfn) };
  const exportPage = rmapOps === null ? null : (pfn: number) => design.rmap.exportPage(pfn);
  return releasedFirst(v4(k, design, mm, opsV4(design, r), rmapOps), r, exportPage);
}

/** These designs do not run release at unregister: the device does. */
function releasedFirst(
  s: EarlySubscription,
  r: MirrorReactions,
  exportPage: MirrorSubscription['exportPage'],
): MirrorSubscription {
  return {
    register: () => s.register(),
    *unregister() {
      if (r.release !== undefined) yield* r.release();
      yield* s.unregister();
    },
    exportPage,
  };
}

function opsV4(design: MmuNotifiersV4, r: MirrorReactions): MmuNotifiersV4Ops {
  const ops: MmuNotifiersV4Ops = {};
  const { rangeStart, rangeEnd, release } = r;
  const canSleep = (isAtomic: boolean): boolean => design.maySleep && !isAtomic;
  // V4 drops everything in invalidate_all; its release has nothing left to do. V5 has release alone, at the start of exit.
  if (release !== undefined && design.version === 4) ops.invalidateAll = () => atomic(release.call(r));
  if (release !== undefined && design.version === 5) ops.release = () => atomic(release.call(r));
  if (r.clearYoung !== undefined) ops.agePage = (_n, _m, a) => r.clearYoung!(a, a + 4096, true);
  if (r.invalidatePage !== undefined && r.rmapInvalidatePage === undefined)
    ops.invalidatePage = (_n, _m, a) => r.invalidatePage!(a);
  if (rangeStart !== undefined)
    ops.invalidateRangeBegin = (_n, _m, s, e, isAtomic) =>
      atomic(rangeStart.call(r, bareRange(s, e, canSleep(isAtomic))));
  if (rangeEnd !== undefined)
    ops.invalidateRangeEnd = (_n, _m, range, isAtomic) =>
      atomic(
        rangeEnd.call(r, bareRange(range?.start ?? 0, range?.end ?? Number.POSITIVE_INFINITY, canSleep(isAtomic))),
      );
  return ops;
}

// --- 2.6.27 and later

function ops2627(r: MirrorReactions, maySleep: boolean): Linux2627Ops {
  const ops: Linux2627Ops = {};
  const { rangeStart, rangeEnd, release, clearYoung } = r;
  if (release !== undefined) ops.release = () => atomic(release.call(r));
  if (clearYoung !== undefined) ops.clearFlushYoung = (_n, _m, a) => clearYoung.call(r, a, a + 4096, true);
  if (r.testYoung !== undefined) ops.testYoung = (_n, _m, a) => r.testYoung!(a);
  if (r.changePte !== undefined) ops.changePte = (_n, _m, a, lo, hi) => r.changePte!(a, lo, hi);
  if (r.invalidatePage !== undefined) ops.invalidatePage = (_n, _m, a) => r.invalidatePage!(a);
  if (rangeStart !== undefined)
    ops.invalidateRangeStart = (_n, range) =>
      atomic(rangeStart.call(r, mirrorRange(range, maySleep && range.blockable)));
  if (rangeEnd !== undefined)
    ops.invalidateRangeEnd = (_n, range) => atomic(rangeEnd.call(r, mirrorRange(range, maySleep && range.blockable)));
  return ops;
}

function opsFreePages(r: MirrorReactions): FreePages2011Ops {
  const ops: FreePages2011Ops = ops2627(r, false);
  if (r.freePages !== undefined) ops.invalidateRangeFreePages = () => r.freePages!();
  return ops;
}

function opsInvalidateRange(r: MirrorReactions): InvalidateRangeOps {
  const ops: InvalidateRangeOps = {};
  const { rangeStart, rangeEnd, clearYoung } = r;
  if (r.release !== undefined) ops.release = () => r.release!();
  if (clearYoung !== undefined) ops.clearFlushYoung = (_n, _m, s, e) => clearYoung.call(r, s, e, true);
  if (r.testYoung !== undefined) ops.testYoung = (_n, _m, a) => r.testYoung!(a);
  if (r.changePte !== undefined) ops.changePte = (_n, _m, a, lo, hi) => r.changePte!(a, lo, hi);
  if (r.invalidatePage !== undefined) ops.invalidatePage = (_n, _m, a) => r.invalidatePage!(a);
  if (rangeStart !== undefined)
    ops.invalidateRangeStart = (_n, range) => done(rangeStart.call(r, mirrorRange(range, true)));
  if (rangeEnd !== undefined) ops.invalidateRangeEnd = (_n, range) => rangeEnd.call(r, mirrorRange(range, true));
  if (r.invalidateRange !== undefined) ops.invalidateRange = (_n, _m, s, e) => r.invalidateRange!(s, e);
  return ops;
}

function ops61(r: MirrorReactions): MmuNotifierOps {
  const ops = opsStartEnd<MmuNotifierOps>(r, {});
  if (r.invalidateRange !== undefined) ops.invalidateRange = (_n, _m, s, e) => r.invalidateRange!(s, e);
  return ops;
}

function opsStartEnd<Ops extends StartEndOps>(r: MirrorReactions, ops: Ops): Ops {
  const { rangeStart, rangeEnd, clearYoung } = r;
  if (r.release !== undefined) ops.release = () => r.release!();
  if (clearYoung !== undefined) {
    ops.clearFlushYoung = (_n, _m, s, e) => clearYoung.call(r, s, e, true);
    ops.clearYoung = (_n, _m, s, e) => clearYoung.call(r, s, e, false);
  }
  if (r.testYoung !== undefined) ops.testYoung = (_n, _m, a) => r.testYoung!(a);
  if (r.changePte !== undefined) ops.changePte = (_n, _m, a, lo, hi) => r.changePte!(a, lo, hi);
  if (rangeStart !== undefined)
    ops.invalidateRangeStart = (_n, range) => rangeStart.call(r, mirrorRange(range, range.blockable));
  if (rangeEnd !== undefined)
    ops.invalidateRangeEnd = (_n, range) => rangeEnd.call(r, mirrorRange(range, range.blockable));
  return ops;
}
