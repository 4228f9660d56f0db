// Steps of scenarios that move pages of a task elsewhere. Done from outside: to another NUMA node, to memory of a device and back, or out of
// the CPUs' reach for a while. Done by the task: mbind, and a scan of NUMA balancing. A device's memory is made when it is first wanted; its driver keeps no table.

import { InputError } from '../../base/assert.ts';
import { PrivateMemory } from '../../device/private-memory.ts';
import { devicePagesLeft } from '../../mm/hmm/device-memory.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { doPagesMove } from '../../mm/migrate/move-pages.ts';
import { numaScan } from '../../mm/numa/hinting.ts';
import { MPOL_MF_MOVE } from '../../mm/numa/queue-pages.ts';
import { unlockPage } from '../../mm/page/page-lock.ts';
import { MPOL_BIND } from '../../mm/policy.ts';
import { mbind } from '../../mm/syscalls/mempolicy.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { ScenarioContext } from './context.ts';
import type { MigrateStep, NumaStep } from './scenario.ts';

const PAGE = 4096;
const OWNER = {};
const memories = new WeakMap<Kernel, PrivateMemory>();

function memoryOf(k: Kernel): PrivateMemory {
  let memory = memories.get(k);
  if (memory === undefined) {
    const left = devicePagesLeft(k);
    const made = left === 0 ? null : PrivateMemory.create(k, OWNER, left);
    if (made === null) throw new InputError('scenario: kernel.devicePrivatePages says how much memory the device has');
    memory = made;
    memories.set(k, memory);
  }
  return memory;
}

/** Does nothing when the address space has gone, or the place is not mapped. */
export function* migrateStep(c: ScenarioContext, step: MigrateStep, mm: MmStruct | null): KernelPath<void> {
  const k = c.kernel;
  if (mm === null || mm.users === 0) return;
  const start = c.va(step.at);
  const end = start + (step.pages ?? 1) * PAGE;
  mm.users++;
  if (step.do === 'move-pages') yield* movePages(k, mm, start, end);
  else {
    const lock = mm.mmapLock;
    if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    yield* underLock(k, step, mm, start, end);
    lock.readUnlock();
  }
  yield* k.fn.mmPut(k, mm);
}

function* movePages(k: Kernel, mm: MmStruct, start: number, end: number): KernelPath<void> {
  const addresses = Array.from({ length: (end - start) / PAGE }, (_, i) => start + i * PAGE);
  const node = otherNode(k);
  yield* doPagesMove(
    k,
    mm,
    addresses,
    addresses.map(() => node),
    new Int32Array(addresses.length),
    true,
  );
}

function otherNode(k: Kernel): number {
  if (k.nodes.length === 1) throw new InputError('scenario: kernel.numaNodes says how many nodes there are');
  return k.nodes.length - 1;
}

/** Does nothing when the task has ended. */
export function* numaStep(c: ScenarioContext, step: NumaStep, task: Task): KernelPath<void> {
  const k = c.kernel;
  if (task.mm === null) return;
  const node = otherNode(k);
  const start = c.va(step.at);
  const bytes = (step.pages ?? 1) * PAGE;
  k.sched.current.owner = task;
  if (step.do === 'numa-scan') yield* numaScan(k, task.mm, start, start + bytes);
  else {
    const mask = { isNull: false, isFault: false, nodes: [node], maxNode: 64 };
    yield* mbind(k, task, start, bytes, MPOL_BIND, mask, MPOL_MF_MOVE);
  }
}

function* underLock(k: Kernel, step: MigrateStep, mm: MmStruct, start: number, end: number): KernelPath<void> {
  if (step.do === 'exclusive') {
    const pages = new Int32Array((end - start) / PAGE);
    const got = yield* k.fn.makeDeviceExclusiveRange(k, mm, start, end, pages, null);
    for (let i = 0; i < got; i++) {
      if (pages[i] === 0) continue;
      unlockPage(k, pages[i]!);
      k.fn.putPage(k, pages[i]!);
    }
    return;
  }
  const vma = mm.vmas.findExact(start);
  if (vma === null || end > vma.end) return;
  const memory = memoryOf(k);
  if (step.do === 'to-device') yield* memory.toDevice(vma, start, end);
  else yield* memory.toRam(vma, start, end);
}
