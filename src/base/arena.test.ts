import { expect, test } from 'vitest';
import { Arena, float64s, int32s, uint8s, uint32s } from './arena.ts';
import { Rng } from './rng.ts';

test('arrays of an arena are zero, aligned and apart from each other, time after time', () => {
  const rng = new Rng(Number(process.env['SEED'] ?? 1));
  const arena = new Arena(4096);
  for (let round = 0; round < 50; round++) {
    arena.reset();
    const made: (Int32Array | Uint32Array | Float64Array | Uint8Array)[] = [];
    Arena.use(arena, () => {
      for (let i = 0; i < 40; i++) {
        const n = rng.below(90);
        made.push([int32s, uint32s, float64s, uint8s][rng.below(4)]!(n));
        expect(made[i]!.length).toBe(n);
      }
    });
    expect(made.every((a) => a.every((x) => x === 0))).toBe(true);
    made.forEach((a, i) => {
      a.fill(i + 1);
    });
    made.forEach((a, i) => {
      expect(a.every((x) => x === i + 1)).toBe(true);
    });
    // A round that wanted more than there is has arrays of its own, and leaves a larger arena.
    const size = made.reduce((sum, x) => sum + ((x.byteLength + 7) & -8), 0);
    const held = arena.buffer.byteLength;
    expect(made.every((x) => x.buffer === arena.buffer)).toBe(size <= held);
  }
});

test('without an arena in force, and after one, every array has a buffer of its own', () => {
  const arena = new Arena();
  const inside = Arena.use(arena, () => int32s(4));
  const [a, b] = [int32s(4), int32s(4)];
  expect(inside.buffer).toBe(arena.buffer);
  expect(a.buffer).not.toBe(b.buffer);
  expect(() =>
    Arena.use(arena, () => {
      throw new Error('fails');
    }),
  ).toThrow('fails');
  expect(int32s(4).buffer).not.toBe(arena.buffer);
});
