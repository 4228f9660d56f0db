// amdkfd's driver for shared virtual memory: ranges with an interval notifier each, made when the GPU first faults there.
// Linux 6.1: drivers/gpu/drm/amd/amdkfd/kfd_svm.c (svm_range_restore_pages, svm_range_validate_and_map, svm_range_cpu_invalidate_pagetables,
// svm_range_unmap_from_cpu, svm_range_evict, svm_range_restore_work, svm_range_deferred_list_work, svm_range_get_range_boundaries).
//
//   GPU fault (retry faults on)                             section over a range
//     mmap lock R; svms.lock; range of the page                RELEASE, or the process gone: nothing (the queues are)
//       none: mmap lock W, deferred work done, made now         prange.lock, also where it must not sleep; set_seq
//     migrateMutex; VMA allows it?                              UNMAP  GPU entries go, TLBs flushed; what is left of the range
//     for each VMA of the range:                                       is split off, lists and notifiers follow in deferred work
//       interval-mirror's steps 1 to 5 under prange.lock        else   evict: GPU entries go, TLBs flushed
//     -EAGAIN: dropped, the GPU faults again
//
// Without retry faults nothing may miss: eviction stops the queues of the process, entries stay as they are, and after a while
// restore work maps every evicted range again and lets the queues go on, unless something was evicted meanwhile.
//
// Lock order: mmapLock, svms.lock, migrateMutex, prange.lock. A section takes prange.lock alone.
//
// With memory of its own (svm-memory.ts) a fault sends its range there first, under svms.lock and migrateMutex.
//
// Not here: draining of stale faults before deferred work, several GPUs, attributes, and the drop of a fault whose VMA is gone while its
// range is not yet (the GPU would raise it until the range is gone, and be refused then; here at once).

import { EAGAIN, EBUSY, EFAULT, EINVAL, EPERM } from '../../abi/errno.ts';
import { BIND_SLEEPS_ALWAYS, E_DEV_PART_MAPPED } from '../../abi/events.ts';
import { VM_READ, VM_WRITE } from '../../abi/mman.ts';
import { MMU_NOTIFY_RELEASE, MMU_NOTIFY_UNMAP } from '../../abi/notifier.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct, VmArea } from '../../mm/types.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { IntervalNotifier, IntervalOps } from '../../notifier/interval.ts';
import { Mutex } from '../../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER, P_UNLOCK } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import type { FaultRequest, MirrorDevice } from '../mirror.ts';
import { noteDevice } from '../objects.ts';
import { type MirrorSubscription, subscribeMirror } from '../subscribe-mirror.ts';
import type { GpuSvmConfig } from './config.ts';
import { GpuDriver, type Lookup } from './interval-mirror.ts';
import { SvmMemory } from './svm-memory.ts';
import {
  SVM_OP_ADD_RANGE,
  SVM_OP_UNMAP_RANGE,
  SVM_OP_UPDATE_RANGE_NOTIFIER,
  SvmRange,
  unmapSplit,
} from './svm-range.ts';

// Parts in footprints.
const PART_DEFERRED = 20;
const PART_EVICTED = 21;
const PART_SERVED = 22; // [page]
const PART_DETACHED = 23;

/** A fault that is being served, and how it ended. */
interface Served {
  readonly isWrite: boolean;
  result: number;
}

export class SvmDriver extends GpuDriver {
  /** svms->lock: the list of ranges. */
  readonly svmsLock: Mutex;
  readonly memory: SvmMemory | null;
  mm: MmStruct | null = null;
  /** By address. */
  readonly ranges: SvmRange[] = [];
  readonly #deferred: SvmRange[] = [];
  /** deferred_list_work, restore_work: under way? */
  #isDeferredWork = false;
  #isRestoreWork = false;
  #isRestoreWanted = false;
  readonly #works = new WaitQueue();
  /** Evictions since the queues were stopped; 0: they run. */
  #evicted = 0;
  /** Faults that are being served, by page. */
  readonly #served = new Map<number, Served>();
  readonly #servedQueue = new WaitQueue();
  #subscription: MirrorSubscription | null = null;
  #isReleased = false;
  /** The GPU has nothing of the process any more: sections and deferred work pass over the ranges. */
  #isDetached = false;
  #nextId = 1;
  evictions = 0;
  restorations = 0;
  rangesMade = 0;
  duplicates = 0;

  constructor(k: Kernel, gpu: MirrorDevice, config: GpuSvmConfig) {
    super(k, gpu, config);
    this.svmsLock = new Mutex(k.sched, k.sched.lockClasses.define('svms.lock'), gpu.id);
    this.memory = config.hasMemory ? new SvmMemory(this) : null;
  }

  #note(part: number, index: number, isWrite: boolean): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) noteDevice(footprint, this.gpu.id, part, index, isWrite);
  }

  override get knownFor(): number {
    return BIND_SLEEPS_ALWAYS;
  }

  override stateWords(): number[] {
    return [this.#evicted, ...this.ranges.flatMap((r) => r.words()), -4, ...this.#served.keys()];
  }

  // --- the process

  *attach(mm: MmStruct): KernelPath<number> {
    if (mm.users <= 0) return -EINVAL;
    this.#isReleased = false;
    this.#note(PART_DETACHED, 0, true);
    this.#isDetached = false;
    const result = yield* this.subscribe(mm);
    if (result >= 0) this.mm = mm;
    return result;
  }

  /** kfd_process_notifier_release: at exit the queues go first. */
  *subscribe(mm: MmStruct): KernelPath<number> {
    const release = (): AtomicPath<void> => this.destroyQueues();
    this.#subscription = subscribeMirror(this.k, mm, { release });
    return yield* this.#subscription!.register();
  }

  *destroyQueues(): AtomicPath<void> {
    this.#note(PART_EVICTED, 0, true);
    this.#isReleased = true;
    this.gpu.setFaultHandler(null);
    yield* this.unmapFromGpu(0, Number.POSITIVE_INFINITY);
    while (this.gpu.isSuspended) this.gpu.resume();
  }

  *detach(): KernelPath<void> {
    const { mm } = this;
    if (mm === null) return;
    this.#note(PART_EVICTED, 0, true);
    this.#isReleased = true;
    yield* this.#idle();
    yield* this.destroyQueues();
    this.#note(PART_DETACHED, 0, true);
    this.#isDetached = true;
    if (this.#subscription !== null) yield* this.#subscription.unregister();
    this.#subscription = null;
    yield* this.#idle();
    for (const range of this.ranges.splice(0)) yield* this.removeNotifier(range);
    // A section that was open by then may have left work.
    yield* this.#idle();
    this.#evicted = 0;
    this.mm = null;
  }

  /** flush_work of both works, and of faults under way. */
  #idle(): KernelPath<void> {
    const isIdle = (): boolean => {
      this.#note(PART_DEFERRED, 0, false);
      this.#note(PART_EVICTED, 0, false);
      return !this.#isDeferredWork && !this.#isRestoreWork && this.#served.size === 0;
    };
    return this.k.sched.waitUntil(isIdle, this.#works, 'work of the driver');
  }

  isBoundTo(mm: MmStruct): boolean {
    return this.mm === mm;
  }

  /** Not asked for: sections of its own migrations empty the ranges like all others. */
  *takeAway(): KernelPath<void> {}

  // --- notifiers of ranges

  newRange(start: number, end: number): SvmRange {
    const ops = (range: SvmRange): IntervalOps => ({
      invalidate: (sub, section, seq) => this.invalidate(range, sub, section, seq),
    });
    return new SvmRange(this.k.sched, this.#nextId++, start, end, ops);
  }

  /** svm_range_add_notifier_locked. mmap lock held for writing. */
  addNotifier(range: SvmRange): KernelPath<number> {
    return this.intervals.insertLocked(range.notifier, this.mm!, range.start, range.end - range.start);
  }

  *removeNotifier(range: SvmRange): KernelPath<void> {
    if (range.notifier.mm !== null) yield* this.intervals.remove(range.notifier);
  }

  // --- faults of the GPU

  *fault({ va, isWrite }: FaultRequest): KernelPath<number> {
    const { mm } = this;
    if (mm === null || !this.mmGetNotZero(mm)) return -EFAULT;
    this.faults++;
    this.#note(PART_SERVED, va / 4096, true);
    const other = this.#served.get(va);
    if (other !== undefined) {
      const answer = yield* this.#dropDuplicate(other, va, isWrite);
      yield* this.k.fn.mmPut(this.k, mm);
      return answer;
    }
    const served: Served = { isWrite, result: 0 };
    this.#served.set(va, served);
    const result = yield* this.restorePages(mm, va, isWrite);
    this.#note(PART_SERVED, va / 4096, true);
    this.#note(PART_DEFERRED, 0, true);
    served.result = result;
    this.#served.delete(va);
    this.#servedQueue.wakeAll(this.k.sched);
    this.#works.wakeAll(this.k.sched);
    if (result < 0 && result !== -EAGAIN) this.faultsRefused++;
    yield* this.k.fn.mmPut(this.k, mm);
    return result;
  }

  /** amdgpu_gmc_filter_faults: a fault of a page of which one is being served is dropped; its access looks again when that is done. When that
   *  was refused the page is redirected for all that the GPU has under way to it (amdgpu_vm_handle_fault). */
  *#dropDuplicate(served: Served, va: number, isWrite: boolean): KernelPath<number> {
    this.duplicates++;
    const isDone = (): boolean => {
      this.#note(PART_SERVED, va / 4096, false);
      return this.#served.get(va) !== served;
    };
    yield* this.k.sched.waitUntil(isDone, this.#servedQueue, 'fault of the same page');
    const isRefused = served.result < 0 && served.result !== -EAGAIN && (isWrite || !served.isWrite);
    return isRefused ? served.result : 0;
  }

  /** svm_range_restore_pages. 0, -EAGAIN; or the access is refused: -EFAULT, -EPERM. */
  *restorePages(mm: MmStruct, va: number, isWrite: boolean): KernelPath<number> {
    const { k } = this;
    const { mmapLock } = mm;
    if (k.sched.points || !mmapLock.tryRead()) yield* mmapLock.readLock();
    yield* this.svmsLock.lock();
    let range: SvmRange | null = this.rangeOf(va);
    let failed = 0;
    if (range === null || !this.config.hasRetryFaults) {
      this.svmsLock.unlock();
      mmapLock.readUnlock();
      if (k.sched.points) yield P_UNLOCK;
      yield* this.#lockAndFlushWork(mm);
      yield* this.svmsLock.lock();
      range = this.rangeOf(va);
      if (range === null) {
        range = this.newUnregisteredRange(mm, va);
        failed = range === null ? -EFAULT : yield* this.#addRange(range);
      }
      mmapLock.downgrade();
    }
    let result = failed;
    let waits = false;
    if (range !== null && failed === 0) {
      if (this.memory !== null) yield* this.memory.makeRoom(mm, range);
      yield* range.migrateMutex.lock();
      this.#note(PART_DEFERRED, 0, false);
      waits = range.isQueued;
      if (!waits) result = yield* this.recover(mm, range, va, isWrite);
      range.migrateMutex.unlock();
    }
    this.svmsLock.unlock();
    mmapLock.readUnlock();
    // svm_range_skip_recover: the range is about to change. The GPU faults again.
    if (waits) yield* this.#flushDeferred();
    else if (result === 0 && range !== null) yield* this.#awaitWindow(range, va, isWrite);
    return result;
  }

  /** A fault that came before its range was mapped was dropped: the GPU raises it again after the window. */
  *#awaitWindow(range: SvmRange, va: number, isWrite: boolean): KernelPath<void> {
    const entry = this.gpu.tables[0]!.find(va);
    if (entry !== null && (entry.isWritable || !isWrite)) return;
    const left = range.validatedAtStep + this.config.duplicateSteps - this.k.sched.steps;
    if (left > 0) yield* this.k.sched.sleepSteps(left, 'retry of the fault');
  }

  rangeOf(va: number): SvmRange | null {
    return this.ranges.find((r) => va >= r.start && va < r.end) ?? null;
  }

  /** The range is there: is the access allowed, and then map all of it. svms.lock, migrateMutex, mmap lock R held. */
  *recover(mm: MmStruct, range: SvmRange, va: number, isWrite: boolean): KernelPath<number> {
    if (this.k.sched.steps < range.validatedAtStep + this.config.duplicateSteps) {
      this.duplicates++;
      return 0;
    }
    const vma = mm.vmas.findExact(va);
    if (vma === null) return -EFAULT;
    if ((vma.flags & VM_READ) === 0 || (isWrite && (vma.flags & VM_WRITE) === 0)) return -EPERM;
    if (this.memory !== null) yield* this.memory.send(mm, range);
    return yield* this.validateAndMap(mm, range);
  }

  /** svm_range_create_unregistered_range with svm_range_get_range_boundaries: the aligned block, cut to the VMA and to its neighbours. */
  newUnregisteredRange(mm: MmStruct, va: number): SvmRange | null {
    const vma = mm.vmas.findExact(va);
    if (vma === null) return null;
    const block = this.config.granularityPages * 4096;
    let start = Math.max(vma.start, va - (va % block));
    let end = Math.min(vma.end, va - (va % block) + block);
    for (const r of this.ranges) {
      if (r.end <= va) start = Math.max(start, r.end);
      if (r.start > va) end = Math.min(end, r.start);
    }
    const range = this.newRange(start, end);
    range.staysInRam = SvmMemory.isHeapOrStack(mm, vma);
    return range;
  }

  *#addRange(range: SvmRange): KernelPath<number> {
    const result = yield* this.addNotifier(range);
    if (result < 0) return result;
    this.rangesMade++;
    this.#link(range);
    return 0;
  }

  #link(range: SvmRange): void {
    this.ranges.push(range);
    this.ranges.sort((a, b) => a.start - b.start);
  }

  /** svm_range_validate_and_map: 0; -EAGAIN: the range changed meanwhile; -EFAULT. mmap lock held, either way. */
  *validateAndMap(mm: MmStruct, range: SvmRange): KernelPath<number> {
    const { end } = range;
    for (let at = range.start; at < end; ) {
      const vma: VmArea | null = mm.vmas.findExact(at);
      if (vma === null) return -EFAULT;
      const next = Math.min(vma.end, end);
      const l = this.newLookup(mm, range.notifier, at, next, (vma.flags & VM_WRITE) !== 0);
      if (this.memory !== null) this.memory.lookingUp = this.k.sched.current;
      const found = yield* this.#getPages(l);
      if (this.memory !== null) this.memory.lookingUp = null;
      if (found < 0) return found;
      if (this.k.sched.points) yield P_DRIVER;
      yield* range.lock.lock();
      const isStale = this.mustRetry(l) || range.children.length > 0;
      if (!isStale) {
        this.program(l);
        if (next < end && !range.mappedToGpu) this.#notePart(mm, l);
        yield* this.flushTlbs(l.start, l.end);
        if (next === end) {
          range.mappedToGpu = true;
          range.validatedAtStep = this.k.sched.steps;
        }
      }
      range.lock.unlock();
      if (isStale) return -EAGAIN;
      at = next;
    }
    return 0;
  }

  /** The range counts as mapped when all of it is: a failure further on leaves this part behind (gap 17). */
  #notePart(mm: MmStruct, l: Lookup): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_DEV_PART_MAPPED, mm.id, l.start, l.end, 0, 0, 0, 0, 0, this.gpu.id);
  }

  /** The right to write is the VMA's: for it pages of RAM were looked up. A page in the GPU's memory that a fork left for reading is
   *  mapped for writing like all others. */
  override mayWrite(l: Lookup): boolean {
    return l.isWrite;
  }

  /** amdgpu_hmm_range_get_pages. */
  *#getPages(l: Lookup): KernelPath<number> {
    for (;;) {
      l.seq = yield* this.readBegin(l);
      const result = yield* this.hmmRangeFault(l);
      if (result !== -EBUSY) return result;
      if (this.isLate(l)) return -EAGAIN;
    }
  }

  // --- invalidation

  /** svm_range_cpu_invalidate_pagetables. */
  *invalidate(range: SvmRange, sub: IntervalNotifier, section: NotifierRange, seq: number): KernelPath<boolean> {
    const { mm } = this;
    this.#note(PART_DETACHED, 0, false);
    if (this.#isDetached || section.event === MMU_NOTIFY_RELEASE || mm === null || !this.mmGetNotZero(mm)) return true;
    this.invalidations++;
    yield* range.lock.lock();
    this.intervals.setSeq(sub, seq);
    const start = Math.max(sub.start, section.start);
    const end = Math.min(sub.last + 1, section.end);
    if (section.event === MMU_NOTIFY_UNMAP) yield* this.unmapFromCpu(range, start, end);
    else yield* this.evict(range, start, end);
    range.lock.unlock();
    yield* this.putInCallback(mm);
    return true;
  }

  /** mmput_async. The last reference drops the whole address space, which takes locks that whoever is in the section may hold. */
  *putInCallback(mm: MmStruct): KernelPath<void> {
    const { footprint } = this.k.memory;
    if (footprint !== null) footprint.note(OBJ_MM, mm.id, true);
    if (mm.users > 1) mm.users--;
    else this.k.sched.spawn('mmput', 'kernel', this.k.fn.mmPut(this.k, mm));
  }

  /** svm_range_unmap_from_cpu. prange.lock held. */
  *unmapFromCpu(range: SvmRange, start: number, end: number): KernelPath<void> {
    const isAll = start <= range.start && end >= range.end;
    for (const child of [...range.children]) {
      yield* this.unmapRange(child, start, end);
      unmapSplit(range, child, start, end, (s, e) => this.newRange(s, e));
    }
    yield* this.unmapRange(range, start, end);
    unmapSplit(range, range, start, end, (s, e) => this.newRange(s, e));
    this.#addListWork(range, isAll ? SVM_OP_UNMAP_RANGE : SVM_OP_UPDATE_RANGE_NOTIFIER);
  }

  /** svm_range_unmap_from_gpus of what [start, end) has of the range. */
  *unmapRange(range: SvmRange, start: number, end: number): AtomicPath<void> {
    const from = Math.max(start, range.start);
    const to = Math.min(end, range.end);
    if (from >= to || !range.mappedToGpu) return;
    if (from === range.start && to === range.end) range.mappedToGpu = false;
    yield* this.unmapFromGpu(from, to);
  }

  /** svm_range_evict. prange.lock held. */
  *evict(range: SvmRange, start: number, end: number): KernelPath<void> {
    if (this.config.hasRetryFaults) {
      for (const r of [...range.children, range]) yield* this.unmapRange(r, start, end);
      return;
    }
    if (![range, ...range.children].some((r) => r.mappedToGpu)) return;
    for (const r of [...range.children, range]) if (r.meets(start, end)) r.invalid++;
    this.#note(PART_EVICTED, 0, true);
    this.evictions++;
    this.#evicted++;
    // Whoever comes second relies on the first to have stopped the queues.
    if (this.#evicted !== 1) return;
    if (this.k.sched.points) yield P_DRIVER;
    yield* this.quiesce();
    this.#note(PART_EVICTED, 0, true);
    this.#isRestoreWanted = true;
    if (this.#isReleased || this.#isRestoreWork) return;
    this.#isRestoreWork = true;
    this.k.sched.spawn('svm restore', 'kernel', this.#restoreWork());
  }

  /** kgd2kfd_quiesce_mm. What the GPU may have stored is dirty from now on. */
  *quiesce(): AtomicPath<void> {
    yield* this.gpu.suspend();
    const entries = this.gpu.tables[0]!.entries(0, Number.POSITIVE_INFINITY, false);
    this.markDirty(entries.flatMap((t) => (t.isWritable ? [t.pfn] : [])));
  }

  /** kgd2kfd_resume_mm. */
  resume(): void {
    this.gpu.resume();
  }

  // --- restoration

  /** svm_range_restore_work, and again until it has succeeded. */
  *#restoreWork(): KernelPath<void> {
    const mm = this.mm!;
    for (let isRetry = false; ; isRetry = true) {
      yield* this.#delay(isRetry);
      this.#note(PART_EVICTED, 0, true);
      this.#isRestoreWanted = false;
      if (this.#isReleased || !this.mmGetNotZero(mm)) break;
      yield* this.#lockAndFlushWork(mm);
      yield* this.svmsLock.lock();
      const isDone = yield* this.#restoreAll(mm);
      this.svmsLock.unlock();
      mm.mmapLock.writeUnlock();
      yield* this.k.fn.mmPut(this.k, mm);
      this.#note(PART_EVICTED, 0, true);
      if (isDone && !this.#isRestoreWanted) break;
    }
    this.#note(PART_EVICTED, 0, true);
    this.#isRestoreWork = false;
    this.#works.wakeAll(this.k.sched);
  }

  /** Another try lets others go on in any case: while a page of a range cannot be had (a guard region, say), there is no end of them. */
  *#delay(isRetry: boolean): KernelPath<void> {
    const { sched } = this.k;
    if (this.config.restoreDelaySteps > 0)
      yield* sched.sleepSteps(this.config.restoreDelaySteps, 'restoration of ranges');
    else if (sched.points || isRetry) yield P_DRIVER;
  }

  /** mmap lock W and svms.lock held. */
  *#restoreAll(mm: MmStruct): KernelPath<boolean> {
    this.#note(PART_EVICTED, 0, false);
    const evicted = this.#evicted;
    for (const range of [...this.ranges]) {
      this.#note(PART_EVICTED, 0, false);
      const { invalid } = range;
      if (invalid === 0) continue;
      yield* range.migrateMutex.lock();
      const result = yield* this.validateAndMap(mm, range);
      range.migrateMutex.unlock();
      if (result < 0) return false;
      if (this.k.sched.points) yield P_DRIVER;
      this.#note(PART_EVICTED, 0, true);
      if (!this.isUnchanged(range.invalid, invalid)) return false;
      range.invalid = 0;
    }
    if (this.k.sched.points) yield P_DRIVER;
    this.#note(PART_EVICTED, 0, true);
    if (this.#isReleased || !this.isUnchanged(this.#evicted, evicted)) return this.#isReleased;
    this.#evicted = 0;
    this.restorations++;
    if (this.k.sched.points) yield P_DRIVER;
    this.resume();
    return true;
  }

  /** atomic_cmpxchg of a count of evictions: none came since it was read. */
  isUnchanged(now: number, before: number): boolean {
    return now === before;
  }

  // --- deferred work

  /** svm_range_add_list_work with schedule_deferred_list_work: an address space with work pending does not go. */
  #addListWork(range: SvmRange, op: number): void {
    this.#note(PART_DEFERRED, 0, true);
    if (range.isQueued) {
      if (range.op !== SVM_OP_UNMAP_RANGE) range.op = op;
    } else {
      range.op = op;
      range.isQueued = true;
      this.mmGetNotZero(this.mm!);
      this.#deferred.push(range);
    }
    if (this.#isDeferredWork) return;
    this.#isDeferredWork = true;
    this.k.sched.spawn('svm deferred', 'kernel', this.#deferredWork());
  }

  /** flush_work(&svms->deferred_list_work). */
  #flushDeferred(): KernelPath<void> {
    const isIdle = (): boolean => {
      this.#note(PART_DEFERRED, 0, false);
      return !this.#isDeferredWork;
    };
    return this.k.sched.waitUntil(isIdle, this.#works, 'deferred work on ranges');
  }

  /** svm_range_list_lock_and_flush_work: mmap lock held for writing, and no deferred work pending. */
  *#lockAndFlushWork(mm: MmStruct): KernelPath<void> {
    for (;;) {
      yield* this.#flushDeferred();
      yield* mm.mmapLock.writeLock();
      this.#note(PART_DEFERRED, 0, false);
      if (this.#deferred.length === 0) return;
      mm.mmapLock.writeUnlock();
    }
  }

  /** svm_range_deferred_list_work. */
  *#deferredWork(): KernelPath<void> {
    const mm = this.mm!;
    for (;;) {
      this.#note(PART_DEFERRED, 0, true);
      if (this.#deferred.length === 0) break;
      yield* mm.mmapLock.writeLock();
      this.#note(PART_DEFERRED, 0, true);
      const range = this.#deferred.shift()!;
      range.isQueued = false;
      yield* this.svmsLock.lock();
      yield* range.migrateMutex.lock();
      for (const child of range.children.splice(0)) yield* this.handleListOp(child);
      range.migrateMutex.unlock();
      yield* this.handleListOp(range);
      this.svmsLock.unlock();
      mm.mmapLock.writeUnlock();
      yield* this.k.fn.mmPut(this.k, mm);
    }
    this.#isDeferredWork = false;
    this.#works.wakeAll(this.k.sched);
  }

  /** svm_range_handle_list_op. */
  *handleListOp(range: SvmRange): KernelPath<void> {
    this.#note(PART_DETACHED, 0, false);
    if (this.#isDetached) {
      range.op = 0;
      return;
    }
    if (range.op === SVM_OP_ADD_RANGE) {
      this.#link(range);
      yield* this.addNotifier(range);
    } else if (range.op === SVM_OP_UNMAP_RANGE) {
      this.#unlink(range);
      yield* this.removeNotifier(range);
    } else if (range.op === SVM_OP_UPDATE_RANGE_NOTIFIER) {
      yield* this.removeNotifier(range);
      yield* this.addNotifier(range);
    }
    range.op = 0;
  }

  #unlink(range: SvmRange): void {
    const i = this.ranges.indexOf(range);
    if (i >= 0) this.ranges.splice(i, 1);
  }
}
