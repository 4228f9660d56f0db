import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { countSwitches } from './explore.ts';
import { goalOf, isGoal } from './goal.ts';
import { minimise } from './minimise.ts';
import { randomWalk } from './random.ts';
import { replay } from './replay.ts';
import { trimSchedule } from './schedule-string.ts';
import {
  claim,
  type Ended,
  everyExecution,
  lock,
  op,
  randomProgram,
  set,
  testProgram,
  unlock,
} from './test-program.ts';
import { randomToy, toyProgram } from './toy.ts';
import type { Program, Schedule } from './world.ts';

const seed = Number(process.env['SEED'] ?? 1);

/** Steps, switches, threads, answers: what is compared, in this order. */
function key(schedule: Schedule): number[] {
  const threads = schedule.map((choice) => choice.thread);
  const answers = schedule.flatMap((choice) => [...choice.answers, ...new Array(4).fill(0)].slice(0, 4));
  return [schedule.length, countSwitches(schedule, schedule.length), ...threads, ...answers];
}

function isBefore(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! < b[i]!;
  return false;
}

/** Holds the minimiser against all executions, for each property that some of them violate, from several witnesses. */
function compareWithAll(program: Program, all: readonly Ended[], rng: Rng, where: string): string[] {
  const found = new Set(all.flatMap(({ findings }) => findings.map((f) => f.property)));
  for (const property of found) {
    const witnesses = all.flatMap(({ execution, findings }) =>
      findings.filter((f) => f.property === property).map((f) => execution.schedule(f.step)),
    );
    let best = trimSchedule(witnesses[0]!);
    for (const w of witnesses) if (isBefore(key(w), key(best))) best = trimSchedule(w);
    for (let i = 0; i < 3; i++) {
      const witness = witnesses[rng.below(witnesses.length)]!;
      // As many other answers as anyone has: the minimum is looked for among all.
      const minimal = minimise(program, witness, { property, gap: null }, { answersMax: 20 });
      expect(minimal.isCanonical, where).toBe(true);
      expect(trimSchedule(minimal.schedule), `${where}, ${property}`).toEqual(best);
      const again = replay(program, minimal.schedule);
      expect(again.findings, where).toContainEqual(minimal.finding);
      expect(again).toMatchObject({
        steps: minimal.steps,
        switches: minimal.switches,
        preemptions: minimal.preemptions,
      });
    }
  }
  return [...found];
}

test(`the minimum is the minimum of all executions, whatever the witness (SEED=${seed})`, () => {
  const rng = new Rng(seed);
  const seen: string[] = [];
  for (let round = 0; seen.length < 25; round++) {
    const program = randomProgram(rng, 5);
    const all = everyExecution(program, 1500);
    if (all !== null) seen.push(...compareWithAll(program, all, rng, `round ${round}`));
  }
  expect(new Set(seen).size).toBeGreaterThan(2);
});

test(`the same where threads try, wait in queues and try again (SEED=${seed})`, () => {
  const rng = new Rng(seed);
  const seen: string[] = [];
  for (let round = 0; seen.length < 25; round++) {
    const program = toyProgram(randomToy(rng, 8), { saysWaiting: round % 2 === 0 });
    const all = everyExecution(program, 1500);
    if (all !== null) seen.push(...compareWithAll(program, all, rng, `round ${round}`));
  }
  expect(new Set(seen).size).toBeGreaterThan(1);
});

test(`without the budget it says so, is never worse than the witness, and is repeatable (SEED=${seed})`, () => {
  const rng = new Rng(seed + 1);
  let notCanonical = 0;
  for (let checked = 0; checked < 25; ) {
    const program = randomProgram(rng, 8);
    const witness = everyWitness(program, rng);
    if (witness === null) continue;
    checked++;
    for (const executions of [1, 5, 30]) {
      const minimal = minimise(program, witness.schedule, witness.goal, { executions });
      expect(isBefore(key(witness.schedule), key(minimal.schedule))).toBe(false);
      expect(replay(program, minimal.schedule).findings.some((f) => isGoal(f, witness.goal))).toBe(true);
      expect(minimise(program, witness.schedule, witness.goal, { executions })).toEqual(minimal);
      if (!minimal.isCanonical) notCanonical++;
    }
    const whole = minimise(program, witness.schedule, witness.goal, { answersMax: 9 });
    expect(minimise(program, whole.schedule, witness.goal, { answersMax: 9 })).toMatchObject({
      schedule: whole.schedule,
    });
  }
  expect(notCanonical).toBeGreaterThan(25);
});

/** A random walk that finds something, out of twenty. */
function everyWitness(program: ReturnType<typeof randomProgram>, rng: Rng) {
  const { witnesses } = randomWalk(program, { seed: rng.u32(), executions: 20, answersMax: 3 });
  const w = witnesses[0];
  return w === undefined ? null : { schedule: w.schedule, goal: goalOf(w.finding) };
}

test('noise is dropped, and what remains has the fewest switches', () => {
  const noise = Array.from({ length: 10 }, (_, i) => set(`n${i}`, 1));
  const bug = testProgram('bug in noise', [
    [...noise, set('x', 1), ...noise, set('x', 0)],
    [set('m', 1), claim('SEEN', (s) => s.get('x') === 0)],
    noise,
  ]);
  const threads = [2, 0, 2, 0, 0, 1, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 2, 1];
  const witness = threads.map((thread) => ({ thread, answers: [] }));
  const minimal = minimise(bug, witness, { property: 'SEEN', gap: null });
  expect(minimal.schedule.map((c) => c.thread)).toEqual([...new Array(11).fill(0), 1, 1]);
  expect(minimal).toMatchObject({ steps: 13, switches: 1, preemptions: 1, isCanonical: true });
});

test('a deadlock is reached with the fewest steps', () => {
  const inversion = testProgram('inversion', [
    [set('x', 1), lock('a'), lock('b'), unlock('b'), unlock('a')],
    [lock('b'), set('y', 1), lock('a'), unlock('a'), unlock('b')],
  ]);
  const witness = [1, 0, 1, 0].map((thread) => ({ thread, answers: [] }));
  const minimal = minimise(inversion, witness, { property: 'I60', gap: null });
  expect(minimal.schedule.map((c) => c.thread)).toEqual([0, 0, 1, 1]);
});

test('answers that do not matter become the first alternative', () => {
  const asks = testProgram('asks', [
    [op((s) => s.set('a', s.choose(3))), op((s) => s.claim(s.choose(3) !== 1, 'ONE'))],
  ]);
  const minimal = minimise(
    asks,
    [
      { thread: 0, answers: [2] },
      { thread: 0, answers: [1] },
    ],
    { property: 'ONE', gap: null },
  );
  expect(trimSchedule(minimal.schedule)).toEqual([
    { thread: 0, answers: [] },
    { thread: 0, answers: [1] },
  ]);
});

test('a schedule without the finding is refused', () => {
  const quiet = testProgram('quiet', [[set('x', 1)]]);
  expect(() => minimise(quiet, [{ thread: 0, answers: [] }], { property: 'X', gap: null })).toThrow(
    /shows no finding of X/,
  );
});
