// Misses of the GRU's TLB. Linux: drivers/misc/sgi-gru/grufault.c.
//
// Two ways to the same five steps (gru_try_dropin). A context whose misses interrupt is served in the interrupt, where nothing may
// sleep: mmapLock is only tried, the CPUs' table is read without locks, and what that does not settle is left to the user ("user
// polling mode"). A thread that finds its instruction waiting calls into the driver, which takes mmapLock and ts_ctxlock, waits
// until no section is open, and falls back to get_user_pages. The page is put at once: nothing but range_active and the purge keeps
// the translation true.
//
//   1  reads the latch: address, ASID, is it a store. ASID 0: the context is being taken away, -EAGAIN
//   2  range_active is not 0: refused. The user waits until it is
//   3  translates: the CPUs' table without locks; the user also get_user_pages, put at once
//   4  no such memory: exception. Not settled in the interrupt: user polling mode
//   5  restart: the drop-in, which the hardware ignores when a purge hit since step 1
//
// Why the order of 1 and 2 matters: a section that opens after step 2 purges after it opened, and the latch was read before that:
//
//   driver                                          munmap
//     1 reads the latch
//     2 range_active is 0
//                                                   range_active = 1
//     3 reads the entry V -> F1                     purges V: marks the latch
//     5 drop-in: ignored                            clears the entry, frees F1
//
// A store is dropped in only where the CPUs' entry is dirty already: the GRU has no dirty bit of its own to tell.
//
// Kernel names: gru_intr, gru_handle_user_call_os, gru_user_dropin, gru_try_dropin, gru_vtop, atomic_pte_lookup,
// non_atomic_pte_lookup.

import { EAGAIN, EFAULT } from '../../abi/errno.ts';
import { PTE_D, PTE_P, PTE_PS, PTE_RW } from '../../abi/pte.ts';
import { pmdWord, pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo, ptePfn } from '../../hw/pte.ts';
import { FOLL_WRITE } from '../../mm/gup/flags.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import { TFH_IDLE, TFH_MISS_UPM } from './chiplet.ts';
import { checkPlacement } from './context.ts';
import {
  DROPIN_DONE,
  DROPIN_LATER,
  type GruDriver,
  mmgetNotZero,
  VTOP_INVALID,
  VTOP_RETRY,
  VTOP_SUCCESS,
} from './driver.ts';
import type { GruMm, GruThread } from './thread.ts';

/** Step 1: is there a miss? From here on a purge of it is remembered. */
export function readLatch(_d: GruDriver, t: GruThread): boolean {
  t.touch(true);
  if (t.tfh === TFH_IDLE) return false;
  t.isLatchRead = true;
  t.isOvertaken = false;
  return true;
}

/** tfh_user_polling_mode. */
function switchToPolling(d: GruDriver, t: GruThread): void {
  d.switchedToPolling++;
  t.touch(true);
  t.tfh = TFH_MISS_UPM;
  t.chiplet!.drained.wakeAll(d.k.sched);
}

/** tfh_exception: the instruction ends with an error. */
function raiseException(d: GruDriver, t: GruThread): void {
  d.exceptions++;
  t.touch(true);
  t.tfh = TFH_IDLE;
  t.isLatchRead = false;
  t.chiplet!.drained.wakeAll(d.k.sched);
}

/** atomic_pte_lookup: the frame for the access in the CPUs' table as it is, or 0. mmapLock is held, so that the tables stay. A huge
 *  entry gives the one page (upstream's takes the first page of the block instead, "hugepage support is incomplete"). */
export function atomicPteLookup(d: GruDriver, gms: GruMm, address: number, isWrite: boolean): number {
  const { memory } = d.k;
  const wanted = PTE_P | (isWrite ? PTE_RW | PTE_D : 0);
  const [hi, lo] = [vpnHi(address), vpnLo(address)];
  const pmd = pmdWord(memory, gms.mm.pgd, hi, lo);
  if (pmd < 0) return 0;
  const block = entryLo(memory, pmd);
  if ((block & PTE_PS) !== 0) return (block & wanted) === wanted ? (ptePfn(block) & ~511) + (lo & 511) : 0;
  const word = pteWord(memory, gms.mm.pgd, hi, lo);
  const entry = word < 0 ? 0 : entryLo(memory, word);
  return (entry & wanted) === wanted ? ptePfn(entry) : 0;
}

/** gru_vtop: VTOP_*, and the frame in d.vtopPfn. mmapLock held for reading. */
function* vtop(d: GruDriver, gms: GruMm, address: number, isWrite: boolean, isUser: boolean): KernelPath<number> {
  const { k } = d;
  if (gms.mm.vmas.intersects(address, Number.POSITIVE_INFINITY) === null) return VTOP_INVALID;
  let pfn = d.fn.atomicPteLookup(d, gms, address, isWrite);
  if (pfn === 0 && !isUser) return VTOP_RETRY;
  if (pfn === 0) {
    const out = new Int32Array(1);
    const got = yield* k.fn.getUserPages(k, gms.mm, address, 1, isWrite ? FOLL_WRITE : 0, out);
    if (got !== 1) return VTOP_INVALID;
    pfn = out[0]!;
    k.fn.putPage(k, pfn);
  }
  d.vtopPfn = pfn;
  return VTOP_SUCCESS;
}

/** gru_try_dropin: DROPIN_DONE (dropped in, ignored, or nothing to do), DROPIN_LATER, -EAGAIN (no ASID), -EFAULT (exception). In the
 *  interrupt (!isUser) it does not sleep. */
export function* tryDropin(d: GruDriver, t: GruThread, isUser: boolean): KernelPath<number> {
  const { points } = d.k.sched;
  const gms = t.gms!;
  if (points) yield P_DRIVER;
  if (!d.fn.readLatch(d, t)) return DROPIN_DONE;
  const { missVa, missAsid, missIsWrite } = t;
  if (missAsid === 0) {
    d.refusedNoAsid++;
    if (!isUser) switchToPolling(d, t);
    return -EAGAIN;
  }
  if (points) yield P_DRIVER;
  gms.touch(false);
  if (gms.rangeActive !== 0) {
    d.refusedRangeActive++;
    if (!isUser) switchToPolling(d, t);
    return DROPIN_LATER;
  }
  if (points) yield P_DRIVER;
  const result = yield* vtop(d, gms, missVa, missIsWrite, isUser);
  const pfn = d.vtopPfn;
  if (points) yield P_DRIVER;
  if (result === VTOP_INVALID) {
    raiseException(d, t);
    return -EFAULT;
  }
  if (result === VTOP_RETRY) {
    switchToPolling(d, t);
    return DROPIN_LATER;
  }
  d.dropins++;
  t.chiplet!.dropIn(t, missVa, pfn, 1, missIsWrite);
  t.chiplet!.drained.wakeAll(d.k.sched);
  return DROPIN_DONE;
}

/** gru_intr for one miss: in interrupt context. */
export function* interrupt(d: GruDriver, t: GruThread): AtomicPath<number> {
  const { sched } = d.k;
  const { mmapLock } = t.gms!.mm;
  sched.current.atomicDepth++;
  if (sched.points) yield P_DRIVER;
  let result: number = DROPIN_LATER;
  if (mmapLock.readTrylock()) {
    result = yield* d.fn.tryDropin(d, t, false) as unknown as AtomicPath<number>;
    mmapLock.readUnlock();
  } else switchToPolling(d, t);
  sched.current.atomicDepth--;
  return result;
}

/** gru_handle_user_call_os: the thread asks for its instruction to go on. 0, -EAGAIN (look again), -EFAULT. */
export function* userCallOs(d: GruDriver, t: GruThread): KernelPath<number> {
  const { k } = d;
  const gms = t.gms!;
  const { mm } = gms;
  if (!mmgetNotZero(k, mm)) return -EFAULT;
  yield* mm.mmapLock.readLock();
  yield* t.ctxLock.lock();
  yield* checkPlacement(d, t);
  let result: number = -EAGAIN;
  if (t.chiplet !== null) {
    do {
      yield* k.sched.waitUntil(() => gms.isQuiet(), gms.queue, 'GRU range_active');
      result = yield* d.fn.tryDropin(d, t, true);
    } while (result === DROPIN_LATER);
  }
  t.ctxLock.unlock();
  mm.mmapLock.readUnlock();
  yield* k.fn.mmPut(k, mm);
  return result;
}
