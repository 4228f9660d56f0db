// What drivers get wrong: each is the faithful driver with one step left out or moved. For tests and for readers; `rdma: { mistake }` of
// the device's configuration chooses one.

import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { IntervalNotifier } from '../../notifier/interval.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER, P_UNLOCK } from '../../sched/points.ts';
import type { OdpConfig } from './config.ts';
import type { Nic } from './nic.ts';
import { ODP_READ_ALLOWED_BIT, ODP_WRITE_ALLOWED_BIT } from './nic.ts';
import { CountedOdp } from './odp-counted.ts';
import { IntervalOdp, type Lookup } from './odp-interval.ts';
import type { OdpDriver } from './region.ts';
import { type UmemOdp, unmapDmaPage, unmapDmaPages, zapBlocks } from './umem-odp.ts';

type DriverClass<D extends OdpDriver> = new (k: Kernel, nic: Nic, config: OdpConfig) => D;

export interface Mistake<D extends OdpDriver> {
  readonly name: string;
  /** What is left out, and what comes of it. */
  readonly what: string;
  readonly driver: DriverClass<D>;
}

/** Registers with nobody. */
class Deaf extends IntervalOdp {
  override *insert(): KernelPath<number> {
    return 0;
  }
  override *readBegin(): KernelPath<number> {
    return 0;
  }
  override mustRetry(): boolean {
    return false;
  }
  override isStale(): boolean {
    return false;
  }
}

class NoRetryCheck extends IntervalOdp {
  override mustRetry(): boolean {
    return false;
  }
}

class NoReadBegin extends IntervalOdp {
  override *readBegin(l: Lookup): KernelPath<number> {
    return l.umem.notifier.seq;
  }
}

class SetSeqAfterUnlock extends IntervalOdp {
  override *invalidate(umem: UmemOdp, sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    if (!range.blockable) return false;
    yield* this.lock(umem);
    const start = Math.max(umem.start, range.start);
    const end = Math.min(umem.end, range.end);
    yield* this.zapMtts(umem, start, end);
    this.unmapPages(umem, start, end);
    this.unlock(umem);
    if (this.k.sched.points) yield P_UNLOCK;
    this.intervals.setSeq(sub, seq);
    return true;
  }
}

class UnmapBeforeZap extends IntervalOdp {
  override *zapMtts(umem: UmemOdp, start: number, end: number): AtomicPath<void> {
    const blocks = zapBlocks(umem, start, end);
    unmapDmaPages(this.k, this.nic, umem, start, end);
    if (this.k.sched.points) yield P_DRIVER;
    for (const { first, count } of blocks) yield* this.nic.zap(umem.key, umem.va(first), umem.va(first + count));
  }
}

class CacheNotFlushed extends IntervalOdp {
  override *zapMtts(umem: UmemOdp, start: number, end: number): AtomicPath<void> {
    if (this.k.sched.points) yield P_DRIVER;
    this.nic.clearMtt(umem.key, start, end);
  }
}

class DmaNotAwaited extends IntervalOdp {
  override *zapMtts(umem: UmemOdp, start: number, end: number): AtomicPath<void> {
    if (this.k.sched.points) yield P_DRIVER;
    this.nic.clearMtt(umem.key, start, end);
    this.nic.dropCache(umem.key, start, end);
  }
}

class CacheFlushedFirst extends IntervalOdp {
  override *zapMtts(umem: UmemOdp, start: number, end: number): AtomicPath<void> {
    yield* this.nic.awaitDrain(this.nic.dropCache(umem.key, start, end));
    if (this.k.sched.points) yield P_DRIVER;
    this.nic.clearMtt(umem.key, start, end);
  }
}

class DirtyNotTransferred extends IntervalOdp {
  override unmapPages(umem: UmemOdp, start: number, end: number): void {
    for (let i = umem.index(start); i < umem.index(end); i++) unmapDmaPage(this.k, this.nic, umem, i, false);
  }
}

class RightsOfRegion extends IntervalOdp {
  override rightsOf(l: Lookup): number {
    return ODP_READ_ALLOWED_BIT | (l.umem.writable ? ODP_WRITE_ALLOWED_BIT : 0);
  }
}

class DeadlineIgnored extends IntervalOdp {
  override isLate(): boolean {
    return false;
  }
}

class SleepsForReaper extends IntervalOdp {
  override refuse(umem: UmemOdp, sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    return this.invalidate(umem, sub, { ...range, blockable: true }, seq);
  }
}

class RefusesNothing extends IntervalOdp {
  override *refuse(): KernelPath<boolean> {
    return true;
  }
}

class LastPageForgotten extends IntervalOdp {
  override *zapMtts(umem: UmemOdp, start: number, end: number): AtomicPath<void> {
    yield* super.zapMtts(umem, start, end - 4096);
  }
}

/** The older form. */
class CountedDeaf extends CountedOdp {
  override *subscribe(): KernelPath<number> {
    return 0;
  }
  override *detach(): KernelPath<void> {}
}

class CountOnly extends CountedOdp {
  override hasSeqMoved(): boolean {
    return false;
  }
}

class SeqOnly extends CountedOdp {
  override mustRetry(umem: UmemOdp, seq: number): boolean {
    return this.hasSeqMoved(umem, seq);
  }
}

class PageUnheard extends CountedOdp {
  override *invalidatePage(): AtomicPath<void> {}
}

export const COUNTED_MISTAKES: readonly Mistake<CountedOdp>[] = [
  { name: 'deaf', what: 'registers with nobody', driver: CountedDeaf },
  { name: 'count-only', what: 'asks whether a section is open, not whether one was', driver: CountOnly },
  { name: 'seq-only', what: 'asks whether a section has ended, not whether one is open', driver: SeqOnly },
  { name: 'page-unheard', what: 'has no invalidate_page: reclaim is not heard', driver: PageUnheard },
];

export const MISTAKES: readonly Mistake<IntervalOdp>[] = [
  { name: 'deaf', what: 'registers with nobody', driver: Deaf },
  { name: 'no-retry-check', what: 'uses what it looked up although the sequence moved', driver: NoRetryCheck },
  {
    name: 'no-read-begin',
    what: 'takes the sequence while an invalidation is open, and does not wait',
    driver: NoReadBegin,
  },
  {
    name: 'set-seq-after-unlock',
    what: 'moves the sequence after it dropped the umem lock',
    driver: SetSeqAfterUnlock,
  },
  {
    name: 'unmap-before-zap',
    what: 'unmaps for DMA, and marks dirty, what the adapter still uses',
    driver: UnmapBeforeZap,
  },
  { name: 'cache-not-flushed', what: 'clears the MTT but not the copies in the cache', driver: CacheNotFlushed },
  {
    name: 'cache-flushed-first',
    what: 'flushes the cache before the MTT is clear: it is filled again',
    driver: CacheFlushedFirst,
  },
  { name: 'dma-not-awaited', what: 'does not wait for transactions under way', driver: DmaNotAwaited },
  {
    name: 'dirty-not-transferred',
    what: 'does not mark dirty what the adapter may have written',
    driver: DirtyNotTransferred,
  },
  {
    name: 'rights-of-region',
    what: 'a prefetch maps writable what the region allows, not what the entry does',
    driver: RightsOfRegion,
  },
  { name: 'deadline-ignored', what: 'a fault that is interrupted for ever is tried for ever', driver: DeadlineIgnored },
  { name: 'sleeps-for-reaper', what: 'takes the mutex although the caller may not sleep', driver: SleepsForReaper },
  { name: 'refuses-nothing', what: 'tells the reaper that all is well, and did nothing', driver: RefusesNothing },
  { name: 'last-page-forgotten', what: 'zaps up to the last page of the range, exclusive', driver: LastPageForgotten },
];

/** The driver with that mistake. Throws InputError for an unknown name. */
export function mistakeOf(name: string): DriverClass<IntervalOdp> {
  return driverOf(MISTAKES, name);
}

/** The same of the older form. */
export function countedMistakeOf(name: string): DriverClass<CountedOdp> {
  return driverOf(COUNTED_MISTAKES, name);
}

function driverOf<D extends OdpDriver>(list: readonly Mistake<D>[], name: string): DriverClass<D> {
  const found = list.find((m) => m.name === name);
  if (found !== undefined) return found.driver;
  throw new InputError(`rdma: mistake "${name}" is not one of ${list.map((m) => m.name).join(', ')}`);
}
