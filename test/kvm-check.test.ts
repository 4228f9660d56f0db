// KVM under exploration: every interleaving of single operations with a vCPU, under each design that it has a driver for; the same VM
// without callbacks violates what the driver keeps. And each mistake of the table is found.
import { describe, expect, test } from 'vitest';
import { DEVICES } from '../src/device/devices.ts';
import type { KvmDevice } from '../src/device/kvm/device.ts';
import { KVM_MISTAKES } from '../src/device/kvm/mistakes.ts';
import { setMemoryRegion } from '../src/device/kvm/slots.ts';
import { explore } from '../src/explore/explore.ts';
import { pct } from '../src/explore/pct.ts';
import type { Program } from '../src/explore/world.ts';
import { CHECK_DEFAULTS, checkScenario } from '../src/workload/check/check-operation.ts';
import { scenarioNamed } from '../src/workload/check/plan.ts';
import type { ScenarioContext } from '../src/workload/scenario/context.ts';
import { BASE, type Scenario } from '../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { deviceSubject } from './support/device-subject.ts';

const OPTIONS = { ...CHECK_DEFAULTS, executions: 60, randomRuns: 40 };
const EARLY = ['pte-notifiers', 'mmu-notifiers-andrea'];
const designs = Object.keys(DEVICES.find((d) => d.name === 'kvm')!.designs).filter((d) => !EARLY.includes(d));

test.each(designs)('%s: clean, where the deaf VM is not', (design) => {
  for (const [operation, exercised] of [
    ['munmap', ['I1', 'I5']],
    ['fork', ['I3', 'I5']],
    ['cow-copy', ['I4', 'I5']],
    ['swap-out', ['I1', 'I5']],
  ] as const) {
    const r = checkScenario(scenarioNamed(operation), deviceSubject('kvm', design), OPTIONS)!;
    expect({ operation, violations: r.violations, locks: r.lockFindings }).toEqual({
      operation,
      violations: [],
      locks: [],
    });
    expect(r.nullViolates).toEqual(expect.arrayContaining([...exercised]));
  }
});

describe('before there were sections', () => {
  const found = (operation: string, design: string, rules = {}): string[] =>
    checkScenario(
      scenarioNamed(operation),
      deviceSubject('kvm', design, { kvm: { vcpus: 2, rules } }),
      OPTIONS,
    )!.violations.map((v) => v.property);

  test('pte-notifiers: a freed page is reached, whether its unmapping is told or not', () => {
    expect(found('munmap', 'pte-notifiers')).toContain('I1');
    expect(found('swap-out', 'pte-notifiers')).toContain('I1');
  });

  test('mmu-notifiers-andrea: only the references of the sptes keep a page from being freed under them', () => {
    expect(found('munmap', 'mmu-notifiers-andrea')).not.toContain('I1');
    expect(found('swap-out', 'mmu-notifiers-andrea')).toEqual([]);
    expect(found('munmap', 'mmu-notifiers-andrea', { holdsReferences: false })).toContain('I1');
    // Not told at all.
    expect(found('fork', 'mmu-notifiers-andrea')).toContain('I3');
  });
});

/** The vCPU leaves the guest for page 1 and comes back to what its TLB has of page 0. */
const REENTRY: Scenario = {
  name: 'reentry',
  summary: 'a page goes while the vCPU enters the guest again',
  setup: [
    { do: 'mmap', at: 0, pages: 2 },
    { do: 'store', at: 0 },
    { do: 'store', at: 1 },
    { do: 'load', at: 0, by: 'device' },
  ],
  threads: {
    munmap: { steps: [{ do: 'munmap', at: 0 }] },
    device: {
      on: 'device',
      steps: [
        { do: 'load', at: 1 },
        { do: 'load', at: 0, mayFail: true },
      ],
    },
  },
};

/** Two sections at once, not over the same page. */
const TWO_SECTIONS: Scenario = {
  name: 'two-sections',
  summary: 'two threads drop pages far from each other',
  setup: [
    { do: 'mmap', at: 0, pages: 4 },
    { do: 'store', at: 0 },
    { do: 'store', at: 3 },
  ],
  threads: {
    low: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    high: { steps: [{ do: 'madvise', at: 3, advice: 'dontneed' }] },
    device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
  },
};

const device = (c: ScenarioContext): KvmDevice => c.device as unknown as KvmDevice;

/** A slot goes while a section is open that has found it. */
const SLOT_GOES: Scenario = {
  name: 'slot-goes',
  summary: 'a page is dropped while its memslot is moved',
  setup: [
    { do: 'mmap', at: 0, pages: 2 },
    { do: 'store', at: 0 },
    { do: 'load', at: 0, by: 'device' },
  ],
  threads: {
    dontneed: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    slots: {
      on: 'kernel',
      steps: [
        {
          do: 'run',
          name: 'delete the memslot, and make it again',
          *path(c) {
            const { kvm } = device(c);
            const { id, baseGfn, pages, hva } = kvm!.memslots.ofHva(c.va(0))!;
            yield* setMemoryRegion(kvm!, id, null);
            yield* setMemoryRegion(kvm!, id, { baseGfn, pages, hva });
            c.claim(
              kvm!.mmuInvalidateInProgress === 0 || kvm!.mnActiveInvalidateCount > 0,
              'SLOTS',
              'a section is counted that nobody will close.',
            );
          },
        },
      ],
    },
  },
};

/** The kernel's own use of a page of the guest. */
const PFN_CACHE: Scenario = {
  name: 'pfn-cache',
  summary: 'a page is dropped while the kernel stores to it through a pfn cache',
  setup: [
    { do: 'mmap', at: 0, pages: 2 },
    { do: 'store', at: 0 },
  ],
  threads: {
    dontneed: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    cache: {
      on: 'kernel',
      steps: [
        {
          do: 'run',
          name: 'two stores through the cache',
          *path(c) {
            const [cache] = device(c).kvm!.pfnCaches;
            yield* cache!.store();
            yield* cache!.store();
          },
        },
      ],
    },
  },
};

/** The page behind APIC_ACCESS_ADDR moves. */
const APIC: Scenario = {
  name: 'apic',
  summary: 'the APIC-access page is swapped out while the vCPU uses it',
  setup: [
    { do: 'mmap', at: 0, pages: 2 },
    { do: 'store', at: 0 },
  ],
  threads: {
    pageout: { steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] },
    vcpu: {
      on: 'kernel',
      steps: [
        {
          do: 'run',
          name: 'two loads from the APIC-access page',
          *path(c) {
            yield* device(c).accessApic(0);
            yield* device(c).accessApic(0);
          },
        },
      ],
    },
  },
};

const OWN = { vcpus: 2, pfnCaches: [BASE], apicAccessHva: BASE };

/** What each mistake shows in. */
const SHOWN_BY: Readonly<Record<string, string | Scenario>> = {
  'no-sequence': 'munmap',
  'no-count': 'munmap',
  'late-sample': 'munmap',
  'last-range-only': TWO_SECTIONS,
  'flush-after-unlock': 'munmap',
  'no-flush': 'munmap',
  'no-kick': 'munmap',
  'no-recheck': REENTRY,
  'no-dirty': 'madv-free-reclaim',
  'no-release': 'exit',
  'always-writable': 'fork',
  'end-before-sequence': 'munmap',
  'first-page-only': 'munmap-two',
  'slots-without-wait': SLOT_GOES,
  'cache-without-count': PFN_CACHE,
};

/** The property that the first wrong execution violates; '' when there is none in the bounds. */
function firstFinding(program: Program): string {
  let found = '';
  explore(program, {
    executionsMax: 1500,
    stepsMax: 2000,
    goOn: () => found === '',
    visit: (e) => {
      found ||= e.findings[0]?.property ?? '';
    },
  });
  if (found !== '') return found;
  return pct(program, { seed: 1, executions: 500, stepsMax: 2000 }).witnesses[0]?.finding.property ?? '';
}

describe('mistakes', () => {
  test.each(Object.keys(KVM_MISTAKES))('%s is found', (mistake) => {
    const shown = SHOWN_BY[mistake]!;
    const scenario = typeof shown === 'string' ? scenarioNamed(shown) : shown;
    // The scenarios here use a cache and the APIC-access page; operations need neither, and are explored to the end without them.
    const kvm = typeof shown === 'string' ? { vcpus: 2, mistake } : { ...OWN, mistake };
    const program = scenarioProgram(scenario, deviceSubject('kvm', 'linux-6.1', { kvm }));
    expect(firstFinding(program)).toMatch(/^I|^CLAIM/);
  });

  test.each([REENTRY, TWO_SECTIONS])('$name: KVM without a mistake is clean', (scenario) => {
    const r = checkScenario(scenario, deviceSubject('kvm', 'linux-6.1'), { ...OPTIONS, executions: 300 })!;
    expect({ violations: r.violations, nullViolates: r.nullViolates.length > 0 }).toEqual({
      violations: [],
      nullViolates: true,
    });
  });

  test.each(['linux-6.1', 'linux-6.12'])('slots, pfn caches, the APIC-access page: clean under %s', (design) => {
    for (const scenario of [SLOT_GOES, PFN_CACHE, APIC]) {
      const r = checkScenario(scenario, deviceSubject('kvm', design, { kvm: OWN }), {
        ...OPTIONS,
        executions: 40,
        randomRuns: 20,
      })!;
      const { violations, lockFindings } = r;
      expect({ name: scenario.name, violations, lockFindings }).toEqual({
        name: scenario.name,
        violations: [],
        lockFindings: [],
      });
      if (scenario !== SLOT_GOES) expect(r.nullViolates).toContain('I1');
    }
  });
});
