// The guarantee of PCT, measured: programs whose bug has a known depth are met at least as often as it says. The runs are seeded:
// a failure is no bad luck, it repeats.
import { expect, test } from 'vitest';
import { pct } from './pct.ts';
import { replay } from './replay.ts';
import { claim, type Op, op, set, testProgram } from './test-program.ts';

const seed = Number(process.env['SEED'] ?? 1);
const RUNS = 8000;

const noise = (n: number): Op[] => Array.from({ length: n }, (_, i) => set(`n${i}`, 1));

/** Depth 1: thread 1 looks before thread 0, which has nothing else to do, has begun. */
const order = testProgram('order', [
  [set('ready', 1), ...noise(6)],
  [...noise(3), claim('BUG', (s) => s.get('ready') === 1), ...noise(2)],
  noise(5),
]);
/** Depth 2: thread 1 looks between two steps of thread 0. */
const between = testProgram('between', [
  [...noise(4), set('x', 1), set('x', 0), ...noise(4)],
  [...noise(2), claim('BUG', (s) => s.get('x') === 0), ...noise(2)],
  noise(5),
]);
/** Depth 3: thread 1 looks before thread 0 has begun, and again between two of its steps. */
const twice = testProgram('twice', [
  [set('x', 1), ...noise(4), set('x', 3), set('x', 4), ...noise(2)],
  [op((s) => s.set('first', s.get('x'))), ...noise(1), claim('BUG', (s) => s.get('first') !== 0 || s.get('x') !== 3)],
]);

for (const [depth, program] of [
  [1, order],
  [2, between],
  [3, twice],
] as const) {
  test(`a bug of depth ${depth} is met at least as often as guaranteed (SEED=${seed})`, () => {
    const result = pct(program, { seed, executions: RUNS, depth });
    const met = result.withFindings / result.executions;
    const deviation = Math.sqrt((result.guarantee * (1 - result.guarantee)) / RUNS);
    expect(result).toMatchObject({ depth, longer: 0, cut: 0, threads: depth === 3 ? 2 : 3, executions: RUNS });
    expect(result.guarantee).toBeCloseTo(1 / (result.threads * result.stepsAssumed ** (depth - 1)), 12);
    expect(met).toBeGreaterThan(result.guarantee - 3 * deviation);
    expect(result.reached).toBeGreaterThan(0.9);
    const { finding, schedule } = result.witnesses[0]!;
    expect(replay(program, schedule).findings).toContainEqual(finding);
  });
}

test('without the fall of a priority no thread is preempted: deeper bugs are not met', () => {
  expect(pct(between, { seed, executions: 500, depth: 1 }).withFindings).toBe(0);
  expect(pct(twice, { seed, executions: 500, depth: 2 }).withFindings).toBe(0);
});

test('runs depend on seed and number alone', () => {
  const all = pct(between, { seed, executions: 400, depth: 2, steps: 20 });
  const parts = [0, 200].map((from) => pct(between, { seed, executions: 200, depth: 2, steps: 20, from }));
  expect(parts[0]!.withFindings + parts[1]!.withFindings).toBe(all.withFindings);
  expect(pct(between, { seed, executions: 400, depth: 2, steps: 20 })).toEqual(all);
});

test('executions longer than assumed are told, and a thread that polls does not keep the others for ever', () => {
  expect(pct(between, { seed, executions: 50, depth: 2, steps: 7 })).toMatchObject({ stepsAssumed: 7, longer: 50 });
  const polls = testProgram('polls', [[op((s) => s.get('x'))], [set('x', 1), claim('SEEN', () => false)]], [0]);
  const result = pct(polls, { seed, executions: 20, stepsMax: 1000 });
  expect(result).toMatchObject({ withFindings: 20, cut: 20 });
});
