// Memory of the GPU: frames of its own in which pages of the program live while it works on them (MEMORY_DEVICE_PRIVATE). A CPU that touches
// one has it brought back; the GPU's driver finds it through hmm_range_fault, as a page of its own owner, without a fault.
// Linux: lib/test_hmm.c (dmirror_migrate_to_device, dmirror_devmem_fault), drivers/gpu/drm/nouveau/nouveau_dmem.c.
//
//   a store of the GPU faults (`settle`)            a CPU touches the page (`aroundFault`, in migrate_to_ram)
//     mmapLock R; migrateLock W                       mmapLock R is held; migrateLock W
//     the GPU's entries of the page go                the GPU's entries of the page go
//     migrate_vma_setup, copy, _pages, _finalize      migrate_vma_setup, copy, _pages, _finalize
//     migrateLock R: the look-up follows              unlock
//
//   migrateLock   keeps look-ups out while a page moves: the driver's own notifier passes over sections MIGRATE of its own owner, so the
//                 sequence does not tell them. Order: mmapLock, migrateLock, driver lock. No section takes it
//
// The entries go before the pages are collected, not after: between the two the GPU could store to a page that is being copied. Only what is
// mapped for writing moves, and holes; a page that a fork left in memory of the GPU for both sides comes back, to be copied.

import { E_DEV_MEMORY } from '../../abi/events.ts';
import { VM_SHARED, VM_WRITE } from '../../abi/mman.ts';
import { InputError } from '../../base/assert.ts';
import { HMM_PFN_FRAME, HMM_PFN_VALID, HMM_PFN_WRITE } from '../../mm/hmm/range-fault.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct, VmArea } from '../../mm/types.ts';
import { Rwsem } from '../../sched/locks.ts';
import type { KernelPath } from '../../sched/path.ts';
import { PrivateMemory } from '../private-memory.ts';
import type { GpuDriver } from './interval-mirror.ts';

export class GpuMemory {
  readonly migrateLock: Rwsem;
  readonly #k: Kernel;
  readonly #driver: GpuDriver;
  readonly #memory: PrivateMemory;
  /** Times that a page was sent to the GPU, and brought back by the driver or a CPU. */
  toGpu = 0;
  toRam = 0;

  constructor(k: Kernel, driver: GpuDriver, pages: number) {
    this.#k = k;
    this.#driver = driver;
    this.migrateLock = new Rwsem(k.sched, k.sched.lockClasses.define('migrate lock'), driver.gpu.id);
    const memory = PrivateMemory.create(k, driver.owner, pages, {
      arrived: (vpn, pfn, isWritable) => driver.arrived(vpn * 4096, pfn, isWritable),
      aroundFault: (vma, start, end, path) => this.#aroundFault(vma, start, end, path),
    });
    if (memory === null)
      throw new InputError(`gpuSvm.memoryPages: ${pages}, more than kernel.devicePrivatePages has left`);
    this.#memory = memory;
  }

  /** Tells the record which frames are the GPU's. */
  announce(): void {
    const { log } = this.#k.memory;
    const { first, end } = this.#memory;
    if (log.on) log.emit(E_DEV_MEMORY, 0, 0, 0, first, 0, end - first, 0, 0, this.#driver.gpu.id);
  }

  /** Pages that are in it. */
  get used(): number {
    return this.#memory.used;
  }

  isOwn(pfn: number): boolean {
    return pfn >= this.#memory.first && pfn < this.#memory.end;
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
    const memory = this.#memory;
    const word = yield* this.#peek(mm, va);
    const isOurs = (word & HMM_PFN_VALID) !== 0 && this.isOwn(word & HMM_PFN_FRAME);
    const isWritable = (word & HMM_PFN_WRITE) !== 0;
    if (isOurs && !isWritable) {
      yield* d.takeAway(va, va + 4096);
      yield* memory.toRam(vma, va, va + 4096);
      this.toRam++;
    } else if (!isOurs && (isWritable || word === 0) && memory.hasRoom) {
      yield* d.takeAway(va, va + 4096);
      yield* memory.toDevice(vma, va, va + 4096);
      this.toGpu++;
    }
  }

  /** Pages of [start, end) come back; what cannot stays. mmapLock held for reading. */
  *bringBack(vma: VmArea, start: number, end: number): KernelPath<void> {
    yield* this.migrateLock.writeLock();
    yield* this.#driver.takeAway(start, end);
    yield* this.#memory.toRam(vma, start, end);
    this.migrateLock.writeUnlock();
  }

  /** What the CPUs' entry says, without a fault. */
  *#peek(mm: MmStruct, va: number): KernelPath<number> {
    const pfns = new Int32Array(1);
    const isStale = (): boolean => false;
    const range = {
      mm,
      start: va,
      end: va + 4096,
      pfns,
      defaultFlags: 0,
      pfnFlagsMask: 0,
      owner: this.#driver.owner,
      isStale,
    };
    yield* this.#k.fn.hmmRangeFault(this.#k, range);
    return pfns[0]!;
  }

  /** Of the bound process the GPU has entries; of a child of it, or when it has been unbound, it has none. */
  *#aroundFault(vma: VmArea, start: number, end: number, path: () => KernelPath<number>): KernelPath<number> {
    yield* this.migrateLock.writeLock();
    if (this.#driver.isBoundTo(vma.mm)) yield* this.#driver.beforeTouch(start, end);
    const result = yield* path();
    this.toRam++;
    this.migrateLock.writeUnlock();
    return result;
  }
}
