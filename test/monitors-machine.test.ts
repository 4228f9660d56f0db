// The monitors of uses, contents and protocol on the machine itself: for each a small program and a kernel, design or driver with one
// thing missing, run under seeded random schedules until the property named beside it is reported. The unmodified machine runs
// the same program with the same seeds and reports nothing.
import { expect, test } from 'vitest';
import { SITE_COW, SITE_MKCLEAN } from '../src/abi/notifier.ts';
import { Footprint } from '../src/base/footprint.ts';
import { Rng } from '../src/base/rng.ts';
import { createDevice, type DeviceConfig } from '../src/device/device.ts';
import { userLoad } from '../src/mm/cpu-access.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { linuxFns } from '../src/mm/table.ts';
import type { Linux61 } from '../src/notifier/linux-6.1.ts';
import type { AtomicPath } from '../src/sched/path.ts';
import { RandomChooser } from '../src/sched/scheduler.ts';
import type { Scenario, Step } from '../src/workload/scenario/scenario.ts';
import { ScenarioWorld } from '../src/workload/scenario/scenario-world.ts';
import type { Subject } from '../src/workload/scenario/subject.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const RUNS_MAX = 1500;
const STEPS_MAX = 3000;

const SMALL: Partial<DeviceConfig> = {
  ats: { engines: 1, atcSets: 2, atcWays: 2 },
  iommu: { tlbSets: 2, tlbWays: 2, walkers: 1, executors: 1, pasids: 4 },
  faultWorkers: 1,
};

interface Mutant {
  readonly patches?: Partial<KernelFns>;
  readonly mutate?: (k: Kernel) => void;
}

function subject(mutant: Mutant): Subject {
  return {
    name: 'iommu-v2',
    design: 'linux-6.1',
    nullSubject: null,
    ...(mutant.patches === undefined ? {} : { patches: mutant.patches }),
    create(k) {
      const device = createDevice(k, { ...SMALL, driver: 'iommu-v2' });
      device.workload.isStopped = true;
      mutant.mutate?.(k);
      return device;
    },
  };
}

function* nothing(): AtomicPath<void> {}

/** Properties reported, by random schedules whose threads run on for a while. */
function run(scenario: Scenario, mutant: Mutant, seed: number): string[] {
  const rng = new Rng(seed);
  const world = new ScenarioWorld(scenario, subject(mutant), {}, new RandomChooser(rng), new Footprint());
  const stay = rng.below(6);
  let last = -1;
  let steps = 0;
  for (let mask = world.enabled(); mask !== 0 && steps < STEPS_MAX; mask = world.enabled(), steps++) {
    const able = Array.from({ length: 31 }, (_, i) => i).filter((i) => (mask & (1 << i)) !== 0);
    if (!able.includes(last) || rng.below(stay + 1) === 0) last = able[rng.below(able.length)]!;
    world.step(last);
  }
  return world
    .end(false)
    .filter((f) => f.gap === null)
    .map((f) => f.property);
}

const store = (at: number, value = 1): Step => ({ do: 'store', at, value, mayFail: true });
const load = (at: number): Step => ({ do: 'load', at, mayFail: true });

interface Case {
  readonly name: string;
  readonly property: string;
  readonly scenario: Scenario;
  readonly mutant: Mutant;
}

/** flush_tlb_page is left out at one site. */
function withoutPageFlush(site: number): Partial<KernelFns> {
  return {
    flushTlbPage: (k, vma, address, at) => (at === site ? nothing() : linuxFns.flushTlbPage(k, vma, address, at)),
  };
}

const CASES: readonly Case[] = [
  {
    name: 'no R when COW has cleared the entry: the device reads the original after a store to the copy',
    property: 'I8',
    mutant: {
      mutate(k) {
        const design = k.design as Linux61;
        const original = design.pteClearedAndFlushed;
        design.pteClearedAndFlushed = (mm, start, end, site, isFile) =>
          site === SITE_COW ? nothing() : original.call(design, mm, start, end, site, isFile);
      },
    },
    scenario: {
      name: 'copy on write under a reading device',
      summary: 'after fork the parent writes a page that the device reads',
      setup: [{ do: 'mmap', at: 0 }, store(0), { do: 'fork', as: 'child' }],
      threads: {
        writer: { steps: [store(0, 2)] },
        sibling: { steps: [store(0, 3)] },
        device: { on: 'device', steps: [load(0), load(0), load(0)] },
      },
    },
  },
  {
    name: 'a gather does not ask whether another is pending: MADV_DONTNEED returns while the CPU still reads the old page',
    property: 'I13',
    mutant: {
      patches: {
        *tlbFinishMmu(k, tlb) {
          const pending = tlb.mm.tlbFlushPending;
          tlb.mm.tlbFlushPending = 1;
          yield* linuxFns.tlbFinishMmu(k, tlb);
          tlb.mm.tlbFlushPending = pending - 1;
        },
      },
    },
    scenario: {
      name: 'two threads throw the same page away',
      summary: 'parallel MADV_DONTNEED of one page that a third thread reads',
      bound: false,
      setup: [{ do: 'mmap', at: 0 }, store(0)],
      threads: {
        first: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
        second: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
        reader: { steps: [load(0), load(0), load(0)] },
      },
    },
  },
  {
    name: 'mprotect does not flush what reclaim put off',
    property: 'I3c',
    mutant: { patches: { flushTlbBatchedPending: nothing } },
    scenario: {
      name: 'mprotect beside reclaim',
      summary: 'a page is made read-only while reclaim has cleared its entry and not flushed',
      bound: false,
      // The first pass finds the page referenced and clears A; the TLB entry stays.
      setup: [{ do: 'mmap', at: 0 }, { do: 'mmap', at: 1 }, store(0), { do: 'reclaim' }],
      threads: {
        protect: { steps: [{ do: 'mprotect', at: 0, prot: 'r' }, store(0)] },
        // Only what runs on a second CPU makes reclaim put flushes off.
        bystander: { steps: [load(1)] },
        reclaim: { on: 'kernel', steps: [{ do: 'reclaim' }] },
      },
    },
  },
  {
    name: 'page_mkclean does not flush the CPU: a store after writeback is in no copy',
    property: 'I20',
    mutant: { patches: withoutPageFlush(SITE_MKCLEAN) },
    scenario: {
      name: 'writeback beside a writer',
      summary: 'a page of a file is written out while a thread stores to it',
      bound: false,
      setup: [{ do: 'mmap', at: 0, shared: true, file: 'f' }, store(0)],
      threads: {
        sync: { steps: [{ do: 'msync', at: 0 }] },
        writer: { steps: [store(0, 2), store(0, 3)] },
      },
    },
  },
  {
    name: 'zap of a dirty file page flushes only after the page-table lock is dropped: a store after writeback is in no copy',
    property: 'I20',
    mutant: {
      patches: {
        *tlbFlushMmuTlbonly(k, tlb) {
          if (k.sched.current.atomicDepth === 0) yield* linuxFns.tlbFlushMmuTlbonly(k, tlb);
        },
      },
    },
    scenario: {
      name: 'munmap beside writeback and a writer',
      summary: 'a dirty page of a file is unmapped and written out while a thread stores to it',
      bound: false,
      setup: [{ do: 'mmap', at: 0, shared: true, file: 'f' }],
      threads: {
        munmap: { steps: [{ do: 'munmap', at: 0 }] },
        sync: { steps: [{ do: 'fsync', file: 'f' }] },
        writer: { steps: [store(0, 2), store(0, 3)] },
      },
    },
  },
  {
    name: 'fork does not flush the CPUs: a store of the parent reaches the child',
    property: 'I23',
    mutant: { patches: { flushTlbMm: nothing } },
    scenario: {
      name: 'fork beside a writer',
      summary: 'a child reads a page that a thread of its parent stores to',
      bound: false,
      setup: [{ do: 'mmap', at: 0 }, store(0)],
      threads: {
        fork: {
          steps: [
            { do: 'fork', as: 'child' },
            {
              do: 'run',
              name: 'child reads',
              path: function* (c) {
                const child = c.tasks.get('child');
                if (child !== undefined) yield* userLoad(c.kernel, child, c.va(0), 4);
              },
            },
          ],
        },
        writer: { steps: [store(0, 2), store(0, 3), store(0, 4)] },
      },
    },
  },
];

test.each(CASES)(`$property: $name (SEED=${SEED})`, ({ property, scenario, mutant }) => {
  let runs = 0;
  const found = new Set<string>();
  while (!found.has(property) && runs < RUNS_MAX) {
    const seed = SEED * 10_000 + runs++;
    expect(run(scenario, {}, seed), `unmodified machine, seed ${seed}`).toEqual([]);
    for (const id of run(scenario, mutant, seed)) found.add(id);
  }
  expect([...found], `after ${runs} runs`).toContain(property);
});
