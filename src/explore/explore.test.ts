// explore() as its callers see it: bounds are kept and told, witnesses are the best ones and replay, the same input gives the same
// executions, and a program that breaks its contract is refused with the schedule that shows it.
import { expect, test } from 'vitest';
import { OBJ_LOCK } from '../base/footprint.ts';
import { StepError } from './dpor.ts';
import { explore } from './explore.ts';
import { replay } from './replay.ts';
import { type ToyOp, toyProgram } from './toy.ts';
import type { Program, Schedule } from './world.ts';

const writes = (n: number): ToyOp[] => Array.from({ length: n }, (_, i) => ({ op: 'set', v: 0, value: i }));
/** 3 threads of 2 writes: 6! / (2! 2! 2!) orders. */
const NINETY = toyProgram([writes(2), writes(2), writes(2)]);

test('bounds end the exploration and are told', () => {
  expect(explore(NINETY)).toMatchObject({ exhaustive: true, stopped: 'finished', executions: 90, cut: 0 });
  expect(explore(NINETY, { executionsMax: 7 })).toMatchObject({
    exhaustive: false,
    stopped: 'executions',
    executions: 7,
  });
  let asked = 0;
  const some = explore(NINETY, { goOn: () => ++asked < 5 });
  expect(some).toMatchObject({ exhaustive: false, stopped: 'goOn', executions: 5 });
  const visited = explore(NINETY, { visit: (e) => e.number < 3 });
  expect(visited).toMatchObject({ exhaustive: false, stopped: 'visitor', executions: 3 });
});

test('an execution over the bound on steps is cut, counted, and never called exhaustive', () => {
  const lengths: number[] = [];
  const r = explore(NINETY, {
    stepsMax: 4,
    visit: (e) => {
      lengths.push(e.schedule().length);
      expect(e.isCut).toBe(true);
    },
  });
  expect(r.exhaustive).toBe(false);
  expect(r.stopped).toBe('finished');
  expect(r.cut).toBe(r.executions);
  expect(new Set(lengths)).toEqual(new Set([4]));
  // A bound that just suffices cuts nothing.
  expect(explore(NINETY, { stepsMax: 6 })).toMatchObject({ exhaustive: true, executions: 90, cut: 0 });
});

test('equal input, equal executions', () => {
  const all = (): Schedule[] => {
    const seen: Schedule[] = [];
    explore(NINETY, { visit: (e) => void seen.push(e.schedule()) });
    return seen;
  };
  const first = all();
  expect(all()).toEqual(first);
  expect(new Set(first.map((s) => JSON.stringify(s))).size).toBe(90);
});

test('the witness kept is the one of fewest steps, then fewest switches, and it replays', () => {
  const program = toyProgram([
    [...writes(2), { op: 'free', v: 0 }],
    [...writes(1), { op: 'use', v: 0 }],
  ]);
  const { findings } = explore(program);
  expect(findings.map((w) => w.finding.property)).toEqual(['I1']);
  const [{ finding, schedule, switches }] = findings as [(typeof findings)[0]];
  expect([finding.step, schedule.length, switches]).toEqual([5, 5, 1]);
  const again = replay(program, schedule);
  expect(again.findings.map((f) => f.sentence)).toContain(finding.sentence);
});

test('a choice inside a step: each answer is one execution, in the schedule', () => {
  const answers: (readonly number[])[] = [];
  explore(toyProgram([[{ op: 'pick', v: 0, n: 3, m: 2 }]]), {
    visit: (e) => void answers.push(e.schedule()[0]!.answers),
  });
  expect(answers).toEqual([[0], [1], [2, 0], [2, 1]]);
});

/** Two threads of one step each; `step` says what each does. */
function twoSteps(step: (thread: number, note: () => void, take: (thread: number) => void) => boolean): Program {
  return {
    name: 'two steps',
    build(_, footprint) {
      let enabled = 3;
      return {
        enabled: () => enabled,
        step(thread) {
          enabled &= ~(1 << thread);
          return step(
            thread,
            () => footprint.note(OBJ_LOCK, 0, true),
            (t) => {
              enabled &= ~(1 << t);
            },
          );
        },
        findingCount: () => 0,
        end: () => [],
        threadName: (t) => `t${t}`,
      };
    },
  };
}

test('what a program must not do is refused, with the schedule', () => {
  const throws = twoSteps((thread) => {
    if (thread === 1) throw new RangeError('out of paper');
    return false;
  });
  let error: unknown;
  try {
    explore(throws);
  } catch (e) {
    error = e;
  }
  expect(error).toBeInstanceOf(StepError);
  expect((error as StepError).message).toBe('two steps: step 2, t1: out of paper');
  expect((error as StepError).cause).toBeInstanceOf(RangeError);
  expect((error as StepError).schedule.map((c) => c.thread)).toEqual([0, 1]);

  const takesAway = twoSteps((thread, _, take) => {
    take(1 - thread);
    return false;
  });
  expect(() => explore(takesAway)).toThrow('it took thread 1 out of those that can step');

  // Equal choices make another execution: from the second build on, steps ask for a choice.
  let builds = 0;
  const changes: Program = {
    name: 'changes',
    build: (chooser, footprint) => {
      const world = NINETY.build(chooser, footprint);
      const isLater = ++builds > 1;
      const step = world.step.bind(world);
      world.step = (t) => {
        if (isLater) chooser.choose(2, 0);
        return step(t);
      };
      return world;
    },
  };
  expect(() => explore(changes)).toThrow('the choices before it were others');
});
