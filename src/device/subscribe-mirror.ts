// How a mirror (a device whose table its driver fills: KVM, GRU, XPMEM, RDMA, a GPU) hears of changes, whatever the notifier
// design. The device states its reactions once; this file registers them as the driver of that time did, under the names, in
// the contexts and with the gaps that the design has:
//
//   linux-2.6.27        start and end; single pages through invalidate_page, which is told after the entry was cleared, no section
//   invalidate-range    the same, and start and end may sleep
//   linux-6.1 ... 6.12  start and end for all of it
//
// What a design does not call, a device does not hear: nothing is made up for it here.

import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import type { NotifierRange } from '../notifier/host.ts';
import { InvalidateRangeDesign, type InvalidateRangeOps } from '../notifier/invalidate-range.ts';
import { Linux2627, type Linux2627Ops } from '../notifier/linux-2.6.27.ts';
import { Linux61, type MmuNotifierOps } from '../notifier/linux-6.1.ts';
import { Linux66, type Linux66Ops } from '../notifier/linux-6.6.ts';
import type { StartEndOps } from '../notifier/start-end.ts';
import { type ListOps, MmuNotifier, type SubscriptionList } from '../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';

/** A section as the device sees it. */
export interface MirrorRange {
  readonly start: number;
  /** Exclusive; Infinity = the end of the address space. */
  readonly end: number;
  /** MMU_NOTIFY_*; designs before 5.0 did not say: the driver may not use it there. */
  readonly event: number;
  /** May rangeStart sleep? False under RCU, under a spinlock of the caller (`atomic`), and for the OOM reaper. */
  readonly canSleep: boolean;
  /** The caller of migrate_vma that opened it, or null. */
  readonly owner: unknown;
}

/** What the device does. Every reaction takes effect before it returns. An AtomicPath may wait for hardware, not sleep. */
export interface MirrorReactions {
  /** Entries of the range will change. On return the device uses nothing of it, nor will until rangeEnd. 0; or -EAGAIN, only when it
   *  may not sleep and would have to (the driver has no rangeEnd then). */
  rangeStart?(range: MirrorRange): KernelPath<number>;
  rangeEnd?(range: MirrorRange): KernelPath<void>;
  /** The entry of one page was cleared and the CPUs flushed, under ptl, outside of any section. On return nothing of it is used,
   *  and a look-up that began before must be done again. */
  invalidatePage?(address: number): AtomicPath<void>;
  /** The address space goes. On return nothing of it is used, nor will be. May run twice at once from 3.10 on. */
  release?(): KernelPath<void>;
  /** Used since the last call? `flush`: on return no use through a cached translation is missed either. */
  clearYoung?(start: number, end: number, flush: boolean): AtomicPath<boolean>;
  testYoung?(address: number): AtomicPath<boolean>;
  /** The entry of the page will be (lo, hi); before the store, under ptl. */
  changePte?(address: number, lo: number, hi: number): AtomicPath<void>;
}

/** A subscription of one address space. */
export interface MirrorSubscription {
  /** 0 or -errno. May sleep. */
  register(): KernelPath<number>;
  /** On return no reaction runs or will run. */
  unregister(): KernelPath<void>;
}

/** The reactions as a subscriber of the kernel's design; null when the design has no way to tell a mirror anything. */
export function subscribeMirror(k: Kernel, mm: MmStruct, reactions: MirrorReactions): MirrorSubscription | null {
  const { design } = k;
  if (design instanceof Linux2627) return subscription(design.list, mm, ops2627(reactions));
  if (design instanceof InvalidateRangeDesign) return subscription(design.list, mm, opsInvalidateRange(reactions));
  if (design instanceof Linux61) return subscription(design.list, mm, opsStartEnd<MmuNotifierOps>(reactions, {}));
  if (design instanceof Linux66) return subscription(design.list, mm, opsStartEnd<Linux66Ops>(reactions, {}));
  return null;
}

function subscription<Ops extends ListOps>(list: SubscriptionList<Ops>, mm: MmStruct, ops: Ops): MirrorSubscription {
  const mn = new MmuNotifier<Ops>(ops);
  return { register: () => list.register(mn, mm), unregister: () => list.unregister(mn, mm) };
}

function mirrorRange(r: NotifierRange, canSleep: boolean): MirrorRange {
  return { start: r.start, end: r.end, event: r.event, canSleep, owner: r.owner };
}

function* done(path: KernelPath<unknown>): KernelPath<void> {
  yield* path;
}

/** A reaction that the design runs in atomic context: the type cannot say so of one that may sleep elsewhere; the scheduler sees it. */
function atomic(path: KernelPath<unknown>): AtomicPath<void> {
  return done(path) as unknown as AtomicPath<void>;
}

function ops2627(r: MirrorReactions): Linux2627Ops {
  const ops: Linux2627Ops = {};
  const { rangeStart, rangeEnd, release, clearYoung } = r;
  if (release !== undefined) ops.release = () => atomic(release.call(r));
  if (clearYoung !== undefined) ops.clearFlushYoung = (_n, _m, a) => clearYoung.call(r, a, a + 4096, true);
  if (r.changePte !== undefined) ops.changePte = (_n, _m, a, lo, hi) => r.changePte!(a, lo, hi);
  if (r.invalidatePage !== undefined) ops.invalidatePage = (_n, _m, a) => r.invalidatePage!(a);
  if (rangeStart !== undefined)
    ops.invalidateRangeStart = (_n, range) => atomic(rangeStart.call(r, mirrorRange(range, false)));
  if (rangeEnd !== undefined)
    ops.invalidateRangeEnd = (_n, range) => atomic(rangeEnd.call(r, mirrorRange(range, false)));
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
