// What mm says to the notifier design: one wrapper for each moment of notifier/host.ts. Callers test mm.notifiers !== null
// first, so that an address space without subscribers pays one field load:
//
//   const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_UNMAP, SITE_MUNMAP);
//   if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
//
// Sections are announced as events here, so that pairing is judged from what mm did, not from what a design passed on.

import { E_RELEASE, E_SECTION_END, E_SECTION_START } from '../abi/events.ts';
import type { NotifierRange } from '../notifier/host.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_SECTION_CLOSED, P_SECTION_END, P_SECTION_OPEN, P_SECTION_START } from '../sched/points.ts';
import type { Kernel } from './kernel.ts';
import type { MmStruct, VmArea } from './types.ts';

export interface NotifyFns {
  /** mmu_notifier_invalidate_range_start(_nonblock). 0 or -EAGAIN (non-blockable only: then no end follows). Never under ptl. */
  mmuNotifierInvalidateRangeStart(k: Kernel, range: NotifierRange): KernelPath<number>;
  /** mmu_notifier_invalidate_range_end / _only_end. */
  mmuNotifierInvalidateRangeEnd(k: Kernel, range: NotifierRange, onlyEnd: boolean): KernelPath<void>;
  /** Under ptl: entry cleared and CPU TLB flushed (ptep_clear_flush_notify, try_to_unmap's mmu_notifier_invalidate_range). */
  mmuNotifierPteCleared(
    k: Kernel,
    mm: MmStruct,
    start: number,
    end: number,
    site: number,
    isFile: boolean,
  ): AtomicPath<void>;
  /** set_pte_at_notify, before the store. */
  mmuNotifierChangePte(k: Kernel, mm: MmStruct, address: number, lo: number, hi: number): AtomicPath<void>;
  mmuNotifierGatherFlushed(
    k: Kernel,
    mm: MmStruct,
    start: number,
    end: number,
    freedTables: boolean,
    site: number,
  ): AtomicPath<void>;
  mmuNotifierCpuTlbFlushed(k: Kernel, mm: MmStruct, start: number, end: number, site: number): AtomicPath<void>;
  mmuNotifierPagesAboutToBeFreed(k: Kernel, mm: MmStruct, start: number, end: number, site: number): AtomicPath<void>;
  mmuNotifierYoung(k: Kernel, mm: MmStruct, start: number, end: number, kind: number): AtomicPath<boolean>;
  mmuNotifierRelease(k: Kernel, mm: MmStruct): KernelPath<void>;
  // The moments of the proposals before 2.6.27.
  /** Under ptl: the entry of one page is about to be cleared. */
  mmuNotifierPteAboutToBeCleared(k: Kernel, vma: VmArea, address: number, site: number): AtomicPath<void>;
  /** After tlb_finish_mmu of an unmapping. */
  mmuNotifierPagesFreed(k: Kernel, mm: MmStruct, start: number, end: number, site: number): KernelPath<void>;
  /** The reverse-map walk over the page is done. Callers test design.hasRmapNotifiers. */
  mmuNotifierPageUnmapped(k: Kernel, pfn: number, site: number): KernelPath<void>;
  /** End of exit_mmap. */
  mmuNotifierExitFinished(k: Kernel, mm: MmStruct): KernelPath<void>;
  /** do_wp_page made an entry writable in place; ptl was dropped. */
  mmuNotifierPageReused(k: Kernel, mm: MmStruct, address: number): KernelPath<void>;
  /** remove_vma. */
  mmuNotifierVmaClosed(k: Kernel, vma: VmArea): KernelPath<void>;
}

function* mmuNotifierInvalidateRangeStart(k: Kernel, range: NotifierRange): KernelPath<number> {
  if (k.sched.points) yield P_SECTION_START;
  const log = k.memory.log;
  if (log.on)
    log.emit(
      E_SECTION_START,
      range.mm.id,
      range.start,
      range.end,
      0,
      0,
      range.event,
      range.site,
      range.blockable ? 1 : 0,
      range.id,
    );
  const result = k.design === null ? 0 : yield* k.design.invalidateRangeStart(range);
  if (result < 0 && log.on)
    log.emit(E_SECTION_END, range.mm.id, range.start, range.end, 0, 0, range.event, range.site, 2, range.id);
  if (k.sched.points) yield P_SECTION_OPEN;
  return result;
}

function* mmuNotifierInvalidateRangeEnd(k: Kernel, range: NotifierRange, onlyEnd: boolean): KernelPath<void> {
  if (k.sched.points) yield P_SECTION_END;
  if (k.design !== null) yield* k.design.invalidateRangeEnd(range, onlyEnd);
  const log = k.memory.log;
  if (log.on)
    log.emit(
      E_SECTION_END,
      range.mm.id,
      range.start,
      range.end,
      0,
      0,
      range.event,
      range.site,
      onlyEnd ? 1 : 0,
      range.id,
    );
  if (k.sched.points) yield P_SECTION_CLOSED;
}

function* mmuNotifierPteCleared(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  site: number,
  isFile: boolean,
): AtomicPath<void> {
  if (k.design !== null) yield* k.design.pteClearedAndFlushed(mm, start, end, site, isFile);
}

function* mmuNotifierChangePte(k: Kernel, mm: MmStruct, address: number, lo: number, hi: number): AtomicPath<void> {
  if (k.design !== null) yield* k.design.changePte(mm, address, lo, hi);
}

function* mmuNotifierGatherFlushed(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  freedTables: boolean,
  site: number,
): AtomicPath<void> {
  if (k.design !== null) yield* k.design.gatherFlushed(mm, start, end, freedTables, site);
}

function* mmuNotifierCpuTlbFlushed(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  site: number,
): AtomicPath<void> {
  if (k.design !== null) yield* k.design.cpuTlbFlushed(mm, start, end, site);
}

function* mmuNotifierPagesAboutToBeFreed(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  site: number,
): AtomicPath<void> {
  if (k.design !== null) yield* k.design.pagesAboutToBeFreed(mm, start, end, site);
}

function* mmuNotifierYoung(k: Kernel, mm: MmStruct, start: number, end: number, kind: number): AtomicPath<boolean> {
  return k.design === null ? false : yield* k.design.young(mm, start, end, kind);
}

function* mmuNotifierRelease(k: Kernel, mm: MmStruct): KernelPath<void> {
  const log = k.memory.log;
  if (log.on) log.emit(E_RELEASE, mm.id, 0, 0, 0, 0, 1, 0, 0, 0);
  if (k.design !== null) yield* k.design.release(mm);
  if (log.on) log.emit(E_RELEASE, mm.id, 0, 0, 0, 0, 0, 0, 0, 0);
}

function* mmuNotifierPteAboutToBeCleared(k: Kernel, vma: VmArea, address: number, site: number): AtomicPath<void> {
  if (k.design !== null) yield* k.design.pteAboutToBeCleared(vma.mm, vma, address, site);
}

function* mmuNotifierPagesFreed(k: Kernel, mm: MmStruct, start: number, end: number, site: number): KernelPath<void> {
  if (k.design !== null) yield* k.design.pagesFreed(mm, start, end, site);
}

function* mmuNotifierPageUnmapped(k: Kernel, pfn: number, site: number): KernelPath<void> {
  if (k.design !== null) yield* k.design.pageUnmapped(pfn, site);
}

function* mmuNotifierPageReused(k: Kernel, mm: MmStruct, address: number): KernelPath<void> {
  if (k.design !== null) yield* k.design.pageReused(mm, address);
}

function* mmuNotifierExitFinished(k: Kernel, mm: MmStruct): KernelPath<void> {
  if (k.design !== null) yield* k.design.exitFinished(mm);
}

function* mmuNotifierVmaClosed(k: Kernel, vma: VmArea): KernelPath<void> {
  if (k.design !== null) yield* k.design.vmaClosed(vma);
}

export const notifyFns: NotifyFns = {
  mmuNotifierInvalidateRangeStart,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierPteCleared,
  mmuNotifierChangePte,
  mmuNotifierGatherFlushed,
  mmuNotifierCpuTlbFlushed,
  mmuNotifierPagesAboutToBeFreed,
  mmuNotifierYoung,
  mmuNotifierRelease,
  mmuNotifierPteAboutToBeCleared,
  mmuNotifierPagesFreed,
  mmuNotifierPageUnmapped,
  mmuNotifierExitFinished,
  mmuNotifierPageReused,
  mmuNotifierVmaClosed,
};
