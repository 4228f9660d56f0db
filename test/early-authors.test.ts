// Drivers of authors under the designs that are not Linux's: each states the callbacks of its design, fills or flushes as a driver of that
// time would, and is walked at random through the operations that the design covers. SEED is the seed of the walks.

import { expect, test } from 'vitest';
import { type Driver, defineDriver } from '../src/device/define-driver.ts';
import { randomWalk } from '../src/explore/random.ts';
import { operationOf, scenarioOf } from '../src/workload/operations/operations.ts';
import type { Scenario } from '../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { subjectOf } from '../src/workload/scenario/subject.ts';

const seed = Number(process.env['SEED'] ?? 1);
const EXECUTIONS = 25;

/** Properties that random walks through the operation violate, documented gaps left out. */
function broken(driver: Driver, operation: string | Scenario, executions = EXECUTIONS): string[] {
  const scenario = typeof operation === 'string' ? scenarioOf(operationOf(operation)!) : operation;
  const program = scenarioProgram(scenario, subjectOf(driver));
  const { witnesses } = randomWalk(program, { seed, executions });
  return [
    ...new Set(
      witnesses
        .map((w) => w.finding)
        .filter((f) => f.gap === null)
        .map((f) => f.property),
    ),
  ];
}

/** The rules of 2008: count open sections, refuse while any is; whatever ended meanwhile makes a look-up stale. */
const counting = defineDriver({
  name: 'counting-2008',
  design: 'mmu-notifiers-v4',
  device: 'mirror',
  create(hw) {
    let open = 0;
    let changes = 0;
    let isGone = false;
    const drop = function* (start: number, end: number) {
      changes++;
      for (const m of yield* hw.unmap(start, end)) if (m.isDirty) hw.markDirty(m.page);
    };
    return {
      *invalidateRangeBegin(start, end) {
        yield* hw.lock();
        open++;
        yield* drop(start, end);
        hw.unlock();
      },
      *invalidateRangeEnd(_atomic, range) {
        expect(range).toBeNull();
        yield* hw.lock();
        // The end of a section that was open when this was registered has no begin.
        if (open > 0) open--;
        changes++;
        hw.unlock();
        hw.wake();
      },
      *invalidatePage(address) {
        yield* hw.lock();
        yield* drop(address, address + 4096);
        hw.unlock();
      },
      *invalidateAll() {
        yield* hw.lock();
        isGone = true;
        yield* drop(0, Number.POSITIVE_INFINITY);
        hw.unlock();
        hw.wake();
      },
      *unbind() {
        yield* hw.lock();
        isGone = true;
        yield* drop(0, Number.POSITIVE_INFINITY);
        hw.unlock();
      },
      *fault({ va, isWrite }) {
        for (;;) {
          const before = changes;
          const page = yield* hw.getUserPage(va, isWrite);
          if (page < 0) return page;
          yield* hw.lock();
          const isStale = open > 0 || changes !== before;
          if (!isStale && !isGone) yield* hw.map(va, page, { writable: isWrite });
          if (!isStale && isWrite) hw.markDirty(page);
          hw.unlock();
          hw.putPage(page);
          if (isGone) return -14;
          if (!isStale) return 0;
          yield* hw.waitUntil(() => open === 0 || isGone, 'the end of every section');
        }
      },
    };
  },
});

/** KVM of December 2007: a reference for each page in the table, dropped when told. */
const referenced = defineDriver({
  name: 'references-2007',
  design: 'mmu-notifiers-andrea',
  device: 'mirror',
  create(hw) {
    const drop = function* (start: number, end: number) {
      yield* hw.lock();
      for (const m of yield* hw.unmap(start, end)) {
        if (m.isDirty) hw.markDirty(m.page);
        hw.putPage(m.page);
      }
      hw.unlock();
    };
    return {
      invalidatePage: (address) => drop(address, address + 4096),
      invalidateRange: (start, end) => drop(start, end),
      release: () => drop(0, Number.POSITIVE_INFINITY),
      unbind: () => drop(0, Number.POSITIVE_INFINITY),
      *fault({ va, isWrite }) {
        const page = yield* hw.getUserPage(va, isWrite);
        if (page < 0) return page;
        yield* hw.lock();
        for (const m of yield* hw.unmap(va, va + 4096)) hw.putPage(m.page);
        yield* hw.map(va, page, { writable: isWrite });
        hw.unlock();
        return 0;
      },
    };
  },
});

/** The same without references. */
const unreferenced = defineDriver({
  name: 'no-references-2007',
  design: 'mmu-notifiers-andrea',
  device: 'mirror',
  create(hw) {
    return {
      *invalidatePage(address) {
        yield* hw.unmap(address, address + 4096);
      },
      *invalidateRange(start, end) {
        yield* hw.unmap(start, end);
      },
      *release() {
        yield* hw.unmapAll();
      },
      *fault({ va, isWrite }) {
        const page = yield* hw.getUserPage(va, isWrite);
        if (page < 0) return page;
        yield* hw.map(va, page, { writable: isWrite });
        hw.putPage(page);
        return 0;
      },
    };
  },
});

/** A walker for the proposal of 2011. */
const freePages = defineDriver({
  name: 'free-pages',
  design: 'free-pages-2011',
  device: 'walker',
  create: (hw) => ({
    *invalidateRangeFreePages() {
      yield* hw.flushAll();
    },
    *invalidatePage(address) {
      yield* hw.flushPage(address);
    },
    *invalidateRangeEnd(range) {
      yield* hw.flushRange(range.start, range.end);
    },
    *release() {
      yield* hw.tearDownAtomic();
    },
  }),
});

/** A walker that believes in the notifier of 2007. */
const clearing = defineDriver({
  name: 'clearing-2007',
  design: 'pte-notifiers',
  device: 'walker',
  create: (hw) => ({
    *clear(address) {
      yield* hw.flushPage(address);
    },
    *close(start, end) {
      yield* hw.flushRange(start, end);
    },
  }),
});

/** Use of freed pages and page tables. */
const USE_AFTER_FREE = ['I1', 'I2'];

test.each(['munmap', 'munmap-batch', 'madv-dontneed', 'truncate', 'cow-copy', 'fork', 'swap-out', 'exit'])(
  `mmu-notifiers-v4, ${`%s`}: a mirror that counts sections has no finding (SEED=${seed})`,
  (operation) => {
    expect(broken(counting, operation)).toEqual([]);
  },
);

test('mmu-notifiers-v4 does not tell of mprotect: the device writes on', () => {
  expect(broken(counting, 'mprotect-ro').length).toBeGreaterThan(0);
});

test.each(['munmap', 'munmap-batch', 'madv-dontneed', 'cow-copy', 'exit'])(
  'mmu-notifiers-andrea, %s: with a reference to each page no freed page is used',
  (operation) => {
    expect(broken(referenced, operation).filter((p) => USE_AFTER_FREE.includes(p))).toEqual([]);
  },
);

test.each(['munmap', 'madv-dontneed', 'exit'])(
  'mmu-notifiers-andrea, %s: without references freed pages are used',
  (op) => {
    expect(broken(unreferenced, op)).toContain('I1');
  },
);

test.each(['munmap-two', 'munmap-batch', 'madv-dontneed'])(
  'free-pages-2011, %s: a walker that flushes before pages are freed uses none',
  (operation) => {
    expect(broken(freePages, operation)).not.toContain('I1');
  },
);

test('pte-notifiers: reclaim tells too early, munmap not at all', () => {
  const swapOut = scenarioOf(operationOf('swap-out')!);
  // The device comes upon the page for the first time while it goes.
  const unloaded = { ...swapOut, setup: swapOut.setup.filter((s) => !('by' in s && s.by === 'device')) };
  expect(broken(clearing, unloaded, 400)).toContain('I1');
  expect(broken(clearing, 'munmap-batch', 100)).toContain('I1');
});
