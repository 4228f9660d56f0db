// The minimal driver over HMM, as the kernel's own test of it is: one interval over the whole address space, one mutex, pages one by one.
// Linux: lib/test_hmm.c (dmirror_fault, dmirror_range_fault, dmirror_do_fault, dmirror_interval_invalidate, dmirror_do_update).
//
//   mutex   guards the GPU's page table and is the driver lock of the interval. Order: mmapLock of a section, mutex
//
// Sections of its own migrations are passed over before the lock is taken: the sequence does not move for them, and what they change is the
// migration's business.

import { EAGAIN, EBUSY, EINVAL, EPERM } from '../../abi/errno.ts';
import { E_DEV_EXCLUSIVE } from '../../abi/events.ts';
import { VM_WRITE } from '../../abi/mman.ts';
import { MMU_NOTIFY_EXCLUSIVE, MMU_NOTIFY_MIGRATE } from '../../abi/notifier.ts';
import { HMM_PFN_FRAME, HMM_PFN_WRITE } from '../../mm/hmm/range-fault.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { isCompound } from '../../mm/page/compound.ts';
import { lockPage, unlockPage } from '../../mm/page/page-lock.ts';
import { getPage, notePage } from '../../mm/rmap/rmap.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import { IntervalNotifier } from '../../notifier/interval.ts';
import { Mutex } from '../../sched/locks.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { FaultRequest, MirrorDevice } from '../mirror.ts';
import type { GpuSvmConfig } from './config.ts';
import { GpuMemory } from './gpu-memory.ts';
import { GpuDriver, type Lookup, lookUpAndLock, USER_END } from './interval-mirror.ts';

export class DmirrorDriver extends GpuDriver {
  readonly memory: GpuMemory | null;
  readonly mutex: Mutex;
  /** One fault of an atomic operation at a time. Outermost. */
  readonly atomics: Mutex;
  mm: MmStruct | null = null;
  notifier: IntervalNotifier | null = null;

  constructor(k: Kernel, gpu: MirrorDevice, config: GpuSvmConfig) {
    super(k, gpu, config);
    this.memory = config.hasMemory ? new GpuMemory(this) : null;
    this.mutex = new Mutex(k.sched, k.sched.lockClasses.define('dmirror mutex'), gpu.id);
    this.atomics = new Mutex(k.sched, k.sched.lockClasses.define('faults of atomic operations'), gpu.id);
  }

  *attach(mm: MmStruct): KernelPath<number> {
    if (!this.mmGetNotZero(mm)) return -EINVAL;
    const notifier = new IntervalNotifier({ invalidate: (sub, range, seq) => this.invalidate(sub, range, seq) });
    const result = yield* this.insert(notifier, mm);
    yield* this.k.fn.mmPut(this.k, mm);
    if (result < 0) return result;
    this.mm = mm;
    this.notifier = notifier;
    return 0;
  }

  insert(notifier: IntervalNotifier, mm: MmStruct): KernelPath<number> {
    return this.intervals.insert(notifier, mm, 0, USER_END);
  }

  *detach(): KernelPath<void> {
    const { notifier } = this;
    if (notifier === null) return;
    // Entries go first: nobody hears of changes once the notifier is removed.
    yield* this.mutex.lock();
    yield* this.unmapFromGpu(0, Number.POSITIVE_INFINITY);
    this.mutex.unlock();
    if (notifier.mm !== null) yield* this.intervals.remove(notifier);
    this.notifier = null;
    this.mm = null;
  }

  /** dmirror_fault of one page. */
  *fault({ va, isWrite }: FaultRequest): KernelPath<number> {
    const { mm, notifier } = this;
    if (mm === null || notifier === null || !this.mmGetNotZero(mm)) return -EINVAL;
    this.faults++;
    const l = this.newLookup(mm, notifier, va, va + 4096, isWrite);
    const isAtomic = isWrite && this.config.storesAreAtomic;
    let result = 0;
    if (!isAtomic || this.memory !== null)
      result = yield* this.memory === null ? this.lookUp(l, false) : this.lookUpInPlace(l, this.memory);
    if (result === 0 && isAtomic) {
      yield* this.atomics.lock();
      if (this.gpu.tables[0]!.find(va)?.isAtomic !== true) result = yield* this.takeForItself(l);
      this.atomics.unlock();
    }
    if (result < 0) this.faultsRefused++;
    yield* this.k.fn.mmPut(this.k, mm);
    return result;
  }

  *lookUp(l: Lookup, isMmapLocked: boolean): KernelPath<number> {
    const lock = (): KernelPath<void> => this.mutex.lock();
    const result = yield* lookUpAndLock(this, l, lock, () => this.mutex.unlock(), isMmapLocked);
    if (result < 0) return result;
    if (this.k.sched.points) yield P_DRIVER;
    this.program(l);
    this.mutex.unlock();
    return 0;
  }

  /** The same while no page goes to memory of the GPU, or comes back. */
  *lookUpInPlace(l: Lookup, memory: GpuMemory): KernelPath<number> {
    const { mmapLock } = l.mm;
    if (this.k.sched.points || !mmapLock.tryRead()) yield* mmapLock.readLock();
    if (l.isWrite) yield* memory.settle(l.mm, l.start);
    else yield* this.keepInPlace(memory);
    let result = yield* this.lookUp(l, true);
    // A page of the GPU's own memory is reported as it is, also to whoever asked for the right to write.
    const isShort = result === 0 && l.isWrite && (l.pfns[0]! & HMM_PFN_WRITE) === 0;
    if (isShort) result = (l.mm.vmas.findExact(l.start)!.flags & VM_WRITE) === 0 ? -EPERM : -EAGAIN;
    this.letMove(memory);
    mmapLock.readUnlock();
    return result;
  }

  keepInPlace(memory: GpuMemory): KernelPath<void> {
    return memory.migrateLock.readLock();
  }

  letMove(memory: GpuMemory): void {
    memory.migrateLock.readUnlock();
  }

  isBoundTo(mm: MmStruct): boolean {
    return this.mm === mm;
  }

  *takeAway(start: number, end: number): KernelPath<void> {
    yield* this.mutex.lock();
    yield* this.unmapFromGpu(start, end);
    this.mutex.unlock();
  }

  /** dmirror_interval_invalidate. */
  *invalidate(sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    if (this.isOwn(range)) return true;
    if (range.blockable) yield* this.mutex.lock();
    else if (!this.mutex.trylock()) return this.refuse();
    this.invalidations++;
    this.intervals.setSeq(sub, seq);
    yield* this.unmapFromGpu(range.start, range.end);
    this.mutex.unlock();
    return true;
  }

  /** nouveau_atomic_range_fault: the page stays where it is, and no CPU uses it until one touches it. The page lock keeps that from happening
   *  before the entry is made. */
  *takeForItself(l: Lookup): KernelPath<number> {
    const { k } = this;
    const { mmapLock } = l.mm;
    const pages = new Int32Array(1);
    for (;;) {
      if (this.isLate(l)) return -EBUSY;
      l.seq = yield* this.readBegin(l);
      if (k.sched.points || !mmapLock.tryRead()) yield* mmapLock.readLock();
      // Present and writable first: what this takes (a copy, an exclusive entry of an earlier round) moves the sequence.
      const found = yield* this.hmmRangeFault(l);
      if (found < 0) {
        mmapLock.readUnlock();
        if (found === -EBUSY) continue;
        return found;
      }
      l.seq = yield* this.readBegin(l);
      this.#claim(l, 1);
      const owner = this.exclusiveOwner();
      const got = yield* k.fn.makeDeviceExclusiveRange(k, l.mm, l.start, l.end, pages, owner);
      const pfn = pages[0]!;
      const isPrivate = l.mm.vmas.findExact(l.start)?.file === null;
      mmapLock.readUnlock();
      if (got <= 0 || pfn === 0) {
        this.#claim(l, 0);
        if (got < 0) return got;
        const frame = l.pfns[0]! & HMM_PFN_FRAME;
        // Shared memory and parts of a huge page cannot be had alone: the access is refused.
        if (!isPrivate || isCompound(k.pages, frame)) return -EINVAL;
        yield* this.#awaitLock(frame);
        return -EAGAIN;
      }
      yield* this.mutex.lock();
      const isStale = this.mustRetry(l);
      if (!isStale) this.gpu.map(0, l.start, pfn, 1, true, true);
      this.mutex.unlock();
      unlockPage(k, pfn);
      k.fn.putPage(k, pfn);
      if (!isStale) return 0;
    }
  }

  /** make_device_exclusive_range only tries the lock of a page: who has it is waited for before the GPU asks again. */
  *#awaitLock(pfn: number): KernelPath<void> {
    const { k } = this;
    notePage(k, pfn);
    if (k.pages.refcount[pfn] === 0) return;
    getPage(k, pfn);
    yield* lockPage(k, pfn);
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }

  exclusiveOwner(): object | null {
    return this.owner;
  }

  #claim(l: Lookup, isWanted: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_DEV_EXCLUSIVE, l.mm.id, l.start, l.end, 0, 0, isWanted, 0, 0, this.gpu.id);
  }

  isOwn({ event, owner }: NotifierRange): boolean {
    return (event === MMU_NOTIFY_MIGRATE || event === MMU_NOTIFY_EXCLUSIVE) && owner === this.owner;
  }

  refuse(): boolean {
    this.refusals++;
    return false;
  }
}
