// What is stored is what is read: the watch finds a word that changed behind the backs of program and device, and nothing else.

import { expect, test } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { NR_mmap, NR_munmap } from '../../abi/syscalls.ts';
import { touchPage } from '../../mm/cpu-access.ts';
import { createProcess } from '../../mm/process/task.ts';
import { createMachine } from '../../system/machine.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import { word64FromNumber } from '../word64.ts';
import { DataWatch } from './data-watch.ts';

const AT = 0x10000000;

function world() {
  const m = createMachine({
    kernel: { cpus: 1, frames: 64 },
    design: 'linux-6.1',
    device: { device: 'rdma-odp' },
    seed: 1,
  });
  const k = m.kernel;
  const task = m.run(createProcess(k, { areas: [] }));
  const mm = task.mm!;
  const map = () =>
    m.run(m.call(task, NR_mmap, AT, 8192, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const data = new DataWatch(k);
  k.memory.log.attach(data);
  data.watch(mm);
  expect(m.run(m.device!.bind(mm))).toBe(0);
  m.device!.workload.isStopped = true;
  const touch = (va: number): void => {
    m.run(touchPage(k, mm, task.cpu, va, true));
    data.touched(mm, task, va, true);
  };
  const device = (va: number, isWrite: boolean): void => {
    m.run(m.device!.accessor.access(0, va, isWrite, va + 4096));
  };
  map();
  return { m, k, task, mm, data, map, touch, device };
}

test('stores of both sides are found again by both', () => {
  const { m, data, task, touch, device } = world();
  touch(AT);
  device(AT, true);
  device(AT, false);
  touch(AT);
  m.run(data.last(task));
  const r = data.results();
  expect([r.programStores, r.deviceStores, r.wrong, r.firstWrong]).toEqual([2, 1, 0, '']);
  expect(r.compared).toBeGreaterThan(4);
});

test('a word that nobody stored is told once, with its address', () => {
  const { k, data, task, touch, device } = world();
  touch(AT);
  const at = k.cpus[task.cpu]!.translate(AT, 0);
  k.memory.words[(at + 128) / 4]! ^= 1;
  device(AT, false);
  device(AT, false);
  expect(data.results()).toMatchObject({ wrong: 1 });
  expect(data.results().firstWrong).toMatch(/the device finds -?\d+ at 0x10000080/);
});

test('what the program gives up is forgotten', () => {
  const { m, mm, data, task, map, touch, device } = world();
  touch(AT);
  device(AT + 4096, true);
  const op: TraceOp = { op: 'munmap', addr: word64FromNumber(AT), length: word64FromNumber(8192) };
  data.aroundCall(mm, op, true);
  m.run(m.call(task, NR_munmap, AT, 8192));
  data.aroundCall(mm, op, false);
  map();
  touch(AT);
  device(AT, false);
  device(AT + 4096, false);
  expect(data.results().wrong).toBe(0);
});
