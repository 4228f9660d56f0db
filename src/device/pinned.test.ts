// Two users of a pinned device find the same registrations unmapped: each is dropped once.
import { expect, it } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { NR_mmap, NR_munmap } from '../abi/syscalls.ts';
import { createProcess } from '../mm/process/task.ts';
import { createMachine } from '../system/machine.ts';
import type { PinnedDevice } from './pinned.ts';

const VA = 0x10000000;
const PAGE = 4096;

it.each([1, 2, 3, 4, 5, 6, 7, 8])('SEED=%i', (seed) => {
  const pinned = { engines: 2, deregisterDelaySteps: 1 };
  const m = createMachine({ design: 'pinned', device: { device: 'pinned-dma', hasWorkload: false, pinned }, seed });
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  const device = m.device!.accessor as PinnedDevice;
  m.run(m.device!.bind(task.mm!));
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  for (const va of [VA, VA + 16 * PAGE, VA + 32 * PAGE]) {
    m.run(m.call(task, NR_mmap, va, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
    m.run(device.access(0, va, true, va + PAGE));
  }
  expect([device.registrations.length, task.mm!.pinnedVm]).toEqual([3, 3]);
  m.run(m.call(task, NR_munmap, VA, 17 * PAGE));
  m.run(device.maintain());
  m.kernel.sched.steps += 10;
  m.interleave({ 'engine 0': device.maintain(), 'engine 1': device.maintain() });
  // The third stays.
  expect(device.registrations.map((r) => r.start)).toEqual([VA + 32 * PAGE]);
  expect(task.mm!.pinnedVm).toBe(1);
});
