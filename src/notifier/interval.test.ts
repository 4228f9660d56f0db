// Interval subscribers: the sequence protocol, judged by a mirror that keeps a table of its own beside sections of other
// threads. The table must be empty inside every section and hold nothing that a section has overtaken.

import { expect, test } from 'vitest';
import { EOVERFLOW } from '../abi/errno.ts';
import { MMU_NOTIFY_CLEAR, SITE_ZAP } from '../abi/notifier.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DRIVER, P_PTES_CLEARED } from '../sched/points.ts';
import type { NotifierRange } from './host.ts';
import { IntervalNotifier, type IntervalOps } from './interval.ts';
import { Linux61 } from './linux-6.1.ts';
import { seedOf, TestHost } from './test-host.ts';

const PAGE = 0x1000;
const SEEDS = 2000;

/** What the primary table says of each page: a version that every section raises. */
class World {
  readonly host: TestHost;
  readonly design: Linux61;
  readonly version = [0, 0, 0, 0];
  readonly open = [0, 0, 0, 0];
  readonly faults: string[] = [];
  fills = 0;
  retries = 0;

  constructor(seed: number) {
    this.host = new TestHost(seed, true);
    this.design = new Linux61(this.host);
  }
}

class Mirror implements IntervalOps {
  readonly world: World;
  readonly sub: IntervalNotifier;
  readonly table = new Map<number, number>();
  /** Does the fault path test the sequence? */
  readonly retries: boolean;

  constructor(world: World, retries: boolean) {
    this.world = world;
    this.retries = retries;
    this.sub = new IntervalNotifier(this);
  }

  *invalidate(sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    yield P_DRIVER;
    this.world.design.intervals.setSeq(sub, seq);
    for (const page of [...this.table.keys()]) {
      if (page * PAGE < range.end && (page + 1) * PAGE > range.start) this.table.delete(page);
    }
    return true;
  }

  *fault(page: number): KernelPath<void> {
    const { intervals } = this.world.design;
    for (;;) {
      const seq = yield* intervals.readBegin(this.sub);
      yield P_DRIVER;
      const seen = this.world.version[page]!;
      yield P_DRIVER;
      if (this.retries && intervals.readRetry(this.sub, seq)) {
        this.world.retries++;
        continue;
      }
      if (this.world.open[page]! > 0) this.world.faults.push(`page ${page} was filled inside a section`);
      else if (seen !== this.world.version[page]) this.world.faults.push(`page ${page} was filled with an old entry`);
      this.table.set(page, seen);
      this.world.fills++;
      return;
    }
  }
}

function* zap(world: World, mirrors: Mirror[], first: number, last: number): KernelPath<void> {
  const range = world.host.range(first * PAGE, (last + 1) * PAGE, MMU_NOTIFY_CLEAR, SITE_ZAP);
  yield* world.design.invalidateRangeStart(range);
  for (let p = first; p <= last; p++) {
    world.open[p]!++;
    for (const m of mirrors) {
      if (m.sub.isInTree && m.sub.start <= p * PAGE && m.table.has(p))
        world.faults.push(`page ${p} is held in a section`);
    }
  }
  yield P_PTES_CLEARED;
  for (let p = first; p <= last; p++) world.version[p]!++;
  yield P_PTES_CLEARED;
  for (let p = first; p <= last; p++) world.open[p]!--;
  yield* world.design.invalidateRangeEnd(range, false);
}

function runWorld(seed: number, retries: boolean): World {
  const world = new World(seed);
  const { sched, mm } = world.host;
  const { intervals } = world.design;
  const mirrors = [new Mirror(world, retries), new Mirror(world, retries)];
  sched.points = false;
  for (const m of mirrors) expect(sched.run(intervals.insert(m.sub, mm, 0, 4 * PAGE))).toBe(0);
  sched.points = true;
  sched.spawn('zap a', 'cpu', zap(world, mirrors, 0, 2));
  sched.spawn('zap b', 'cpu', zap(world, mirrors, 2, 3));
  for (const m of mirrors) {
    function* use(): KernelPath<void> {
      yield* m.fault(1);
      yield* m.fault(2);
      yield* m.fault(3);
      m.table.clear();
      yield* intervals.remove(m.sub);
      yield P_DRIVER;
      yield* intervals.insert(m.sub, mm, 2 * PAGE, 2 * PAGE);
      yield* m.fault(2);
      m.table.clear();
      yield* intervals.remove(m.sub);
    }
    sched.spawn('mirror', 'cpu', use());
  }
  expect(sched.runUntil(() => false)).toBe('stuck');
  expect(sched.threads.filter((t) => t.path !== null).map((t) => `${t.name}: ${t.waitingFor}`)).toEqual([]);
  const tree = world.design.list.of(mm)!.intervals!;
  expect({ seed, active: tree.active, even: tree.seq % 2, left: tree.index.size, count: mm.count }).toEqual({
    seed,
    active: 0,
    even: 0,
    left: 0,
    count: 1,
  });
  return world;
}

test(`a mirror that retries holds nothing stale, ${SEEDS} interleavings with insert and remove`, () => {
  const first = seedOf(1);
  let retries = 0;
  for (let seed = first; seed < first + SEEDS; seed++) {
    const world = runWorld(seed, true);
    expect({ seed, faults: world.faults }).toEqual({ seed, faults: [] });
    expect(world.fills).toBe(8);
    retries += world.retries;
  }
  expect(retries).toBeGreaterThan(100);
});

test('a mirror that does not retry fills from an overtaken lookup', () => {
  let faulty = 0;
  for (let seed = 1; seed <= 200; seed++) if (runWorld(seed, false).faults.length > 0) faulty++;
  expect(faulty).toBeGreaterThan(0);
});

test('order of callbacks: ascending start, ties in insertion order, the whole range; errors of insert', () => {
  const host = new TestHost();
  const design = new Linux61(host);
  const lines: string[] = [];
  const make = (name: string): IntervalNotifier =>
    new IntervalNotifier({
      *invalidate(s, range, seq) {
        lines.push(`${name} ${range.start.toString(16)}-${range.end.toString(16)} ${range.event}`);
        design.intervals.setSeq(s, seq);
        return true;
      },
    });
  const insert = (name: string, start: number, length: number): number =>
    host.sched.run(design.intervals.insert(make(name), host.mm, start, length));
  expect(insert('c', 0x5000, 0x1000)).toBe(0);
  expect(insert('a', 0x3000, 0x1000)).toBe(0);
  expect(insert('b', 0x3000, 0x9000)).toBe(0);
  expect(insert('far', 0x9000, 0x1000)).toBe(0);
  expect(insert('none', 0x1000, 0)).toBe(-EOVERFLOW);
  expect(insert('wraps', 0x1000, 2 ** 64)).toBe(-EOVERFLOW);
  const range = host.range(0x2000, 0x6000, MMU_NOTIFY_CLEAR, SITE_ZAP);
  host.sched.run(design.invalidateRangeStart(range));
  host.sched.run(design.invalidateRangeEnd(range, false));
  expect(lines).toEqual(['a 2000-6000 1', 'b 2000-6000 1', 'c 2000-6000 1']);
  lines.length = 0;
  host.sched.run(design.release(host.mm));
  expect(lines).toEqual(['a 0-Infinity 5', 'b 0-Infinity 5', 'c 0-Infinity 5', 'far 0-Infinity 5']);
});
