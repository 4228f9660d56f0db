import type { KernelPath } from 'shootdown';
import { defineBug, defineDriver, type MirrorHw, type Range } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

/** Takes the range out of the table page by page, and yields the lock between two pages. `keepsDebt`: it flushes what it has taken
 *  out before it yields. */
function* zapRange(hw: MirrorHw, kvm: KvmLike, range: Range, keepsDebt: boolean): KernelPath<void> {
  yield* hw.lock();
  kvm.begin(range);
  let owed = false;
  for (let va = range.start; va < range.end; va += 4096) {
    const removed = yield* hw.removeEntries(va, va + 4096);
    for (const m of removed) if (m.isDirty) hw.markDirty(m.page);
    owed = removed.length > 0 || owed;
    if (va + 4096 >= range.end) break;
    if (keepsDebt && owed) {
      yield* hw.flushTlb(range.start, range.end);
      owed = false;
    }
    hw.unlock();
    yield* hw.lock();
  }
  // Who found nothing to take out has nothing to flush.
  if (owed) yield* hw.flushTlb(range.start, range.end);
  hw.unlock();
}

function kvm(name: string, keepsDebt: boolean) {
  return defineDriver({
    name,
    design: 'linux-6.1',
    device: 'mirror',
    create(hw) {
      const mmu = new KvmLike(hw);
      return {
        invalidateRangeStart: (range) => zapRange(hw, mmu, range, keepsDebt),
        invalidateRangeEnd: () => mmu.invalidateRangeEnd(),
        release: () => mmu.release(),
        fault: ({ va }) => mmu.fault(va),
      };
    },
  });
}

export default defineBug({
  number: 31,
  id: 'kvm-yield-drops-flush-debt',
  title: 'A walk yields its lock while it owes a flush',
  year: '2021',
  summary:
    'One walker has taken an entry out of the secondary table, not flushed, and yielded; another finds the entry gone, has nothing to ' +
    'flush, and lets the page be freed.',
  evidence:
    'Commit a835429cda91 "KVM: x86/mmu: Ensure TLBs are flushed when yielding during GFN range zap" (Linux 5.12), checked.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'two ranges, one page in both',
    summary: 'two threads throw pages away; one of them two pages, the other the first of these',
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
      { do: 'store', at: 0, by: 'device' },
    ],
    threads: {
      both: { steps: [{ do: 'madvise', at: 0, pages: 2, advice: 'dontneed' }] },
      one: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
      vcpu: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 5.11: yields with a flush owed',
    design: 'linux-6.1',
    driver: kvm('kvm-yield', false),
  },
  fixed: {
    what: 'Linux 5.12: flushes before it yields',
    design: 'linux-6.1',
    driver: kvm('kvm-flush-then-yield', true),
  },
  story: `
1. A vCPU caches G -> F1.
2. CPU 0 takes G out of the secondary table and owes a flush.
3. It goes on to the next page, and yields the lock on the way.
4. CPU 1 invalidates G for another reason: it finds nothing there, so nothing to flush, and completes. F1 is freed.
5. F1 gets a new owner.
6. The vCPU stores through G -> F1.

In the kernel the debt was lost from one root of the table to the next. "Not there" never means "nothing owed" (compare 15, 16).`,
});
