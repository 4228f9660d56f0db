// The mirror device by itself: a driver's hand on its table, engines stepped one by one. What each line asserts is what the head of
// mirror.ts promises.
import { beforeEach, describe, expect, it } from 'vitest';
import { EAGAIN, EFAULT } from '../abi/errno.ts';
import {
  AGENT_MIRROR,
  AGENT_MIRROR_TLB,
  DEV_FAILED,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_REFAULT,
  EV_A,
  EV_C,
  EV_END,
  EV_PFN,
  EV_START,
  EV_TYPE,
} from '../abi/events.ts';
import { InputError } from '../base/assert.ts';
import { PhysMemory } from '../hw/phys.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATED } from '../sched/points.ts';
import { DONE, Scheduler, SPINNING, type Thread } from '../sched/scheduler.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID } from './accessor.ts';
import { type MirrorConfig, MirrorDevice } from './mirror.ts';

const PAGE = 4096;
const V = 0x10000000;

let memory: PhysMemory;
let sched: Scheduler;
let device: MirrorDevice;
let events: string[];

function make(config: Partial<MirrorConfig> = {}): void {
  memory = new PhysMemory(64);
  sched = new Scheduler(memory.log);
  sched.points = true;
  device = new MirrorDevice(memory, sched, 1, { engines: 2, ...config });
  device.mm = 1;
  events = [];
  memory.log.attach({ onRecord: (r, at) => events.push(...describeEvent(r, at)) });
}

function describeEvent(r: Float64Array, at: number): string[] {
  const pages = `${(r[at + EV_START]! - V) / PAGE}..${(r[at + EV_END]! - V) / PAGE}`;
  const agent = r[at + EV_C] === AGENT_MIRROR ? 'table' : r[at + EV_C] === AGENT_MIRROR_TLB ? 'TLB' : '';
  switch (r[at + EV_TYPE]) {
    case E_DEV_FILL:
      return [`${agent} fill ${pages} -> ${r[at + EV_PFN]} ${r[at + EV_A] === 1 ? 'rw' : 'r'}`];
    case E_DEV_INVAL:
      return [`${agent} drop ${pages}`];
    case E_DEV_ACCESS:
      return [`access ${r[at + EV_PFN]}`];
    case E_REFAULT:
      return [`refault ${r[at + EV_A]}`];
    case E_DEV_STATE:
      return [`state ${r[at + EV_A]}`];
  }
  return [];
}

/** An access as a thread of its own, stepped until it stands at the point. */
function begin(engine: number, va: number, isWrite: boolean, point: number): Thread {
  const t = sched.spawn(`engine ${engine}`, 'device', device.access(engine, va, isWrite, va + PAGE));
  step(t, point);
  return t;
}

function step(t: Thread, point: number): void {
  do sched.stepThread(t);
  while (t.state !== DONE && t.point !== point);
  expect(t.point).toBe(point);
}

function access(engine: number, va: number, isWrite: boolean): unknown {
  return sched.run(device.access(engine, va, isWrite, va + PAGE));
}

/** A path as a thread, stepped until it ends or waits. */
function start(path: Parameters<Scheduler['spawn']>[2]): Thread {
  const t = sched.spawn('driver', 'kernel', path);
  while (t.state !== DONE && t.state !== SPINNING) sched.stepThread(t);
  return t;
}

beforeEach(() => make());

describe('accesses', () => {
  it('reach the frame that the table says, through a TLB entry of the engine', () => {
    device.map(0, V, 7, 1, true);
    memory.doubles[(7 * PAGE) / 8] = 42;
    expect([access(0, V, false), device.lastRead]).toEqual([ACCESS_DONE, 42]);
    expect([access(0, V, false), device.hits]).toEqual([ACCESS_DONE, 1]);
    expect([access(1, V, false), device.hits]).toEqual([ACCESS_DONE, 1]);
    expect(events).toEqual([
      'table fill 0..1 -> 7 rw',
      'TLB fill 0..1 -> 7 r',
      'access 7',
      'access 7',
      'TLB fill 0..1 -> 7 r',
      'access 7',
    ]);
  });

  it('a store sets dirty in the table first, and needs a writable entry', () => {
    device.map(0, V, 7, 1, true);
    device.map(0, V + PAGE, 8, 1, false);
    expect([access(0, V, false), access(0, V, true), access(0, V + PAGE, true)]).toEqual([
      ACCESS_DONE,
      ACCESS_DONE,
      ACCESS_INVALID,
    ]);
    expect(events.slice(2)).toEqual(['TLB fill 0..1 -> 7 r', 'access 7', 'TLB fill 0..1 -> 7 rw', 'access 7']);
    expect(device.removeEntries(V, V + 2 * PAGE).map((t) => [t.pfn, t.isDirty])).toEqual([
      [7, true],
      [8, false],
    ]);
  });

  it('a page that nobody maps: the driver is asked, with what it needs to know', () => {
    const asked: unknown[] = [];
    device.setFaultHandler(function* (request) {
      asked.push(request);
      device.map(request.root, request.va, 9, 1, request.isWrite);
      return 0;
    });
    expect([access(1, V + 24, true), access(1, V + 32, true)]).toEqual([ACCESS_DONE, ACCESS_DONE]);
    expect(asked).toEqual([{ va: V, isWrite: true, engine: 1, root: 0 }]);
  });

  it('the driver refuses, and the access is given up', () => {
    device.setFaultHandler(function* () {
      return -EFAULT;
    });
    expect([access(0, V, false), device.faultsRefused, device.refaults]).toEqual([ACCESS_INVALID, 1, 0]);
  });

  it('without progress the device gives up after its budget, and stays so', () => {
    make({ refaultBudget: 3 });
    device.setFaultHandler(function* () {
      return -EAGAIN;
    });
    expect(access(0, V, false)).toBe(ACCESS_DEAD);
    expect(events).toEqual(['refault 1', 'refault 2', 'refault 3', 'refault 4', `state ${DEV_FAILED}`]);
    device.map(0, V, 7, 1, true);
    expect([access(0, V, false), device.tryAccess(0, V, false)]).toEqual([ACCESS_DEAD, false]);
  });
});

describe('taking translations away', () => {
  it('out of the table alone: a TLB goes on with its copy', () => {
    device.map(0, V, 7, 1, true);
    access(0, V, false);
    events.length = 0;
    expect(device.removeEntries(V, V + PAGE)).toHaveLength(1);
    expect([access(0, V, false), access(1, V, false)]).toEqual([ACCESS_DONE, ACCESS_INVALID]);
    expect(events).toEqual(['table drop 0..1', 'access 7']);
  });

  it('a flush waits for the access in flight that used what it dropped', () => {
    device.map(0, V, 7, 1, true);
    const engine = begin(0, V, true, P_DEV_TRANSLATED);
    device.removeEntries(V, V + PAGE);
    const flush = start(device.flushTlbs(V, V + PAGE));
    expect([flush.state, events.at(-1)]).toEqual([SPINNING, 'table drop 0..1']);
    step(engine, P_DEV_ACCESS);
    expect(events.slice(-2)).toEqual(['access 7', 'TLB drop 0..1']);
    sched.stepThread(flush);
    expect(flush.state).toBe(DONE);
  });

  it('but not for one of another page, nor for one that begins afterwards', () => {
    device.map(0, V, 7, 1, true);
    device.map(0, V + PAGE, 8, 1, true);
    begin(0, V + PAGE, true, P_DEV_TRANSLATED);
    expect(start(device.flushTlbs(V, V + PAGE)).state).toBe(DONE);
    const first = begin(1, V, true, P_DEV_TRANSLATED);
    const flush = start(device.flushTlbs(V, V + PAGE));
    step(first, P_DEV_ACCESS);
    begin(1, V, true, P_DEV_TRANSLATED);
    sched.stepThread(flush);
    expect(flush.state).toBe(DONE);
  });

  it('of two flushes each waits for its own', () => {
    device.map(0, V, 7, 1, true);
    device.map(0, V + PAGE, 8, 1, true);
    const a = begin(0, V, false, P_DEV_TRANSLATED);
    const b = begin(1, V + PAGE, false, P_DEV_TRANSLATED);
    const one = start(device.flushTlbs(V, V + PAGE));
    const both = start(device.flushTlbs(V, V + 2 * PAGE));
    step(a, P_DEV_ACCESS);
    for (const t of [one, both]) if (t.state !== SPINNING) sched.stepThread(t);
    expect([one.state, both.state]).toEqual([DONE, SPINNING]);
    step(b, P_DEV_ACCESS);
    sched.stepThread(both);
    expect(both.state).toBe(DONE);
  });

  it('without waiting: the flush counts as complete when the access has ended', () => {
    device.map(0, V, 7, 1, true);
    const engine = begin(0, V, false, P_DEV_TRANSLATED);
    device.dropTlbs(V, V + PAGE);
    expect(events).not.toContain('TLB drop 0..1');
    step(engine, P_DEV_ACCESS);
    expect(events.at(-1)).toBe('TLB drop 0..1');
  });

  it('everything at once', () => {
    for (let i = 0; i < 3; i++) device.map(0, V + i * PAGE, 7 + i, 1, true);
    access(0, V, false);
    expect(device.removeEntries(0, Number.POSITIVE_INFINITY).map((t) => t.pfn)).toEqual([7, 8, 9]);
    sched.run(device.flushTlbs(0, Number.POSITIVE_INFINITY));
    expect([0, 1, 2].map((i) => access(0, V + i * PAGE, false))).toEqual([
      ACCESS_INVALID,
      ACCESS_INVALID,
      ACCESS_INVALID,
    ]);
  });
});

describe('blocks, roots, ages', () => {
  it('a block of pages translates each, and goes as a whole', () => {
    device.map(0, V, 8, 4, true);
    access(0, V + 2 * PAGE, false);
    expect(events.slice(-1)).toEqual(['access 10']);
    expect(device.removeEntries(V + PAGE, V + 2 * PAGE).map((t) => [t.va, t.pages])).toEqual([[V, 4]]);
    sched.run(device.flushTlbs(V + PAGE, V + 2 * PAGE));
    expect([0, 1, 2, 3].map((i) => device.tryAccess(0, V + i * PAGE, false))).toEqual([false, false, false, false]);
  });

  it('a page mapped over a block replaces all of it', () => {
    device.map(0, V, 8, 4, true);
    device.map(0, V + PAGE, 20, 1, true);
    expect([0, 1, 2, 3].map((i) => device.tryAccess(0, V + i * PAGE, false))).toEqual([false, true, false, false]);
  });

  it('two roots: engines use their own, and the device has dropped a page when no table maps it', () => {
    make({ roots: 2 });
    device.map(0, V, 7, 1, true);
    expect([device.tryAccess(0, V, false), device.tryAccess(1, V, false)]).toEqual([true, false]);
    device.map(1, V, 7, 1, true);
    expect(device.tryAccess(1, V, false)).toBe(true);
    events.length = 0;
    expect([device.removeEntries(V, V + PAGE, 0).length, events]).toEqual([1, []]);
    expect([device.removeEntries(V, V + PAGE).length, events]).toEqual([1, ['table drop 0..1']]);
  });

  it('a use is seen once; one through a TLB entry made before is not', () => {
    device.map(0, V, 7, 1, true);
    expect(device.testYoung(V, V + PAGE, false)).toBe(false);
    access(0, V, false);
    expect([device.testYoung(V, V + PAGE, false), device.testYoung(V, V + PAGE, true)]).toEqual([true, true]);
    access(0, V, false);
    expect(device.testYoung(V, V + PAGE, true)).toBe(false);
    sched.run(device.flushTlbs(V, V + PAGE));
    access(0, V, false);
    expect(device.testYoung(V, V + PAGE, true)).toBe(true);
  });

  it('impossible sizes are refused', () => {
    expect(() => make({ engines: 9 })).toThrow(InputError);
    expect(() => make({ roots: 0 })).toThrow('device: 0 roots, not 1 to 4');
  });
});
