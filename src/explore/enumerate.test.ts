// The enumeration counts what combinatorics counts, and Knuth's estimate agrees with the exact number where there is one.
import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { enumerate, estimateInterleavings } from './enumerate.ts';
import { randomToy, type ToyOp, toyProgram } from './toy.ts';

const seed = Number(process.env['SEED'] ?? 1);

/** Ways to interleave sequences of these lengths. */
function multinomial(lengths: readonly number[]): number {
  let ways = 1;
  let total = 0;
  for (const length of lengths) for (let i = 1; i <= length; i++) ways = (ways * ++total) / i;
  return Math.round(ways);
}

const writes = (n: number): ToyOp[] => Array.from({ length: n }, () => ({ op: 'add', v: 0, value: 1 }));

test('interleavings of straight threads are the multinomial coefficient', () => {
  for (const lengths of [[], [3], [1, 1], [2, 2], [3, 2, 1], [4, 4], [2, 2, 2, 1]]) {
    const { executions, isComplete } = enumerate(toyProgram(lengths.map(writes)), () => {});
    expect({ lengths, executions, isComplete }).toEqual({
      lengths,
      executions: multinomial(lengths),
      isComplete: true,
    });
  }
});

test('every answer of a step is one more way', () => {
  // 0 and 1 of the first question; its last answer asks for one of three.
  const pick: ToyOp = { op: 'pick', v: 0, n: 2, m: 3 };
  const seen: string[] = [];
  enumerate(toyProgram([[pick]]), (world) => seen.push(world.finalState!()));
  expect(new Set(seen).size).toBe(4);
  expect(seen).toHaveLength(4);
  expect(enumerate(toyProgram([[pick], [pick]]), () => {}).executions).toBe(2 * 4 * 4);
});

test('bounds: no more executions, no more steps', () => {
  const program = toyProgram([writes(4), writes(4)]);
  expect(enumerate(program, () => {}, 10)).toEqual({ isComplete: false, executions: 10, cut: 0 });
  let cut = 0;
  const result = enumerate(program, (_, isCut) => (cut += isCut ? 1 : 0), 1000, 3);
  expect([result.executions, result.cut, cut]).toEqual([8, 8, 8]);
});

test(`the estimate's interval holds the exact number, in 19 of 20 programs (SEED=${seed})`, () => {
  let inside = 0;
  let tried = 0;
  for (let i = 0; tried < 200; i++) {
    const rng = new Rng(seed * 1_000_003 + i);
    const program = toyProgram(randomToy(rng, 8));
    const { executions, isComplete } = enumerate(program, () => {}, 3000);
    if (!isComplete || executions < 10) continue;
    tried++;
    const { mean, low, high } = estimateInterleavings(program, rng, 400);
    if (executions >= low - 1e-6 && executions <= high + 1e-6) inside++;
    expect(mean).toBeGreaterThan(0);
  }
  expect(inside).toBeGreaterThanOrEqual(176);
});
