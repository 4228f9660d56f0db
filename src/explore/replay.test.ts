import { expect, test } from 'vitest';
import { InputError } from '../base/assert.ts';
import { randomWalk } from './random.ts';
import { replay, type ScheduleError } from './replay.ts';
import { claim, lock, op, set, testProgram, unlock } from './test-program.ts';
import type { Schedule } from './world.ts';

const of = (...threads: number[]): Schedule => threads.map((thread) => ({ thread, answers: [] }));

/** Thread 1 sees x between the two stores of thread 0. */
const between = testProgram('between', [[set('x', 1), set('x', 0)], [claim('X', (s) => s.get('x') === 0)]]);
const asks = testProgram('asks', [
  [op((s) => s.set('a', s.choose(3))), op((s) => s.set('b', s.choose(2) * 2 + s.choose(2)))],
]);

test('a schedule is followed exactly, and what it finds stands at its step', () => {
  const found = replay(between, of(0, 1, 0));
  expect(found.findings.map((f) => [f.property, f.step])).toEqual([['X', 2]]);
  expect(found).toMatchObject({ steps: 3, switches: 2, preemptions: 1, isCut: false });
  expect(replay(between, of(1, 0, 0)).findings).toEqual([]);
  expect(replay(between, of(0, 0, 1)).findings).toEqual([]);
});

test('a part of a schedule stops there, or goes on without preemption', () => {
  expect(replay(between, of(0))).toMatchObject({ steps: 1, isCut: true, findings: [] });
  const whole = replay(between, of(0), { isCompleted: true });
  expect(whole.schedule).toEqual(of(0, 0, 1));
  expect(replay(between, of(0, 1), { isCompleted: true }).schedule).toEqual(of(0, 1, 0));
  expect(replay(between, [], { isCompleted: true, stepsMax: 2 })).toMatchObject({ steps: 2, isCut: true });
});

test('completion is fair: a thread that polls for ever lets the others run', () => {
  const polls = testProgram('polls', [[op((s) => s.get('x'))], [set('x', 1), claim('SEEN', () => false)]], [0]);
  const { findings } = replay(polls, [], { isCompleted: true, stepsMax: 500 });
  expect(findings.map((f) => f.property)).toEqual(['SEEN']);
});

test('answers are followed; missing ones are the first alternative', () => {
  const state = (...answers: number[][]): string =>
    replay(
      asks,
      answers.map((a) => ({ thread: 0, answers: a })),
    ).world.finalState!();
  expect(state([2], [1, 1])).toBe('a=2 b=3');
  expect(state([], [1])).toBe('a=0 b=2');
  expect(state([0, 0], [0, 1])).toBe('a=0 b=1');
  expect(replay(asks, of(0, 0)).schedule).toEqual([
    { thread: 0, answers: [0] },
    { thread: 0, answers: [0, 0] },
  ]);
});

test('where a schedule cannot be followed, the answer names the step and the reason', () => {
  const locks = testProgram('locks', [
    [lock('l'), unlock('l')],
    [lock('l'), unlock('l')],
  ]);
  const refusal = (schedule: Schedule, program = locks): ScheduleError => {
    try {
      replay(program, schedule);
    } catch (e) {
      expect(e).toBeInstanceOf(InputError);
      return e as ScheduleError;
    }
    throw new Error('it was followed');
  };
  expect(refusal(of(0, 1)).message).toBe(
    'schedule for locks: step 2: thread 1 cannot go on here; those that can: 0 (thread 0)',
  );
  expect(refusal(of(0, 1))).toMatchObject({ step: 2, thread: 1 });
  expect(refusal(of(0, 0, 1, 1, 1)).message).toContain('step 5: thread 1 is to go on, but the execution is over');
  for (const thread of [-1, 2, 31, 32, 0.5, Number.NaN]) expect(refusal(of(thread)).step).toBe(1);
  expect(refusal([{ thread: 0, answers: [3] }], asks).message).toContain('answer 1 is 3, but there are 3 alternatives');
  expect(refusal([{ thread: 0, answers: [0, 1] }], asks).message).toContain('2 answers are given, but 1 are asked for');
});

test('random walks find the bug, and their witnesses replay; the walks depend on the seed alone', () => {
  const walks = randomWalk(between, { seed: 3, executions: 400 });
  expect(walks).toMatchObject({ executions: 400, steps: 1200, cut: 0, isComplete: false });
  // 0 and 1 are equally likely at each step: 0 1 0 comes once in four walks.
  expect(walks.withFindings).toBeGreaterThan(60);
  expect(walks.withFindings).toBeLessThan(140);
  expect(walks.witnesses.map((w) => w.schedule)).toEqual([of(0, 1)]);
  expect(randomWalk(between, { seed: 3, executions: 400 })).toEqual(walks);
  const halves = [0, 200].map((from) => randomWalk(between, { seed: 3, executions: 200, from }).withFindings);
  expect(halves[0]! + halves[1]!).toBe(walks.withFindings);
  let asked = 0;
  expect(randomWalk(between, { seed: 3, executions: 400, goOn: () => asked++ < 7 }).executions).toBe(7);
});

test('random walks answer otherwise at most as often as they may', () => {
  for (const answersMax of [0, 1, 2]) {
    const seen = new Set<number>();
    const counting = testProgram('counting', [
      Array.from({ length: 20 }, () => op((s) => s.set('n', s.get('n') + (s.choose(2) === 0 ? 0 : 1)))).concat(
        op((s) => seen.add(s.get('n'))),
      ),
    ]);
    randomWalk(counting, { seed: 1, executions: 100, answersMax });
    expect([...seen].sort()).toEqual([0, 1, 2].slice(0, answersMax + 1));
  }
});
