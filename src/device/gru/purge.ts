// Notifier callbacks and TLB purges of the GRU's driver. Linux: drivers/misc/sgi-gru/grutlbpurge.c.
//
//   start    range_active++, then purge: whoever reads the counter as 0 before that has read the latch before the purge, so that the
//            hardware ignores its drop-in
//   end      range_active--, wakes everybody
//   purge    each chiplet on which the address space has an ASID: contexts loaded: the pages are purged there, at most
//            GRUMAXINVAL of them; none loaded: the ASID is given up, and with it everything under it
//
// Linux clamps longer ranges to GRUMAXINVAL pages and does not say how the rest is covered. Here such a purge takes the whole ASID.
// A context may be stopped but not unloaded while one waits for its accesses: unloading needs ms_asid_lock.
//
// Kernel names: gru_invalidate_range_start, gru_invalidate_range_end, gru_flush_tlb_range, gru_flush_all_tlb, tgh_invalidate.

import type { AtomicPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { GruChiplet, Purge } from './chiplet.ts';
import type { GruDriver } from './driver.ts';
import type { GruMm } from './thread.ts';

/** gru_invalidate_range_start. Does not sleep: a caller that must not wait is told nothing else. */
export function* rangeStart(d: GruDriver, gms: GruMm, start: number, end: number): AtomicPath<void> {
  gms.touch(true);
  gms.rangeActive++;
  if (d.k.sched.points) yield P_DRIVER;
  yield* d.fn.flushTlbRange(d, gms, start, end);
}

/** gru_invalidate_range_end. */
export function rangeEnd(d: GruDriver, gms: GruMm): void {
  gms.touch(true);
  gms.rangeActive--;
  gms.queue.wakeAll(d.k.sched);
}

/** gru_flush_tlb_range. */
export function* flushTlbRange(d: GruDriver, gms: GruMm, start: number, end: number): AtomicPath<void> {
  const pages = Math.ceil((end - start) / 4096);
  const isAll = pages >= d.config.purgePagesMax;
  yield* gms.asidLock.lock(0);
  for (const chiplet of d.chiplets) {
    const { asid, contexts } = gms.trackers[chiplet.id]!;
    if (asid === 0) continue;
    if (contexts === 0) d.fn.clearAsid(d, chiplet, gms);
    else if (isAll) yield* d.fn.tghInvalidate(d, chiplet, gms, asid, 0, Number.POSITIVE_INFINITY);
    else yield* d.fn.tghInvalidate(d, chiplet, gms, asid, start, start + pages * 4096);
  }
  gms.asidLock.unlock(0);
}

/** No context of the address space is loaded: the next one that is takes a new ASID. */
export function clearAsid(d: GruDriver, chiplet: GruChiplet, gms: GruMm): void {
  d.asidsCleared++;
  gms.trackers[chiplet.id]!.asid = 0;
  chiplet.forget(gms.mm.id);
}

/** tgh_invalidate, and the wait for it. */
export function* tghInvalidate(
  d: GruDriver,
  chiplet: GruChiplet,
  gms: GruMm,
  asid: number,
  start: number,
  end: number,
): AtomicPath<void> {
  if (d.k.sched.points) yield P_DRIVER;
  yield* d.fn.finishPurge(d, chiplet, chiplet.purge(gms.mm.id, asid, start, end));
}

/** Busy until no access is in flight that used what was purged. */
export function* finishPurge(d: GruDriver, chiplet: GruChiplet, purge: Purge): AtomicPath<void> {
  yield* d.k.sched.spinUntil(() => chiplet.isDrained(purge), chiplet.drained, 'GRU purge');
  chiplet.finish(purge);
}

/** gru_flush_all_tlb. */
export function* flushAllTlb(d: GruDriver, chiplet: GruChiplet): AtomicPath<void> {
  for (const purge of chiplet.purgeAll()) yield* d.fn.finishPurge(d, chiplet, purge);
}
