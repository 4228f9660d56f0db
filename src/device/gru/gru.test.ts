// The GRU under every design that it has a driver for: random programs, judged; operations of one page, exhaustively; each mistake
// of mistakes.ts is caught by a property that it names.
import { describe, expect, it } from 'vitest';
import { machine, SEED } from '../../../test/support/judged-machine.ts';
import { deviceSubject, type Search, search } from '../../../test/support/named-device.ts';
import { InputError } from '../../base/assert.ts';
import { PhysMemory } from '../../hw/phys.ts';
import { createProcess } from '../../mm/process/task.ts';
import { DESIGNS as DESIGN_TABLE } from '../../notifier/designs.ts';
import { Scheduler } from '../../sched/scheduler.ts';
import { createMachine } from '../../system/machine.ts';
import { CHECK_DEFAULTS, checkScenario } from '../../workload/check/check-operation.ts';
import { scenarioNamed } from '../../workload/check/plan.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import type { DeviceConfig } from '../device.ts';
import { deviceInfo } from '../devices.ts';
import { GruChiplet } from './chiplet.ts';
import { SMALL_GRU } from './gru.ts';
import { GRU_MISTAKES } from './mistakes.ts';
import { GruThread } from './thread.ts';

/** Those under which nothing may go wrong but at exit. */
const DESIGNS = ['linux-2.6.27', 'free-pages-2011', 'invalidate-range', 'linux-6.1', 'linux-6.12'];
const PAGE = 4096;
/** Threads fight for contexts, and ASIDs begin again often. */
const BUSY = { engines: 4, contextsPerChiplet: 1, asids: 5, purgePagesMax: 6 };

/** The device reads a page in the middle of a block of 2 MiB. */
const HUGE: Scenario = {
  name: 'huge',
  summary: 'a page of a huge page',
  kernel: { frames: 2048, thpEnabled: 'always' },
  setup: [
    { do: 'mmap', at: 0, pages: 512 },
    { do: 'store', at: 0 },
  ],
  threads: { device: { on: 'device', steps: [{ do: 'load', at: 5 }] } },
};

function gru(config: DeviceConfig['gru']): Partial<DeviceConfig> {
  return { device: 'gru', gru: { ...SMALL_GRU, ...config } };
}

describe('hardware', () => {
  function loaded(): { chiplet: GruChiplet; thread: GruThread } {
    const memory = new PhysMemory(16);
    const sched = new Scheduler(memory.log);
    const chiplet = new GruChiplet(memory, sched, 0, 1, 2);
    const thread = new GruThread(sched, 0);
    thread.chiplet = chiplet;
    thread.asid = 1;
    chiplet.contexts[0] = thread;
    return { chiplet, thread };
  }

  function miss(chiplet: GruChiplet, thread: GruThread): void {
    expect(chiplet.hold(thread, PAGE, false)).toBe(false);
    chiplet.latch(thread, PAGE, false);
    thread.isLatchRead = true;
  }

  it('a drop-in is found at the next look-up', () => {
    const { chiplet, thread } = loaded();
    miss(chiplet, thread);
    expect(chiplet.dropIn(thread, PAGE, 7, 1, false)).toBe(true);
    expect([chiplet.hold(thread, PAGE, false), thread.heldPfn]).toEqual([true, 7]);
  });

  it('a drop-in is ignored when a purge of its page came after the latch was read', () => {
    const { chiplet, thread } = loaded();
    miss(chiplet, thread);
    chiplet.purge(0, 1, PAGE, 2 * PAGE);
    expect(chiplet.dropIn(thread, PAGE, 7, 1, false)).toBe(false);
    expect(chiplet.hold(thread, PAGE, false)).toBe(false);
  });

  it('purges of other pages, of other ASIDs and from before the latch was read do not matter', () => {
    const { chiplet, thread } = loaded();
    chiplet.purge(0, 1, PAGE, 2 * PAGE);
    miss(chiplet, thread);
    chiplet.purge(0, 1, 2 * PAGE, 3 * PAGE);
    chiplet.purge(0, 2, PAGE, 2 * PAGE);
    expect(chiplet.dropIn(thread, PAGE, 7, 1, false)).toBe(true);
  });

  it('a purge is over when the accesses are that were in flight, and not later', () => {
    const { chiplet, thread } = loaded();
    miss(chiplet, thread);
    chiplet.dropIn(thread, PAGE, 7, 1, false);
    chiplet.hold(thread, PAGE, false);
    const purge = chiplet.purge(0, 1, PAGE, 2 * PAGE);
    expect(chiplet.isDrained(purge)).toBe(false);
    chiplet.release(thread);
    expect(chiplet.isDrained(purge)).toBe(true);
    miss(chiplet, thread);
    chiplet.dropIn(thread, PAGE, 8, 1, false);
    chiplet.hold(thread, PAGE, false);
    expect(chiplet.isDrained(purge)).toBe(true);
  });

  it('a store needs an entry that was dropped in for one', () => {
    const { chiplet, thread } = loaded();
    miss(chiplet, thread);
    chiplet.dropIn(thread, PAGE, 7, 1, false);
    expect(chiplet.hold(thread, PAGE, true)).toBe(false);
  });
});

describe.each(DESIGNS)('%s', (design) => {
  it(`random programs: nothing wrong but at exit (SEED=${SEED})`, () => {
    for (let seed = SEED; seed < SEED + 2; seed++) {
      const r = machine({ design, seed, operations: 80, device: { device: 'gru', gru: BUSY } });
      expect(r.violations.filter((v) => v.gap !== 15).map((v) => v.text)).toEqual([]);
      expect(r.deviceReads + r.deviceWrites).toBeGreaterThan(50);
    }
  });

  it.each(['madv-dontneed', 'munmap', 'fork'])('%s: every interleaving is in order, and deaf it is not', (name) => {
    const subject = deviceSubject(gru({}), design);
    const r = checkScenario(scenarioNamed(name), subject, { ...CHECK_DEFAULTS, executions: 6000 })!;
    expect([r.verdict, r.exhaustive, r.lockFindings]).toEqual(['clean', true, []]);
  });
});

describe('designs that tell it too late, or not at all', () => {
  it.each([
    ['pte-notifiers', 'munmap'],
    ['pte-notifiers', 'reclaim'],
    ['mmu-notifiers-andrea', 'munmap'],
    ['mmu-notifiers-v4', 'mprotect-ro'],
  ])('%s: %s', (design, name) => {
    expect(search(gru({}), design, { scenario: name }, (_, gap) => gap === null)).toMatch(/^I[15]: /);
  });

  it.each(['munmap', 'madv-dontneed', 'fork'])('mmu-notifiers-v4 holds drop-ins off where it tells: %s', (name) => {
    expect(search(gru({}), 'mmu-notifiers-v4', { scenario: name }, (_, gap) => gap === null)).toBeNull();
  });

  it('there is a driver for every design but pinned memory', () => {
    const without = DESIGN_TABLE.filter((d) => deviceInfo('gru').designs[d.name] === undefined);
    expect(without.map((d) => d.name)).toEqual(['pinned']);
  });
});

describe('exit', () => {
  it.each(DESIGNS)('%s: contexts are unloaded after the pages were freed: documented gap 15', (design) => {
    expect(search(gru({}), design, { scenario: 'exit' }, (_, gap) => gap === 15)).toMatch(/I12 gap 15/);
    expect(search(gru({}), design, { scenario: 'exit' }, (_, gap) => gap === null)).toBeNull();
  });

  it('closing the segment before exit leaves nothing', () => {
    const m = createMachine({ design: 'linux-6.1', device: gru({}) });
    const task = m.run(createProcess(m.kernel, { areas: [] }));
    const mm = task.mm!;
    const { count } = mm;
    expect(m.run(m.device!.bind(mm))).toBe(0);
    expect([mm.closes.length, mm.notifiers!.hasSubscribers]).toEqual([1, true]);
    m.run(m.device!.unbind());
    m.kernel.sched.runUntil(() => mm.count === count, 1000);
    expect([mm.closes.length, mm.notifiers!.hasSubscribers, mm.count]).toEqual([0, false, count]);
  });
});

describe('mistakes', () => {
  const SHOWN: Readonly<Record<string, Search>> = {
    'no-range-active': { scenario: 'madv-dontneed' },
    'purge-before-count': { scenario: 'madv-dontneed' },
    'latch-unwatched': { scenario: 'madv-dontneed' },
    'purge-unwaited': { scenario: 'munmap' },
    'no-wake': { scenario: 'madv-dontneed' },
    'huge-head': { scenario: HUGE },
  };
  /** What needs many pages, threads or address spaces: found by random programs. */
  const RANDOM = ['asid-kept', 'no-purge-at-wrap', 'clamped-purge', 'clean-store'];

  it('each is listed', () => {
    expect([...Object.keys(SHOWN), ...RANDOM].sort()).toEqual(GRU_MISTAKES.map((m) => m.name).sort());
    expect(() => createMachine({ design: 'linux-6.1', device: gru({ mistake: 'none' }) })).toThrow(InputError);
  });

  it.each(Object.entries(SHOWN))('%s is caught', (name, how) => {
    const { breaks } = GRU_MISTAKES.find((m) => m.name === name)!;
    const found = search(gru({ mistake: name }), 'linux-6.1', how, (p, gap) => gap === null && breaks.includes(p));
    expect(found).not.toBeNull();
  });

  it.each(RANDOM)(`%s is caught (SEED=${SEED})`, (name) => {
    const { breaks } = GRU_MISTAKES.find((m) => m.name === name)!;
    let found = false;
    for (let seed = SEED; seed < SEED + 12 && !found; seed++) {
      const r = machine({
        design: 'linux-6.1',
        seed,
        mutate: () => {},
        stepsMax: 200_000,
        device: { device: 'gru', gru: { ...BUSY, mistake: name } },
      });
      found = r.violations.some((v) => v.gap === null && breaks.includes(v.property));
    }
    expect(found).toBe(true);
  });
});
