// Taking out one flush, callback or wait makes the judge find it. Each mutant is the kernel, the 6.1 design and its driver with one
// thing missing; it runs on random programs, seed after seed, until the judge reports the property named beside it. The unmodified
// machine is clean on the same seeds.
//
// A mutant that no schedule can show is listed as equivalent, with the reason and with what makes it count.
import { describe, expect, test } from 'vitest';
import { SITE_COW, SITE_FORK, SITE_MPROTECT, SITE_MUNMAP, SITE_TRY_TO_UNMAP, SITE_ZAP } from '../src/abi/notifier.ts';
import type { JudgeResults } from '../src/check/judge.ts';
import type { AmdIommu } from '../src/device/amd-iommu.ts';
import type { Device } from '../src/device/device.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { linuxFns } from '../src/mm/table.ts';
import type { Linux61 } from '../src/notifier/linux-6.1.ts';
import { StartEndNotifier } from '../src/notifier/start-end.ts';
import type { AtomicPath } from '../src/sched/path.ts';
import { isFound, machine, SEED } from './support/judged-machine.ts';

/** Seeds on which the unmodified machine is clean and every mutant is found. */
const SEEDS = 12;
/** Memory calls of each program thread: with a device, and of the cheaper runs without one. */
const OPERATIONS = 100;
const OPERATIONS_CPU = 300;

interface Mutant {
  readonly name: string;
  /** The property by which the judge finds it. */
  readonly property: string;
  readonly fns?: Partial<KernelFns>;
  readonly mutate?: (design: Linux61, amd: AmdIommu) => void;
  /** CPU flushes are judged without a device. */
  readonly withDevice?: boolean;
}

function* nothing(): AtomicPath<void> {}

const startEndOnly = StartEndNotifier.prototype.invalidateRangeEnd;

/** The CPU flush of gathers of these sites is left out; the design hears of it all the same. */
function withoutGatherFlush(sites: readonly number[]): Partial<KernelFns> {
  return {
    *tlbFlushMmuTlbonly(k, tlb) {
      if (!sites.includes(tlb.site)) return yield* linuxFns.tlbFlushMmuTlbonly(k, tlb);
      if (tlb.cleared === 0 && !tlb.freedTables) return;
      const { start, end, mm, freedTables, site } = tlb;
      if (mm.notifiers !== null) yield* k.fn.mmuNotifierGatherFlushed(k, mm, start, end, freedTables, site);
      tlb.resetRange();
    },
  };
}

/** R is left out where an entry was cleared by these sites. */
function withoutCleared(design: Linux61, site: number): void {
  const original = design.pteClearedAndFlushed;
  design.pteClearedAndFlushed = (mm, start, end, at, isFile) =>
    at === site ? nothing() : original.call(design, mm, start, end, at, isFile);
}

/** End of these sections implies no R. */
function withoutImplied(design: Linux61, site: number): void {
  const original = design.invalidateRangeEnd;
  design.invalidateRangeEnd = (range, onlyEnd) =>
    (range.site === site ? startEndOnly : original).call(design, range, onlyEnd);
}

const MUTANTS: readonly Mutant[] = [
  {
    name: 'no R when a gather has flushed',
    property: 'I1',
    mutate: (design) => {
      design.gatherFlushed = nothing;
    },
  },
  {
    name: 'no R when a gather with page tables has flushed',
    property: 'I2',
    mutate: (design) => {
      const original = design.gatherFlushed;
      design.gatherFlushed = (mm, start, end, freedTables, site) =>
        freedTables ? nothing() : original.call(design, mm, start, end, freedTables, site);
    },
  },
  {
    name: 'no R implied by end',
    property: 'I5',
    mutate: (design) => {
      design.invalidateRangeEnd = startEndOnly;
    },
  },
  {
    name: 'no R implied by the end of fork',
    property: 'I3',
    mutate: (design) => withoutImplied(design, SITE_FORK),
  },
  {
    name: 'no R when COW has cleared the entry',
    property: 'I5',
    mutate: (design) => withoutCleared(design, SITE_COW),
  },
  {
    name: 'no R implied by the end of try_to_unmap (file pages have no other)',
    property: 'I5',
    mutate: (design) => withoutImplied(design, SITE_TRY_TO_UNMAP),
  },
  { name: 'no CPU flush in zap', property: 'I1c', withDevice: false, fns: withoutGatherFlush([SITE_MUNMAP, SITE_ZAP]) },
  { name: 'no CPU flush in mprotect', property: 'I3c', withDevice: false, fns: withoutGatherFlush([SITE_MPROTECT]) },
  {
    name: 'no CPU flush in fork',
    property: 'I3c',
    withDevice: false,
    fns: { flushTlbMm: (k, mm, site) => (site === SITE_FORK ? nothing() : linuxFns.flushTlbMm(k, mm, site)) },
  },
  {
    name: 'no CPU flush in COW',
    property: 'I4c',
    withDevice: false,
    fns: {
      flushTlbPage: (k, vma, address, site) =>
        site === SITE_COW ? nothing() : linuxFns.flushTlbPage(k, vma, address, site),
    },
  },
  {
    name: 'no release',
    property: 'I12',
    mutate: (design) => {
      design.release = nothing;
    },
  },
  {
    name: 'device TLB before IOMMU TLB',
    property: 'I1',
    mutate: (_design, amd) => {
      amd.flush = function* (pasid, start, end) {
        yield* amd.flushDeviceTlbs(pasid, start, end);
        yield* amd.flushIommuTlb(pasid, start, end);
      };
    },
  },
  {
    name: 'nobody waits for completion',
    property: 'I1',
    mutate: (_design, amd) => {
      amd.completionWait = nothing;
    },
  },
  {
    name: 'only the IOMMU TLB is flushed',
    property: 'I1',
    mutate: (_design, amd) => {
      amd.flushDeviceTlbs = nothing;
    },
  },
  {
    name: 'only the device TLB is flushed',
    property: 'I1',
    mutate: (_design, amd) => {
      amd.flushIommuTlb = nothing;
    },
  },
  {
    name: 'the driver keeps walk caches when page tables go',
    property: 'I2',
    mutate: (_design, amd) => {
      amd.flushIommuTlb = function* (pasid, start, end) {
        amd.iommu.invalidateIommuPages(pasid, start, end, false);
        yield* amd.completionWait();
      };
    },
  },
];

/** Its section ends, with an R, before reclaim lets go of the page: the R under ptl comes only earlier. */
const EQUIVALENT: Mutant = {
  name: 'no R when try_to_unmap has cleared the entry of an anonymous page',
  property: '',
  mutate: (design) => withoutCleared(design, SITE_TRY_TO_UNMAP),
};

function mutateWith(m: Mutant): ((k: Kernel, device: Device | null) => void) | null {
  const { mutate } = m;
  if (mutate === undefined) return null;
  return (k, device) => mutate(k.design as Linux61, (device as unknown as { readonly sva: AmdIommu }).sva);
}

/** Run `i` of the machine with the mutant. */
function run(m: Mutant, i: number): JudgeResults {
  const { fns = {}, withDevice = true, property } = m;
  const operations = withDevice ? OPERATIONS : OPERATIONS_CPU;
  const until = property === '' ? null : property;
  return machine({ fns, withDevice, mutate: mutateWith(m), seed: SEED * 1000 + i, until, operations });
}

/** Seeds that it took to find the mutant, 0 when none did. */
function seedsUntilFound(m: Mutant): number {
  for (let i = 0; i < SEEDS; i++) if (isFound(run(m, i), m.property)) return i + 1;
  return 0;
}

describe(`mutants of linux-6.1 and iommu-v2 (SEED=${SEED}, ${SEEDS} seeds)`, () => {
  test.each([{ name: 'the unmodified machine', property: '' }, EQUIVALENT])('$name: clean', (mutant: Mutant) => {
    for (let i = 0; i < SEEDS; i++) {
      const r = run(mutant, i);
      expect(r.violations.filter((v) => v.gap === null)).toEqual([]);
      expect(r.windows).toBeGreaterThan(10);
    }
  });

  test('the unmodified machine without a device: clean', () => {
    for (let i = 0; i < SEEDS; i++) {
      expect(run({ name: '', property: '', withDevice: false }, i).violations).toEqual([]);
    }
  });

  test.each(MUTANTS)('$name: $property', (mutant) => {
    const n = seedsUntilFound(mutant);
    expect(n, 'seeds until found').toBeGreaterThan(0);
  });
});
