// The rules of mmu-notifiers-v4 that do not show in the order of one operation: when a subscriber is heard, what begin and end say, and
// what a driver must be ready for. Expectations are those of the postings of 2008.

import { expect, test } from 'vitest';
import { EINVAL } from '../abi/errno.ts';
import {
  MMU_NOTIFY_UNMAP,
  SITE_COW,
  SITE_FORK,
  SITE_HUGETLB,
  SITE_MPROTECT,
  SITE_MREMAP,
  SITE_MUNMAP,
  SITE_OOM_REAP,
  SITE_TRUNCATE,
} from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierRange } from './host.ts';
import { type MmuNotifiersOptions, MmuNotifiersV4, type MmuNotifiersV4Ops } from './mmu-notifiers-v4.ts';
import { MmuNotifier } from './subscriptions.ts';
import { TestHost } from './test-host.ts';

const START = 0x1000;
const END = 0x3000;

function setup(options: MmuNotifiersOptions = {}) {
  const host = new TestHost();
  const design = new MmuNotifiersV4(host, options);
  const said: string[] = [];
  function* say(text: string): AtomicPath<void> {
    said.push(text);
  }
  const ops: MmuNotifiersV4Ops = {
    release: () => say('release'),
    invalidateAll: () => say('all'),
    invalidateRangeBegin: (_n, _m, s, e, isAtomic) => say(`begin ${s.toString(16)}-${e.toString(16)} ${isAtomic}`),
    invalidateRangeEnd: (_n, _m, range, isAtomic) =>
      say(`end ${range === null ? 'nowhere' : `${range.start.toString(16)}-${range.end.toString(16)}`} ${isAtomic}`),
  };
  const mn = new MmuNotifier<MmuNotifiersV4Ops>(ops);
  const range = (site: number, blockable = true): NotifierRange =>
    host.range(START, END, MMU_NOTIFY_UNMAP, site, blockable);
  const run = <T>(path: KernelPath<T>): T => host.sched.run(path);
  const subscribe = (): void => {
    expect(run(design.register(mn, host.mm))).toBe(0);
    run(design.synchronizeRcu());
  };
  /** The whole of an operation at `site`: section, then the free of its pages. */
  const operation = (site: number): void => {
    const r = range(site);
    run(design.invalidateRangeStart(r));
    run(design.invalidateRangeEnd(r, false));
    run(design.pagesFreed(host.mm, START, END, site));
  };
  return { host, design, said, mn, range, run, subscribe, operation };
}

test('a subscriber is heard after an RCU quiescent period, not before', () => {
  const { host, design, said, mn, run, operation } = setup();
  const reader = design.list.srcu.readLock();
  expect(run(design.register(mn, host.mm))).toBe(0);
  operation(SITE_MUNMAP);
  expect(said).toEqual([]);
  design.list.srcu.readUnlock(reader);
  run(design.synchronizeRcu());
  operation(SITE_MUNMAP);
  expect(said).toEqual(['begin 1000-3000 false', 'end nowhere false']);
});

test('unregistering before it was visible: it never is', () => {
  const { host, design, said, mn, run, operation } = setup();
  const reader = design.list.srcu.readLock();
  run(design.register(mn, host.mm));
  run(design.unregister(mn, host.mm));
  design.list.srcu.readUnlock(reader);
  run(design.synchronizeRcu());
  operation(SITE_MUNMAP);
  expect([said, mn.isHashed]).toEqual([[], false]);
});

test('an address space without users cannot be subscribed to', () => {
  const { host, design, mn, run } = setup();
  host.mm.users = 0;
  expect(run(design.register(mn, host.mm))).toBe(-EINVAL);
  expect(host.mm.notifiers).toBeNull();
});

test('V4 ends without a range, V5 with one', () => {
  for (const [version, end] of [
    [4, 'end nowhere false'],
    [5, 'end 1000-3000 false'],
  ] as const) {
    const { said, subscribe, operation } = setup({ version });
    subscribe();
    operation(SITE_COW);
    expect(said).toEqual(['begin 1000-3000 false', end]);
  }
});

test('atomic: under i_mmap_lock of that time, and for a caller that cannot wait', () => {
  const { said, subscribe, operation, range, run, design } = setup();
  subscribe();
  for (const site of [SITE_MUNMAP, SITE_COW, SITE_TRUNCATE, SITE_HUGETLB]) operation(site);
  expect(said.filter((s) => s.startsWith('begin')).map((s) => s.split(' ')[2])).toEqual([
    'false',
    'false',
    'true',
    'true',
  ]);
  said.length = 0;
  run(design.invalidateRangeStart(range(SITE_OOM_REAP, false)));
  expect(said).toEqual(['begin 1000-3000 true']);
});

test('as posted: a fork that fails is begun and not ended, a reused page is ended and not begun', () => {
  for (const hasPairingBugs of [false, true]) {
    const { host, said, subscribe, range, run, design } = setup({ hasPairingBugs });
    subscribe();
    const failing = range(SITE_FORK);
    run(design.invalidateRangeStart(failing));
    failing.hasFailed = true;
    run(design.invalidateRangeEnd(failing, false));
    expect(said).toEqual(hasPairingBugs ? ['begin 1000-3000 false'] : ['begin 1000-3000 false', 'end nowhere false']);
    said.length = 0;
    run(design.pageReused(host.mm, START));
    expect(said).toEqual(hasPairingBugs ? ['end nowhere false'] : []);
  }
});

test('mprotect is not told; mremap from V5 on', () => {
  for (const version of [4, 5] as const) {
    const { said, subscribe, range, run, design } = setup({ version });
    subscribe();
    for (const site of [SITE_MPROTECT, SITE_MREMAP]) {
      run(design.invalidateRangeStart(range(site)));
      run(design.invalidateRangeEnd(range(site), false));
    }
    expect(said.length).toBe(version === 4 ? 0 : 2);
  }
});

test('registering waits for no i_mmap_lock: the end of a truncate may be heard without its begin', () => {
  const { host, design, said, range, run, subscribe } = setup();
  host.mm.notifiers = { hasSubscribers: false, first: null } as never;
  run(design.invalidateRangeStart(range(SITE_TRUNCATE)));
  subscribe();
  run(design.pagesFreed(host.mm, START, END, SITE_TRUNCATE));
  expect(said).toEqual(['end nowhere true']);
});

test('exit: V4 drops all first and releases last, V5 releases first; the notifier is off the list by then', () => {
  for (const [version, expected] of [
    [4, ['all', 'freed', 'release']],
    [5, ['release', 'freed']],
  ] as const) {
    const { host, design, said, mn, subscribe, run } = setup({ version });
    subscribe();
    run(design.release(host.mm));
    said.push('freed');
    run(design.exitFinished(host.mm));
    expect([said, mn.isHashed]).toEqual([expected, false]);
    design.destroy(host.mm);
    expect(host.mm.notifiers).toBeNull();
  }
});

test('begin may sleep only where RCU is dropped and the caller holds no spinlock', () => {
  for (const [options, site, canSleep] of [
    [{}, SITE_MUNMAP, false],
    [{ maySleep: true }, SITE_MUNMAP, true],
    [{ maySleep: true }, SITE_TRUNCATE, false],
  ] as const) {
    const host = new TestHost();
    const design = new MmuNotifiersV4(host, options);
    let depth = -1;
    const ops: MmuNotifiersV4Ops = {
      *invalidateRangeBegin() {
        depth = host.sched.current.atomicDepth;
      },
    };
    host.sched.run(design.register(new MmuNotifier(ops), host.mm));
    host.sched.run(design.synchronizeRcu());
    host.sched.run(design.invalidateRangeStart(host.range(START, END, MMU_NOTIFY_UNMAP, site)));
    expect(depth === 0).toBe(canSleep);
  }
});
