// The soak: random programs, everything recounted after every operation (support/random-memory.ts). OPERATIONS and SEED set its
// size and its programs.
import { expect, it } from 'vitest';
import type { KernelFns } from '../src/mm/fns.ts';
import { RandomMemory } from './support/random-memory.ts';

const seed = Number(process.env['SEED'] ?? 7);
const operations = Number(process.env['OPERATIONS'] ?? 3000);
/** Operations of one world, from its first process to its end. */
const WORLD = 500;

function soak(w: RandomMemory, steps: number, label: string): void {
  try {
    for (let i = 0; i < steps; i++) w.step();
    w.end();
  } catch (e) {
    throw new Error(`${label} ${(e as Error).message}`, { cause: e });
  }
}

it(`${operations} operations keep contents, counts and entries right (SEED=${seed})`, () => {
  for (let done = 0, round = 0; done < operations; done += WORLD, round++)
    soak(
      new RandomMemory(seed * 100_000 + round, { numaNodes: 1 + (round % 2) }),
      Math.min(WORLD, operations - done),
      `SEED=${seed} round ${round}`,
    );
});

it(`the same with huge pages (SEED=${seed})`, () => {
  const count = Math.ceil(operations / 10);
  for (let done = 0, round = 0; done < count; done += 100, round++) {
    const w = new RandomMemory(seed * 200_000 + round, {
      frames: 12288,
      swapPages: 6000,
      shmemHuge: round % 2 === 0 ? 'always' : 'never',
    });
    soak(w, Math.min(100, count - done), `SEED=${seed} huge round ${round}`);
    expect(w.k.huge.zeroRefs).toBeLessThanOrEqual(1);
  }
});

it('the judges notice a kernel without TLB flushes, without swap_free, or without its rmap', () => {
  const sabotage: Partial<KernelFns>[] = [
    { flushTlbMmRange: function* () {} },
    { swapFree: () => {} },
    { pageRemoveRmap: () => {} },
    { lruDel: () => {} },
  ];
  for (const patch of sabotage)
    expect(() => soak(new RandomMemory(seed, {}, patch), 450, 'sabotage')).toThrow('sabotage step');
});
