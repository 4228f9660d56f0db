// What the entries about mirrors have in common: a secondary table in the manner of KVM, filled by faults and emptied at the start
// of a section, with the two numbers by which a fault knows that it was overtaken. An entry changes one of the parts.

import type { KernelPath, MirrorHw, Range } from 'shootdown';

export class KvmLike {
  readonly hw: MirrorHw;
  /** Sections that have ended. */
  seq = 0;
  /** Open sections, and the range that holds all of them. */
  count = 0;
  #low = 0;
  #high = 0;
  isReleased = false;

  constructor(hw: MirrorHw) {
    this.hw = hw;
  }

  /** mmu_invalidate_retry_hva: is what was looked up since the sample stale? Under the lock. */
  isStale(va: number, sample: number, pages = 1): boolean {
    return this.isBeingInvalidated(va, pages) || this.seq !== sample;
  }

  isBeingInvalidated(va: number, pages = 1): boolean {
    return this.count > 0 && va < this.#high && va + pages * 4096 > this.#low;
  }

  begin(range: Range): void {
    this.#low = this.count === 0 ? range.start : Math.min(this.#low, range.start);
    this.#high = this.count === 0 ? range.end : Math.max(this.#high, range.end);
    this.count++;
  }

  *invalidateRangeStart(range: Range): KernelPath<void> {
    yield* this.hw.lock();
    this.begin(range);
    yield* this.hw.unmap(range.start, range.end);
    this.hw.unlock();
  }

  *invalidateRangeEnd(): KernelPath<void> {
    yield* this.hw.lock();
    this.seq++;
    this.count--;
    this.hw.unlock();
    this.hw.wake();
  }

  *release(): KernelPath<void> {
    yield* this.hw.lock();
    this.isReleased = true;
    yield* this.hw.unmapAll();
    this.hw.unlock();
    this.hw.wake();
  }

  /** Puts the page into the table unless it is stale; true when it was. Drops the reference. */
  *install(va: number, page: number, sample: number, pages = 1): KernelPath<boolean> {
    yield* this.hw.lock();
    const base = va - (va % (pages * 4096));
    const isStale = this.isStale(base, sample, pages);
    if (!isStale && !this.isReleased) yield* this.hw.map(base, page, { writable: true, pages });
    this.hw.unlock();
    this.hw.putPage(page);
    return isStale;
  }

  /** kvm_mmu_page_fault: sample, look up, install; again when overtaken. */
  *fault(va: number): KernelPath<number> {
    for (;;) {
      const sample = this.seq;
      const page = yield* this.hw.getUserPage(va, true);
      if (page < 0) return page;
      const isStale = yield* this.install(va, page, sample);
      if (this.isReleased) return -14;
      if (!isStale) return 0;
      yield* this.hw.waitUntil(() => !this.isBeingInvalidated(va) || this.isReleased, 'the end of a section');
    }
  }
}
