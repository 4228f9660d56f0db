// The lock-order monitor on whole machines: silent on every shipped design and driver, and on a driver that is wrong it speaks up after
// one run in which nothing went wrong.
import { describe, expect, test } from 'vitest';
import { FRAME_KERNEL } from '../src/abi/events.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../src/abi/mman.ts';
import { NR_mmap, NR_munmap } from '../src/abi/syscalls.ts';
import { LockOrder } from '../src/check/lock-order.ts';
import { DRIVERS } from '../src/device/drivers/drivers.ts';
import { userStore } from '../src/mm/cpu-access.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { tryLockPage, unlockPage } from '../src/mm/page/page-lock.ts';
import { GFP_KERNEL } from '../src/mm/page/pages.ts';
import { createProcess } from '../src/mm/process/task.ts';
import type { Task } from '../src/mm/types.ts';
import { DESIGNS } from '../src/notifier/designs.ts';
import { IntervalNotifier } from '../src/notifier/interval.ts';
import type { Linux61, MmuNotifierOps } from '../src/notifier/linux-6.1.ts';
import { MmuNotifier } from '../src/notifier/subscriptions.ts';
import { Mutex, SpinLocks } from '../src/sched/locks.ts';
import type { AtomicPath, KernelPath } from '../src/sched/path.ts';
import { createMachine, type Machine } from '../src/system/machine.ts';
import { machine, SEED } from './support/judged-machine.ts';

const SEEDS = 20;
const OPERATIONS = 25;

function attach(monitor: LockOrder, k: Kernel): void {
  monitor.attach(k.memory.log, {
    actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}`,
    lockName: (c) => k.sched.lockClasses.name(c),
  });
}

describe(`shipped designs and drivers (SEED=${SEED})`, () => {
  for (const design of DESIGNS) {
    const drivers = DRIVERS.filter((d) => d.design === design.name || d.design === '*').map((d) => d.name);
    for (const driver of design.name === 'pinned' ? ['pinned'] : drivers) {
      test(`${design.name} ${driver}: nothing`, () => {
        // One monitor through all runs: orders of different runs must fit together.
        const monitor = new LockOrder();
        for (let i = 0; i < SEEDS; i++) {
          machine({
            design: design.name,
            driver: driver === 'pinned' ? '' : driver,
            seed: SEED * 1000 + i,
            operations: OPERATIONS,
            // Stores through stale entries would go into page tables, and the kernel would trip over them.
            writePercent: driver === 'no-callbacks' ? 0 : 50,
            kernel: { frames: i % 2 === 0 ? 1024 : 160 },
            device: { iommu: { staleWalksLand: false } },
            mutate: (k) => attach(monitor, k),
          });
        }
        expect(monitor.findings.map((f) => f.sentence)).toEqual([]);
      });
    }
  }
});

const AT = 0x10000000;

/** A driver without hardware: a mutex, a spinlock, and the callbacks that the test gives it. */
class Bench {
  readonly m: Machine;
  readonly k: Kernel;
  readonly monitor = new LockOrder();
  readonly task: Task;
  readonly design: Linux61;
  readonly mutex: Mutex;
  readonly other: Mutex;
  readonly spin: SpinLocks;

  constructor() {
    this.m = createMachine({ kernel: { frames: 128, logCapacity: 64 }, design: 'linux-6.1' });
    this.k = this.m.kernel;
    const { sched } = this.k;
    attach(this.monitor, this.k);
    this.design = this.k.design as Linux61;
    this.mutex = new Mutex(sched, sched.lockClasses.define('toy lock'), 1);
    this.other = new Mutex(sched, sched.lockClasses.define('other lock'), 1);
    this.spin = new SpinLocks(sched, sched.lockClasses.define('toy spinlock'), 2);
    this.task = this.m.run(createProcess(this.k, { areas: [], startBrk: 0x600000 }));
  }

  register(ops: MmuNotifierOps): MmuNotifier<MmuNotifierOps> {
    const mn = new MmuNotifier(ops);
    this.m.run(this.design.list.register(mn, this.task.mm!));
    return mn;
  }

  /** One page comes and goes. A callback that waits for itself ends the run. */
  mapAndUnmap(): void {
    const prot = PROT_READ | PROT_WRITE;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    this.m.run(this.m.call(this.task, NR_mmap, AT, 4096, prot, flags, -1, 0));
    this.m.run(userStore(this.k, this.task, AT, 1));
    this.thread('munmap', this.m.call(this.task, NR_munmap, AT, 4096));
  }

  /** Runs the path as a thread, alone. */
  thread(name: string, path: KernelPath<unknown>): void {
    const t = this.k.sched.spawn(name, 'kernel', path);
    this.k.sched.runUntil(() => t.path === null, 10_000);
  }

  *allocate(): KernelPath<void> {
    const pfn = this.k.fn.allocPage(this.k, GFP_KERNEL, FRAME_KERNEL);
    if (pfn !== 0) this.k.fn.putPage(this.k, pfn);
  }

  get found(): string[] {
    return this.monitor.findings.map((f) => `${f.property} ${f.sentence}`);
  }
}

/** A path that sleeps, passed off as one that does not: what plain JavaScript lets a driver do. */
function asAtomic<T>(path: KernelPath<T>): AtomicPath<T> {
  return path as AtomicPath<T>;
}

function* locked(mutex: Mutex, inside: KernelPath<unknown> | null = null): KernelPath<void> {
  yield* mutex.lock();
  if (inside !== null) yield* inside;
  mutex.unlock();
}

function expectOne(b: Bench, property: string, ...parts: (string | RegExp)[]): void {
  expect(b.found).toHaveLength(1);
  for (const part of [property, ...parts]) expect(b.found[0]).toMatch(part);
}

describe('wrong drivers, one run each', () => {
  test('a callback takes mmap_lock', () => {
    const b = new Bench();
    b.register({
      *invalidateRangeStart(_mn, range) {
        yield* range.mm.mmapLock.readLock();
        range.mm.mmapLock.readUnlock();
        return 0;
      },
    });
    b.mapAndUnmap();
    expectOne(b, 'I45', 'invalidate_range_start of subscriber 1 takes the mmap_lock', 'in munmap');
  });

  test('a callback takes an rmap lock that nobody holds now', () => {
    const b = new Bench();
    b.register({
      *invalidateRangeEnd(_mn, range) {
        const vma = b.task.mm!.vmas.first()!;
        const lock = b.k.newInode('regular', 'x', 4096).mapping.iMmapRwsem;
        expect([vma === null, range.mm === b.task.mm]).toEqual([true, true]);
        yield* lock.readLock();
        lock.readUnlock();
      },
    });
    b.mapAndUnmap();
    expectOne(b, 'I45', 'invalidate_range_end of subscriber 1 takes the i_mmap_rwsem');
  });

  test('a mutex in invalidate_range, free whenever it is taken', () => {
    const b = new Bench();
    b.register({ invalidateRange: () => asAtomic(locked(b.mutex)) });
    b.mapAndUnmap();
    expectOne(b, 'I44', 'invalidate_range of subscriber 1 takes "toy lock"', 'must not');
  });

  test('a wait in invalidate_range that is over at once', () => {
    const b = new Bench();
    b.register({ invalidateRange: () => asAtomic(b.k.sched.sleepSteps(0, 'toy')) });
    b.mapAndUnmap();
    expectOne(b, 'I44', 'invalidate_range of subscriber 1 sleeps until "toy"');
  });

  test('an allocation under the lock that a callback takes, with memory to spare', () => {
    const b = new Bench();
    b.register({
      *invalidateRangeStart() {
        yield* locked(b.mutex);
        return 0;
      },
    });
    b.mapAndUnmap();
    expect(b.found).toEqual([]);
    b.thread('fault worker', locked(b.mutex, b.allocate()));
    expectOne(
      b,
      'I60',
      /fault worker allocates memory that may have to be reclaimed while it holds "toy lock"/,
      /reclaim makes invalidation callbacks; invalidate_range_start of subscriber 1 takes "toy lock"/,
    );
  });

  test('the same, learned in the other order', () => {
    const b = new Bench();
    b.thread('fault worker', locked(b.mutex, b.allocate()));
    b.register({
      *invalidateRangeStart() {
        yield* locked(b.mutex);
        return 0;
      },
    });
    b.mapAndUnmap();
    expectOne(b, 'I60', 'invalidate_range_start of subscriber 1 takes "toy lock"', 'fault worker allocates memory');
  });

  test('an allocation inside a callback', () => {
    const b = new Bench();
    b.register({
      *invalidateRangeStart() {
        yield* b.allocate();
        return 0;
      },
    });
    b.mapAndUnmap();
    expectOne(
      b,
      'I60',
      'invalidate_range_start of subscriber 1 allocates memory',
      'reclaim makes invalidation callbacks',
    );
  });

  test('an allocation under a spinlock', () => {
    const b = new Bench();
    b.thread(
      'worker',
      (function* (): KernelPath<void> {
        yield* b.spin.lock(0);
        yield* b.allocate();
        b.spin.unlock(0);
      })(),
    );
    expectOne(
      b,
      'I44',
      'worker allocates memory that may have to be reclaimed while it holds the spinlock "toy spinlock"',
    );
  });

  test('two threads take two locks in either order, one after the other', () => {
    const b = new Bench();
    b.thread('first', locked(b.mutex, locked(b.other)));
    b.thread('second', locked(b.other, locked(b.mutex)));
    expectOne(
      b,
      'I60',
      /second takes "toy lock" while it holds "other lock".*first takes "other lock" while it holds "toy lock"/,
    );
  });

  test('two locks of one class in either order', () => {
    const b = new Bench();
    const pair = (x: number, y: number): AtomicPath<void> =>
      (function* () {
        yield* b.spin.lock(x);
        yield* b.spin.lock(y);
        b.spin.unlock(y);
        b.spin.unlock(x);
      })();
    b.thread('first', pair(0, 1));
    expect(b.found).toEqual([]);
    b.thread('second', pair(1, 0));
    expectOne(b, 'I60', 'Two locks of class "toy spinlock"');
  });

  test('a lock taken twice by one thread', () => {
    const b = new Bench();
    b.thread('worker', locked(b.mutex, locked(b.mutex)));
    expectOne(b, 'I60', 'worker takes "toy lock"', 'which it holds since step');
  });

  test('memory is unmapped under the lock that a callback takes', () => {
    const b = new Bench();
    const mn = b.register({});
    b.mapAndUnmap();
    b.thread('owner', locked(b.mutex, b.m.call(b.task, NR_munmap, AT, 4096)));
    expect(b.found).toEqual([]);
    b.m.run(b.design.list.unregister(mn, b.task.mm!));
    b.register({
      *invalidateRangeStart() {
        yield* locked(b.mutex);
        return 0;
      },
    });
    b.mapAndUnmap();
    expectOne(b, 'I60', 'takes "toy lock"', 'owner takes the mmap_lock while it holds "toy lock"');
  });

  test('unregister under the lock that a callback takes', () => {
    const b = new Bench();
    const mn = b.register({
      *invalidateRangeStart() {
        yield* locked(b.mutex);
        return 0;
      },
    });
    b.mapAndUnmap();
    b.thread('close', locked(b.mutex, b.design.list.unregister(mn, b.task.mm!)));
    expectOne(b, 'I60', 'close opens a section or waits for callbacks while it holds "toy lock"');
  });

  test('mmu_interval_read_begin under the lock that invalidate takes', () => {
    const b = new Bench();
    const sub = new IntervalNotifier({
      *invalidate(interval, _range, seq) {
        yield* b.mutex.lock();
        b.design.intervals.setSeq(interval, seq);
        b.mutex.unlock();
        return true;
      },
    });
    b.m.run(b.design.intervals.insert(sub, b.task.mm!, AT, 4096));
    b.thread('fault worker', b.design.intervals.readBegin(sub));
    b.mapAndUnmap();
    expect(b.found).toEqual([]);
    b.thread('fault worker', locked(b.mutex, b.design.intervals.readBegin(sub)));
    expectOne(b, 'I60', 'fault worker waits for the end of a section while it holds "toy lock"');
  });

  test('trylocks, and allocations after the lock was dropped, are in order', () => {
    const b = new Bench();
    b.register({
      *invalidateRangeStart() {
        if (b.mutex.trylock()) b.mutex.unlock();
        yield* locked(b.other);
        return 0;
      },
      *invalidateRange() {
        if (tryLockPage(b.k, 50)) unlockPage(b.k, 50);
        yield* b.spin.lock(1);
        b.spin.unlock(1);
      },
    });
    b.thread('fault worker', locked(b.mutex, b.allocate()));
    b.thread('fault worker', locked(b.other));
    b.thread('fault worker', b.allocate());
    b.mapAndUnmap();
    expect(b.found).toEqual([]);
  });
});
