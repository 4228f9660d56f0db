// A reduced run of the comparison with the running kernel, and the shrinker and the formats by themselves. OPERATIONS and SEED set the
// size and the programs; the full run is npm run difftest.
import { release } from 'node:os';
import { afterAll, expect, it } from 'vitest';
import { TASK_SIZE } from '../../src/abi/mman.ts';
import * as NR from '../../src/abi/syscalls.ts';
import { compareProgram, newCounts } from './compare.ts';
import { difftest, shrinkFailure } from './difftest.ts';
import { HostKernel, hostConfig, nearestProfile } from './host.ts';
import { OP_FORK_RUN, OP_LOAD, OP_MAPS, OP_MINCORE, OP_STORE, type Op } from './program.ts';
import { shrink } from './shrink.ts';

const seed = Number(process.env['SEED'] ?? 1);
const operations = Number(process.env['OPERATIONS'] ?? 12_000);

const ARENA = 0x100000000000;
const call = (nr: number, ...args: number[]): Op => ({ nr, args });

const host = HostKernel.open(new URL('host.c', import.meta.url).pathname);
if (typeof host === 'string') console.warn(`SKIPPED: nothing was compared with the running kernel (${host})`);

afterAll(() => {
  if (typeof host !== 'string') host.close();
});

it.skipIf(typeof host === 'string')(
  `${operations} operations agree with the running kernel ${release()} (SEED=${seed})`,
  { timeout: 3_600_000 },
  () => {
    const kernel = host as HostKernel;
    const config = hostConfig(nearestProfile());
    const limits = { operations, until: Number.POSITIVE_INFINITY, progress: () => {} };
    const outcome = difftest(kernel, config, seed, limits);
    const failure = outcome.failure === null ? null : shrinkFailure(kernel, config, outcome.failure);
    const shown = failure === null ? '' : `seed ${failure.seed}\n${failure.difference.story.join('\n')}`;
    expect(shown).toBe('');
    expect(outcome.counts.operations).toBeGreaterThanOrEqual(operations);
    expect(outcome.counts.accesses * 10).toBeGreaterThan(operations);
  },
);

it.skipIf(typeof host === 'string')(
  'what would reach the program that performs the operations is performed by neither',
  () => {
    const kernel = host as HostKernel;
    const attacks: Op[] = [];
    // Its first block, a range that ends in it, one that begins below it, its stack, the end of user space.
    for (const [at, length] of [
      [0x400000, 4096],
      [0x14000, 0x800000],
      [0x4f0000, 0x400000],
      [TASK_SIZE - 8 * 4096, 8 * 4096],
      [0x100000000000, 2 ** 47 - 0x100000000000 - 4096],
    ] as const) {
      for (const advice of [4, 9, 10, 14, 18, 21, 100, 102]) attacks.push(call(NR.NR_madvise, at, length, advice));
      for (const prot of [0, 1, 7]) attacks.push(call(NR.NR_mprotect, at, length, prot));
      attacks.push(call(NR.NR_mmap, at, length, 3, 0x32, -1, 0), call(NR.NR_mmap, at, length, 0, 0x40032, -1, 0));
      attacks.push(call(NR.NR_munmap, at, length), call(OP_STORE, at, 7), call(OP_MINCORE, at, length));
      attacks.push(call(NR.NR_mremap, at, length, 4096, 3, ARENA), call(NR.NR_mremap, at, length, length, 5, 0));
      attacks.push(call(NR.NR_mremap, ARENA, 4096, length, 3, at), call(NR.NR_mseal, at, length, 0));
    }
    const before = [call(NR.NR_mmap, ARENA, 8 * 4096, 3, 0x32, -1, 0), call(OP_STORE, ARENA + 5, 9)];
    const after = [call(OP_LOAD, ARENA + 5), call(NR.NR_munmap, ARENA, 4096), call(OP_LOAD, ARENA + 5), call(OP_MAPS)];
    const ops = [...before, ...attacks, ...after];
    const counts = newCounts();
    const [run] = kernel.run([ops]);
    expect(compareProgram(ops, run!, hostConfig(nearestProfile()), kernel.path, counts)).toBeNull();
    expect(run!.status).toBe(0);
    expect(counts.refused).toBeGreaterThan(90);
    const [first, , second] = run!.results.slice(-4);
    expect([first, second]).toEqual(['9', '1000b0001']);
  },
);

it('nearest profile: the newest that is not newer than the release', () => {
  expect(['6.1.192-2', '6.5.0', '6.18.44-x', '7.3', '5.4'].map((v) => nearestProfile(v).name)).toEqual([
    '6.1',
    '6.1',
    '6.18',
    '6.18',
    '6.1',
  ]);
});

it('shrinks to the operations that the difference needs, inside of forks too', () => {
  const op = (nr: number, at: number): Op => ({ nr, args: [at] });
  const noise = (from: number): Op[] => Array.from({ length: 30 }, (_, i) => op(OP_LOAD, from + i));
  const body = [...noise(100), op(OP_STORE, 7), ...noise(200)];
  const ops = [...noise(0), op(OP_STORE, 1), { nr: OP_FORK_RUN, args: [body.length] }, ...body, ...noise(300)];
  const differs = (some: readonly Op[]): boolean => {
    const first = some.findIndex((o) => o.nr === OP_STORE && o.args[0] === 1);
    const fork = some.findIndex((o) => o.nr === OP_FORK_RUN);
    const second = some.findIndex((o) => o.nr === OP_STORE && o.args[0] === 7);
    return first >= 0 && fork > first && second > fork && second <= fork + (some[fork]!.args[0] as number);
  };
  expect(differs(ops)).toBe(true);
  expect(shrink(ops, differs)).toEqual([op(OP_STORE, 1), { nr: OP_FORK_RUN, args: [1] }, op(OP_STORE, 7)]);
});
