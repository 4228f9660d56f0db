// Known examples, and how many classes of equivalent executions they have: by counting, or from the literature (Abdulla, Aronis,
// Jonsson, Sagonas: "Optimal Dynamic Partial Order Reduction", POPL 2014, table 1). Each class is executed once; runs that are
// given up because they are equivalent to one seen before are `blocked` and come where source sets are not optimal, and where
// an unlock is tried after the lock that follows it.
import { expect, test } from 'vitest';
import { P_SYSCALL } from '../sched/points.ts';
import { enumerate } from './enumerate.ts';
import { explore } from './explore.ts';
import { pathsProgram, type SharedPath } from './paths-program.ts';
import { type ToyOp, toyProgram } from './toy.ts';
import type { Program } from './world.ts';

interface Outcome {
  readonly executions: number;
  readonly blocked: number;
  readonly states: number;
  readonly deadlocks: number;
}

function explored(program: Program): Outcome {
  const states = new Set<string>();
  let deadlocks = 0;
  const { executions, blocked, exhaustive } = explore(program, {
    visit({ world, findings }) {
      states.add(world.finalState!());
      deadlocks += findings.length;
    },
  });
  expect(exhaustive).toBe(true);
  return { executions, blocked, states: states.size, deadlocks };
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const set = (v: number, value: number): ToyOp => ({ op: 'set', v, value });
const load = (v: number): ToyOp => ({ op: 'load', v });

test('store buffering: three outcomes, no fourth', () => {
  const program = toyProgram([
    [set(0, 1), load(1)],
    [set(1, 1), load(0)],
  ]);
  expect(explored(program)).toMatchObject({ executions: 3, blocked: 0, states: 3 });
  expect(enumerate(program, () => {}).executions).toBe(6);
});

test('message passing and load buffering: three outcomes each', () => {
  expect(
    explored(
      toyProgram([
        [set(0, 1), set(1, 1)],
        [load(1), load(0)],
      ]),
    ),
  ).toMatchObject({ executions: 3, blocked: 0 });
  expect(
    explored(
      toyProgram([
        [load(0), set(1, 1)],
        [load(1), set(0, 1)],
      ]),
    ),
  ).toMatchObject({ executions: 3, blocked: 0, states: 3 });
});

test('n threads that write one variable: n! orders', () => {
  const factorial = (n: number): number => (n < 2 ? 1 : n * factorial(n - 1));
  for (const n of [1, 2, 3, 4, 5, 6]) {
    const program = toyProgram(range(n).map((i) => [set(0, i)]));
    expect(explored(program)).toMatchObject({ executions: factorial(n), blocked: 0, states: n });
  }
});

test('independent threads: one execution', () => {
  const path = (i: number): SharedPath =>
    function* (s) {
      for (let k = 0; k < 5; k++) {
        s.set(i, k);
        yield P_SYSCALL;
      }
    };
  expect(explored(pathsProgram('independent', 6, range(6).map(path))).executions).toBe(1);
});

test('one writer, n readers: each reads before or after, 2^n', () => {
  const reader: SharedPath = function* (s) {
    s.values[0]! |= s.get(1);
  };
  const writer: SharedPath = function* (s) {
    s.set(1, 1);
  };
  for (const n of [1, 2, 5, 8]) {
    const program = pathsProgram('readers', 2, [writer, ...range(n).map(() => reader)]);
    expect(explored(program)).toMatchObject({ executions: 2 ** n, blocked: 0 });
  }
});

/** Thread 0 looks for the last zero; thread i sets a[i] = a[i-1] + 1. */
function lastZero(n: number): Program {
  const search: SharedPath = function* (s) {
    for (let i = n; s.get(i) !== 0; i--) yield P_SYSCALL;
  };
  const increment = (i: number): SharedPath =>
    function* (s) {
      const before = s.get(i - 1);
      yield P_SYSCALL;
      s.set(i, before + 1);
    };
  return pathsProgram('last zero', n + 1, [search, ...range(n).map((i) => increment(i + 1))]);
}

test('last zero of n: (n + 3) * 2^(n-2) classes; source sets give up 15 more runs of n = 5', () => {
  for (const n of [3, 5, 8]) {
    const { executions, blocked } = explored(lastZero(n));
    expect(executions, `n = ${n}`).toBe((n + 3) * 2 ** (n - 2));
    if (n === 5) expect(executions + blocked).toBe(79);
  }
});

/** n threads take an inode's lock, and look for a free block, each block under a lock. */
function fileSystem(n: number): Program {
  const [blocks, inodes] = [26, 32];
  const create = (tid: number): SharedPath =>
    function* (s) {
      const i = tid % inodes;
      yield* s.mutex(i).lock();
      if (s.get(i) === 0) {
        for (let b = (i * 2) % blocks; ; b = (b + 1) % blocks) {
          yield* s.mutex(inodes + b).lock();
          const isFree = s.get(inodes + b) === 0;
          if (isFree) {
            s.set(inodes + b, 1);
            s.set(i, b + 1);
          }
          yield P_SYSCALL;
          s.mutex(inodes + b).unlock();
          if (isFree) break;
        }
      }
      s.mutex(i).unlock();
    };
  return pathsProgram('file system', inodes + blocks, range(n).map(create));
}

test('file system of n threads: orders of the locks that two take, not of the attempts that wait', () => {
  for (const [n, classes] of [
    [13, 1],
    [14, 2],
    [16, 8],
    [18, 32],
    [19, 64],
  ] as const) {
    expect(explored(fileSystem(n)), `n = ${n}`).toMatchObject({ executions: classes, deadlocks: 0 });
  }
});

/** n threads put four words each into a hash table of 128 places. */
function indexer(n: number): Program {
  const insert = (tid: number): SharedPath =>
    function* (s) {
      for (let m = 1; m <= 4; m++) {
        const word = m * 11 + tid;
        for (let h = (word * 7) % 128; !s.compareAndSwap(h, 0, word); h = (h + 1) % 128) yield P_SYSCALL;
        yield P_SYSCALL;
      }
    };
  return pathsProgram('indexer', 128, range(n).map(insert));
}

test('indexer of n threads', () => {
  expect(explored(indexer(11))).toMatchObject({ executions: 1, blocked: 0 });
  expect(explored(indexer(12))).toMatchObject({ executions: 8, blocked: 0 });
  expect(explored(indexer(13))).toMatchObject({ executions: 64, blocked: 0 });
});

test('lock handoffs: n threads, one critical section each: n! orders, whatever happens inside', () => {
  const section: SharedPath = function* (s) {
    yield* s.mutex(0).lock();
    s.set(0, s.get(0) * 5 + s.sched.current.id);
    yield P_SYSCALL;
    s.set(1, s.get(0));
    yield P_SYSCALL;
    s.mutex(0).unlock();
  };
  for (const [n, orders] of [
    [2, 2],
    [3, 6],
    [4, 24],
    [5, 120],
  ] as const) {
    const program = pathsProgram(
      'handoff',
      2,
      range(n).map(() => section),
    );
    expect(explored(program)).toMatchObject({ executions: orders, states: orders, deadlocks: 0 });
  }
});

test('two locks taken in two orders: one deadlock', () => {
  const both = (a: number, b: number): SharedPath =>
    function* (s) {
      yield* s.mutex(a).lock();
      yield* s.mutex(b).lock();
      s.mutex(b).unlock();
      s.mutex(a).unlock();
    };
  const program = pathsProgram('ABBA', 0, [both(0, 1), both(1, 0)]);
  expect(explored(program)).toMatchObject({ executions: 3, states: 2, deadlocks: 1 });
});
