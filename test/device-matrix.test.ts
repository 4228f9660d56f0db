// The matrix of devices and designs: what a cell says must follow from executions, replay, and not depend on how it was run.

import { expect, test } from 'vitest';
import { InputError } from '../src/base/assert.ts';
import { DEVICES } from '../src/device/devices.ts';
import { replay } from '../src/explore/replay.ts';
import { parseCounterexample } from '../src/explore/schedule-string.ts';
import { scenarioNamed } from '../src/workload/check/plan.ts';
import { runCell } from '../src/workload/matrix/cell.ts';
import { cellsOf, runMatrix } from '../src/workload/matrix/matrix.ts';
import { recordedProgram } from '../src/workload/scenario/recorded-run.ts';
import { subjectOfDevice } from '../src/workload/scenario/subject.ts';
import { shootdown } from './support/cli.ts';

const SMALL = { operations: ['munmap', 'fork'], seeds: [1, 2], executions: 4, steps: 2000, exhaustive: false };

test('a cell is the same on every run, and what is called safe was exercised', () => {
  const device = DEVICES.find((d) => d.kind === 'mirror' && d.designs['linux-6.1'] !== undefined)!;
  const cell = runCell(device.name, 'linux-6.1', SMALL);
  expect(runCell(device.name, 'linux-6.1', SMALL)).toEqual(cell);
  expect(cell.operations).toBe(2);
  expect(cell.executions).toBeGreaterThan(0);
  if (cell.verdict === 'safe') expect(cell.exercised).toBeGreaterThan(0);
});

test('the deaf device is caught: the same subject without callbacks violates something under munmap', () => {
  for (const device of DEVICES) {
    if (device.kind === 'pinned') continue;
    const design = Object.keys(device.designs).at(-1)!;
    const cell = runCell(device.name, design, { ...SMALL, operations: ['munmap'], seeds: [1, 2, 3], executions: 12 });
    expect([device.name, cell.exercised]).toEqual([device.name, 1]);
  }
});

test('the witness of an unsafe cell replays to the same property', async () => {
  const cells = await runMatrix(cellsOf({}), { ...SMALL, operations: ['munmap-batch'] }, 1, async () => false);
  for (const cell of cells) {
    if (cell.verdict !== 'unsafe') continue;
    const subject = subjectOfDevice(cell.device, cell.design);
    const { schedule } = parseCounterexample(cell.violation!.schedule);
    const program = recordedProgram(scenarioNamed(cell.operation), subject);
    const { findings } = replay(program, schedule);
    expect(findings.map((f) => f.property)).toContain(cell.violation!.property);
  }
  expect(cells.length).toBe(cellsOf({}).length);
  // One of them is unsafe by where it might sleep, in whatever execution.
  const sleeper = cells.find((c) => c.device === 'xpmem' && c.design === 'linux-2.6.27')!;
  expect([sleeper.verdict, sleeper.violation!.property, sleeper.affected]).toEqual(['unsafe', 'I44', ['munmap-batch']]);
}, 60_000);

test('exploring finds what a sample finds: who has left the list hears nothing, and is released after', () => {
  const options = { ...SMALL, operations: ['unregister'], exhaustive: true, executions: 600 };
  const cell = runCell('kvm', 'linux-2.6.27', options);
  expect([cell.verdict, cell.violation?.property]).toEqual(['stale', 'I5']);
  expect(runCell('kvm', 'invalidate-range', options).verdict).toBe('safe');
  // The reaper may come at every moment of an exit, which takes its address space from the task without a lock.
  const reaped = runCell('kvm', 'linux-2.6.27', { ...options, operations: ['oom-reap-exit'], executions: 20 });
  expect([reaped.executions > 20, reaped.exhausted]).toEqual([true, 0]);
});

test('a scenario brings its own bound of steps, and what a bound ended is named', () => {
  const long = { ...SMALL, operations: ['thp-migrate'], seeds: [1], executions: 1, steps: 300 };
  expect(runCell('kvm', 'linux-2.6.27', long).cut).toBe(0);
  expect(runCell('kvm', 'linux-2.6.27', { ...long, operations: ['munmap'], steps: 9 }).cut).toBe(1);
  const few = runCell('kvm', 'linux-6.1', { ...SMALL, operations: ['munmap'], executions: 3, exhaustive: true });
  expect([few.exhausted, few.bounded]).toEqual([0, ['munmap']]);
});

test('names that do not exist are one clear line', () => {
  expect(() => cellsOf({ devices: ['nvlink'] })).toThrow(InputError);
  expect(() => cellsOf({ designs: ['linux-2.4'] })).toThrow(InputError);
});

test('compare --matrix prints a row for each device and a column for each design, and JSON on request', async () => {
  const name = DEVICES[0]!.name;
  const args = [
    'compare',
    '--matrix',
    '--device',
    name,
    '--designs',
    'linux-6.1',
    '--operation',
    'munmap',
    '--seeds',
    '1',
  ];
  const text = await shootdown(...args);
  expect(text.status).toBe(0);
  expect(text.stdout).toMatch(new RegExp(`${name} +\\S+`));
  const json = JSON.parse((await shootdown(...args, '--json')).stdout) as {
    cells: { device: string; design: string }[];
  };
  expect(json.cells.map((c) => [c.device, c.design])).toEqual([[name, 'linux-6.1']]);
  expect(await shootdown('compare', '--seeds', '3')).toMatchObject({ status: 2 });
  expect(await shootdown('compare', '--matrix', 'x.strace')).toMatchObject({ status: 2 });
});

test('a schedule of the matrix is replayed by trace without a driver module', async () => {
  const cell = runCell('iommu-flush-start-end', 'mmu-notifiers-andrea', { ...SMALL, operations: ['munmap'] });
  expect(cell.verdict).toBe('unsafe');
  const shown = await shootdown('trace', cell.violation!.schedule, '--json');
  expect(shown.status).toBe(1);
  const { finding } = JSON.parse(shown.stdout) as { finding: { property: string } };
  expect(finding.property).toBe(cell.violation!.property);
});
