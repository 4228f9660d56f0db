// Flushing the TLBs of the CPUs that run an address space (arch/x86/mm/tlb.c). More than 33 pages (of the smallest piece that
// was cleared) become a flush of everything. Afterwards the notifier design hears of it, unless the flush is a gather's,
// which announces itself.
//
// No lock needed; callers often hold ptl. Kernel names: flush_tlb_mm_range, flush_tlb_func, flush_tlb_multi.

import { E_FLUSH } from '../../abi/events.ts';
import { ULONG_MAX } from '../../abi/mman.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_FLUSH, P_IPI } from '../../sched/points.ts';
import { noteCpuMask } from '../cpu-access.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, VmArea } from '../types.ts';

/** As `site`: the flush belongs to a gather. */
export const FLUSH_OF_GATHER = -1;

/** 2 ** shift: the general power costs as much as the rest of a one-page flush. */
const STRIDE = Float64Array.from({ length: 48 }, (_, shift) => 2 ** shift);

/** Will [start, end) be flushed as "everything"? */
export function isFullFlush(k: Kernel, start: number, end: number, strideShift: number): boolean {
  return end === ULONG_MAX || Math.floor((end - start) / STRIDE[strideShift]!) > k.config.tlbFlushCeiling;
}

export function* flushTlbMmRange(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  strideShift: number,
  freedTables: boolean,
  site: number,
): AtomicPath<void> {
  if (k.sched.points) yield P_FLUSH;
  const log = k.memory.log;
  if (log.on) log.emit(E_FLUSH, mm.id, start, end, 0, 0, strideShift, freedTables ? 1 : 0, 0, 0);
  const isFull = isFullFlush(k, start, end, strideShift);
  if (k.memory.footprint !== null) noteCpuMask(k.memory.footprint, mm, false);
  const own = k.sched.current.cpu;
  // A probe is flushed from its own address on; what goes is the page of that address.
  const skew = start & 4095;
  let isFirst = true;
  for (let i = 0, left = mm.cpuMask; left !== 0; i++) {
    // The CPU that asks for the flush does its own part first.
    const cpu = i === 0 ? own : i <= own ? i - 1 : i;
    if ((left & (1 << cpu)) === 0) continue;
    left &= ~(1 << cpu);
    if (!isFirst && k.sched.points) yield P_IPI;
    isFirst = false;
    if (isFull) k.cpus[cpu]!.invalidateAll(mm.id);
    else k.cpus[cpu]!.invalidateRange(mm.id, start - skew, end - skew);
    // Tables go: a CPU that only has the address space left over from before leaves it for good.
    if (freedTables && k.cpus[cpu]!.isLazy) mm.cpuMask &= ~(1 << cpu);
  }
  if (mm.notifiers === null || site === FLUSH_OF_GATHER) return;
  yield* k.fn.mmuNotifierCpuTlbFlushed(k, mm, isFull ? 0 : start, isFull ? ULONG_MAX : end, site);
}

/** flush_tlb_mm. The recorded stride is 0. */
export function flushTlbMm(k: Kernel, mm: MmStruct, site: number): AtomicPath<void> {
  return k.fn.flushTlbMmRange(k, mm, 0, ULONG_MAX, 0, true, site);
}

/** flush_tlb_page. */
export function flushTlbPage(k: Kernel, vma: VmArea, address: number, site: number): AtomicPath<void> {
  return k.fn.flushTlbMmRange(k, vma.mm, address, address + 4096, 12, false, site);
}
