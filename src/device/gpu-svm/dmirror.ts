// The minimal driver over HMM, as the kernel's own test of it is: one interval over the whole address space, one mutex, pages one by one.
// Linux: lib/test_hmm.c (dmirror_fault, dmirror_range_fault, dmirror_do_fault, dmirror_interval_invalidate, dmirror_do_update).
//
//   mutex   guards the GPU's page table and is the driver lock of the interval. Order: mmapLock of a section, mutex
//
// Sections of its own migrations are passed over before the lock is taken: the sequence does not move for them, and what they change is the
// migration's business.

import { EINVAL } from '../../abi/errno.ts';
import { MMU_NOTIFY_MIGRATE } from '../../abi/notifier.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import { IntervalNotifier } from '../../notifier/interval.ts';
import { Mutex } from '../../sched/locks.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { FaultRequest, MirrorDevice } from '../mirror.ts';
import type { GpuSvmConfig } from './config.ts';
import { GpuDriver, lookUpAndLock, USER_END } from './interval-mirror.ts';

export class DmirrorDriver extends GpuDriver {
  readonly mutex: Mutex;
  mm: MmStruct | null = null;
  notifier: IntervalNotifier | null = null;

  constructor(k: Kernel, gpu: MirrorDevice, config: GpuSvmConfig) {
    super(k, gpu, config);
    this.mutex = new Mutex(k.sched, k.sched.lockClasses.define('dmirror mutex'), gpu.id);
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
    const result = yield* lookUpAndLock(
      this,
      l,
      () => this.mutex.lock(),
      () => this.mutex.unlock(),
    );
    if (result === 0) {
      if (this.k.sched.points) yield P_DRIVER;
      this.program(l);
      this.mutex.unlock();
    } else this.faultsRefused++;
    yield* this.k.fn.mmPut(this.k, mm);
    return result;
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

  isOwn(range: NotifierRange): boolean {
    return range.event === MMU_NOTIFY_MIGRATE && range.owner === this.owner;
  }

  refuse(): boolean {
    this.refusals++;
    return false;
  }
}
