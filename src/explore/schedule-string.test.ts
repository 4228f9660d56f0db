import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InputError } from '../base/assert.ts';
import { Rng } from '../base/rng.ts';
import {
  type Counterexample,
  checkPairing,
  formatCounterexample,
  parseCounterexample,
  ScheduleStringError,
  scenarioDigest,
  trimSchedule,
} from './schedule-string.ts';
import type { Schedule } from './world.ts';

const seed = Number(process.env['SEED'] ?? 1);

const runs = fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 30 })), { maxLength: 30 });
const answers = fc.oneof(
  { weight: 9, arbitrary: fc.constant([] as number[]) },
  fc.array(fc.oneof(fc.constant(0), fc.nat(9), fc.nat(2 ** 31)), { maxLength: 4 }),
);
const schedules: fc.Arbitrary<Schedule> = fc
  .tuple(runs, fc.integer({ min: 1, max: 5 }), fc.infiniteStream(answers))
  .map(([list, times, stream]) =>
    Array.from({ length: times }, () => list)
      .flat()
      .flatMap(([thread, n]) => Array.from({ length: n }, () => ({ thread, answers: stream.next().value! }))),
  );
const name = fc.string({ unit: 'grapheme', maxLength: 20 });
const counterexamples: fc.Arbitrary<Counterexample> = fc.record({
  operation: name,
  driver: name,
  design: name,
  variant: name,
  bug: name,
  digest: fc.tuple(name, name).map(([a, b]) => scenarioDigest(a, b, 'linux-6.1')),
  schedule: schedules,
});

function example(schedule: Schedule): Counterexample {
  const digest = scenarioDigest('munmap', 'no-callbacks', 'linux-6.1');
  return { operation: 'munmap', driver: 'no-callbacks', design: 'linux-6.1', variant: '', bug: '', digest, schedule };
}

test(`reading what was written gives the same (SEED=${seed})`, () => {
  fc.assert(
    fc.property(counterexamples, (x) => {
      const text = formatCounterexample(x);
      expect(text).toMatch(/^[A-Za-z0-9._~-]+$/);
      expect(parseCounterexample(text)).toEqual({ ...x, schedule: trimSchedule(x.schedule) });
    }),
    { seed, numRuns: 500 },
  );
});

test('the text is what the format says', () => {
  const list: [number, number][] = [
    [7, 9],
    [8, 4],
    [26, 1],
    [30, 2],
  ];
  const schedule = list.flatMap(([thread, n]) =>
    Array.from({ length: n }, () => ({ thread, answers: [] as number[] })),
  );
  schedule[3]!.answers = [0, 1, 0];
  schedule[15]!.answers = [12];
  const x = { ...example(schedule), driver: 'my_driver é.ts' };
  const text = formatCounterexample(x);
  expect(text.slice(0, -4)).toBe(`1~munmap~my__driver_20_c3_a9.ts~linux-6.1~~~${x.digest}~h9i4AE2~4-0-1.12-12~`);
});

test('a typical counterexample is short, a cycle hardly longer', () => {
  const rng = new Rng(5);
  // Sixty steps of nine threads in runs of three.
  const typical = Array.from({ length: 20 }, () => rng.below(9)).flatMap((thread) =>
    [0, 1, 2].map(() => ({ thread, answers: [] })),
  );
  expect(formatCounterexample(example(typical)).length).toBeLessThan(110);
  const cycle = Array.from({ length: 10_000 }, (_, i) => ({ thread: [3, 3, 5, 0, 8, 8, 8][i % 7]!, answers: [] }));
  expect(formatCounterexample(example(cycle)).length).toBeLessThan(80);
});

test('schedules that no world can have are refused', () => {
  for (const thread of [-1, 31, 0.5]) {
    expect(() => formatCounterexample(example([{ thread, answers: [] }]))).toThrow(InputError);
  }
  expect(() => formatCounterexample(example([{ thread: 0, answers: [-1] }]))).toThrow(InputError);
  expect(() => formatCounterexample({ ...example([]), digest: 'x' })).toThrow(InputError);
});

/** The text with the checksum that it should have, so that the checks behind it are reached. A second hand at the algorithm. */
function signed(body: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  let h = 0x811c9dc5;
  for (let i = 0; i < body.length; i++) {
    h = Math.imul(h ^ (body.charCodeAt(i) & 0xff), 0x01000193);
    h = Math.imul(h ^ (body.charCodeAt(i) >>> 8), 0x01000193);
  }
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  h ^= h >>> 13;
  return `${body}~${[18, 12, 6, 0].map((s) => alphabet[(h >>> s) & 63]).join('')}`;
}

test('each refusal says what was expected', () => {
  const refused = (body: string): string => {
    try {
      parseCounterexample(signed(body));
    } catch (e) {
      expect(e).toBeInstanceOf(ScheduleStringError);
      return (e as Error).message;
    }
    return 'accepted';
  };
  const parts = (threads: string, answerList: string): string => `1~munmap~d~linux-6.1~~~abcd~${threads}~${answerList}`;
  expect(refused(parts('a2b', '1-1'))).toBe('accepted');
  expect(refused(parts('Xa2bY3', ''))).toBe('accepted');
  for (const threads of [
    'a1',
    'a02',
    'F',
    'Xa',
    'XaY',
    'XaY1',
    'XY3',
    'Y3',
    'X2aY3',
    'XXaY2Y2',
    'a9999999',
    'a-',
    'XaY99999999999',
  ])
    expect(refused(parts(threads, '')), threads).toMatch(/list of threads|repeats nothing|more than 1000000 steps/);
  for (const list of ['1', '0-1', '1-0', '1-1.', '4-1', '1-1-', '1-01', '1-1.3-1', 'x'])
    expect(refused(parts('a2b', list)), list).toMatch(/list of answers|an answer for step/);
  expect(refused('2~munmap~d')).toContain('version 2 is not known here');
  expect(refused('hello')).toContain('begins with its version');
  expect(refused('1~munmap~d~linux-6.1')).toContain('is the text cut?');
  expect(refused('1~mun_map~d~linux-6.1~~~abcd~a~')).toContain('the operation is not a name at its character 4');
  expect(refused('1~mun_ffap~d~linux-6.1~~~abcd~a~')).toContain('the operation is not UTF-8');
  expect(refused('1~munmap~d~linux-6.1~~~abc~a~')).toContain('digest');
});

test(`every damaged text is refused or read, never anything else (SEED=${seed})`, () => {
  const rng = new Rng(seed);
  const [text] = fc.sample(counterexamples, { seed, numRuns: 1 }).map(formatCounterexample);
  const base = `${text}`;
  const alphabet = 'aAbBxXyYzZ0123456789~._-%é\u0000';
  let isRead = 0;
  for (let i = 0; i < 20_000; i++) {
    let s = rng.chance(1, 2) ? base.slice(0, base.lastIndexOf('~')) : base;
    const isSigned = s !== base;
    for (let n = 1 + rng.below(3); n > 0; n--) {
      const at = rng.below(s.length + 1);
      const c = alphabet[rng.below(alphabet.length)]!;
      const how = rng.below(4);
      if (how === 0) s = s.slice(0, at) + c + s.slice(at);
      else if (how === 1) s = s.slice(0, at) + s.slice(at + 1);
      else if (how === 2) s = s.slice(0, at) + c + s.slice(at + 1);
      else s = s.slice(0, at) + s.slice(at + rng.below(8));
    }
    const damaged = isSigned ? signed(s) : s;
    try {
      const x = parseCounterexample(damaged);
      expect(parseCounterexample(formatCounterexample(x))).toEqual(x);
      if (!isSigned && damaged !== base) isRead++;
    } catch (e) {
      if (!(e instanceof ScheduleStringError)) throw new Error(`${JSON.stringify(damaged)}: ${e}`);
    }
  }
  // One in 16 million passes the checksum by accident.
  expect(isRead).toBeLessThan(3);
});

test('a text for something else, or for a scenario that has changed, is told apart', () => {
  const x = example([]);
  checkPairing(x, x);
  const refused = (change: Partial<Counterexample>): string => {
    try {
      checkPairing(x, { ...x, ...change });
    } catch (e) {
      expect(e).toBeInstanceOf(ScheduleStringError);
      return (e as Error).message;
    }
    return 'accepted';
  };
  expect(refused({ driver: 'iommu-v2' })).toBe('schedule string: it is for driver "no-callbacks", not for "iommu-v2"');
  expect(refused({ operation: 'mremap' })).toContain('it is for operation "munmap", not for "mremap"');
  expect(refused({ digest: scenarioDigest('munmap', 'no-callbacks', 'linux-6.1', 'x') })).toContain(
    'has changed since',
  );
});
