// On-demand paging as it was before interval subscribers (Linux 3.19 to 5.4), and as it would have been with the designs before that: one
// subscriber for the process, a count of open sections and a sequence number for each umem, as KVM has them.
// Linux 3.19: drivers/infiniband/core/umem_odp.c, umem_rbtree.c, drivers/infiniband/hw/mlx5/odp.c.
//
//   page fault                                            section over the umem
//     mmget_not_zero; seq := notifiers_seq                  start: umem lock; notifiers_count++; unlock
//     get_user_pages: a reference to each                          umem lock; MTT cleared, cache, transactions; DMA unmapped,
//     umem lock; each page: retry? else map for DMA                dirty marked; unlock
//     unlock; references dropped                            end:   umem lock; notifiers_seq++, notifiers_count--; unlock;
//     umem lock; retry? else MTT written; unlock                   none open: wakes page faults
//     retry: waits until no section is open, -EAGAIN        a single page (invalidate_page): all three at once
//
// "retry": a section is open (count), or one was since seq was read (seq); neither alone is enough. A umem that is made while sections are
// open counts none of them and lets no fault in until all are closed.
//
// The umem lock was a mutex in 3.19, when invalidate_page was called outside of the page-table lock. Here it is called under it, in every
// design that has it, so the lock spins.

import { EAGAIN, EFAULT, EINVAL } from '../../abi/errno.ts';
import { FOLL_WRITE } from '../../mm/gup/flags.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import { SpinLocks } from '../../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { type MirrorRange, type MirrorSubscription, subscribeMirror } from '../subscribe-mirror.ts';
import type { OdpConfig } from './config.ts';
import { type MemoryKey, type Nic, ODP_READ_ALLOWED_BIT, ODP_WRITE_ALLOWED_BIT } from './nic.ts';
import { OdpDriver } from './region.ts';
import { mapDmaSinglePage, UmemOdp, unmapDmaPages, zapBlocks } from './umem-odp.ts';

/** Spinlocks that umems share, by number of the key. */
const UMEM_LOCKS = 256;
// Parts in footprints; 1 to 7 are taken (nic.ts, region.ts).
const PART_COUNTS = 8; // [key] of a umem; [0] the process's

export class CountedOdp extends OdpDriver {
  readonly #locks: SpinLocks;
  readonly #queue = new WaitQueue();
  readonly umems = new Set<UmemOdp>();
  /** Sections open in the process, and umems that were made meanwhile. */
  openSections = 0;
  readonly #uncounted = new Set<UmemOdp>();
  /** An end says no range: sections are counted for all umems alike. */
  readonly #endsUnbounded: boolean;
  #subscription: MirrorSubscription | null = null;

  constructor(k: Kernel, nic: Nic, config: OdpConfig) {
    super(k, nic, config);
    this.#locks = new SpinLocks(k.sched, k.sched.lockClasses.define('umem lock'), UMEM_LOCKS);
    this.#endsUnbounded = k.design!.name.startsWith('mmu-notifiers-v4');
  }

  attach(mm: MmStruct): KernelPath<number> {
    this.#subscription = subscribeMirror(this.k, mm, {
      rangeStart: (range) => this.rangeStart(range),
      rangeEnd: (range) => this.rangeEnd(range),
      invalidatePage: (address) => this.invalidatePage(address),
      release: () => this.release(),
    });
    return this.subscribe();
  }

  *subscribe(): KernelPath<number> {
    return this.#subscription === null ? -EINVAL : yield* this.#subscription.register();
  }

  *detach(): KernelPath<void> {
    if (this.#subscription !== null) yield* this.#subscription.unregister();
    this.#subscription = null;
  }

  *createUmem(
    mm: MmStruct,
    start: number,
    end: number,
    writable: boolean,
    key: MemoryKey,
  ): KernelPath<UmemOdp | number> {
    if (!this.mmGetNotZero(mm)) return -EINVAL;
    const umem = new UmemOdp(mm, start, end, writable, key, { invalidate: never });
    this.#noteCounts(0, true);
    this.umems.add(umem);
    if (this.openSections > 0) this.#uncounted.add(umem);
    yield* this.k.fn.mmPut(this.k, mm);
    return umem;
  }

  *releaseUmem(umem: UmemOdp): KernelPath<void> {
    yield* this.lock(umem);
    yield* this.nic.zap(umem.key, umem.start, umem.end);
    unmapDmaPages(this.k, this.nic, umem, umem.start, umem.end);
    this.unlock(umem);
    this.#noteCounts(0, true);
    this.umems.delete(umem);
    this.#uncounted.delete(umem);
  }

  lock(umem: UmemOdp): AtomicPath<void> {
    return this.#locks.lock(umem.key.id % UMEM_LOCKS);
  }

  unlock(umem: UmemOdp): void {
    this.#locks.unlock(umem.key.id % UMEM_LOCKS);
  }

  #noteCounts(key: number, isWrite: boolean): void {
    this.nic.note(PART_COUNTS, key, isWrite);
  }

  // --- page faults

  *faultUmem(umem: UmemOdp, va: number, length: number, isWrite: boolean, _isFault: boolean): KernelPath<number> {
    if (!this.mmGetNotZero(umem.mm)) return -EINVAL;
    const mapped = yield* this.#faultAlive(umem, va - (va % 4096), Math.ceil((va + length) / 4096) * 4096, isWrite);
    yield* this.k.fn.mmPut(this.k, umem.mm);
    return mapped;
  }

  /** pagefault_single_data_segment. */
  *#faultAlive(umem: UmemOdp, start: number, end: number, isWrite: boolean): KernelPath<number> {
    const rights = ODP_READ_ALLOWED_BIT | (isWrite ? ODP_WRITE_ALLOWED_BIT : 0);
    this.#noteCounts(umem.key.id, false);
    const seq = umem.notifiersSeq;
    const mapped = yield* this.#mapDmaPages(umem, start, end, rights, seq);
    let result = mapped;
    if (mapped > 0) {
      yield* this.lock(umem);
      if (this.mustRetry(umem, seq)) result = -EAGAIN;
      else yield* this.updateXlt(umem, umem.index(start), mapped);
      this.unlock(umem);
    }
    if (result === -EAGAIN) {
      if (umem.isDying) return -EFAULT;
      yield* this.#awaitSections(umem);
    }
    return result;
  }

  /** ib_umem_odp_map_dma_pages: pages mapped, or -errno; -EAGAIN: a section came between. */
  *#mapDmaPages(umem: UmemOdp, start: number, end: number, rights: number, seq: number): KernelPath<number> {
    const { k } = this;
    const { mmapLock } = umem.mm;
    const count = (end - start) / 4096;
    const pages = new Int32Array(count);
    if (k.sched.points || !mmapLock.tryRead()) yield* mmapLock.readLock();
    const got = yield* k.fn.getUserPages(
      k,
      umem.mm,
      start,
      count,
      (rights & ODP_WRITE_ALLOWED_BIT) !== 0 ? FOLL_WRITE : 0,
      pages,
    );
    mmapLock.readUnlock();
    if (got <= 0) return got < 0 ? got : -EFAULT;
    yield* this.lock(umem);
    let mapped = 0;
    while (mapped < got && !this.mustRetry(umem, seq)) {
      const index = umem.index(start) + mapped;
      // Rights only grow: what the adapter may do already, it may go on to do.
      const before = umem.dmaList[index]! % 4096;
      mapDmaSinglePage(k, this.nic, umem, index, pages[mapped]!, before | rights);
      mapped++;
    }
    this.unlock(umem);
    // On-demand paging does not keep pages.
    for (let i = 0; i < got; i++) this.releasePage(pages[i]!);
    return mapped === got ? mapped : -EAGAIN;
  }

  releasePage(pfn: number): void {
    this.k.fn.putPage(this.k, pfn);
  }

  /** ib_umem_mmu_notifier_retry: umem lock held. */
  mustRetry(umem: UmemOdp, seq: number): boolean {
    return this.isSectionOpen(umem) || this.hasSeqMoved(umem, seq);
  }

  isSectionOpen(umem: UmemOdp): boolean {
    this.#noteCounts(umem.key.id, false);
    this.#noteCounts(0, false);
    return umem.notifiersCount > 0 || this.#uncounted.has(umem);
  }

  hasSeqMoved(umem: UmemOdp, seq: number): boolean {
    this.#noteCounts(umem.key.id, false);
    return umem.notifiersSeq !== seq;
  }

  /** wait_for_completion(notifier_completion). */
  #awaitSections(umem: UmemOdp): KernelPath<void> {
    const isQuiet = (): boolean => umem.isDying || !this.isSectionOpen(umem);
    return this.k.sched.waitUntil(isQuiet, this.#queue, 'sections over the region');
  }

  // --- sections

  /** Umems that a section over [start, end) is counted for. */
  #countedIn(start: number, end: number): UmemOdp[] {
    this.#noteCounts(0, false);
    return [...this.umems].filter(
      (u) => !this.#uncounted.has(u) && (this.#endsUnbounded || (u.start < end && u.end > start)),
    );
  }

  /** ib_umem_notifier_invalidate_range_start. */
  *rangeStart({ start, end }: MirrorRange): KernelPath<number> {
    this.#noteCounts(0, true);
    this.openSections++;
    // One that is not counted yet is emptied all the same.
    for (const umem of [...this.umems]) {
      const isMet = umem.start < end && umem.end > start;
      const isCounted = !this.#uncounted.has(umem) && (this.#endsUnbounded || isMet);
      if (isCounted) yield* this.#startAccount(umem);
      if (isMet) yield* this.invalidate(umem, start, end);
    }
    return 0;
  }

  /** ib_umem_notifier_invalidate_range_end. */
  *rangeEnd({ start, end }: MirrorRange): KernelPath<void> {
    for (const umem of this.#countedIn(start, end)) yield* this.#endAccount(umem);
    this.#noteCounts(0, true);
    // Who registered inside a section may hear its end alone.
    this.openSections = Math.max(0, this.openSections - 1);
    if (this.openSections > 0 || this.#uncounted.size === 0) return;
    this.#uncounted.clear();
    this.#queue.wakeAll(this.k.sched);
  }

  /** ib_umem_notifier_invalidate_page. */
  *invalidatePage(address: number): AtomicPath<void> {
    for (const umem of [...this.umems]) {
      if (umem.start > address || umem.end <= address) continue;
      yield* this.#startAccount(umem);
      yield* this.invalidate(umem, address, address + 4096);
      yield* this.#endAccount(umem);
    }
  }

  /** ib_umem_notifier_start_account. */
  *#startAccount(umem: UmemOdp): AtomicPath<void> {
    yield* this.lock(umem);
    this.#noteCounts(umem.key.id, true);
    umem.notifiersCount++;
    this.unlock(umem);
  }

  /** ib_umem_notifier_end_account. */
  *#endAccount(umem: UmemOdp): AtomicPath<void> {
    yield* this.lock(umem);
    this.#noteCounts(umem.key.id, true);
    umem.notifiersSeq++;
    umem.notifiersCount = Math.max(0, umem.notifiersCount - 1);
    this.unlock(umem);
    if (umem.notifiersCount === 0) this.#queue.wakeAll(this.k.sched);
  }

  /** mlx5_ib_invalidate_range of that time. */
  *invalidate(umem: UmemOdp, from: number, to: number): AtomicPath<void> {
    this.invalidations++;
    yield* this.lock(umem);
    if (umem.npages > 0) {
      const start = Math.max(umem.start, from);
      const end = Math.min(umem.end, to);
      for (const { first, count } of zapBlocks(umem, start, end))
        yield* this.nic.zap(umem.key, umem.va(first), umem.va(first + count));
      if (this.k.sched.points) yield P_DRIVER;
      unmapDmaPages(this.k, this.nic, umem, start, end);
    }
    this.unlock(umem);
  }

  /** ib_umem_notifier_release: no page fault is let in any more. */
  *release(): KernelPath<void> {
    for (const umem of [...this.umems]) {
      yield* this.#startAccount(umem);
      umem.isDying = true;
      this.#queue.wakeAll(this.k.sched);
      yield* this.invalidate(umem, umem.start, umem.end);
    }
  }
}

/** No interval is registered for these umems. */
function* never(): KernelPath<boolean> {
  return true;
}
