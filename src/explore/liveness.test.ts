import { expect, test } from 'vitest';
import { boundedSearch } from './bounded.ts';
import { goalOf } from './goal.ts';
import { findNoProgress } from './liveness.ts';
import { minimise } from './minimise.ts';
import { pct } from './pct.ts';
import { randomWalk } from './random.ts';
import { replay } from './replay.ts';
import { op, poll, type State, set, testProgram } from './test-program.ts';
import type { Schedule } from './world.ts';

const of = (...threads: number[]): Schedule => threads.map((thread) => ({ thread, answers: [] }));

/** Both raise a flag and wait until the other one's is down: one after the other they pass, else never. */
const polite = testProgram('polite', [
  [set('x', 1), poll((s) => s.get('y') === 0), set('x', 0)],
  [set('z', 1), set('y', 1), poll((s) => s.get('x') === 0), set('y', 0)],
]);

test('a livelock is found behind the first step from which nobody gets out, and its round is named', () => {
  const stuck = findNoProgress(polite, of(0, 1, 1, 0, 1, 1, 0))!;
  expect(stuck.finding).toMatchObject({
    property: 'L1',
    tag: 'LIVELOCK',
    kind: 'liveness',
    step: stuck.schedule.length,
  });
  expect(stuck.finding.sentence).toContain('thread 0 and thread 1 go round: the same 2 steps again and again');
  expect(stuck).toMatchObject({ threads: [0, 1], period: 2 });
  // Two steps of the witness lead into it; one round follows.
  expect(stuck.schedule).toEqual([...of(0, 1, 1), ...stuck.schedule.slice(3)]);
  expect(stuck.schedule.length).toBeLessThanOrEqual(6);
  expect(findNoProgress(polite, stuck.schedule)).not.toBeNull();
  // Before both flags are up somebody can still pass.
  expect(findNoProgress(polite, of(0))).toBeNull();
  expect(findNoProgress(polite, of(0, 0))).toBeNull();
  expect(replay(polite, of(0, 0), { isCompleted: true }).isCut).toBe(false);
});

test('searches report it where they were cut, with a schedule that leads there', () => {
  const limits = { executions: 60, stepsMax: 200 };
  for (const found of [
    randomWalk(polite, { ...limits, seed: 1 }),
    pct(polite, { ...limits, seed: 1 }),
    boundedSearch(polite, { ...limits, bound: 2 }),
  ]) {
    expect(found.cut).toBeGreaterThan(0);
    const [witness] = found.witnesses;
    expect(witness!.finding.property).toBe('L1');
    expect(replay(polite, witness!.schedule).isCut).toBe(true);
    expect(findNoProgress(polite, witness!.schedule)).not.toBeNull();
    const minimal = minimise(polite, witness!.schedule, goalOf(witness!.finding));
    expect(minimal.steps).toBeLessThanOrEqual(witness!.schedule.length);
    expect(minimal.finding.property).toBe('L1');
  }
});

test('unfair is not stuck: who polls for what another thread is about to do gets it', () => {
  const waits = testProgram('waits', [[poll((s) => s.get('x') === 1)], [set('n', 1), set('x', 1)]]);
  expect(findNoProgress(waits, of(...new Array(2000).fill(0)))).toBeNull();
  const cut = boundedSearch(waits, { executions: 50, bound: 1, stepsMax: 100 });
  expect(cut.cut).toBeGreaterThan(0);
  expect(cut.witnesses).toEqual([]);
});

test('background that never ends is no livelock', () => {
  const daemon = testProgram('daemon', [[op((s) => s.get('x'))], [set('x', 1)]], [0]);
  expect(findNoProgress(daemon, [])).toBeNull();
  expect(randomWalk(daemon, { seed: 1, executions: 5, stepsMax: 50 })).toMatchObject({ cut: 5, witnesses: [] });
});

/** Adds one to the variable; then: does the condition hold? */
const count =
  (x: string, until: (n: number) => boolean) =>
  (s: State): boolean => {
    s.set(x, s.get(x) + 1);
    return until(s.get(x));
  };

test('a chance way out is a way out', () => {
  // In step with each other they never pass; out of step they do.
  const lockstep = testProgram('lockstep', [
    [poll(count('turn', (n) => n % 2 === 0))],
    [poll(count('turn', (n) => n % 2 === 1))],
  ]);
  expect(findNoProgress(lockstep, [])).toBeNull();
});

test('a thread that gets nothing done while others work is starved; one that waits a little is not', () => {
  const work = (n: number) => Array.from({ length: n }, (_, i) => set('n', i));
  const program = (n: number) =>
    testProgram('work', [[poll((s) => s.get('done') === 1)], [...work(n), set('done', 1)]]);
  const starved = findNoProgress(program(900), [])!;
  expect(starved.finding.sentence).toMatch(
    /^thread 0 made 501 steps in fair order and completed nothing, while others/,
  );
  expect(starved.threads).toEqual([0]);
  expect(findNoProgress(program(300), [])).toBeNull();
  // It waits long, but nobody else does anything either.
  const slow = testProgram('slow', [[poll((s) => s.get('n') > 600)], [poll(count('n', (n) => n > 600))]]);
  expect(findNoProgress(slow, [])).toBeNull();
});
