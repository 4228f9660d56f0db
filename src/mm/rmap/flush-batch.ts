// Reclaim's postponed CPU flushes (tlb_ubc; mm/rmap.c, arch/x86/mm/tlb.c): an entry cleared under TTU_BATCH_FLUSH keeps its CPU
// TLB entries until try_to_unmap_flush, which comes before the page is freed, or written when it was dirty. Who
// changes entries of such an mm in between flushes first (flush_tlb_batched_pending), or a later flush that finds nothing
// to do would leave stale entries:
//
//   reclaim: PT− of page A (flush postponed)
//                                               munmap of A's range: no entry there, nothing to flush, returns
//                                               the CPU still reaches A, whose frame reclaim now frees

import { E_BATCH_FLUSH } from '../../abi/events.ts';
import { ULONG_MAX } from '../../abi/mman.ts';
import { SITE_TRY_TO_UNMAP } from '../../abi/notifier.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { noteCpuMask } from '../cpu-access.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct } from '../types.ts';
import { FLUSH_OF_GATHER } from '../zap/tlb-flush.ts';

/** TTU_BATCH_FLUSH of try_to_unmap's flags. */
export const TTU_BATCH_FLUSH = 0x40;

/** task_struct.tlb_ubc: what one thread has still to flush. */
export class UnmapFlushBatch {
  readonly mms: MmStruct[] = [];
  /** A dirty entry is among them: flush before the page is written. */
  writable = false;
}

/** should_defer_flush: pays when another CPU would need an interrupt. Kernel threads run on CPU 0 here. */
export function shouldDeferFlush(k: Kernel, mm: MmStruct, flags: number): boolean {
  if (k.memory.footprint !== null) noteCpuMask(k.memory.footprint, mm, false);
  return (flags & TTU_BATCH_FLUSH) !== 0 && (mm.cpuMask & ~1) !== 0;
}

/** set_tlb_ubc_flush_pending. Kernels that flush secondary TLBs with the CPU's do so now, for the whole mm. ptl held. */
export function* setFlushPending(k: Kernel, mm: MmStruct, dirty: boolean): AtomicPath<void> {
  const thread = k.sched.current.id;
  let batch = k.tlbUbc.get(thread);
  if (batch === undefined) {
    batch = new UnmapFlushBatch();
    k.tlbUbc.set(thread, batch);
  }
  if (!batch.mms.includes(mm)) batch.mms.push(mm);
  if (dirty) batch.writable = true;
  noteBatched(k, mm, true);
  mm.tlbFlushBatched = true;
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierCpuTlbFlushed(k, mm, 0, ULONG_MAX, SITE_TRY_TO_UNMAP);
}

/** tlb_flush_batched in footprints: set under one page table's lock, read under another's. */
function noteBatched(k: Kernel, mm: MmStruct, isWrite: boolean): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id + 2 ** 30, isWrite);
}

/** arch_tlbbatch_flush: secondary TLBs heard when the batch was armed. */
function flushCpusOnly(k: Kernel, mm: MmStruct): AtomicPath<void> {
  return k.fn.flushTlbMmRange(k, mm, 0, ULONG_MAX, 0, false, FLUSH_OF_GATHER);
}

export function* tryToUnmapFlush(k: Kernel): AtomicPath<void> {
  const batch = k.tlbUbc.get(k.sched.current.id);
  if (batch === undefined || batch.mms.length === 0) return;
  if (k.memory.log.on) k.memory.log.emit(E_BATCH_FLUSH, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  for (let i = 0; i < batch.mms.length; i++) yield* flushCpusOnly(k, batch.mms[i]!);
  batch.mms.length = 0;
  batch.writable = false;
}

/** try_to_unmap_flush_dirty: only when a dirty entry is among the postponed ones. */
export function* tryToUnmapFlushDirty(k: Kernel): AtomicPath<void> {
  const batch = k.tlbUbc.get(k.sched.current.id);
  if (batch?.writable) yield* k.fn.tryToUnmapFlush(k);
}

export function* flushTlbBatchedPending(k: Kernel, mm: MmStruct): AtomicPath<void> {
  noteBatched(k, mm, mm.tlbFlushBatched);
  if (!mm.tlbFlushBatched) return;
  mm.tlbFlushBatched = false;
  yield* k.fn.flushTlbMm(k, mm, SITE_TRY_TO_UNMAP);
}
