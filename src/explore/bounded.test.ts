import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { boundedSearch } from './bounded.ts';
import { replay } from './replay.ts';
import { countPreemptions, Run } from './run.ts';
import { claim, everyExecution, op, randomProgram, set, testProgram } from './test-program.ts';
import type { Program } from './world.ts';

const seed = Number(process.env['SEED'] ?? 1);

function others(execution: Run): number {
  return execution.answers.flat().filter((a) => a !== 0).length;
}

/** Steps of another thread than the usual one. */
function delays(program: Program, { threads, answers }: Run): number {
  const again = new Run(program);
  return threads.filter((t, i) => {
    const isDelay = again.usual !== t;
    again.step(t, answers[i]);
    return isDelay;
  }).length;
}

const preemptions = (_: Program, execution: Run): number => countPreemptions(execution.threads, execution.couldStep);

for (const [count, cost] of [
  ['preemptions', preemptions],
  ['delays', delays],
] as const) {
  test(`each bound on ${count} sees exactly the executions within it (SEED=${seed})`, () => {
    const rng = new Rng(seed);
    let programs = 0;
    let withFindings = 0;
    while (programs < 20) {
      const program = randomProgram(rng, 4);
      const all = everyExecution(program, 2000);
      if (all === null) continue;
      programs++;
      for (const answersMax of [0, 2]) {
        for (const bound of [0, 1, 2]) {
          const seen = boundedSearch(program, { executions: 100_000, bound, answersMax, count });
          const within = (b: number) =>
            all.filter(({ execution: e }) => cost(program, e) <= b && others(e) <= answersMax);
          expect(seen.perBound).toEqual([0, 1, 2].slice(0, bound + 1).map((b) => within(b).length));
          expect(seen).toMatchObject({ exhausted: bound, isComplete: true, cut: 0 });
          const found = new Set(within(bound).flatMap((x) => x.findings.map((f) => f.property)));
          expect(new Set(seen.witnesses.map((w) => w.finding.property))).toEqual(found);
          withFindings += found.size;
          for (const w of seen.witnesses) expect(replay(program, w.schedule).findings).toContainEqual(w.finding);
        }
      }
    }
    expect(withFindings).toBeGreaterThan(15);
  });
}

/** Two flags each raised and lowered: both up at the second look takes two preemptions. */
const twoDeep = testProgram('two deep', [
  [set('a', 1), set('a', 0)],
  [op((s) => s.set('seen', s.get('a'))), claim('DEEP', (s) => s.get('seen') === 0 || s.get('a') === 1)],
]);

test('a bound below the depth of a bug is exhausted without it, and says so', () => {
  expect(boundedSearch(twoDeep, { executions: 1000, bound: 0 })).toMatchObject({ exhausted: 0, withFindings: 0 });
  const deep = boundedSearch(twoDeep, { executions: 1000, bound: 5, stopsAt: 'any' });
  expect(deep.witnesses.map((w) => w.finding.property)).toEqual(['DEEP']);
  expect(deep.exhausted).toBe(2);
  expect(deep.isComplete).toBe(false);
  expect(boundedSearch(twoDeep, { executions: 1000, bound: 5, stopsAt: { property: 'X', gap: null } })).toMatchObject({
    exhausted: 5,
    isComplete: true,
  });
});

test('a search that a limit ends claims no bound that it did not see', () => {
  const whole = boundedSearch(twoDeep, { executions: 1000, bound: 2 });
  for (let executions = 0; executions < whole.executions; executions++) {
    const part = boundedSearch(twoDeep, { executions, bound: 2 });
    expect(part.executions).toBe(executions);
    expect(part.isComplete).toBe(false);
    const sums = whole.perBound.map((_, i) => whole.perBound.slice(0, i + 1).reduce((a, b) => a + b));
    expect(part.exhausted).toBe(sums.filter((n) => n <= executions).length - 1);
  }
  let asked = 0;
  expect(boundedSearch(twoDeep, { executions: 1000, bound: 2, goOn: () => asked++ < 3 }).executions).toBe(3);
});

test('an execution without an end is cut, and the search goes on', () => {
  const endless = testProgram('endless', [[op(() => {})], [set('x', 1), claim('SEEN', () => false)]], [0]);
  const seen = boundedSearch(endless, { executions: 50, bound: 0, stepsMax: 300 });
  expect(seen.cut).toBe(seen.executions);
  expect(seen.witnesses.map((w) => w.finding.property)).toEqual(['SEEN']);
});
