// Memory of the GPU under the minimal driver: single pages go there.
// Linux: lib/test_hmm.c (dmirror_migrate_to_device, dmirror_devmem_fault, dmirror_device_evict_chunk), drivers/gpu/drm/nouveau/nouveau_dmem.c.
//
//   a store of the GPU faults (`settle`)            a CPU touches the page (`aroundFault`, in migrate_to_ram)
//     mmapLock R; migrateLock W                       mmapLock R is held; migrateLock W
//     the GPU's entries of the page go                the GPU's entries of the page go
//     no room? another page goes back first           migrate_vma_setup, copy, _pages, _finalize
//     migrate_vma_setup, copy, _pages, _finalize      unlock
//     migrateLock R: the look-up follows
//
//   migrateLock   keeps look-ups out while a page moves: the driver's own notifier passes over sections MIGRATE of its own owner, so the
//                 sequence does not tell them. Order: mmapLock, migrateLock, driver lock. No section takes it
//
// The entries go before the pages are collected, not after: between the two the GPU could store to a page that is being copied. Only what is
// mapped for writing moves, and holes; a page that a fork left in memory of the GPU for both sides comes back, to be copied.
//
// A page that makes room is taken by its frame, whoever maps it (migrate_device_range): its entries go in sections CLEAR of each address
// space, which the notifier hears like all others.

import { VM_SHARED, VM_WRITE } from '../../abi/mman.ts';
import { HMM_PFN_FRAME, HMM_PFN_VALID, HMM_PFN_WRITE } from '../../mm/hmm/range-fault.ts';
import type { MmStruct, VmArea } from '../../mm/types.ts';
import { Rwsem } from '../../sched/locks.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { GpuDriver } from './interval-mirror.ts';
import { OwnMemory } from './own-memory.ts';

export class GpuMemory extends OwnMemory {
  readonly migrateLock: Rwsem;
  readonly #driver: GpuDriver;
  /** Where the next page that makes room is looked for: they go in turn. */
  #hand = 0;

  constructor(driver: GpuDriver) {
    super(driver, {
      arrived: (vpn, pfn, isWritable) => driver.arrived(vpn * 4096, pfn, isWritable),
      aroundFault: (vma, start, end, path) => this.#aroundFault(vma, start, end, path),
    });
    this.#driver = driver;
    const { sched } = driver.k;
    this.migrateLock = new Rwsem(sched, sched.lockClasses.define('migrate lock'), driver.gpu.id);
  }

  /** Before a store is looked up: the page goes to the GPU, or comes back when it is there for reading only. mmapLock held for reading;
   *  returns with migrateLock held for reading. */
  *settle(mm: MmStruct, va: number): KernelPath<void> {
    yield* this.migrateLock.writeLock();
    const vma = mm.vmas.findExact(va);
    // Another engine's fault may have brought what is wanted.
    const isThere = this.#driver.gpu.tables[0]!.find(va)?.isWritable === true;
    if (!isThere && vma !== null && vma.file === null && (vma.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE)
      yield* this.#place(mm, vma, va);
    this.migrateLock.downgrade();
  }

  *#place(mm: MmStruct, vma: VmArea, va: number): KernelPath<void> {
    const d = this.#driver;
    const word = yield* this.#peek(mm, va);
    const isOurs = (word & HMM_PFN_VALID) !== 0 && this.isOwn(word & HMM_PFN_FRAME);
    const isWritable = (word & HMM_PFN_WRITE) !== 0;
    if (isOurs && !isWritable) {
      yield* d.takeAway(va, va + 4096);
      yield* this.pages.toRam(vma, va, va + 4096);
      this.toRam++;
    } else if (!isOurs && (isWritable || word === 0) && (yield* this.#makeRoom())) {
      yield* d.takeAway(va, va + 4096);
      yield* this.pages.toDevice(vma, va, va + 4096);
      this.toGpu++;
    }
  }

  /** Is there room for a page, or can there be? migrateLock held for writing. */
  *#makeRoom(): KernelPath<boolean> {
    const { pages } = this;
    const count = pages.end - pages.first;
    for (let tries = 0; pages.room === 0 && tries < count; tries++) {
      const pfn = pages.first + this.#hand;
      this.#hand = (this.#hand + 1) % count;
      if (yield* pages.evict(pfn)) this.evictions++;
    }
    return pages.room > 0;
  }

  /** Pages of [start, end) come back; what cannot stays. mmapLock held for reading. */
  *bringBack(vma: VmArea, start: number, end: number): KernelPath<void> {
    yield* this.migrateLock.writeLock();
    yield* this.#driver.takeAway(start, end);
    yield* this.pages.toRam(vma, start, end);
    this.migrateLock.writeUnlock();
  }

  /** What the CPUs' entry says, without a fault. */
  *#peek(mm: MmStruct, va: number): KernelPath<number> {
    const pfns = new Int32Array(1);
    const isStale = (): boolean => false;
    const { owner } = this.#driver;
    const range = { mm, start: va, end: va + 4096, pfns, defaultFlags: 0, pfnFlagsMask: 0, owner, isStale };
    yield* this.k.fn.hmmRangeFault(this.k, range);
    return pfns[0]!;
  }

  /** Of the bound process the GPU has entries; of a child of it, or when it has been unbound, it has none. */
  *#aroundFault(
    vma: VmArea,
    start: number,
    end: number,
    path: (start: number, end: number) => KernelPath<number>,
  ): KernelPath<number> {
    yield* this.migrateLock.writeLock();
    if (this.#driver.isBoundTo(vma.mm)) yield* this.#driver.beforeTouch(start, end);
    const result = yield* path(start, end);
    this.toRam++;
    this.migrateLock.writeUnlock();
    return result;
  }
}
