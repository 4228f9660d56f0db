// The on-demand device step by step: what a fault and an invalidation do to umem, MTT and cache, and what the adapter answers.
import { beforeEach, describe, expect, it } from 'vitest';
import { EFAULT, EINVAL } from '../../abi/errno.ts';
import {
  E_CALLBACK_END,
  E_DIRTY,
  E_MSG,
  E_PTE,
  EV_A,
  EV_TYPE,
  MSG_NIC_PAGE_FAULT,
  MSG_NIC_RESUME,
  MSG_RNR_NAK,
} from '../../abi/events.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { NR_mmap, NR_mprotect, NR_munmap } from '../../abi/syscalls.ts';
import { InputError } from '../../base/assert.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { createProcess, doExit } from '../../mm/process/task.ts';
import type { Task } from '../../mm/types.ts';
import { createMachine, type Machine } from '../../system/machine.ts';
import { ACCESS_DONE, ACCESS_INVALID } from '../accessor.ts';
import type { RdmaConfig } from './config.ts';
import { IB_ACCESS_ALL, ODP_READ_ALLOWED_BIT, ODP_WRITE_ALLOWED_BIT } from './nic.ts';
import type { RdmaDevice } from './rdma.ts';
import type { Region } from './region.ts';

const PAGE = 4096;
const V = 0x10000000;
const RW = PROT_READ | PROT_WRITE;

let m: Machine;
let task: Task;
let device: RdmaDevice;
let types: number[];

function make(rdma: Partial<RdmaConfig> = {}, design = 'linux-6.1'): void {
  m = createMachine({
    kernel: { frames: 2048, swapPages: 64 },
    design,
    device: { device: 'rdma-odp', hasWorkload: false, rdma },
  });
  task = m.run(createProcess(m.kernel, { areas: [] }));
  device = m.device as RdmaDevice;
  expect(m.run(device.bind(task.mm!))).toBe(0);
  types = [];
  m.kernel.memory.log.attach({
    onRecord: (r, at) => types.push(r[at + EV_TYPE] === E_MSG ? 1000 + r[at + EV_A]! : r[at + EV_TYPE]!),
  });
}

function mmap(va: number, pages: number, prot = RW, flags = MAP_PRIVATE | MAP_ANONYMOUS): void {
  expect(m.run(m.call(task, NR_mmap, va, pages * PAGE, prot, flags | MAP_FIXED, -1, 0))).toBe(va);
}

function store(va: number, value: number): void {
  expect(m.run(userStore(m.kernel, task, va, value, 4))).toBe(0);
}

function region(va: number, length: number, access = IB_ACCESS_ALL): Region {
  const made = m.run(device.driver.register(task.mm!, va, length, access));
  if (typeof made === 'number') throw new Error(`register answers ${made}`);
  return made;
}

function access(va: number, isWrite: boolean): number {
  return m.run(device.accessor.access(0, va, isWrite, va + PAGE));
}

/** Rights of each page of the region's umem: 0 not mapped, 1 read, 3 read and write. */
function rights(r: Region): number[] {
  return [...r.umem!.dmaList].map((dma) => dma & 3);
}

const READ = ODP_READ_ALLOWED_BIT;
const BOTH = ODP_READ_ALLOWED_BIT | ODP_WRITE_ALLOWED_BIT;

beforeEach(() => make());

describe('explicit regions', () => {
  it('a fault maps what was asked for, page by page; an invalidation takes it away', () => {
    mmap(V, 4);
    const r = region(V + 100, 3 * PAGE);
    expect([r.umem!.start, r.umem!.end]).toEqual([V, V + 4 * PAGE]);
    expect(m.run(device.driver.pageFault(r.key.id, V, 2 * PAGE, false))).toBe(0);
    expect(rights(r)).toEqual([READ, READ, 0, 0]);
    expect(m.run(device.driver.pageFault(r.key.id, V + PAGE, PAGE, true))).toBe(0);
    expect(rights(r)).toEqual([READ, BOTH, 0, 0]);
    expect(r.key.mtt.entries(V, V + 4 * PAGE, false).map((t) => [t.va, t.isWritable])).toEqual([
      [V, false],
      [V + PAGE, true],
    ]);
    expect(m.run(m.call(task, NR_munmap, V + PAGE, PAGE))).toBe(0);
    expect(rights(r)).toEqual([READ, 0, 0, 0]);
    expect(r.umem!.npages).toBe(1);
  });

  it('what may have been written is marked dirty before the entry changes', () => {
    mmap(V, 1, RW, MAP_SHARED | MAP_ANONYMOUS);
    const r = region(V, PAGE);
    m.run(device.driver.pageFault(r.key.id, V, PAGE, true));
    types.length = 0;
    m.run(m.call(task, NR_munmap, V, PAGE));
    const dirty = types.indexOf(E_DIRTY);
    expect(dirty).toBeGreaterThan(0);
    expect(types.indexOf(E_CALLBACK_END)).toBeGreaterThan(dirty);
    expect(types.indexOf(E_PTE)).toBeGreaterThan(types.indexOf(E_CALLBACK_END));
  });

  it('refuses: nothing mapped, write to a read-only VMA, outside the region, an empty region, a process that is gone', () => {
    mmap(V, 1, PROT_READ);
    const r = region(V, 2 * PAGE);
    const fault = (va: number, length: number, isWrite: boolean): number =>
      m.run(device.driver.pageFault(r.key.id, va, length, isWrite));
    expect(fault(V + PAGE, PAGE, false)).toBe(-EFAULT);
    expect(fault(V, PAGE, true)).toBeLessThan(0);
    expect(fault(V + PAGE, 2 * PAGE, false)).toBe(-EFAULT);
    expect(fault(V, PAGE, false)).toBe(0);
    expect(m.run(device.driver.register(task.mm!, V, 0, IB_ACCESS_ALL))).toBe(-EINVAL);
    m.run(doExit(m.kernel, task));
    expect(rights(r)).toEqual([0, 0]);
    expect(fault(V, PAGE, false)).toBe(-EINVAL);
  });

  it('prefetch without faults maps what is there, with the rights of its entry', () => {
    mmap(V, 4);
    store(V, 1);
    expect(m.run(userLoad(m.kernel, task, V + 2 * PAGE, 4))).toBe(0);
    const r = region(V, 4 * PAGE);
    expect(m.run(device.driver.prefetch(r.key.id, V, 4 * PAGE, true, false))).toBe(4);
    expect(rights(r)).toEqual([BOTH, 0, READ, 0]);
    expect(device.driver.faults).toBe(0);
  });

  it('a page of a huge one is mapped by itself, at its frame; splitting the huge page takes it away', () => {
    m.kernel.huge.enabled = 'always';
    mmap(V, 512);
    store(V, 1);
    const r = region(V, 512 * PAGE);
    m.run(device.driver.pageFault(r.key.id, V + 5 * PAGE, 2 * PAGE, true));
    const [a, b] = r.key.mtt.entries(V, V + 512 * PAGE, false);
    expect([a!.va, a!.pfn % 512, b!.pfn - a!.pfn]).toEqual([V + 5 * PAGE, 5, 1]);
    expect(m.run(m.call(task, NR_munmap, V, PAGE))).toBe(0);
    expect(r.umem!.npages).toBe(0);
    expect(m.run(device.driver.pageFault(r.key.id, V + 5 * PAGE, PAGE, true))).toBe(0);
  });

  it('deregistered: the key is refused, nothing is mapped, nobody hears any more', () => {
    mmap(V, 1);
    const r = region(V, PAGE);
    m.run(device.driver.pageFault(r.key.id, V, PAGE, true));
    m.run(device.driver.deregister(r));
    expect([rights(r), r.umem!.notifier.mm, device.nic.keys.has(r.key.id)]).toEqual([[0], null, false]);
  });
});

describe('the view over the whole process', () => {
  it('an access asks for its page once, in the order NAK, fault, resume', () => {
    mmap(V, 2);
    store(V, 7);
    expect([access(V, false), access(V, false), device.driver.faults]).toEqual([ACCESS_DONE, ACCESS_DONE, 1]);
    expect(types.filter((t) => t > 1000).map((t) => t - 1000)).toEqual([
      MSG_RNR_NAK,
      MSG_NIC_PAGE_FAULT,
      MSG_NIC_RESUME,
    ]);
    expect(new Int32Array(new Float64Array([device.accessor.lastRead]).buffer)[0]).toBe(7);
  });

  it('what the device stores the program reads, after its page was taken away and came back', () => {
    mmap(V, 1);
    expect(access(V, true)).toBe(ACCESS_DONE);
    m.run(m.call(task, NR_mprotect, V, PAGE, PROT_READ));
    expect([access(V, true), access(V, false)]).toEqual([ACCESS_INVALID, ACCESS_DONE]);
    m.run(m.call(task, NR_mprotect, V, PAGE, RW));
    expect(access(V, true)).toBe(ACCESS_DONE);
    const words = [0, 4].map((i) => m.run(userLoad(m.kernel, task, V + PAGE - 64 + i, 4)));
    expect(words).toEqual([...new Uint32Array(new Float64Array([2]).buffer)]);
  });

  it('a child of the region is freed with its last page, and made again', () => {
    make({ childPages: 16 });
    mmap(V, 20);
    for (const i of [0, 1, 17]) access(V + i * PAGE, true);
    expect([device.driver.childrenMade, device.accessor.writing!.children.size]).toEqual([2, 2]);
    m.run(m.call(task, NR_munmap, V, 2 * PAGE));
    m.kernel.sched.runUntil(() => device.driver.childrenFreed === 1, 1000);
    expect([device.driver.childrenFreed, device.accessor.writing!.children.size]).toEqual([1, 1]);
    mmap(V, 1);
    expect([access(V, true), device.driver.childrenMade]).toEqual([ACCESS_DONE, 3]);
  });

  it('unbound: nothing is left of it', () => {
    mmap(V, 1);
    access(V, true);
    m.run(device.unbind());
    expect([device.nic.keys.size, device.driver.regions.size, access(V, true)]).toEqual([0, 0, ACCESS_INVALID]);
  });

  it('impossible sizes are refused', () => {
    expect(() => make({ engines: 9 })).toThrow(InputError);
    expect(() => make({ mistake: 'sloth' })).toThrow(/"sloth" is not one of/);
  });
});
