// A reduced run of the comparison with the running kernel, and the shrinker and the formats by themselves. OPERATIONS and SEED set the
// size and the programs; the full run is npm run difftest.
import { release } from 'node:os';
import { expect, it } from 'vitest';
import { difftest, shrinkFailure } from './difftest.ts';
import { HostKernel, hostConfig, nearestProfile } from './host.ts';
import { OP_FORK_RUN, OP_LOAD, OP_STORE, type Op } from './program.ts';
import { shrink } from './shrink.ts';

const seed = Number(process.env['SEED'] ?? 1);
const operations = Number(process.env['OPERATIONS'] ?? 12_000);

const host = HostKernel.open(new URL('host.c', import.meta.url).pathname);
if (typeof host === 'string') console.warn(`SKIPPED: nothing was compared with the running kernel (${host})`);

it.skipIf(typeof host === 'string')(
  `${operations} operations agree with the running kernel ${release()} (SEED=${seed})`,
  { timeout: 3_600_000 },
  () => {
    const kernel = host as HostKernel;
    const config = hostConfig(nearestProfile());
    const limits = { operations, until: Number.POSITIVE_INFINITY, progress: () => {} };
    const outcome = difftest(kernel, config, seed, limits);
    const failure = outcome.failure === null ? null : shrinkFailure(kernel, config, outcome.failure);
    kernel.close();
    const shown = failure === null ? '' : `seed ${failure.seed}\n${failure.difference.story.join('\n')}`;
    expect(shown).toBe('');
    expect(outcome.counts.operations).toBeGreaterThanOrEqual(operations);
    expect(outcome.counts.accesses * 10).toBeGreaterThan(operations);
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
