// Contexts and ASIDs of the GRU's driver. Linux: drivers/misc/sgi-gru/grumain.c.
//
// A thread's context is loaded when the thread touches its GRU segment and is not loaded anywhere (gru_fault), on the chiplet with
// most room; when there is none, a context of somebody else is unloaded first. What an address space has in a chiplet's TLB stays
// there while no context is loaded, under the ASID that it keeps, until a purge takes the ASID away.
//
// ASIDs are given out in turn. After the last one the whole TLB is purged and they begin again, under the next generation; those
// of contexts that are loaded at that moment are passed over. An address space that comes back with an ASID of an earlier
// generation gets a new one.
//
// Locks: mmapLock (R, by the page fault) > ts_ctxlock > ms_asid_lock > gs_asid_lock. Who steals takes the victim's ts_ctxlock only
// if it is free. gs_lock guards a chiplet's list of contexts; single steps here.
//
// Kernel names: gru_assign_asid, gru_wrap_asid, gru_load_mm_tracker, gru_load_context, gru_unload_context, gru_assign_gru_context,
// gru_steal_context, gru_check_context_placement, cch_interrupt_sync.

import { EFAULT } from '../../abi/errno.ts';
import { assert } from '../../base/assert.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import { type GruChiplet, TFH_IDLE, TFH_MISS_FMM } from './chiplet.ts';
import { type GruDriver, mmgetNotZero } from './driver.ts';
import type { GruMm, GruThread } from './thread.ts';

/** gru_assign_asid: the next that no loaded context has. */
export function* assignAsid(d: GruDriver, chiplet: GruChiplet): AtomicPath<number> {
  yield* chiplet.asidLock.lock(0);
  for (let tried = 0; ; tried++) {
    assert(tried <= d.config.asids * 2, 'gru_assign_asid: there are more ASIDs than contexts');
    chiplet.lastAsid++;
    if (chiplet.lastAsid > d.config.asids) {
      d.asidWraps++;
      chiplet.asidGeneration++;
      yield* d.fn.flushAllTlb(d, chiplet);
      chiplet.lastAsid = 1;
    }
    if (!isAsidLoaded(chiplet, chiplet.lastAsid)) break;
  }
  const asid = chiplet.lastAsid;
  chiplet.asidLock.unlock(0);
  return asid;
}

function isAsidLoaded(chiplet: GruChiplet, asid: number): boolean {
  chiplet.touch(false);
  return chiplet.contexts.some((t) => t !== null && t.gms !== null && t.gms.trackers[chiplet.id]!.asid === asid);
}

/** gru_load_mm_tracker: the ASID for a context that is being loaded. */
export function* loadMmTracker(d: GruDriver, chiplet: GruChiplet, gms: GruMm, slot: number): AtomicPath<number> {
  yield* gms.asidLock.lock(0);
  const tracker = gms.trackers[chiplet.id]!;
  if (tracker.asid === 0 || tracker.generation !== chiplet.asidGeneration) {
    // What it had on the chiplet under the ASID of another generation is out of reach.
    if (tracker.asid !== 0) chiplet.forget(gms.mm.id);
    tracker.asid = yield* d.fn.assignAsid(d, chiplet);
    tracker.generation = chiplet.asidGeneration;
  }
  tracker.contexts |= 1 << slot;
  const { asid } = tracker;
  gms.asidLock.unlock(0);
  return asid;
}

/** gru_unload_mm_tracker. */
export function* unloadMmTracker(_d: GruDriver, chiplet: GruChiplet, gms: GruMm, slot: number): AtomicPath<void> {
  yield* gms.asidLock.lock(0);
  gms.trackers[chiplet.id]!.contexts &= ~(1 << slot);
  gms.asidLock.unlock(0);
}

/** gru_assign_gru_context: a slot on the chiplet that it wants, or else on the one with most room. False: all are full. */
function assignContext(d: GruDriver, t: GruThread): boolean {
  let best: GruChiplet | null = null;
  for (const chiplet of d.chiplets) {
    chiplet.touch(true);
    const isFull = !chiplet.contexts.includes(null);
    if (isFull || (t.wanted >= 0 && chiplet.id !== t.wanted)) continue;
    if (best === null || chiplet.contextsLoaded < best.contextsLoaded) best = chiplet;
  }
  if (best === null) return false;
  t.touch(true);
  t.chiplet = best;
  t.slot = best.contexts.indexOf(null);
  best.contexts[t.slot] = t;
  return true;
}

/** gru_load_context. ts_ctxlock held. */
function* loadContext(d: GruDriver, t: GruThread): AtomicPath<void> {
  d.contextsLoaded++;
  const asid = yield* d.fn.loadMmTracker(d, t.chiplet!, t.gms!, t.slot);
  if (d.k.sched.points) yield P_DRIVER;
  t.touch(true);
  t.asid = asid;
  t.isStopped = false;
  t.started.wakeAll(d.k.sched);
}

/** cch_interrupt_sync: the context begins no access and no miss any more; waits for what is under way. A miss of which the interrupt
 *  was raised and not served keeps the context (the hardware locks it until the restart). */
export function* interruptContext(d: GruDriver, t: GruThread): AtomicPath<void> {
  t.touch(true);
  t.isStopped = true;
  const isQuiet = (): boolean => {
    t.touch(false);
    return t.heldVa < 0 && t.tfh !== TFH_MISS_FMM;
  };
  yield* d.k.sched.spinUntil(isQuiet, t.chiplet!.drained, 'GRU context');
}

/** gru_unload_context. ts_ctxlock held. What the control block was doing is begun again when the context is loaded. */
export function* unloadContext(d: GruDriver, t: GruThread): AtomicPath<void> {
  const chiplet = t.chiplet!;
  if (d.k.sched.points) yield P_DRIVER;
  yield* d.fn.interruptContext(d, t);
  yield* d.fn.unloadMmTracker(d, chiplet, t.gms!, t.slot);
  chiplet.touch(true);
  t.touch(true);
  chiplet.contexts[t.slot] = null;
  t.chiplet = null;
  t.slot = -1;
  t.asid = 0;
  t.tfh = TFH_IDLE;
  t.isUnloadForced = false;
  t.isStopped = false;
  t.started.wakeAll(d.k.sched);
}

/** gru_update_cch with a delayed unload: takes the ASID out of the context, so that its next look-up misses; the context is unloaded
 *  when that miss is served in user context. */
export function* delayUnload(d: GruDriver, t: GruThread): KernelPath<void> {
  yield* t.ctxLock.lock();
  if (t.chiplet !== null) {
    yield* d.fn.interruptContext(d, t);
    t.touch(true);
    t.asid = 0;
    t.isUnloadForced = true;
    t.isStopped = false;
    t.started.wakeAll(d.k.sched);
  }
  t.ctxLock.unlock();
}

/** gru_check_context_placement. ts_ctxlock held. */
export function* checkPlacement(d: GruDriver, t: GruThread): AtomicPath<void> {
  t.touch(false);
  if (t.chiplet === null) return;
  const isMisplaced = t.wanted >= 0 && t.chiplet.id !== t.wanted;
  if (t.isUnloadForced || isMisplaced) yield* d.fn.unloadContext(d, t);
}

/** gru_steal_context: unloads a context of somebody else, if one is not in use by its owner at this moment. */
function* stealContext(d: GruDriver, t: GruThread): AtomicPath<void> {
  for (const chiplet of d.chiplets) {
    if (t.wanted >= 0 && chiplet.id !== t.wanted) continue;
    chiplet.touch(true);
    const count = chiplet.contexts.length;
    for (let i = 0; i < count; i++) {
      const slot = (chiplet.nextVictim + i) % count;
      const victim = chiplet.contexts[slot];
      if (victim == null || victim === t || !victim.ctxLock.trylock()) continue;
      chiplet.nextVictim = (slot + 1) % count;
      if (victim.chiplet !== null) {
        d.contextsStolen++;
        yield* d.fn.unloadContext(d, victim);
      }
      victim.ctxLock.unlock();
      return;
    }
  }
}

/** gru_fault: the thread touches its segment, and the context is not loaded. 0 = look again, -EFAULT: the address space is gone. */
export function* gsegFault(d: GruDriver, t: GruThread): KernelPath<number> {
  const { mm } = t.gms!;
  if (!mmgetNotZero(d.k, mm)) return -EFAULT;
  for (let waited = false; ; waited = true) {
    yield* mm.mmapLock.readLock();
    yield* t.ctxLock.lock();
    yield* checkPlacement(d, t);
    const isMapped = t.gms !== null;
    const isReady = isMapped && (t.chiplet !== null || assignContext(d, t));
    if (isReady && t.asid === 0) yield* loadContext(d, t);
    t.ctxLock.unlock();
    mm.mmapLock.readUnlock();
    if (isReady || !isMapped) break;
    if (waited) yield* stealContext(d, t);
    else yield* d.k.sched.sleepSteps(d.config.stealDelaySteps, 'GRU context');
  }
  yield* d.k.fn.mmPut(d.k, mm);
  return 0;
}
