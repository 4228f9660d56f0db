// Memory of an AMD GPU (VRAM): whole ranges go there when the GPU faults, and come back when a CPU touches one of their pages.
// Linux: drivers/gpu/drm/amd/amdkfd/kfd_migrate.c (svm_migrate_ram_to_vram, svm_migrate_vram_to_ram, svm_migrate_to_ram), kfd_svm.c
// (svm_range_best_restore_location, svm_range_get_range_boundaries, svm_range_evict_svm_bo_worker).
//
//   a fault of the GPU (in svm_range_restore_pages)     a CPU touches a page (svm_migrate_to_ram)
//     mmap lock R, svms.lock held                          mmap lock R is held
//     no room for the range? the oldest goes back          the fault of a look-up of the driver's own? nothing
//     migrateMutex                                         svms.lock; range of the page; migrateMutex
//     for each VMA: setup, copy, _pages, _finalize         setup, copy, _pages, _finalize of what the VMA has of the range
//     the range is looked up and mapped
//
// Sections MIGRATE of its own the driver hears like all others: they take the GPU's entries, and the sequence moves. Holes become pages of
// the GPU. Heap and stack stay in RAM. What could not go, or finds no room, is mapped in RAM: the driver tries again at the next fault.
//
// Otherwise than Linux: the fault evicts by itself, where it waits for a worker there. A page of which no range knows (its address was
// moved by mremap), or whose first process is gone, just comes back; there the touch ends in SIGBUS.

import type { MmStruct, VmArea } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Thread } from '../../sched/scheduler.ts';
import { OwnMemory } from './own-memory.ts';
import type { SvmDriver } from './svm-driver.ts';
import type { SvmRange } from './svm-range.ts';

type Path = (start: number, end: number) => KernelPath<number>;

export class SvmMemory extends OwnMemory {
  readonly #driver: SvmDriver;
  /** Counts ranges as they are sent there; svms.lock guards it. */
  #sent = 0;
  /** svms.faulting_task: who looks pages up for the driver. */
  lookingUp: Thread | null = null;

  constructor(driver: SvmDriver) {
    super(driver, { aroundFault: (vma, start, end, path) => this.#touched(vma, start, end, path) });
    this.#driver = driver;
  }

  /** Does the driver want the range in RAM? Heap and stack of the process. */
  static isHeapOrStack({ brk, startBrk, startStack }: MmStruct, vma: VmArea): boolean {
    return (vma.start <= brk && vma.end >= startBrk) || (vma.start <= startStack && vma.end >= startStack);
  }

  /** Ranges go back until there is room for this one, if there can be. mmap lock R and svms.lock held, no migrateMutex. */
  *makeRoom(mm: MmStruct, range: SvmRange): KernelPath<void> {
    const { pages } = this;
    const wanted = (range.end - range.start) / 4096;
    if (range.staysInRam || range.sentAs > 0 || wanted > pages.end - pages.first) return;
    const sent = this.#driver.ranges.filter((r) => r.sentAs > 0).sort((a, b) => a.sentAs - b.sentAs);
    for (const victim of sent) {
      if (pages.room >= wanted) break;
      yield* victim.migrateMutex.lock();
      yield* this.#bringBack(mm, victim);
      yield* this.#note(victim, 0);
      victim.migrateMutex.unlock();
      this.evictions++;
    }
  }

  /** svm_migrate_ram_to_vram. mmap lock R, svms.lock and migrateMutex held. */
  *send(mm: MmStruct, range: SvmRange): KernelPath<void> {
    const { pages } = this;
    const wanted = (range.end - range.start) / 4096;
    // Its memory is had for all of it; what is there already needs none.
    if (range.staysInRam || (pages.room < wanted && range.sentAs === 0)) return;
    for (let at = range.start; at < range.end; ) {
      const vma = mm.vmas.findExact(at);
      if (vma === null) break;
      const next = Math.min(vma.end, range.end);
      if ((yield* pages.toDevice(vma, at, next)) < 0) break;
      at = next;
    }
    this.toGpu++;
    yield* this.#note(range, ++this.#sent);
  }

  /** A part that is split off has been sent like the whole. */
  *#note(range: SvmRange, sentAs: number): KernelPath<void> {
    yield* range.lock.lock();
    range.sentAs = sentAs;
    range.lock.unlock();
  }

  /** svm_migrate_vram_to_ram. mmap lock R and migrateMutex held. */
  *#bringBack(mm: MmStruct, range: SvmRange): KernelPath<void> {
    for (let at = range.start; at < range.end; ) {
      const vma = mm.vmas.find(at);
      if (vma === null || vma.start >= range.end) break;
      const start = Math.max(at, vma.start);
      const next = Math.min(vma.end, range.end);
      yield* this.pages.toRam(vma, start, next);
      at = next;
    }
    this.toRam++;
  }

  /** svm_migrate_to_ram: of the process, or of a child of it that shares the page still. */
  *#touched(vma: VmArea, start: number, end: number, path: Path): KernelPath<number> {
    const d = this.#driver;
    if (this.lookingUp === this.k.sched.current) return 0;
    yield* d.svmsLock.lock();
    const range = d.rangeOf(start);
    if (range !== null) yield* range.migrateMutex.lock();
    const from = range === null ? start : Math.max(range.start, vma.start);
    const to = range === null ? end : Math.min(range.end, vma.end);
    const result = yield* path(from, to);
    this.toRam++;
    if (range !== null) range.migrateMutex.unlock();
    d.svmsLock.unlock();
    return result;
  }
}
