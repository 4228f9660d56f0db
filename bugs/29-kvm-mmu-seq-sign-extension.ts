import { defineBug, defineDriver } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

/** Invalidations that the machine has seen before: one short of the half of the narrow type, here 8 bits instead of 32. */
const BEFORE = 127;

function kvm(name: string, sampleOf: (seq: number) => number) {
  return defineDriver({
    name,
    design: 'linux-6.1',
    device: 'mirror',
    create(hw) {
      const mmu = new KvmLike(hw);
      mmu.seq = BEFORE;
      return {
        invalidateRangeStart: (range) => mmu.invalidateRangeStart(range),
        invalidateRangeEnd: () => mmu.invalidateRangeEnd(),
        release: () => mmu.release(),
        *fault({ va }) {
          const sample = sampleOf(mmu.seq);
          const page = yield* hw.getUserPage(va, true);
          if (page < 0) return page;
          // Stale: the guest is entered again, and faults again.
          yield* mmu.install(va, page, sample);
          return 0;
        },
      };
    },
  });
}

export default defineBug({
  number: 29,
  id: 'kvm-mmu-seq-sign-extension',
  title: 'A counter read into a narrower signed variable',
  year: '2023',
  summary:
    'After half of 2^32 invalidations the sampled number never equals the counter again: every fault is "stale", and the vCPU hangs.',
  evidence: 'Stable patch "KVM: x86/mmu: Fix an sign-extension bug with mmu_seq that hangs vCPUs" (6.1), found.',
  tag: 'LIVELOCK',
  steps: '4',
  scenario: {
    name: 'one invalidation more',
    summary: 'the guest faults after the counter has passed the half of the narrow type',
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
      { do: 'munmap', at: 1 },
    ],
    threads: { vcpu: { on: 'device', steps: [{ do: 'load', at: 0 }] } },
  },
  historic: {
    what: 'the sample is signed and narrower than the counter',
    design: 'linux-6.1',
    driver: kvm('kvm-signed-sample', (seq) => (seq << 24) >> 24),
    device: { mirror: { refaultBudget: 3 } },
  },
  fixed: {
    what: 'the sample has the width and the sign of the counter',
    design: 'linux-6.1',
    driver: kvm('kvm', (seq) => seq),
    device: { mirror: { refaultBudget: 3 } },
  },
  story: `
1. The sequence counter passes the half of the narrower type.
2. The vCPU samples it into a signed variable of that type: a negative number.
3. Compared with the counter it is widened with its sign, and never equal.
4. "Stale, try again", for ever, and nobody invalidates anything.

Seen in production as guests that hung after billions of invalidations. Counters deserve small widths where programs are checked.`,
});
