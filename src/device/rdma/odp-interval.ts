// On-demand paging over interval subscribers (Linux 5.5 and later): each umem is an interval. Nothing is referenced; what keeps a page is
// that its interval is invalidated before its entry goes. Linux: drivers/infiniband/core/umem_odp.c (ib_umem_odp_map_dma_and_lock),
// drivers/infiniband/hw/mlx5/odp.c (mlx5_ib_invalidate_range).
//
//   page fault                                          section over the umem
//     0  mmget_not_zero, else -EINVAL
//     1  deadline := now + 1000 ms
//     2  seq := read_begin (waits while invalidating)     not blockable: false
//     3  mmapLock R; hmm_range_fault; unlock              umem_mutex
//     4  -EBUSY: past the deadline? fails; else to 2      set_seq
//     5  umem_mutex; read_retry? unlock, to 2             MTT entries cleared, block by block; cache; transactions awaited
//     6  each page: map for DMA, or set its rights        DMA unmapped; what may have been written is marked dirty
//     7  MTT written; unlock                              unlock; the last page of a child: a worker frees it
//
// Each line is at least one step, and what a mistake leaves out or reorders (mistakes.ts) is a method of its own.

import { EBUSY, EINVAL } from '../../abi/errno.ts';
import { InputError } from '../../base/assert.ts';
import {
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  type HmmRange,
} from '../../mm/hmm/range-fault.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { IntervalNotifier, Intervals } from '../../notifier/interval.ts';
import type { ListOps } from '../../notifier/subscriptions.ts';
import { Mutex } from '../../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER, P_UNLOCK } from '../../sched/points.ts';
import { intervalsOf } from '../driver-ops.ts';
import type { OdpConfig } from './config.ts';
import { type MemoryKey, type Nic, ODP_READ_ALLOWED_BIT, ODP_WRITE_ALLOWED_BIT } from './nic.ts';
import { OdpDriver } from './region.ts';
import { mapDmaSinglePage, UmemOdp, unmapDmaPages, zapBlocks } from './umem-odp.ts';

const PFN_MASK = 0xfffff;

/** A look-up under way. */
export interface Lookup {
  readonly umem: UmemOdp;
  readonly start: number;
  readonly end: number;
  readonly rights: number;
  readonly isFault: boolean;
  /** One word of hmm_range_fault for each page. Linux has it write into the umem's own list; here that is filled under the lock. */
  readonly pfns: Int32Array;
  readonly deadlineStep: number;
  seq: number;
}

export class IntervalOdp extends OdpDriver {
  readonly intervals: Intervals<ListOps>;
  readonly #mutexes = new Map<UmemOdp, Mutex>();
  readonly #lockClass: number;

  constructor(k: Kernel, nic: Nic, config: OdpConfig) {
    super(k, nic, config);
    const intervals = intervalsOf(k.design!);
    if (intervals === null) throw new InputError(`rdma: design ${k.design!.name} has no interval subscribers`);
    this.intervals = intervals;
    this.#lockClass = k.sched.lockClasses.define('umem_mutex');
  }

  *attach(): KernelPath<number> {
    return 0;
  }

  *detach(): KernelPath<void> {}

  *createUmem(
    mm: MmStruct,
    start: number,
    end: number,
    writable: boolean,
    key: MemoryKey,
  ): KernelPath<UmemOdp | number> {
    // A process that goes gets no new subscriber.
    if (!this.mmGetNotZero(mm)) return -EINVAL;
    const umem: UmemOdp = new UmemOdp(mm, start, end, writable, key, {
      invalidate: (sub, range, seq) => this.invalidate(umem, sub, range, seq),
    });
    this.#mutexes.set(umem, new Mutex(this.k.sched, this.#lockClass, key.id));
    const result = yield* this.insert(umem);
    yield* this.k.fn.mmPut(this.k, mm);
    if (result >= 0) return umem;
    this.#mutexes.delete(umem);
    return result;
  }

  insert(umem: UmemOdp): KernelPath<number> {
    return this.intervals.insert(umem.notifier, umem.mm, umem.start, umem.end - umem.start);
  }

  *releaseUmem(umem: UmemOdp): KernelPath<void> {
    yield* this.lock(umem);
    yield* this.nic.zap(umem.key, umem.start, umem.end);
    unmapDmaPages(this.k, this.nic, umem, umem.start, umem.end);
    this.unlock(umem);
    if (umem.notifier.mm !== null) yield* this.intervals.remove(umem.notifier);
    this.#mutexes.delete(umem);
  }

  lock(umem: UmemOdp): KernelPath<void> {
    return this.#mutexes.get(umem)!.lock();
  }

  unlock(umem: UmemOdp): void {
    this.#mutexes.get(umem)!.unlock();
  }

  // --- page faults

  *faultUmem(umem: UmemOdp, va: number, length: number, isWrite: boolean, isFault: boolean): KernelPath<number> {
    const start = va - (va % 4096);
    const end = Math.ceil((va + length) / 4096) * 4096;
    const lookup: Lookup = {
      umem,
      start,
      end,
      rights: ODP_READ_ALLOWED_BIT | (isWrite ? ODP_WRITE_ALLOWED_BIT : 0),
      isFault,
      pfns: new Int32Array((end - start) / 4096),
      deadlineStep: this.k.sched.steps + this.config.deadlineSteps,
      seq: 0,
    };
    if (!this.mmGetNotZero(umem.mm)) return -EINVAL;
    const locked = yield* this.mapDmaAndLock(lookup);
    if (locked >= 0) {
      yield* this.updateXlt(umem, umem.index(start), lookup.pfns.length);
      this.unlock(umem);
    }
    yield* this.k.fn.mmPut(this.k, umem.mm);
    return locked;
  }

  /** ib_umem_odp_map_dma_and_lock, steps 2 to 6. Pages looked up, umem_mutex held; or -errno, not held. */
  *mapDmaAndLock(l: Lookup): KernelPath<number> {
    for (;;) {
      l.seq = yield* this.readBegin(l);
      const result = yield* this.lookUp(l);
      if (result === -EBUSY && !this.isLate(l)) continue;
      if (result < 0) return result;
      if (this.k.sched.points) yield P_UNLOCK;
      yield* this.lock(l.umem);
      if (!this.mustRetry(l)) break;
      this.unlock(l.umem);
    }
    if (this.k.sched.points) yield P_DRIVER;
    return this.mapPages(l);
  }

  readBegin(l: Lookup): KernelPath<number> {
    return this.intervals.readBegin(l.umem.notifier);
  }

  *lookUp(l: Lookup): KernelPath<number> {
    const { mmapLock } = l.umem.mm;
    const isWrite = (l.rights & ODP_WRITE_ALLOWED_BIT) !== 0;
    const range: HmmRange = {
      mm: l.umem.mm,
      start: l.start,
      end: l.end,
      pfns: l.pfns,
      defaultFlags: l.isFault ? HMM_PFN_REQ_FAULT | (isWrite ? HMM_PFN_REQ_WRITE : 0) : 0,
      pfnFlagsMask: 0,
      owner: null,
      isStale: () => this.isStale(l),
    };
    if (this.k.sched.points || !mmapLock.tryRead()) yield* mmapLock.readLock();
    const result = yield* this.k.fn.hmmRangeFault(this.k, range);
    mmapLock.readUnlock();
    return result;
  }

  /** mmu_interval_check_retry, without the lock: a hint. */
  isStale(l: Lookup): boolean {
    return this.intervals.readRetry(l.umem.notifier, l.seq);
  }

  /** HMM_RANGE_DEFAULT_TIMEOUT. */
  isLate(l: Lookup): boolean {
    return this.k.sched.steps > l.deadlineStep;
  }

  mustRetry(l: Lookup): boolean {
    return this.intervals.readRetry(l.umem.notifier, l.seq);
  }

  /** Step 6. Pages looked up; those that a prefetch did not find are passed over. */
  mapPages(l: Lookup): number {
    const first = l.umem.index(l.start);
    for (let i = 0; i < l.pfns.length; i++) {
      const found = l.pfns[i]!;
      if ((found & HMM_PFN_VALID) === 0) continue;
      // mlx5 always asks for the same, so that 6.1 sets the rights anew; who asks for less must not take away what another was given.
      const before = this.config.alwaysWrite ? 0 : l.umem.dmaList[first + i]! % 4096;
      mapDmaSinglePage(this.k, this.nic, l.umem, first + i, found & PFN_MASK, before | this.rightsOf(l, found));
    }
    return l.pfns.length;
  }

  /** A fault gets what it asked for; a prefetch without faults, what the entry allows. */
  rightsOf(l: Lookup, found: number): number {
    if (l.isFault) return l.rights;
    const mayWrite = (found & HMM_PFN_WRITE) !== 0 && l.umem.writable;
    return ODP_READ_ALLOWED_BIT | (mayWrite ? ODP_WRITE_ALLOWED_BIT : 0);
  }

  // --- invalidation

  /** mlx5_ib_invalidate_range. */
  *invalidate(umem: UmemOdp, sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    if (!range.blockable) return yield* this.refuse(umem, sub, range, seq);
    this.invalidations++;
    yield* this.lock(umem);
    this.intervals.setSeq(sub, seq);
    if (umem.npages > 0) {
      const start = Math.max(umem.start, range.start);
      const end = Math.min(umem.end, range.end);
      yield* this.zapMtts(umem, start, end);
      if (this.k.sched.points) yield P_DRIVER;
      this.unmapPages(umem, start, end);
      if (umem.npages === 0) this.childUnused(umem);
    }
    this.unlock(umem);
    return true;
  }

  /** The OOM reaper may not wait for a mutex. */
  *refuse(_umem: UmemOdp, _sub: IntervalNotifier, _range: NotifierRange, _seq: number): KernelPath<boolean> {
    return false;
  }

  /** Nothing of [start, end) is used any more. Each block is a work request, awaited. */
  *zapMtts(umem: UmemOdp, start: number, end: number): AtomicPath<void> {
    for (const { first, count } of zapBlocks(umem, start, end))
      yield* this.nic.zap(umem.key, umem.va(first), umem.va(first + count));
  }

  unmapPages(umem: UmemOdp, start: number, end: number): void {
    unmapDmaPages(this.k, this.nic, umem, start, end);
  }
}
