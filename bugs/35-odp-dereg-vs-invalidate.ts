import { defineBug, defineDriver, type KernelPath, type MirrorHw, type Range, type ScenarioContext } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

const PAGE = 4096;

/** A memory region: what it covers, its key object, and whether the hardware has revoked the key. */
interface Region {
  readonly va: number;
  hasKey: boolean;
  isRevoked: boolean;
}

/** The device as the scenario made it last. */
let device: Odp;
let context: ScenarioContext;

class Odp {
  readonly hw: MirrorHw;
  readonly mirror: KvmLike;
  readonly regions: readonly Region[];
  /** An update that the hardware rejected has put the command queue, which all regions share, into the error state. */
  isQueueBroken = false;

  constructor(hw: MirrorHw) {
    this.hw = hw;
    this.mirror = new KvmLike(hw);
    this.regions = [0, 1].map((page) => ({ va: context.va(page), hasKey: true, isRevoked: false }));
  }

  *invalidateRangeStart(range: Range): KernelPath<void> {
    yield* this.hw.lock();
    this.mirror.begin(range);
    for (const region of this.regions) {
      if (!region.hasKey || region.va >= range.end || region.va + PAGE <= range.start) continue;
      context.claim(
        !region.isRevoked,
        'LIFETIME',
        'A callback has posted an update for a region whose key was revoked: the command queue of all regions is in error.',
      );
      if (region.isRevoked) this.isQueueBroken = true;
    }
    if (!this.isQueueBroken) yield* this.hw.unmap(range.start, range.end);
    this.hw.unlock();
  }

  /** Revokes the key of region 0; `atOnce`: and takes it off the region, under the lock of the callbacks. */
  *deregister(atOnce: boolean): KernelPath<void> {
    const region = this.regions[0]!;
    if (!atOnce) {
      yield* this.hw.step();
      region.isRevoked = true;
      yield* this.hw.step();
    }
    yield* this.hw.lock();
    region.isRevoked = true;
    region.hasKey = false;
    this.hw.unlock();
  }
}

const driver = defineDriver({
  name: 'odp',
  design: 'linux-6.1',
  device: 'mirror',
  create(hw) {
    device = new Odp(hw);
    return {
      invalidateRangeStart: (range) => device.invalidateRangeStart(range),
      invalidateRangeEnd: () => device.mirror.invalidateRangeEnd(),
      release: () => device.mirror.release(),
      fault: ({ va }) => device.mirror.fault(va),
    };
  },
});

function scenario(atOnce: boolean) {
  return {
    name: 'deregistration beside munmap',
    summary: 'a region is deregistered while its memory goes',
    bound: false,
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
      {
        do: 'run',
        name: 'remember the scenario',
        *path(c: ScenarioContext): KernelPath<void> {
          context = c;
        },
      },
      { do: 'bind' },
    ],
    threads: {
      deregister: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'deregister', path: () => device.deregister(atOnce) }],
      },
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
    },
  } as const;
}

const revision = { design: 'linux-6.1', driver } as const;

export default defineBug({
  number: 35,
  id: 'odp-dereg-vs-invalidate',
  title: 'A callback finds an object whose key is revoked',
  year: '2025',
  summary:
    'Deregistration revoked a key before it took it off its region; a callback used it, and the shared command queue went to error.',
  evidence:
    'Commit abb604a1a9c8 "RDMA/mlx5: Fix a race for an ODP MR which leads to CQE with error" (Linux 6.14), CVE-2025-21732, checked.',
  tag: 'LIFETIME',
  steps: '6',
  scenario: scenario(false),
  historic: { what: 'Linux 6.13: revokes, and later takes the lock of the callbacks', ...revision },
  fixed: {
    what: 'Linux 6.14: revokes and severs under the lock, so that later callbacks do nothing',
    ...revision,
    scenario: scenario(true),
  },
  story: `
1. A thread deregisters a region: it tells the hardware to revoke its key.
2. Another thread unmaps the memory: the callback takes the region's lock; the region still points to its key.
3. The callback posts an update for the revoked key.
4. The hardware rejects it, and the command queue, which all regions share, goes to the error state.
5. Memory of another region is unmapped: its update cannot be delivered.
6. The device goes on with that region's stale translation.

The first fix nested two locks the wrong way round, and lockdep asked for a second one.`,
});
