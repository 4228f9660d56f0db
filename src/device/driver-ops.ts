// From an author's callbacks to the operations of a notifier design: only those that the driver has are registered, since a
// design asks whether an operation is there.

import { PTE_RW } from '../abi/pte.ts';
import { ptePfn } from '../hw/pte.ts';
import { FreePages2011, type FreePages2011Ops } from '../notifier/free-pages-2011.ts';
import type { NotifierDesign, NotifierRange } from '../notifier/host.ts';
import type { Intervals } from '../notifier/interval.ts';
import { InvalidateRangeDesign, type InvalidateRangeOps } from '../notifier/invalidate-range.ts';
import { Linux2627, type Linux2627Ops } from '../notifier/linux-2.6.27.ts';
import { Linux61, type MmuNotifierOps } from '../notifier/linux-6.1.ts';
import { Linux66, type Linux66Ops } from '../notifier/linux-6.6.ts';
import { type AndreaOps, MmuNotifiersAndrea } from '../notifier/mmu-notifiers-andrea.ts';
import { MmuNotifiersV4, type MmuNotifiersV4Ops } from '../notifier/mmu-notifiers-v4.ts';
import { type PteNotifierOps, PteNotifiers } from '../notifier/pte-notifiers.ts';
import type { MmuRmapNotifierOps } from '../notifier/rmap-notifiers.ts';
import type { StartEndOps } from '../notifier/start-end.ts';
import { type ListOps, MmuNotifier, type SubscriptionList } from '../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { Range } from './driver-face.ts';
import type { DriverInstance } from './driver-run.ts';
import { andrea, everyVma, v4 } from './early-subscriptions.ts';

/** A registration with the list of subscribers. */
export interface ListSubscription {
  register(): KernelPath<number>;
  unregister(): KernelPath<void>;
}

/** Interval subscribers of the design; null when it has none. */
export function intervalsOf(design: NotifierDesign): Intervals<ListOps> | null {
  if (design instanceof Linux61 || design instanceof Linux66) return design.intervals as unknown as Intervals<ListOps>;
  return null;
}

/** The registration of the driver's list callbacks; null when it has none. */
export function subscribeList(d: DriverInstance): ListSubscription | null {
  const { design } = d;
  if (design instanceof PteNotifiers) return everyVma(d.k, design, d.mm, opsPte(d));
  if (design instanceof MmuNotifiersAndrea) return andrea(d.k, design, d.mm, opsAndrea(d));
  if (design instanceof MmuNotifiersV4) return v4(d.k, design, d.mm, opsV4(d), rmapOps(d));
  if (design instanceof FreePages2011) return subscription(d, design.list, opsFreePages(d));
  if (design instanceof Linux2627) return subscription(d, design.list, ops2627(d));
  if (design instanceof InvalidateRangeDesign) return subscription(d, design.list, opsInvalidateRange(d));
  if (design instanceof Linux61) return subscription(d, design.list, ops61(d));
  if (design instanceof Linux66) return subscription(d, design.list, ops66(d));
  return null;
}

function subscription<Ops extends ListOps>(
  d: DriverInstance,
  list: SubscriptionList<Ops>,
  ops: Ops,
): ListSubscription | null {
  if (Object.keys(ops).length === 0) return null;
  const mn = new MmuNotifier<Ops>(ops);
  return { register: () => list.register(mn, d.mm), unregister: () => list.unregister(mn, d.mm) };
}

function rangeOf(r: NotifierRange): Range {
  return { start: r.start, end: r.end, event: r.event, blockable: r.blockable };
}

function* nothing(path: KernelPath<unknown>): KernelPath<void> {
  yield* path;
}

function* truth(path: AtomicPath<unknown>): AtomicPath<boolean> {
  return (yield* path) === true;
}

function opsPte(d: DriverInstance): PteNotifierOps {
  const ops: PteNotifierOps = {};
  if (d.has('clear')) ops.clear = (_n, _v, a) => d.callAtomic('clear', a);
  if (d.has('close')) ops.close = (_n, v) => nothing(d.call('close', v.start, v.end));
  return ops;
}

function opsAndrea(d: DriverInstance): AndreaOps {
  const ops: AndreaOps = {};
  if (d.has('release')) ops.release = () => d.callAtomic('release');
  if (d.has('agePage')) ops.agePage = (_n, _m, a) => truth(d.callAtomic('agePage', a));
  if (d.has('invalidatePage')) ops.invalidatePage = (_n, _m, a) => d.callAtomic('invalidatePage', a);
  if (d.has('invalidateRange')) ops.invalidateRange = (_n, _m, s, e) => d.callAtomic('invalidateRange', s, e);
  return ops;
}

function opsV4(d: DriverInstance): MmuNotifiersV4Ops {
  const ops: MmuNotifiersV4Ops = {};
  if (d.has('release')) ops.release = () => d.callAtomic('release');
  if (d.has('invalidateAll')) ops.invalidateAll = () => d.callAtomic('invalidateAll');
  if (d.has('agePage')) ops.agePage = (_n, _m, a) => truth(d.callAtomic('agePage', a));
  if (d.has('invalidatePage')) ops.invalidatePage = (_n, _m, a) => d.callAtomic('invalidatePage', a);
  if (d.has('invalidateRangeBegin'))
    ops.invalidateRangeBegin = (_n, _m, s, e, atomic) => d.callAtomic('invalidateRangeBegin', s, e, atomic);
  if (d.has('invalidateRangeEnd'))
    ops.invalidateRangeEnd = (_n, _m, range, atomic) => d.callAtomic('invalidateRangeEnd', atomic, range);
  return ops;
}

function rmapOps(d: DriverInstance): MmuRmapNotifierOps | null {
  if (!d.has('rmapInvalidatePage')) return null;
  return { invalidatePage: (_n, pfn) => nothing(d.call('rmapInvalidatePage', pfn)) };
}

function opsFreePages(d: DriverInstance): FreePages2011Ops {
  const ops: FreePages2011Ops = ops2627(d);
  if (d.has('testYoung')) ops.testYoung = (_n, _m, a) => truth(d.callAtomic('testYoung', a));
  if (d.has('invalidateRangeFreePages')) ops.invalidateRangeFreePages = () => d.callAtomic('invalidateRangeFreePages');
  return ops;
}

function ops2627(d: DriverInstance): Linux2627Ops {
  const ops: Linux2627Ops = {};
  if (d.has('release')) ops.release = () => d.callAtomic('release');
  if (d.has('clearFlushYoung')) ops.clearFlushYoung = (_n, _m, a) => truth(d.callAtomic('clearFlushYoung', a));
  if (d.has('changePte')) ops.changePte = (_n, _m, a, lo) => d.callAtomic('changePte', a, entryOf(lo));
  if (d.has('invalidatePage')) ops.invalidatePage = (_n, _m, a) => d.callAtomic('invalidatePage', a);
  if (d.has('invalidateRangeStart'))
    ops.invalidateRangeStart = (_n, r) => d.callAtomic('invalidateRangeStart', rangeOf(r));
  if (d.has('invalidateRangeEnd')) ops.invalidateRangeEnd = (_n, r) => d.callAtomic('invalidateRangeEnd', rangeOf(r));
  return ops;
}

function opsInvalidateRange(d: DriverInstance): InvalidateRangeOps {
  const ops: InvalidateRangeOps = {};
  if (d.has('release')) ops.release = () => nothing(d.call('release'));
  if (d.has('clearFlushYoung')) ops.clearFlushYoung = (_n, _m, s, e) => truth(d.callAtomic('clearFlushYoung', s, e));
  if (d.has('testYoung')) ops.testYoung = (_n, _m, a) => truth(d.callAtomic('testYoung', a));
  if (d.has('changePte')) ops.changePte = (_n, _m, a, lo) => d.callAtomic('changePte', a, entryOf(lo));
  if (d.has('invalidatePage')) ops.invalidatePage = (_n, _m, a) => d.callAtomic('invalidatePage', a);
  if (d.has('invalidateRangeStart'))
    ops.invalidateRangeStart = (_n, r) => nothing(d.call('invalidateRangeStart', rangeOf(r)));
  if (d.has('invalidateRangeEnd'))
    ops.invalidateRangeEnd = (_n, r) => nothing(d.call('invalidateRangeEnd', rangeOf(r)));
  if (d.has('invalidateRange')) ops.invalidateRange = (_n, _m, s, e) => d.callAtomic('invalidateRange', s, e);
  return ops;
}

function opsStartEnd<Ops extends StartEndOps>(d: DriverInstance, ops: Ops): Ops {
  if (d.has('release')) ops.release = () => nothing(d.call('release'));
  if (d.has('clearFlushYoung')) ops.clearFlushYoung = (_n, _m, s, e) => truth(d.callAtomic('clearFlushYoung', s, e));
  if (d.has('clearYoung')) ops.clearYoung = (_n, _m, s, e) => truth(d.callAtomic('clearYoung', s, e));
  if (d.has('testYoung')) ops.testYoung = (_n, _m, a) => truth(d.callAtomic('testYoung', a));
  if (d.has('changePte')) ops.changePte = (_n, _m, a, lo) => d.callAtomic('changePte', a, entryOf(lo));
  if (d.has('invalidateRangeStart')) ops.invalidateRangeStart = (_n, r) => start(d, rangeOf(r));
  if (d.has('invalidateRangeEnd'))
    ops.invalidateRangeEnd = (_n, r) => nothing(d.call('invalidateRangeEnd', rangeOf(r)));
  return ops;
}

/** No answer is 0. */
function* start(d: DriverInstance, range: Range): KernelPath<number> {
  const result = yield* d.call('invalidateRangeStart', range);
  return typeof result === 'number' ? result : 0;
}

function ops61(d: DriverInstance): MmuNotifierOps {
  const ops: MmuNotifierOps = opsStartEnd<MmuNotifierOps>(d, {});
  if (d.has('invalidateRange')) ops.invalidateRange = (_n, _m, s, e) => d.callAtomic('invalidateRange', s, e);
  return ops;
}

function ops66(d: DriverInstance): Linux66Ops {
  const ops: Linux66Ops = opsStartEnd<Linux66Ops>(d, {});
  if (d.has('archInvalidateSecondaryTlbs'))
    ops.archInvalidateSecondaryTlbs = (_n, _m, s, e) => d.callAtomic('archInvalidateSecondaryTlbs', s, e);
  return ops;
}

function entryOf(lo: number): { readonly page: number; readonly isWritable: boolean } {
  return { page: ptePfn(lo), isWritable: (lo & PTE_RW) !== 0 };
}
