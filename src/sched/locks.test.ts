// Locks under random interleavings, judged by counters in the critical sections and by the recorded E_LOCK and E_UNLOCK.
import { describe, expect, it } from 'vitest';
import { E_LOCK, E_LOCK_CONTENDED, E_UNLOCK, EV_A, EV_ACTOR, EV_B, EV_C, EV_TYPE } from '../abi/events.ts';
import { LOCK_MMAP, LOCK_NAMES, LOCK_PTL, LOCKF_EXCLUSIVE } from '../abi/locks.ts';
import { RecordLog } from '../base/record-log.ts';
import { Rng } from '../base/rng.ts';
import { Rwsem, SpinLocks } from './locks.ts';
import type { KernelPath } from './path.ts';
import { P_ACCESS, P_LOCK } from './points.ts';
import { DONE, RandomChooser, Scheduler, SLEEPING, SPINNING } from './scheduler.ts';
import { Srcu } from './srcu.ts';

const seed = Number(process.env['SEED'] ?? 1);

function newScheduler(rng: Rng): Scheduler {
  const s = new Scheduler(new RecordLog(12, 1 << 14), new RandomChooser(rng));
  s.points = rng.chance(3, 4);
  s.log.keep(true);
  return s;
}

function* pause(steps: number): KernelPath<void> {
  for (let i = 0; i < steps; i++) yield P_ACCESS;
}

/** Takes and drops pair up: a holder of (class, instance, exclusive) drops just what it took, nothing stays held, and an
 *  exclusive holder is alone. */
function checkPairs(s: Scheduler): number {
  expect(s.log.count).toBeLessThanOrEqual(s.log.capacity);
  const held = new Map<string, number>();
  const holders = new Map<string, [readers: number, writers: number]>();
  const records = s.log.last(s.log.count);
  for (const r of records) {
    if (r[EV_TYPE] === E_LOCK_CONTENDED) continue;
    const lock = `${r[EV_A]} ${r[EV_B]}`;
    const exclusive = r[EV_C]! & LOCKF_EXCLUSIVE;
    const key = `${lock} ${r[EV_ACTOR]} ${exclusive}`;
    const sign = r[EV_TYPE] === E_LOCK ? 1 : -1;
    expect([E_LOCK, E_UNLOCK]).toContain(r[EV_TYPE]);
    held.set(key, (held.get(key) ?? 0) + sign);
    if (held.get(key)! < 0) throw new Error(`${key}: dropped and not held`);
    const h = holders.get(lock) ?? [0, 0];
    h[exclusive]! += sign;
    holders.set(lock, h);
    if (h[1] > 1 || (h[1] === 1 && h[0] > 0)) throw new Error(`${lock}: a writer is not alone`);
  }
  expect([...held.values()].every((n) => n === 0)).toBe(true);
  return records.length;
}

describe(`Rwsem (SEED=${seed})`, () => {
  it('readers share, a writer is alone, every thread gets its turn, takes and drops pair up', () => {
    const rng = new Rng(seed);
    let mostReaders = 0;
    let downgrades = 0;
    for (let round = 0; round < 150; round++) {
      const s = newScheduler(rng);
      const lock = new Rwsem(s, LOCK_MMAP, 3);
      let readers = 0;
      let writers = 0;
      const check = (): void => {
        mostReaders = Math.max(mostReaders, readers);
        if (writers > 1 || (writers === 1 && readers > 0)) throw new Error(`round ${round}: ${readers}r ${writers}w`);
        expect([lock.isLocked, lock.isWriteLocked]).toEqual([readers + writers > 0, writers > 0]);
      };
      const read = function* (): KernelPath<void> {
        if (s.points || !lock.tryRead()) yield* lock.readLock();
        readers++;
        check();
        yield* pause(rng.below(4));
        readers--;
        lock.readUnlock();
      };
      const write = function* (): KernelPath<void> {
        if (s.points || !lock.tryWrite()) yield* lock.writeLock();
        writers++;
        check();
        yield* pause(rng.below(4));
        check();
        writers--;
        if (rng.chance(1, 3)) {
          downgrades++;
          readers++;
          lock.downgrade();
          check();
          yield* pause(rng.below(3));
          readers--;
          lock.readUnlock();
        } else lock.writeUnlock();
      };
      const threads = Array.from({ length: 6 }, (_, i) => {
        const path = function* (): KernelPath<void> {
          for (let k = 0; k < 5; k++) {
            yield* rng.chance(1, 3) ? write() : read();
            if (rng.chance(1, 2)) yield P_ACCESS;
          }
        };
        return s.spawn(`t${i}`, 'kernel', path());
      });
      expect(s.runUntil(() => false, 20_000)).toBe('stuck');
      expect(threads.every((t) => t.state === DONE)).toBe(true);
      expect(lock.count).toBe(0);
      expect(checkPairs(s)).toBeGreaterThanOrEqual(60);
    }
    expect(mostReaders).toBeGreaterThan(3);
    expect(downgrades).toBeGreaterThan(50);
  });

  it('a waiting writer goes before later readers; downgrade lets readers in and writers not', () => {
    const s = newScheduler(new Rng(seed));
    s.points = false;
    const lock = new Rwsem(s, LOCK_MMAP, 1);
    const order: string[] = [];
    expect(lock.tryRead()).toBe(true);
    const writer = s.spawn(
      'writer',
      'kernel',
      (function* (): KernelPath<void> {
        yield* lock.writeLock();
        order.push('writer');
        yield P_ACCESS;
        lock.downgrade();
        yield P_ACCESS;
        yield P_ACCESS;
        order.push('writer done');
        lock.readUnlock();
      })(),
    );
    s.runUntil(() => false);
    expect([writer.state, writer.waitingFor]).toEqual([SLEEPING, LOCK_NAMES[LOCK_MMAP]]);
    // No reader comes in while the writer waits, although readers hold the lock.
    expect(lock.tryRead()).toBe(false);
    const reader = s.spawn(
      'reader',
      'kernel',
      (function* (): KernelPath<void> {
        yield* lock.readLock();
        order.push('reader');
      })(),
    );
    s.runUntil(() => false);
    expect(order).toEqual([]);
    lock.readUnlock();
    s.runUntil(() => order.length === 1);
    expect([order, lock.isWriteLocked, lock.tryRead(), lock.tryWrite()]).toEqual([['writer'], true, false, false]);
    while (lock.isWriteLocked) s.step();
    expect([lock.count, lock.tryWrite()]).toEqual([1, false]);
    s.runUntil(() => reader.state === DONE);
    s.runUntil(() => writer.state === DONE);
    expect([order.length, lock.count]).toEqual([3, 1]);
  });

  it('refuses drops of what is not held', () => {
    const s = newScheduler(new Rng(seed));
    const lock = new Rwsem(s, LOCK_MMAP, 1);
    expect(() => lock.readUnlock()).toThrow('Rwsem.readUnlock');
    expect(() => lock.writeUnlock()).toThrow('Rwsem.writeUnlock');
    lock.tryRead();
    expect(() => lock.writeUnlock()).toThrow('Rwsem.writeUnlock');
    expect(() => lock.downgrade()).toThrow('Rwsem.downgrade');
  });

  it('two threads that take two locks in opposite orders end in a reported deadlock, in some interleaving', () => {
    let deadlocks = 0;
    for (let i = 0; i < 60; i++) {
      const s = newScheduler(new Rng(seed + i));
      s.points = true;
      const locks = [new Rwsem(s, LOCK_MMAP, 0), new Rwsem(s, LOCK_MMAP, 1)];
      const path = function* (first: number): KernelPath<void> {
        yield* locks[first]!.writeLock();
        yield* locks[1 - first]!.writeLock();
        locks[0]!.writeUnlock();
        locks[1]!.writeUnlock();
      };
      const threads = [0, 1].map((n) => s.spawn(`t${n}`, 'kernel', path(n)));
      expect(s.runUntil(() => false, 1000)).toBe('stuck');
      const states = threads.map((t) => t.state);
      if (states[0] === SLEEPING) deadlocks++;
      expect(states).toEqual(states[0] === SLEEPING ? [SLEEPING, SLEEPING] : [DONE, DONE]);
    }
    expect(deadlocks).toBeGreaterThan(0);
    expect(deadlocks).toBeLessThan(60);
  });
});

describe(`SpinLocks (SEED=${seed})`, () => {
  it('each lock has one holder, atomicDepth counts what a thread holds, takes and drops pair up', () => {
    const rng = new Rng(seed);
    let spins = 0;
    for (let round = 0; round < 150; round++) {
      const s = newScheduler(rng);
      const locks = new SpinLocks(s, LOCK_PTL, 4);
      const holder = [0, 0, 0, 0];
      const take = function* (i: number): KernelPath<void> {
        if (s.points || !locks.tryLock(i)) yield* locks.lock(i);
        if (holder[i] !== 0) throw new Error(`round ${round}: lock ${i} is held twice`);
        holder[i] = s.current.id;
      };
      const drop = (i: number): void => {
        expect([holder[i], locks.isLocked(i)]).toEqual([s.current.id, true]);
        holder[i] = 0;
        locks.unlock(i);
      };
      const threads = Array.from({ length: 5 }, (_, n) => {
        const path = function* (): KernelPath<void> {
          for (let k = 0; k < 6; k++) {
            // Nested in the order of the indices, as kernel code must.
            const low = rng.below(4);
            const high = low + rng.below(4 - low);
            yield* take(low);
            if (high > low) yield* take(high);
            expect(s.current.atomicDepth).toBe(high > low ? 2 : 1);
            yield* pause(rng.below(3));
            if (high > low) drop(high);
            drop(low);
            expect(s.current.atomicDepth).toBe(0);
            if (rng.chance(1, 2)) yield P_ACCESS;
          }
        };
        return s.spawn(`t${n}`, 'kernel', path());
      });
      while (s.step()) if (threads.some((t) => t.state === SPINNING)) spins++;
      expect(threads.every((t) => t.state === DONE)).toBe(true);
      expect(checkPairs(s)).toBeGreaterThanOrEqual(60);
    }
    expect(spins).toBeGreaterThan(100);
  });

  it('only the holder drops a lock; sleeping under one is reported, waiting for one is not', () => {
    const s = newScheduler(new Rng(seed));
    s.points = false;
    const locks = new SpinLocks(s, LOCK_PTL, 2);
    const sem = new Rwsem(s, LOCK_MMAP, 0);
    const reported: string[] = [];
    s.onAtomicSleep = (t) => reported.push(t.name);
    expect(() => locks.unlock(0)).toThrow('SpinLocks.unlock');
    expect([locks.tryLock(0), locks.tryLock(0), sem.tryWrite()]).toEqual([true, false, true]);
    const spinner = s.spawn(
      'spinner',
      'kernel',
      (function* (): KernelPath<void> {
        expect(() => locks.unlock(0)).toThrow('SpinLocks.unlock');
        yield* locks.lock(1);
        yield* locks.lock(0);
        locks.unlock(0);
        yield* sem.readLock();
        locks.unlock(1);
        sem.readUnlock();
      })(),
    );
    s.runUntil(() => false);
    expect([spinner.state, spinner.waitingFor, reported]).toEqual([SPINNING, LOCK_NAMES[LOCK_PTL], []]);
    locks.unlock(0);
    s.runUntil(() => false);
    expect([spinner.state, reported]).toEqual([SLEEPING, ['spinner']]);
    sem.writeUnlock();
    s.runUntil(() => false);
    expect([spinner.state, spinner.atomicDepth, s.boot.atomicDepth]).toEqual([DONE, 0, 0]);
  });

  it('with points on, stands before every take', () => {
    const s = newScheduler(new Rng(seed));
    s.points = true;
    const locks = new SpinLocks(s, LOCK_PTL, 1);
    const sem = new Rwsem(s, LOCK_MMAP, 0);
    for (const path of [locks.lock(0), sem.readLock(), sem.writeLock()]) {
      const t = s.spawn('t', 'kernel', path);
      s.stepThread(t);
      expect([t.point, locks.isLocked(0), sem.isLocked]).toEqual([P_LOCK, false, false]);
    }
  });
});

describe(`Srcu (SEED=${seed})`, () => {
  it('synchronize waits for every earlier reader, and returns as soon as those have ended', () => {
    const rng = new Rng(seed);
    let overlapping = 0;
    let overtaken = 0;
    for (let round = 0; round < 300; round++) {
      const s = newScheduler(rng);
      const srcu = new Srcu(s);
      /** Readers inside, by the number of their beginning. */
      const inside = new Set<number>();
      let begun = 0;
      const waiting = new Set<ReadonlySet<number>>();
      for (let i = 0; i < 5; i++) {
        s.spawn(
          `reader ${i}`,
          'kernel',
          (function* (): KernelPath<void> {
            for (let k = 0; k < 4; k++) {
              yield* pause(rng.below(3));
              const me = begun++;
              const index = srcu.readLock();
              inside.add(me);
              if (rng.chance(1, 3)) yield* s.sleepSteps(1 + rng.below(12), 'inside');
              else yield* pause(rng.below(6));
              inside.delete(me);
              srcu.readUnlock(index);
            }
          })(),
        );
      }
      for (let i = 0; i < 4; i++) {
        s.spawn(
          `updater ${i}`,
          'kernel',
          (function* (): KernelPath<void> {
            for (let k = 0; k < 2; k++) {
              yield* pause(rng.below(8));
              const earlier = new Set(inside);
              waiting.add(earlier);
              overlapping = Math.max(overlapping, waiting.size);
              yield* srcu.synchronize();
              waiting.delete(earlier);
              for (const reader of earlier)
                if (inside.has(reader)) throw new Error(`round ${round}: ${reader} is inside`);
              if (inside.size > 0) overtaken++;
            }
          })(),
        );
      }
      while (s.step()) {
        // Whoever waits for readers that have all ended is runnable or done.
        const owed = [...waiting].filter((w) => [...w].some((r) => inside.has(r))).length;
        const asleep = s.threads.filter((t) => t.waitingFor === 'SRCU grace period').length;
        if (asleep > owed) throw new Error(`round ${round}: ${asleep} wait, ${owed} must`);
      }
      expect(s.threads.slice(1).every((t) => t.state === DONE)).toBe(true);
    }
    expect(overlapping).toBeGreaterThan(2);
    expect(overtaken).toBeGreaterThan(10);
  });

  it('three grace periods at once: an old reader holds back all of them', () => {
    const s = newScheduler(new Rng(seed));
    s.points = false;
    const srcu = new Srcu(s);
    const old = srcu.readLock();
    const spawn = (): ReturnType<Scheduler['spawn']> => s.spawn('updater', 'kernel', srcu.synchronize());
    const first = spawn();
    s.runUntil(() => false);
    const young = srcu.readLock();
    const second = spawn();
    s.runUntil(() => false);
    const third = spawn();
    s.runUntil(() => false);
    srcu.readUnlock(young);
    s.runUntil(() => false);
    expect([first.state, second.state, third.state]).toEqual([SLEEPING, SLEEPING, SLEEPING]);
    srcu.readUnlock(old);
    expect(s.runUntil(() => [first, second, third].every((t) => t.state === DONE))).toBe('reached');
  });

  it('does not wait without readers, nor for later ones; an unopened section is refused', () => {
    const s = newScheduler(new Rng(seed));
    const srcu = new Srcu(s);
    s.run(srcu.synchronize());
    const index = srcu.readLock();
    const updater = s.spawn('updater', 'kernel', srcu.synchronize());
    s.runUntil(() => false);
    expect(updater.state).toBe(SLEEPING);
    const later = srcu.readLock();
    srcu.readUnlock(index);
    s.runUntil(() => false);
    expect(updater.state).toBe(DONE);
    srcu.readUnlock(later);
    expect(() => srcu.readUnlock(later)).toThrow('Srcu.readUnlock');
    expect(() => srcu.readUnlock(index)).toThrow('Srcu.readUnlock');
  });
});
