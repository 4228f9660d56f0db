// Exploration in worker threads (of what is built): on one, two and three workers the same verdict, the same properties, the
// same final states; stopped and resumed from a checkpoint, too.
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import type { ToyOp } from '../src/explore/toy.ts';
import type { DeviceProgram } from '../src/workload/parallel/device-program.ts';
import type { ParallelResult, ProgramSource } from '../src/workload/parallel/pool.ts';

const DIST = pathToFileURL(fileURLToPath(new URL('../dist/', import.meta.url))).href;
const { exploreParallel } = (await import(
  `${DIST}workload/parallel/pool.js`
)) as typeof import('../src/workload/parallel/pool.ts');
const { explore } = (await import(`${DIST}explore/explore.js`)) as typeof import('../src/explore/explore.ts');
const { toyProgram } = (await import(`${DIST}explore/toy.js`)) as typeof import('../src/explore/toy.ts');

const section = (v: number): ToyOp[] => [
  { op: 'lock', v },
  { op: 'load', v: 0 },
  { op: 'store', v: 0, value: 1 },
  { op: 'unlock', v },
];
/** Four threads with locks, an unlocked write, a choice, and a use that may come after a free. */
const THREADS: ToyOp[][] = [
  [...section(0), { op: 'use', v: 0 }],
  [...section(1), { op: 'add', v: 1, value: 1 }],
  [...section(0), { op: 'free', v: 0 }],
  [{ op: 'pick', v: 1, n: 2, m: 2 }, ...section(1)],
];
const TOY: ProgramSource = { module: `${DIST}explore/toy.js`, export: 'toyProgram', argument: THREADS };

function essence(r: ParallelResult): object {
  const found = r.findings.map(({ finding: f }) => `${f.property} ${f.tag} at step ${f.step}`);
  return { exhaustive: r.exhaustive, stopped: r.stopped, found, states: r.states };
}

test('one, two and three workers see the same', async () => {
  const states = new Set<string>();
  const alone = explore(toyProgram(THREADS), { visit: (e) => void states.add(e.world.finalState!()) });
  const one = await exploreParallel(TOY, { workers: 1, collectsStates: true });
  expect([one.executions, one.blocked, one.steps]).toEqual([alone.executions, alone.blocked, alone.steps]);
  expect(one.findings).toEqual(alone.findings);
  expect(one.states).toEqual([...states].sort());
  expect(one.states.length).toBeGreaterThan(20);
  for (const workers of [2, 3]) {
    const many = await exploreParallel(TOY, { workers, collectsStates: true });
    expect(essence(many)).toEqual(essence(one));
  }
});

test('stopped again and again, and resumed from the text of its checkpoint, it sees the same', async () => {
  const whole = await exploreParallel(TOY, { workers: 1, collectsStates: true });
  let part = await exploreParallel(TOY, { workers: 2, collectsStates: true, executionsMax: 1 });
  let sessions = 1;
  for (; part.checkpoint !== null; sessions++) {
    expect(part.exhaustive).toBe(false);
    part = await exploreParallel(TOY, {
      workers: 1 + (sessions % 2),
      collectsStates: true,
      executionsMax: part.executions + 50,
      checkpoint: JSON.parse(JSON.stringify(part.checkpoint)),
    });
  }
  expect(sessions).toBeGreaterThan(3);
  expect(essence(part)).toEqual(essence(whole));
});

test('a machine: two workers find what one finds', async () => {
  const argument: DeviceProgram = {
    scenario: {
      name: 'munmap',
      summary: 'one page goes while the device uses it',
      setup: [
        { do: 'mmap', at: 0 },
        { do: 'store', at: 0 },
      ],
      threads: {
        munmap: { steps: [{ do: 'munmap', at: 0 }] },
        device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
      },
    },
    design: 'linux-6.1',
    device: {
      driver: 'no-callbacks',
      ats: { engines: 1, atcSets: 2, atcWays: 2 },
      iommu: { tlbSets: 2, tlbWays: 2, walkers: 1, executors: 1, pasids: 4 },
      faultWorkers: 1,
    },
  };
  const source = { module: `${DIST}workload/parallel/device-program.js`, export: 'deviceProgram', argument };
  const one = await exploreParallel(source, { workers: 1 });
  const two = await exploreParallel(source, { workers: 2 });
  const properties = (r: ParallelResult): string[] => r.findings.map((w) => `${w.finding.property} ${w.finding.tag}`);
  expect(one.exhaustive && two.exhaustive).toBe(true);
  expect(properties(one)).toContain('I1 UAF-DATA');
  expect(properties(two)).toEqual(properties(one));
});

test('what goes wrong in a worker is told', async () => {
  const missing = { ...TOY, export: 'noSuchThing' };
  await expect(exploreParallel(missing, { workers: 1 })).rejects.toThrow('exports no noSuchThing');
  const broken = { ...TOY, argument: [[{ op: 'set', v: 0, value: 1 }, null]] };
  await expect(exploreParallel(broken, { workers: 2 })).rejects.toMatchObject({
    name: 'WorkerStepError',
    schedule: [
      { thread: 0, answers: [] },
      { thread: 0, answers: [] },
    ],
  });
});
