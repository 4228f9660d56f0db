// What every driver over hmm_range_fault and interval notifiers does (Documentation/mm/hmm.rst): fills the GPU's page table from the CPUs',
// and empties it when its notifier says so. A driver says under which lock, for which interval, and what an invalidation does.
//
//   fault of the GPU                                          section over the interval
//     1  seq := read_begin (waits while invalidating)           a  blockable? driver lock : trylock, else false
//     2  mmapLock R; hmm_range_fault; unlock; -EBUSY? to 1      b  set_seq
//     3  driver lock                                            c  entries of the overlap erased; TLBs flushed, accesses in flight awaited
//     4  read_retry? unlock, to 1                               d  unlock; true
//     5  page table written; unlock
//
// Nothing is referenced. What the GPU may have stored is marked dirty when its entry goes (c), since the program may have said meanwhile
// that it does not care for what the page held until then (MADV_FREE): the entry of the CPUs is writable then, and clean.
//
// Each line is at least one step, and what a mistake leaves out or reorders (mistakes.ts) is a method of its own.
// Kernel names: mmu_interval_read_begin, hmm_range_fault, mmu_interval_read_retry, mmu_interval_set_seq.

import { EBUSY } from '../../abi/errno.ts';
import { InputError } from '../../base/assert.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import { setPageDirty } from '../../mm/file/page-cache.ts';
import {
  HMM_PFN_FRAME,
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  type HmmRange,
} from '../../mm/hmm/range-fault.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { notePage } from '../../mm/rmap/rmap.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { IntervalNotifier, Intervals } from '../../notifier/interval.ts';
import type { ListOps } from '../../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER, P_UNLOCK } from '../../sched/points.ts';
import { intervalsOf } from '../driver-ops.ts';
import type { FaultRequest, MirrorDevice } from '../mirror.ts';
import type { GpuSvmConfig } from './config.ts';
import type { OwnMemory } from './own-memory.ts';

/** End of what a user can map (TASK_SIZE_MAX with four levels). */
export const USER_END = 0x7ffffffff000;

/** A look-up of [start, end) under way. */
export interface Lookup {
  readonly mm: MmStruct;
  readonly notifier: IntervalNotifier;
  readonly start: number;
  readonly end: number;
  readonly isWrite: boolean;
  /** One word of hmm_range_fault for each page. */
  readonly pfns: Int32Array;
  readonly deadlineStep: number;
  seq: number;
}

/** A driver: what the device asks of it. */
export abstract class GpuDriver {
  readonly k: Kernel;
  readonly gpu: MirrorDevice;
  readonly config: GpuSvmConfig;
  readonly intervals: Intervals<ListOps>;
  /** dev_private_owner: whose pages and whose sections are the GPU's own. */
  readonly owner: object = {};
  /** Memory of the GPU, when it has some. */
  abstract readonly memory: OwnMemory | null;
  faults = 0;
  faultsRefused = 0;
  pagesMapped = 0;
  invalidations = 0;
  refusals = 0;

  constructor(k: Kernel, gpu: MirrorDevice, config: GpuSvmConfig) {
    this.k = k;
    this.gpu = gpu;
    this.config = config;
    const intervals = k.design === null ? null : intervalsOf(k.design);
    if (intervals === null) throw new InputError(`gpu-svm: design ${k.design?.name} has no interval subscribers`);
    this.intervals = intervals;
  }

  /** The process opens the device. 0 or -errno. */
  abstract attach(mm: MmStruct): KernelPath<number>;
  /** It closes it: no callback runs or will run, nothing is mapped. */
  abstract detach(): KernelPath<void>;
  /** A translation is missing. 0: the GPU looks again. */
  abstract fault(request: FaultRequest): KernelPath<number>;

  /** BIND_* of what the driver is known for. */
  get knownFor(): number {
    return 0;
  }

  /** Is it the process that the GPU works for? */
  abstract isBoundTo(mm: MmStruct): boolean;
  /** The GPU gives [start, end) up, for a migration of the driver's own. */
  abstract takeAway(start: number, end: number): KernelPath<void>;

  /** The same for a page that a CPU has touched. */
  beforeTouch(start: number, end: number): KernelPath<void> {
    return this.takeAway(start, end);
  }

  /** A page has come to memory of the GPU, and its entry is still on the way: the look-up that follows will find it. */
  arrived(_va: number, _pfn: number, _isWritable: boolean): void {}

  /** May atomic operations use what a look-up found? The GPU's own memory is out of the CPUs' reach. */
  isAlone(pfn: number): boolean {
    return this.memory?.isOwn(pfn) === true;
  }

  /** What the driver keeps, as numbers. */
  stateWords(): number[] {
    return [];
  }

  // --- steps of a look-up

  newLookup(mm: MmStruct, notifier: IntervalNotifier, start: number, end: number, isWrite: boolean): Lookup {
    const pfns = new Int32Array((end - start) / 4096);
    const deadlineStep = this.k.sched.steps + this.config.deadlineSteps;
    return { mm, notifier, start, end, isWrite, pfns, deadlineStep, seq: 0 };
  }

  /** Step 1. */
  readBegin(l: Lookup): KernelPath<number> {
    return this.intervals.readBegin(l.notifier);
  }

  /** Step 2 without the mmap lock, which is held for reading. 0, -EBUSY (stale), -EFAULT, -EPERM. */
  hmmRangeFault(l: Lookup): KernelPath<number> {
    const range: HmmRange = {
      mm: l.mm,
      start: l.start,
      end: l.end,
      pfns: l.pfns,
      defaultFlags: HMM_PFN_REQ_FAULT | (l.isWrite ? HMM_PFN_REQ_WRITE : 0),
      pfnFlagsMask: 0,
      owner: this.privateOwner(),
      isStale: () => this.isStale(l),
    };
    return this.k.fn.hmmRangeFault(this.k, range);
  }

  /** dev_private_owner: whose device memory the look-up reports as it is, and does not fault back. */
  privateOwner(): object | null {
    return this.owner;
  }

  /** mmu_interval_check_retry, without the lock: a hint. */
  isStale(l: Lookup): boolean {
    return this.intervals.readRetry(l.notifier, l.seq);
  }

  isLate(l: Lookup): boolean {
    return this.k.sched.steps > l.deadlineStep;
  }

  /** Step 4. Driver lock held. */
  mustRetry(l: Lookup): boolean {
    return this.intervals.readRetry(l.notifier, l.seq);
  }

  /** Step 5. Driver lock held. */
  program(l: Lookup): void {
    l.pfns.forEach((word, i) => {
      if ((word & HMM_PFN_VALID) === 0) return;
      const pfn = word & HMM_PFN_FRAME;
      this.gpu.map(0, l.start + i * 4096, pfn, 1, this.mayWrite(l, word), this.isAlone(pfn));
      this.pagesMapped++;
    });
  }

  /** The right to write is the entry's, whatever was asked for. */
  mayWrite(_l: Lookup, word: number): boolean {
    return (word & HMM_PFN_WRITE) !== 0;
  }

  // --- steps of an invalidation

  /** Step c. Driver lock held. */
  *unmapFromGpu(start: number, end: number): AtomicPath<void> {
    if (this.k.sched.points) yield P_DRIVER;
    const writable = this.eraseEntries(start, end);
    if (this.k.sched.points) yield P_DRIVER;
    yield* this.flushTlbs(start, end);
    this.markDirty(writable);
  }

  /** Frames that the GPU may have stored to through what went. */
  eraseEntries(start: number, end: number): number[] {
    return this.gpu.removeEntries(start, end).flatMap((t) => (t.isWritable ? [t.pfn] : []));
  }

  flushTlbs(start: number, end: number): AtomicPath<void> {
    return this.gpu.flushTlbs(start, end);
  }

  markDirty(frames: readonly number[]): void {
    for (const pfn of frames) {
      notePage(this.k, pfn);
      setPageDirty(this.k, pfn);
    }
  }

  // --- address spaces

  /** mmget_not_zero. */
  mmGetNotZero(mm: MmStruct): boolean {
    const { footprint } = this.k.memory;
    if (footprint !== null) footprint.note(OBJ_MM, mm.id, true);
    if (mm.users <= 0) return false;
    mm.users++;
    return true;
  }
}

/** Steps 1 to 4 by a driver that takes the mmap lock for each look-up, or holds it for all. On 0 the driver lock is held, as `lock` took it. */
export function* lookUpAndLock(
  d: GpuDriver,
  l: Lookup,
  lock: () => KernelPath<void>,
  unlock: () => void,
  isMmapLocked = false,
): KernelPath<number> {
  const { sched } = d.k;
  for (;;) {
    if (d.isLate(l)) return -EBUSY;
    l.seq = yield* d.readBegin(l);
    const { mmapLock } = l.mm;
    if (!isMmapLocked && (sched.points || !mmapLock.tryRead())) yield* mmapLock.readLock();
    const result = yield* d.hmmRangeFault(l);
    if (!isMmapLocked) mmapLock.readUnlock();
    if (result === -EBUSY) continue;
    if (result < 0) return result;
    if (sched.points) yield P_UNLOCK;
    yield* lock();
    if (!d.mustRetry(l)) return 0;
    unlock();
  }
}
