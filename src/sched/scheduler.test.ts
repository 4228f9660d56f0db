// The scheduler against laws: one seed gives one order, waiting lets others run and nothing else does, timed sleepers wake in
// the order of their times, and every way to end (reached, stuck, limit, deadlock) is told from the others.
import { describe, expect, it } from 'vitest';
import { RecordLog } from '../base/record-log.ts';
import { Rng } from '../base/rng.ts';
import { type AtomicPath, done, type KernelPath } from './path.ts';
import { P_ACCESS, P_SLEEP, P_SPIN, pointInfo } from './points.ts';
import { DONE, RandomChooser, RUNNABLE, Scheduler, SLEEPING, SPINNING, type Thread, WaitQueue } from './scheduler.ts';

const seed = Number(process.env['SEED'] ?? 1);

function newScheduler(rng: Rng | null = null): Scheduler {
  const log = new RecordLog(12, 64);
  return rng === null ? new Scheduler(log) : new Scheduler(log, new RandomChooser(rng));
}

function* points(count: number, each: (i: number) => void): AtomicPath<number> {
  for (let i = 0; i < count; i++) {
    each(i);
    yield P_ACCESS;
  }
  return count;
}

/** Threads that compute, sleep and hand a token on, in an order that the seed decides. */
function trace(worldSeed: number): string[] {
  const s = newScheduler(new Rng(worldSeed));
  const queue = new WaitQueue();
  const out: string[] = [];
  let tokens = 0;
  for (let i = 0; i < 6; i++) {
    const path = function* (): KernelPath<void> {
      for (let k = 0; k < 10; k++) {
        out.push(`${i}:${k}@${s.steps}`);
        if (k % 3 === i % 3) yield* s.sleepSteps(1 + s.choose(20, 0), 'nap');
        else if (k % 3 === 1) {
          tokens++;
          queue.wakeAll(s);
          yield P_ACCESS;
        } else if (tokens > 5) yield* points(2, () => tokens--);
        else if (s.runnableCount > 2) yield* s.waitUntil(() => tokens > 0 || s.runnableCount < 3, queue, 'token');
      }
    };
    s.spawn(`t${i}`, 'kernel', path());
  }
  s.runUntil(() => false, 5000);
  return out;
}

describe(`Scheduler (SEED=${seed})`, () => {
  it('gives the same order for the same seed, and others for others', () => {
    const orders = new Set<string>();
    for (let i = 0; i < 30; i++) {
      const order = trace(seed + i);
      expect(trace(seed + i)).toEqual(order);
      orders.add(order.join(' '));
    }
    expect(orders.size).toBe(30);
  });

  it('steps only runnable threads, each to its end, whatever the interleaving', () => {
    const rng = new Rng(seed);
    for (let round = 0; round < 200; round++) {
      const s = newScheduler(rng);
      const queue = new WaitQueue();
      let isOpen = false;
      const waiters = [1, 2, 3].map((i) => {
        const path = function* (): KernelPath<number> {
          yield* points(rng.below(4), () => expect(s.current).toBe(waiters[i - 1]));
          if (i === 1) yield* s.spinUntil(() => isOpen, queue, 'the gate');
          else yield* s.waitUntil(() => isOpen, queue, 'the gate');
          expect(s.log.actor).toBe(s.current.id);
          return i;
        };
        return s.spawn(`waiter ${i}`, 'kernel', path());
      });
      expect(s.runUntil(() => false)).toBe('stuck');
      expect(waiters.map((t) => t.state)).toEqual([SPINNING, SLEEPING, SLEEPING]);
      expect(waiters.map((t) => t.waitingFor)).toEqual(['the gate', 'the gate', 'the gate']);
      expect(waiters.map((t) => t.point)).toEqual([P_SPIN, P_SLEEP, P_SLEEP]);
      expect(() => s.stepThread(waiters[1]!)).toThrow('runnable');
      // A wake-up without cause: the condition is tested again.
      queue.wakeAll(s);
      expect(s.runnableCount).toBe(3);
      expect(s.runUntil(() => false)).toBe('stuck');
      isOpen = true;
      queue.wakeAll(s);
      expect(waiters.map((t) => t.waitingFor)).toEqual(['', '', '']);
      expect(s.runUntil(() => waiters.every((t) => t.state === DONE))).toBe('reached');
      expect(waiters.map((t) => t.result)).toEqual([1, 2, 3]);
      expect([s.runnableCount, s.current === s.boot, s.log.actor]).toEqual([0, true, 0]);
      s.wake(waiters[0]!);
      expect(s.runnableCount).toBe(0);
    }
  });

  it('counts a limit in steps', () => {
    const s = newScheduler();
    let stepped = 0;
    s.spawn(
      'busy',
      'cpu',
      points(1000, () => stepped++),
    );
    expect(s.runUntil(() => false, 37)).toBe('limit');
    expect([stepped, s.steps]).toEqual([37, 37]);
    expect(s.runUntil(() => stepped === 40, 37)).toBe('reached');
    expect(s.steps).toBe(40);
  });

  it('run() ends a path that never waits without a step of anyone else', () => {
    const s = newScheduler();
    let others = 0;
    s.spawn(
      'other',
      'kernel',
      points(5, () => others++),
    );
    expect(s.run(done(42))).toBe(42);
    expect(s.run(points(9, () => {}))).toBe(9);
    expect(others).toBe(0);
  });

  it('run() lets others run while it waits, and no longer', () => {
    const s = newScheduler(new Rng(seed));
    const queue = new WaitQueue();
    let count = 0;
    s.spawn(
      'counter',
      'kernel',
      points(100, (i) => {
        count = i + 1;
        queue.wakeAll(s);
      }),
    );
    for (const target of [1, 7, 30]) {
      s.run(s.waitUntil(() => count >= target, queue, 'the count'));
      expect(count).toBe(target);
      s.run(s.spinUntil(() => count >= target + 2, queue, 'the count'));
      expect(count).toBe(target + 2);
    }
  });

  it('run() reports a deadlock by name and reason', () => {
    const s = newScheduler();
    s.spawn(
      'other',
      'kernel',
      points(3, () => {}),
    );
    expect(() => s.run(s.waitUntil(() => false, new WaitQueue(), 'Godot'))).toThrow(
      'deadlock: boot waits for Godot and nothing else can run',
    );
  });

  it('run() sleeps although no other thread exists', () => {
    const s = newScheduler();
    s.run(s.sleepSteps(50, 'a nap'));
    expect([s.steps >= 50, s.boot.state]).toEqual([true, RUNNABLE]);
  });

  it('wakes timed sleepers in the order of their times, none early', () => {
    const rng = new Rng(seed);
    for (let round = 0; round < 100; round++) {
      const s = newScheduler(rng.chance(1, 2) ? rng : null);
      const woken: number[] = [];
      const due: number[] = [];
      const sleepers: Thread[] = [];
      for (let i = 0; i < 12; i++) {
        const path = function* (): KernelPath<void> {
          const until = s.steps + 1 + rng.below(60);
          due.push(until);
          yield* s.sleepSteps(until - s.steps, 'time');
          expect(s.steps).toBeGreaterThanOrEqual(until);
          woken.push(until);
        };
        sleepers.push(s.spawn(`sleeper ${i}`, 'kernel', path()));
      }
      while (due.length < 12) s.step();
      if (rng.chance(1, 2))
        s.spawn(
          'busy',
          'cpu',
          points(rng.below(100), () => {}),
        );
      // Wake-ups by others do not count.
      for (let i = 0; i < 200 && s.step(); i++) if (rng.chance(1, 8)) s.wake(sleepers[rng.below(12)]!);
      expect(s.runUntil(() => false)).toBe('stuck');
      expect([...woken].sort((a, b) => a - b)).toEqual(due.sort((a, b) => a - b));
    }
    // Nobody else runs and the first of the list is taken: strictly in order of time.
    const s = newScheduler();
    const order: number[] = [];
    for (const n of [90, 30, 60, 120, 45]) {
      s.spawn(
        `${n}`,
        'kernel',
        (function* (): KernelPath<void> {
          yield* s.sleepSteps(n, 'time');
          order.push(n);
        })(),
      );
    }
    expect(s.runUntil(() => false)).toBe('stuck');
    expect(order).toEqual([30, 45, 60, 90, 120]);
    // A clock that jumps past several at once (steps made elsewhere) still wakes the earliest first.
    const t = newScheduler();
    order.length = 0;
    for (const n of [90, 30, 60]) {
      t.spawn(
        `${n}`,
        'kernel',
        (function* (): KernelPath<void> {
          yield* t.sleepSteps(n, 'time');
          order.push(n);
        })(),
      );
    }
    for (let i = 0; i < 3; i++) t.step();
    t.steps = 500;
    expect(t.runUntil(() => false)).toBe('stuck');
    expect(order[0]).toBe(30);
  });

  it('a sleeping daemon does not keep run() or the world alive', () => {
    const s = newScheduler();
    const queue = new WaitQueue();
    let served = 0;
    const daemon = s.spawn(
      'daemon',
      'kernel',
      (function* (): KernelPath<void> {
        for (;;) {
          yield* s.waitUntil(() => served < 2, queue, 'work');
          served++;
        }
      })(),
      true,
    );
    const worker = s.spawn(
      'worker',
      'cpu',
      points(3, () => {}),
    );
    expect(s.runUntil(() => worker.state === DONE)).toBe('reached');
    expect(s.runUntil(() => false)).toBe('stuck');
    expect([served, daemon.state, s.daemons.has(daemon), s.daemons.has(worker)]).toEqual([2, SLEEPING, true, false]);
  });

  it('tells sleeping in atomic context, and not busy waiting there', () => {
    const s = newScheduler();
    const reported: string[] = [];
    s.onAtomicSleep = (t) => reported.push(t.name);
    const queue = new WaitQueue();
    let go = false;
    const path = function* (how: 'waitUntil' | 'spinUntil', depth: number): KernelPath<void> {
      s.current.atomicDepth = depth;
      yield* s[how](() => go, queue, 'go');
    };
    s.spawn('sleeps', 'kernel', path('waitUntil', 0));
    s.spawn('sleeps atomically', 'kernel', path('waitUntil', 1));
    s.spawn('spins atomically', 'kernel', path('spinUntil', 2));
    s.runUntil(() => false);
    expect(reported).toEqual(['sleeps atomically']);
    go = true;
    queue.wakeAll(s);
    s.runUntil(() => false);
    expect(reported.length).toBe(1);
  });
});

describe('points and paths', () => {
  it('every point has a name and says what others may observe', () => {
    expect([P_SLEEP, P_SPIN, P_ACCESS].map((p) => pointInfo(p).name)).toEqual(['sleep', 'spin', 'access']);
    const names = new Set<string>();
    for (let id = 1; pointInfo(id).name !== 'none'; id++) {
      expect(pointInfo(id).observable).not.toBe('');
      names.add(pointInfo(id).name);
      expect(names.size).toBe(id);
    }
    expect(names.size).toBeGreaterThan(30);
  });

  it('a sleeping path inside an atomic one is a type error, the reverse is not', () => {
    const s = newScheduler();
    function* mayBusyWait(): AtomicPath<number> {
      yield P_SPIN;
      return 1;
    }
    function* maySleep(): KernelPath<number> {
      yield P_SLEEP;
      return yield* mayBusyWait();
    }
    function* wrong(): AtomicPath<number> {
      // @ts-expect-error: an AtomicPath never sleeps.
      return yield* maySleep();
    }
    function* wrongPoint(): AtomicPath<void> {
      // @ts-expect-error: P_SLEEP is no point of an AtomicPath.
      yield P_SLEEP;
    }
    // @ts-expect-error: nor may the path itself pass for one.
    const alias: AtomicPath<number> = maySleep();
    // At run time they are the same generators.
    expect([s.run(wrong()), s.run(wrongPoint()), s.run(alias)]).toEqual([1, undefined, 1]);
  });
});
