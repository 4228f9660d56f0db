// A virtual machine for a long time (test/support/soak.ts): vCPUs load and store what programs work on; its memory is logged for a
// migration, on and off; a kernel thread stores through gfn-to-pfn caches; ages are told by A bits or by access tracking. (A guest with
// page tables of its own: test/kvm-guest.test.ts.)
//
// The dirty log has a law of its own here: what a guest stores between two reads of the log is in the second; what it stores during a read
// is in that one or in the next.
//
// STEPS=1000000 is the full size. A failure names SEED.
import { expect, it } from 'vitest';
import { BASE, PAGE, type Soak, seed, soak, soakAddress, soakSteps, WINDOW } from '../../../test/support/soak.ts';
import { AGENT_MIRROR_TLB, E_DEV_ACCESS, EV_B, EV_C, EV_START, EV_TYPE } from '../../abi/events.ts';
import type { RecordSink } from '../../base/record-log.ts';
import { Rng } from '../../base/rng.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Machine } from '../../system/machine.ts';
import type { KvmConfig } from './config.ts';
import type { KvmDevice } from './device.ts';
import { getDirtyLog, setMemoryRegion } from './slots.ts';

const steps = soakSteps(40_000);
const VCPUS = 3;
const SLOT = { baseGfn: 0, pages: WINDOW, hva: BASE };

function* engine(device: KvmDevice, e: number, rng: Rng, isOver: () => boolean): KernelPath<void> {
  while (!isOver()) {
    // Now and then in a block that is seldom taken to pieces, so that it may be huge.
    const va = rng.chance(1, 4) ? BASE + (1024 + rng.below(512)) * PAGE : soakAddress(rng);
    yield* device.accessor.access(e, va, rng.chance(1, 2), va + PAGE);
  }
}

/** A kernel thread with two cached pages, which may be gone. */
function* cacheUser(m: Machine, rng: Rng, isOver: () => boolean): KernelPath<void> {
  const { pfnCaches } = (m.device as KvmDevice).kvm!;
  while (!isOver() && pfnCaches.length > 0) {
    yield* pfnCaches[rng.below(pfnCaches.length)]!.store();
    yield* m.kernel.sched.sleepSteps(20, 'cache');
  }
}

/** Live migration as user space does it, and the law of its log. */
class Migration implements RecordSink {
  readonly #m: Machine;
  #isLogged = false;
  #isReading = false;
  /** Frames stored to since the last read returned; during the read under way; during the last one and not in its answer. */
  #between = new Set<number>();
  #during = new Set<number>();
  #late = new Set<number>();
  reads = 0;
  logged = 0;
  readonly missed: string[] = [];

  constructor(m: Machine) {
    this.#m = m;
    m.kernel.memory.log.attach(this);
  }

  onRecord(ring: Float64Array, at: number): void {
    if (!this.#isLogged || ring[at + EV_TYPE] !== E_DEV_ACCESS || ring[at + EV_B] !== 1) return;
    if (ring[at + EV_C] !== AGENT_MIRROR_TLB) return;
    const gfn = Math.floor((ring[at + EV_START]! - BASE) / PAGE);
    (this.#isReading ? this.#during : this.#between).add(gfn);
  }

  *run(isOver: () => boolean): KernelPath<void> {
    const { kvm } = this.#m.device as KvmDevice;
    const { sched } = this.#m.kernel;
    while (!isOver()) {
      yield* setMemoryRegion(kvm!, 0, { ...SLOT, logsDirty: true });
      for (const set of [this.#between, this.#during, this.#late]) set.clear();
      this.#isLogged = true;
      for (let round = 0; round < 6 && !isOver(); round++) {
        yield* sched.sleepSteps(300, 'round');
        yield* this.#read();
      }
      this.#isLogged = false;
      yield* setMemoryRegion(kvm!, 0, SLOT);
      yield* sched.sleepSteps(4000, 'migration');
    }
  }

  *#read(): KernelPath<void> {
    const { kvm } = this.#m.device as KvmDevice;
    this.#isReading = true;
    const log = yield* getDirtyLog(kvm!, 0);
    this.#isReading = false;
    if (typeof log === 'number') throw new Error(`getDirtyLog answers ${log}`);
    const answer = new Set(log);
    this.reads++;
    this.logged += log.length;
    for (const gfn of [...this.#between, ...this.#late])
      if (!answer.has(gfn)) this.missed.push(`read ${this.reads}: frame ${gfn}`);
    this.#late = new Set([...this.#during].filter((gfn) => !answer.has(gfn)));
    this.#between.clear();
    this.#during.clear();
  }
}

function hasCaches(design: string): boolean {
  return design !== 'linux-2.6.27';
}

function run(
  design: string,
  kvm: Partial<KvmConfig>,
  stepsMax: number,
): { run: Soak<KvmDevice>; migration: Migration } {
  // The caches came with 5.17: what reclaim said by invalidate_page alone they would not hear.
  const pfnCaches = hasCaches(design) ? [BASE + 507 * PAGE, BASE + 511 * PAGE] : [];
  const config = { device: 'kvm', kvm: { vcpus: VCPUS, slots: [SLOT], pfnCaches, ...kvm } };
  let migration: Migration | null = null;
  const s = soak<KvmDevice>(design, config, stepsMax, VCPUS, engine, (m, _task, isOver) => {
    migration = new Migration(m);
    return { migration: migration.run(isOver), cache: cacheUser(m, new Rng(seed * 10 + 9), isOver) };
  });
  return { run: s, migration: migration! };
}

it.each([
  ['linux-2.6.27', false],
  ['linux-6.1', true],
  ['linux-6.12', false],
] as const)(
  `%s, A bits %s: ${steps} steps, SEED=${seed}`,
  (design, hasAdBits) => {
    const { run: s, migration } = run(design, { hasAdBits }, steps);
    expect(s.end).toBe('limit');
    const { violations, deviceReads, deviceWrites, swapOuts, malformed } = s.judge.results();
    expect(violations.filter((v) => v.gap === null).map((v) => `${v.property}: ${v.text}`)).toEqual([]);
    expect(migration.missed).toEqual([]);
    expect(malformed).toBe(0);
    const { kvmStats } = s.device;
    const { zapped, aged, fastFaults, retriesOpen, cacheRefreshes } = kvmStats;
    const done = [deviceReads, deviceWrites, swapOuts, zapped, aged, fastFaults, retriesOpen];
    expect(cacheRefreshes > 0).toBe(hasCaches(design));
    expect(Math.min(...done, migration.reads, migration.logged)).toBeGreaterThan(0);
    s.finish();
    expect(migration.missed).toEqual([]);
    if (process.env['STEPS'])
      console.log(design, JSON.stringify({ ...kvmStats, swapOuts, logged: migration.logged }), s.counts());
  },
  7_200_000,
);

it('a guest that keeps stale translations is found by what it reads', () => {
  expect(() => run('linux-6.1', { mistake: 'no-flush', staleStoresLand: false }, 20_000)).toThrow(/at 0x/);
});
