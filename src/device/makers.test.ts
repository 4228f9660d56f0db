// Intel's and ARM's walkers: operations of mm with the faithful driver, and each mistake of their drivers caught by a property that it
// names. That the device was at stake is what test/device-matrix.test.ts shows.
import { describe, expect, it } from 'vitest';
import { type Search, search } from '../../test/support/named-device.ts';
import { InputError } from '../base/assert.ts';
import { Rng } from '../base/rng.ts';
import { Judge } from '../check/judge.ts';
import { touchPage } from '../mm/cpu-access.ts';
import { createProcess } from '../mm/process/task.ts';
import { P_DEV_TRANSLATED, P_IOMMU_FILL, P_SLEEP } from '../sched/points.ts';
import { CHOOSE_THREAD, DONE, RandomChooser, RUNNABLE, type Scheduler, type Thread } from '../sched/scheduler.ts';
import { createMachine } from '../system/machine.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { ARM_MISTAKES } from './arm-smmu/mistakes.ts';
import type { DeviceConfig } from './device.ts';
import { INTEL_MISTAKES } from './intel-svm/mistakes.ts';
import type { SharedTableDevice } from './shared-table-device.ts';
import type { SvaIommu } from './sva-iommu.ts';

const VA = 0x10000000;
const isReal = (_: string, gap: number | null): boolean => gap === null;

/** Two pages on both sides of a boundary, of which the device uses the second. */
const ACROSS: Scenario = {
  name: 'across a boundary',
  summary: 'two pages that lie in two blocks of two go at once',
  setup: [
    { do: 'mmap', at: 1, pages: 2 },
    { do: 'store', at: 1 },
    { do: 'store', at: 2 },
    { do: 'load', at: 2, by: 'device' },
  ],
  threads: {
    munmap: { steps: [{ do: 'munmap', at: 1, pages: 2 }] },
    device: { on: 'device', steps: [{ do: 'load', at: 2 }] },
  },
};

const DEVICES = [
  ['intel-svm', ['invalidate-range', 'linux-6.1', 'linux-6.6', 'linux-6.12']],
  ['arm-smmu-sva', ['linux-6.1', 'linux-6.6', 'linux-6.12']],
] as const;

describe.each(DEVICES)('%s', (device, designs) => {
  it.each(designs)('%s: nothing is found but documented gaps', (design) => {
    for (const scenario of ['munmap', 'fork', 'exit', 'reclaim', ACROSS])
      expect(search({ device }, design, { scenario, executions: 20 }, isReal)).toBeNull();
  });

  it('an entry that gains rights', () => {
    const isStuck = (property: string): boolean => property === 'L7' || property === 'L2' || property === 'L1';
    // Reclaim maps the page read-only again; the program's store makes it writable.
    const before = search({ device }, 'linux-6.1', { scenario: 'reclaim', executions: 40 }, isStuck);
    const after = search({ device }, 'linux-6.12', { scenario: 'reclaim', executions: 20 }, isStuck);
    if (device === 'arm-smmu-sva') expect(before).toMatch(/^L7 gap 11/);
    else expect(before).toBeNull();
    expect(after).toBeNull();
  });
});

/** Uniform, except that the interrupt thread of page requests has few turns. */
class SlowInterrupt extends RandomChooser {
  sched: Scheduler | null = null;

  override choose(n: number, why: number): number {
    for (let tries = 0; ; tries++) {
      const i = super.choose(n, why);
      const isSlow = why === CHOOSE_THREAD && this.sched?.runnableAt(i).name === 'PRQ interrupt';
      if (!isSlow || tries === 8) return i;
    }
  }
}

/** Page requests of groups of up to three pages, and an unbind beside them; properties violated. */
function unbindBeside(config: Partial<DeviceConfig>, seeds: number): string[] {
  const found = new Set<string>();
  for (let seed = 1; seed <= seeds && found.size === 0; seed++) {
    const ats = { engines: 2, groupPagesMax: 3, credits: 4 };
    const device = { hasWorkload: false, faultWorkers: 1, ats, ...config };
    const chooser = new SlowInterrupt(new Rng(seed));
    const m = createMachine({ kernel: { frames: 64 }, design: 'linux-6.12', device, chooser });
    chooser.sched = m.kernel.sched;
    const judge = new Judge();
    judge.attach(m.kernel.memory.log);
    const areas = [{ start: 0x10000000, end: 0x10004000, perms: 'rw-p', offset: 0, path: '' }];
    const task = m.run(createProcess(m.kernel, { areas }));
    m.run(m.device!.bind(task.mm!));
    const { ats: accessor } = m.device as SharedTableDevice<SvaIommu>;
    const threads = {
      a: accessor.access(0, 0x10000000, true, 0x10003000),
      b: accessor.access(1, 0x10003000, true, 0x10004000),
      unbind: m.device!.unbind(),
    };
    m.interleave(threads, 20_000);
    for (const v of judge.results().violations) found.add(v.property);
  }
  return [...found];
}

/** How each mistake is found. */
const SHOWN: Readonly<
  Record<string, (Search & { design?: string; config?: Partial<DeviceConfig> }) | 'unbind' | 'unit'>
> = {
  'device-tlb-first': { scenario: 'munmap' },
  'no-wait-between': { scenario: 'munmap' },
  'no-device-tlb': { scenario: 'munmap' },
  'no-piotlb': { scenario: 'munmap' },
  'misaligned-block': { scenario: ACROSS },
  'whole-overflows': { scenario: 'exit' },
  'paging-caches-kept': { scenario: 'exit' },
  'entry-not-flushed': { scenario: 'exit' },
  'no-prq-drain': 'unbind',
  'queue-not-awaited': 'unbind',
  'answers-each': 'unbind',
  // iopf-queue.test.ts
  'partials-kept': 'unit',
  'atc-first': { scenario: 'munmap' },
  'no-sync-between': { scenario: 'munmap' },
  'no-atc-inv': { scenario: 'munmap' },
  'first-command-only': { scenario: ACROSS, config: { armSmmu: { hasRangeInvalidation: false } } },
  'span-of-size': { scenario: ACROSS },
  'leaf-only': { scenario: 'exit' },
  'release-keeps-context': { scenario: 'exit' },
  'cleared-too-early': { scenario: 'exit' },
  'no-flush-of-queue': 'unbind',
  'last-error-wins': 'unit',
};

describe.each([
  ['intel-svm', 'intelSvm', INTEL_MISTAKES],
  ['arm-smmu-sva', 'armSmmu', ARM_MISTAKES],
] as const)('mistakes of %s', (device, key, mistakes) => {
  it('each stands in this test; another is refused', () => {
    expect(mistakes.map((m) => m.name).filter((name) => SHOWN[name] === undefined)).toEqual([]);
    const wrong = { device, [key]: { mistake: 'none' } };
    expect(() => createMachine({ design: 'linux-6.1', device: wrong })).toThrow(InputError);
  });

  it.each(mistakes.filter((m) => typeof SHOWN[m.name] === 'object'))('$name is caught', ({ name, breaks }) => {
    const how = SHOWN[name] as Search & { config?: Partial<DeviceConfig> };
    const config = { ...how.config, device, [key]: { ...(how.config?.[key] ?? {}), mistake: name } };
    expect(search(config, 'linux-6.1', how, (p, gap) => gap === null && breaks.includes(p))).not.toBeNull();
  });

  it.each(mistakes.filter((m) => SHOWN[m.name] === 'unbind'))('$name is caught beside unbind', ({ name }) => {
    expect(unbindBeside({ device, [key]: { mistake: name } }, 400)).toEqual(['L3']);
  });

  it('none of it beside unbind with the faithful driver', () => {
    expect(unbindBeside({ device }, 60)).toEqual([]);
  });
});

describe('I10: a device that says complete too early', () => {
  /** An engine's access to the first page of a huge one or of a small one, and the walker that serves it. */
  const begun = (isHuge: boolean) => {
    const device = { device: 'intel-svm', hasWorkload: false, faultWorkers: 1, iommu: { walkers: 1 } };
    const kernel = isHuge ? { frames: 1100, thpEnabled: 'always' as const } : { frames: 64 };
    const m = createMachine({ kernel, design: 'linux-6.1', device });
    const judge = new Judge();
    judge.attach(m.kernel.memory.log);
    const areas = [{ start: VA, end: VA + (isHuge ? 0x200000 : 4096), perms: 'rw-p', offset: 0, path: '' }];
    const task = m.run(createProcess(m.kernel, { areas }));
    m.run(m.device!.bind(task.mm!));
    const d = m.device as SharedTableDevice<SvaIommu>;
    m.run(touchPage(m.kernel, task.mm!, 0, VA, true));
    const { sched } = m.kernel;
    sched.points = true;
    const engine = sched.spawn('engine', 'device', d.accessor.access(0, VA, true, 0));
    const walker = sched.threads.find((t) => t.name === 'IOMMU walker 0')!;
    /** The others run as far as they get. */
    const rest = (...standing: Thread[]): void => {
      const others = (): Thread[] =>
        sched.threads.filter((t) => !standing.includes(t) && t.path !== null && t.state === RUNNABLE);
      for (let able = others(); able.length > 0; able = others()) sched.stepThread(able[0]!);
    };
    return { d, judge, sched, engine, walker, rest };
  };

  /** An engine stands still at the point, then a page is flushed, as far as that goes without it; then it goes on. */
  const overtaken = (
    point: number,
    change: (d: SharedTableDevice<SvaIommu>) => unknown,
    flushed = VA,
  ): string | null => {
    const { d, judge, sched, engine, rest } = begun(flushed !== VA);
    change(d);
    while (engine.point !== point || (point === P_SLEEP && engine.state !== RUNNABLE)) {
      if (engine.state === RUNNABLE) sched.stepThread(engine);
      else rest(engine);
    }
    sched.spawn('flush', 'kernel', d.sva.flushRange(d.sva.states.get(1)!, flushed, flushed + 4096));
    rest(engine);
    expect(sched.runUntil(() => engine.state === DONE, 10_000)).toBe('reached');
    return judge.results().violations.find((v) => v.property === 'I10')?.text ?? null;
  };
  /** A page beyond the one accessed, in the same huge page. */
  const OTHER = VA + 77 * 4096;

  it.each([
    ['', VA],
    [', another page of a huge one flushed', OTHER],
  ])('without waiting for accesses in flight%s', (_, page) => {
    expect(overtaken(P_DEV_TRANSLATED, () => {}, page)).toBeNull();
    const drainless = (d: SharedTableDevice<SvaIommu>): unknown => Object.assign(d.ats, { *drain() {} });
    expect(overtaken(P_DEV_TRANSLATED, drainless, page)).toMatch(/used a translation/);
  });

  it.each([
    ['', VA],
    [', another page of a huge one flushed', OTHER],
  ])('with a Translation Completion that was overtaken%s', (_, page) => {
    expect(overtaken(P_SLEEP, () => {}, page)).toBeNull();
    const keeping = (d: SharedTableDevice<SvaIommu>): unknown => Object.assign(d.ats, { discardsOvertaken: false });
    expect(overtaken(P_SLEEP, keeping, page)).toMatch(/used a translation/);
  });

  it('what is answered with a huge page is asked for again only when a page of that is flushed', () => {
    const discarded = (flushed: number): number => {
      let device: SharedTableDevice<SvaIommu> | null = null;
      overtaken(P_SLEEP, (d) => (device = d), flushed);
      return device!.ats.discardedCompletions;
    };
    expect([VA + 0x200000 - 4096, VA + 0x200000, VA - 4096].map(discarded)).toEqual([1, 0, 0]);
  });

  it('a walk that a flush of leaves alone overtakes: again when its leaf has a page of the flush', () => {
    const walks = (flushed: number, isHuge: boolean): number => {
      const { d, sched, engine, walker, rest } = begun(isHuge);
      while (walker.point !== P_IOMMU_FILL) {
        if (walker.state === RUNNABLE) sched.stepThread(walker);
        else rest(walker);
      }
      d.iommu.invalidateIommuPages(1, flushed, flushed + 4096, false);
      rest(walker);
      expect(sched.runUntil(() => engine.state === DONE, 10_000)).toBe('reached');
      return d.iommu.walksDone;
    };
    expect([walks(VA, true), walks(OTHER, true), walks(VA + 0x200000, true)]).toEqual([2, 2, 1]);
    expect([walks(VA, false), walks(OTHER, false)]).toEqual([2, 1]);
  });
});
