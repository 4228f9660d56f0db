// The author's face: what the types refuse (each @ts-expect-error is checked by the type checker: it fails where nothing is wrong),
// and what is said at run time to an author without types.
import { describe, expect, it, test } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { NR_mmap, NR_munmap } from '../abi/syscalls.ts';
import { createProcess } from '../mm/process/task.ts';
import { createMachine } from '../system/machine.ts';
import { CALLBACK_NAMES, type Driver, type DriverDefinition, defineDriver, isDriver } from './define-driver.ts';
import { createDriverDevice } from './device.ts';
import type { DesignName, DeviceKind, IntervalHw, MirrorHw, WalkerHw } from './driver-face.ts';

/** What an author without types may try to call. */
type AnyHw = WalkerHw & MirrorHw & IntervalHw;

/** As an author without types writes it. */
const defineUntyped = defineDriver as unknown as (definition: unknown) => Driver;

test('types: what must not sleep cannot, whatever the design calls it', () => {
  const drivers = [
    defineDriver({
      name: 'a',
      design: 'linux-6.1',
      device: 'walker',
      create: (hw) => ({
        // @ts-expect-error: a mutex sleeps
        *invalidateRange() {
          yield* hw.mutexLock();
        },
        *invalidateRangeStart() {
          yield* hw.mutexLock();
          hw.mutexUnlock();
        },
        *release() {
          yield* hw.tearDown();
        },
      }),
    }),
    defineDriver({
      name: 'b',
      design: 'linux-6.6',
      device: 'walker',
      create: (hw) => ({
        // @ts-expect-error: tearDown sleeps, tearDownAtomic does not
        *archInvalidateSecondaryTlbs() {
          yield* hw.tearDown();
        },
      }),
    }),
    defineDriver({
      name: 'c',
      design: 'linux-2.6.27',
      device: 'walker',
      create: (hw) => ({
        // @ts-expect-error: all callbacks of 2.6.27 run under RCU
        *invalidateRangeStart() {
          yield* hw.waitUntil(() => true);
        },
        *release() {
          yield* hw.tearDownAtomic();
        },
      }),
    }),
    defineDriver({
      name: 'd',
      design: 'linux-6.1',
      device: 'mirror',
      create: (hw) => ({
        // @ts-expect-error: a young test runs under a page-table lock
        *clearFlushYoung(start, end) {
          yield* hw.mutexLock();
          return hw.clearYoung(start, end);
        },
        *fault({ va, isWrite }) {
          const page = yield* hw.getUserPage(va, isWrite);
          return page < 0 ? page : 0;
        },
      }),
    }),
    defineDriver({
      name: 'e',
      design: 'linux-6.1',
      device: 'walker',
      create: () => ({
        // @ts-expect-error: a Promise is not a path
        async invalidateRange() {},
      }),
    }),
  ];
  expect(drivers.every(isDriver)).toBe(true);
});

test('types: callbacks and steps are those of the design and of the device', () => {
  const drivers = [
    defineDriver({
      name: 'a',
      design: 'linux-6.6',
      device: 'walker',
      // @ts-expect-error: invalidateRange went in 6.6
      create: () => ({ invalidateRange() {} }),
    }),
    defineDriver({
      name: 'b',
      design: 'linux-6.12',
      device: 'walker',
      // @ts-expect-error: changePte went in 6.10
      create: () => ({ changePte() {} }),
    }),
    defineDriver({
      name: 'c',
      design: 'invalidate-range',
      device: 'walker',
      create: (hw) => ({
        *bind() {
          // @ts-expect-error: interval subscribers came in 5.5
          yield* hw.readBegin();
        },
      }),
    }),
    defineDriver({
      name: 'd',
      design: 'linux-6.1',
      device: 'walker',
      create: (hw) => ({
        *invalidateRange(start, end) {
          // @ts-expect-error: a walker has no table of its own
          yield* hw.unmap(start, end);
        },
      }),
    }),
    defineDriver({
      name: 'e',
      design: 'linux-6.1',
      device: 'mirror',
      // @ts-expect-error: a mirror needs fault
      create: () => ({}),
    }),
    defineDriver({
      name: 'f',
      design: 'linux-6.1',
      device: 'walker',
      // @ts-expect-error: a walker has none
      create: () => ({ fault: () => 0 }),
    }),
  ];
  // @ts-expect-error: no such design
  expect(() => defineDriver({ name: 'g', design: 'linux-7', device: 'walker', create: () => ({}) })).toThrow();
  // @ts-expect-error: no such device
  expect(() => defineDriver({ name: 'h', design: 'linux-6.1', device: 'gpu', create: () => ({}) })).toThrow();
  expect(drivers.map((d) => d.name).join('')).toBe('abcdef');
});

describe('a definition that is refused says what was expected', () => {
  const good: DriverDefinition<DesignName, DeviceKind> = {
    name: 'mine',
    design: 'linux-6.1',
    device: 'walker',
    create: () => ({}),
  };
  const designs = Object.keys(CALLBACK_NAMES).join(', ');
  it.each([
    [undefined, 'defineDriver: takes an object, not undefined'],
    [{ ...good, name: 7 }, 'driver: name is a number, not a word of letters, digits, ".", "-" and "_"'],
    [{ ...good, name: 'two words' }, 'driver: name is "two words", not a word of letters, digits, ".", "-" and "_"'],
    [{ ...good, design: 'linux-7' }, `driver mine: design "linux-7" is not one of ${designs}`],
    [{ ...good, design: ['linux-6.6', 12] }, `driver mine: design a number is not one of ${designs}`],
    [{ ...good, design: [] }, `driver mine: design is empty; one of ${designs}`],
    [{ ...good, device: 'gpu' }, 'driver mine: device "gpu" is not one of walker, mirror'],
    [{ ...good, create: undefined }, 'driver mine: create(hw) is missing'],
    [{ ...good, create: 'x' }, 'driver mine: create(hw) is a string'],
  ])('%#', (definition, message) => {
    expect(() => defineUntyped(definition)).toThrow(message);
  });

  it('a driver is frozen, and known as one', () => {
    const driver = defineDriver(good);
    expect([isDriver(driver), isDriver({ ...driver }), isDriver(good), isDriver(null)]).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(Object.isFrozen(driver)).toBe(true);
  });
});

/** Binds the device of a driver, maps a page, lets the device use it, unmaps it. */
function use(design: string, device: string, create: (hw: AnyHw) => unknown): void {
  const m = createMachine({ kernel: { frames: 128 }, design });
  const k = m.kernel;
  const made = createDriverDevice(k, defineUntyped({ name: 'mine', design, device, create }));
  made.workload.isStopped = true;
  const task = m.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  expect(m.run(made.bind(task.mm!))).toBe(0);
  const va = 0x10000000;
  const flags = MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE;
  expect(m.run(m.call(task, NR_mmap, va, 4096, PROT_READ | PROT_WRITE, flags, -1, 0))).toBe(va);
  m.run(made.accessor.access(0, va, true, va + 4096));
  m.run(m.call(task, NR_munmap, va, 4096));
  m.run(made.unbind());
}

describe('callbacks that are refused, when the device is bound', () => {
  const has61 = [...CALLBACK_NAMES['linux-6.1'], 'bind', 'unbind'].join(', ');
  it.each([
    [
      'linux-6.1',
      'walker',
      { archInvalidateSecondaryTlbs() {} },
      `callback archInvalidateSecondaryTlbs is not one of design linux-6.1, which has ${has61}`,
    ],
    ['linux-6.1', 'walker', { release: 5 }, 'callback release is a number, not a function'],
    ['linux-6.1', 'walker', null, 'create(hw) returned null, not an object of callbacks'],
    ['linux-6.1', 'walker', { fault() {} }, "fault is for a mirror; a walker's page requests are served by the kernel"],
    ['linux-6.1', 'mirror', {}, 'a mirror needs fault(request), which fills its table'],
    [
      'linux-6.6',
      'walker',
      { archInvalidateSecondaryTlbs() {}, invalidateRangeEnd() {} },
      'under design linux-6.6 a driver has archInvalidateSecondaryTlbs (a TLB) or invalidateRangeEnd (a mirror), not both',
    ],
  ])('%s %s %#', (design, device, callbacks, message) => {
    expect(() => use(design, device, () => callbacks)).toThrow(`driver mine: ${message}`);
  });

  it('a driver of another design', () => {
    const k = createMachine({ kernel: { frames: 128 }, design: 'linux-6.6' });
    const task = k.run(createProcess(k.kernel, { areas: [], startBrk: 0x600000 }));
    const driver = defineDriver({ name: 'mine', design: 'linux-6.1', device: 'walker', create: () => ({}) });
    expect(() => k.run(createDriverDevice(k.kernel, driver).bind(task.mm!))).toThrow(
      'driver mine: written for design linux-6.1, not linux-6.6',
    );
  });
});

describe('mistakes that show when a callback runs', () => {
  it.each<[string, (hw: AnyHw) => object, string]>([
    [
      'forgets yield*',
      (hw) => ({ invalidateRange: (s: number, e: number) => void hw.flushRange(s, e) }),
      'invalidateRange calls hw.flushRange() without yield*: its steps never run',
    ],
    [
      'yields a path',
      (hw) => ({
        *invalidateRange(s: number, e: number) {
          yield hw.flushRange(s, e);
        },
      }),
      'invalidateRange yields object; write yield* before a step of hw, and hw.step() for a bare one',
    ],
    [
      'is async',
      () => ({ async invalidateRange() {} }),
      'invalidateRange is async; write it as a generator: *invalidateRange(...) with yield* before each step of hw',
    ],
    [
      'throws',
      () => ({
        invalidateRange() {
          throw new TypeError('x is not a function');
        },
      }),
      'invalidateRange throws: x is not a function',
    ],
    [
      'unlocks what it does not hold',
      (hw) => ({ invalidateRange: () => hw.unlock() }),
      'unlock(0) of a lock that this thread does not hold',
    ],
    [
      'a lock that there is not',
      (hw) => ({ invalidateRange: () => hw.mutexTryLock(9) }),
      'lock 9 is not one of 0 to 7',
    ],
    [
      'no interval',
      (hw) => ({ invalidateRange: () => hw.setSeq(1) }),
      'there is no interval: the driver has no callback invalidate(range, seq)',
    ],
  ])('%s', (_what, create, message) => {
    expect(() => use('linux-6.1', 'walker', create)).toThrow(`driver mine: ${message}`);
  });

  it.each<[string, (hw: AnyHw) => object, string]>([
    [
      'puts what it has not',
      (hw) => ({ fault: () => hw.putPage(3) }),
      'putPage(3): the driver has no reference of that page',
    ],
    [
      'maps an errno',
      (hw) => ({
        *fault({ va }: { va: number }) {
          yield* hw.map(va, -14, { writable: true });
        },
      }),
      'map: -14 is not a page (getUserPage answers -errno when there is none)',
    ],
    [
      'maps a crooked block',
      (hw) => ({
        *fault({ va }: { va: number }) {
          yield* hw.map(va + 4096, 5, { writable: true, pages: 2 });
        },
      }),
      'map: 0x10001000 is not a multiple of the block of 2 pages',
    ],
  ])('a mirror %s', (_what, create, message) => {
    expect(() => use('linux-6.1', 'mirror', create)).toThrow(`driver mine: ${message}`);
  });

  it('plain functions, empty callbacks and methods of a class are fine', () => {
    class Callbacks {
      readonly #hw: AnyHw;
      constructor(hw: AnyHw) {
        this.#hw = hw;
      }
      *release() {
        yield* this.#hw.tearDown();
      }
      invalidateRange(start: number, end: number): unknown {
        return this.#hw.flushRange(start, end);
      }
      invalidateRangeStart(): void {}
    }
    expect(() => use('linux-6.1', 'walker', (hw) => new Callbacks(hw))).not.toThrow();
  });
});
