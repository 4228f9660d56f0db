// Registration, unregistration and exit against sections of other threads, in random interleavings. Judged from what each
// subscriber saw: a balanced number of starts and ends, nothing after unregister returned, one effective release.

import { expect, test } from 'vitest';
import { MMU_NOTIFY_UNMAP, SITE_MUNMAP } from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_DRIVER } from '../sched/points.ts';
import type { NotifierDesign, NotifierRange } from './host.ts';
import { Linux2627 } from './linux-2.6.27.ts';
import { Linux61 } from './linux-6.1.ts';
import { MmuNotifier, type Subscription, type SubscriptionList } from './subscriptions.ts';
import { section, seedOf, TestHost } from './test-host.ts';

const SEEDS = 1500;

/** Counts what it sees and has points of its own inside every callback. */
class Watcher {
  open = 0;
  starts = 0;
  releases = 0;
  running = 0;
  /** Set by the test when unregister has returned. */
  isGone = false;
  readonly faults: string[] = [];

  *release(): AtomicPath<void> {
    this.#begin('release');
    this.releases++;
    yield P_DRIVER;
    this.running--;
  }

  *invalidateRangeStart(_mn: Subscription, _range: NotifierRange): AtomicPath<never> {
    this.#begin('start');
    this.starts++;
    this.open++;
    yield P_DRIVER;
    this.running--;
    return 0 as never;
  }

  *invalidateRangeEnd(_mn: Subscription, _range: NotifierRange): AtomicPath<void> {
    this.#begin('end');
    this.open--;
    if (this.open < 0) this.faults.push('an end without its start');
    yield P_DRIVER;
    this.running--;
  }

  #begin(what: string): void {
    if (this.isGone) this.faults.push(`${what} after unregister returned`);
    this.running++;
  }
}

/** Sections under mmapLock R, mmapLock W, or an rmap lock alone, as mm has them. */
function* sectionsOf(host: TestHost, design: NotifierDesign, kind: number): KernelPath<void> {
  const { mm } = host;
  for (let i = 0; i < 2; i++) {
    const range = host.range(0x1000, 0x5000, MMU_NOTIFY_UNMAP, SITE_MUNMAP);
    if (kind === 0) yield* mm.mmapLock.readLock();
    else if (kind === 1) yield* mm.mmapLock.writeLock();
    else yield* mm.rmapLock.readLock();
    yield* section(host, design, range);
    if (kind === 0) mm.mmapLock.readUnlock();
    else if (kind === 1) mm.mmapLock.writeUnlock();
    else mm.rmapLock.readUnlock();
  }
}

function* comeAndGo(host: TestHost, list: SubscriptionList<object>, w: Watcher, rounds: number): KernelPath<void> {
  for (let i = 0; i < rounds; i++) {
    const mn = new MmuNotifier<object>(w);
    w.isGone = false;
    w.open = 0;
    if ((yield* list.register(mn, host.mm)) < 0) return;
    yield P_DRIVER;
    yield* list.unregister(mn, host.mm);
    if (w.running !== 0) w.faults.push('unregister returned while a callback ran');
    w.isGone = true;
  }
}

function designOf(name: string, host: TestHost): { design: NotifierDesign; list: SubscriptionList<object> } {
  const design = name === 'linux-6.1' ? new Linux61(host) : new Linux2627(host);
  return { design, list: design.list as unknown as SubscriptionList<object> };
}

for (const name of ['linux-6.1', 'linux-2.6.27']) {
  test(`${name}: registering and unregistering beside sections, ${SEEDS} interleavings`, () => {
    const first = seedOf(1);
    let starts = 0;
    for (let seed = first; seed < first + SEEDS; seed++) {
      const host = new TestHost(seed, true);
      const { design, list } = designOf(name, host);
      const watchers = [new Watcher(), new Watcher()];
      for (const kind of [0, 1, 2]) host.sched.spawn(`section ${kind}`, 'cpu', sectionsOf(host, design, kind));
      for (const w of watchers) host.sched.spawn('driver', 'cpu', comeAndGo(host, list, w, 2));
      expect(host.sched.runUntil(() => false)).toBe('stuck');
      for (const w of watchers) {
        expect({ seed, faults: w.faults, releases: w.releases }).toEqual({ seed, faults: [], releases: 2 });
        starts += w.starts;
      }
      expect(host.mm.count).toBe(1);
      expect(host.sched.threads.every((t) => t.id === 0 || t.path === null)).toBe(true);
    }
    expect(starts).toBeGreaterThan(SEEDS);
  });

  test(`${name}: exit beside unregister, ${SEEDS} interleavings`, () => {
    const first = seedOf(1);
    let both = 0;
    for (let seed = first; seed < first + SEEDS; seed++) {
      const host = new TestHost(seed, true);
      const { design, list } = designOf(name, host);
      const w = new Watcher();
      const mn = new MmuNotifier<object>(w);
      host.sched.points = false;
      host.sched.run(list.register(mn, host.mm));
      host.sched.points = true;
      let releasedBeforeExitReturned = false;
      function* exit(): KernelPath<void> {
        yield* design.release(host.mm);
        releasedBeforeExitReturned = w.releases > 0 && w.running === 0;
      }
      function* leave(): KernelPath<void> {
        yield P_DRIVER;
        yield* list.unregister(mn, host.mm);
        if (w.running !== 0 || w.releases === 0) w.faults.push('unregister returned before release');
        w.isGone = true;
      }
      host.sched.spawn('exit', 'cpu', exit());
      host.sched.spawn('driver', 'cpu', leave());
      expect(host.sched.runUntil(() => false)).toBe('stuck');
      expect({ seed, faults: w.faults, before: releasedBeforeExitReturned }).toEqual({
        seed,
        faults: [],
        before: true,
      });
      if (name === 'linux-2.6.27') expect(w.releases).toBe(1);
      else expect(w.releases).toBeLessThanOrEqual(2);
      if (w.releases === 2) both++;
      expect(host.mm.count).toBe(1);
    }
    // From 3.10 on exit and unregister may both run it: the window is real, drivers must be idempotent.
    if (name === 'linux-6.1') expect(both).toBeGreaterThan(0);
  });
}

test('without mm_take_all_locks a subscriber sees an end without its start', () => {
  let unpaired = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const host = new TestHost(seed, true);
    host.takeAllLocks = function* (): KernelPath<void> {};
    host.dropAllLocks = (): void => {};
    const { design, list } = designOf('linux-6.1', host);
    const w = new Watcher();
    host.sched.points = false;
    host.sched.run(registerEmpty(host, list));
    host.sched.points = true;
    host.sched.spawn('section', 'cpu', sectionsOf(host, design, 2));
    host.sched.spawn('driver', 'cpu', comeAndGo(host, list, w, 1));
    host.sched.runUntil(() => false);
    if (w.faults.includes('an end without its start')) unpaired++;
  }
  expect(unpaired).toBeGreaterThan(0);
});

/** Makes mm.notifiers without a subscriber. */
function* registerEmpty(host: TestHost, list: SubscriptionList<object>): KernelPath<void> {
  yield* host.mm.mmapLock.writeLock();
  yield* list.registerLocked(null, host.mm);
  host.mm.mmapLock.writeUnlock();
}
