import { expect, test } from 'vitest';
import { E_LOCK, E_LOCK_CONTENDED, E_UNLOCK, EV_WORDS } from '../abi/events.ts';
import { RecordLog } from '../base/record-log.ts';
import { describeWaits, Waits } from './waits.ts';

const names = {
  actor: (t: number) => `t${t}`,
  lock: (c: number) => `lock ${c}`,
  waitsFor: (t: number) => `event ${t}`,
};

/** Lock events: [thread, what, class, instance]. */
function after(...events: [number, number, number, number?][]): Waits {
  const log = new RecordLog(EV_WORDS, 4);
  const waits = new Waits();
  log.attach(waits);
  for (const [actor, type, lockClass, instance = 0] of events) {
    log.actor = actor;
    log.emit(type, 0, 0, 0, 0, 0, lockClass, instance, 0, 0);
  }
  return waits;
}

test('a cycle of three is named from its lowest thread on', () => {
  const waits = after(
    [3, E_LOCK, 1],
    [2, E_LOCK, 2],
    [5, E_LOCK, 3],
    [3, E_LOCK_CONTENDED, 2],
    [5, E_LOCK_CONTENDED, 1],
    [7, E_LOCK_CONTENDED, 1],
    [2, E_LOCK_CONTENDED, 3],
  );
  expect(waits.cycle()!.map((e) => [e.waiter, e.holder])).toEqual([
    [2, 5],
    [5, 3],
    [3, 2],
  ]);
  expect(describeWaits(waits, [2, 3, 5, 7], names)).toBe(
    't2 waits for the lock 3, which t5 holds; t5 waits for the lock 1, which t3 holds; t3 waits for the lock 2, which t2 holds',
  );
});

test('a thread that wants what it holds waits for itself', () => {
  const waits = after([4, E_LOCK, 3, 9], [4, E_LOCK_CONTENDED, 3, 9]);
  expect(describeWaits(waits, [4], names)).toBe('t4 waits for the lock 3, which it holds itself');
});

test('locks that were dropped, got after all, or are another instance make no cycle', () => {
  const cross = [
    [1, E_LOCK, 1],
    [2, E_LOCK, 2],
    [1, E_LOCK_CONTENDED, 2],
  ] as [number, number, number][];
  expect(after(...cross, [2, E_LOCK_CONTENDED, 1]).cycle()).toHaveLength(2);
  expect(after(...cross, [1, E_UNLOCK, 1], [2, E_LOCK_CONTENDED, 1]).cycle()).toBeNull();
  expect(after(...cross, [2, E_UNLOCK, 2], [1, E_LOCK, 2], [2, E_LOCK_CONTENDED, 1]).cycle()).toBeNull();
  expect(after(...cross, [2, E_LOCK_CONTENDED, 1, 5]).cycle()).toBeNull();
  // Taken twice and dropped once it is still held.
  expect(after([1, E_LOCK, 1], ...cross, [1, E_UNLOCK, 1], [2, E_LOCK_CONTENDED, 1]).cycle()).toHaveLength(2);
});

test('without a cycle everybody in the chain is named, readers each', () => {
  const waits = after([1, E_LOCK, 1], [2, E_LOCK, 1], [3, E_LOCK_CONTENDED, 1]);
  expect(describeWaits(waits, [3], names)).toBe(
    't3 waits for the lock 1, which t1 holds; t3 waits for the lock 1, which t2 holds; t1 waits for event 1; t2 waits for event 2',
  );
});
